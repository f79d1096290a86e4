"""How an engine's process gets its memory from the system."""

import ctypes
import sys
from contextlib import suppress

M_MMAP_THRESHOLD = -3
LARGE = 16 << 20
"""Bytes of a block that goes back to the system when it is freed."""


def give_back_large() -> None:
    """glibc learns to keep blocks of up to 32 MB once one was freed, as reading a model's tensors
    does: 31 MB more were resident of a model of 110 million weights."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # Another C library has no such habit.
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
