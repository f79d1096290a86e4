"""Faults that a disk, a clock, a limit or a killed process can bring, and what they may cost."""
