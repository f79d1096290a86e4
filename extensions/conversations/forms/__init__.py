"""The forms in which conversations come and go: ours, and those of other programs."""
