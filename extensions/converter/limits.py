"""Memory: how much there is, and how much a conversion may take."""

import re
import sys
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # on Windows
    resource = None

STARVED = re.compile(
    r"bad_alloc|out of memory|(not enough|can't allocate|cannot allocate) memory", re.IGNORECASE
)
ROOM = 1 << 30
"""Bytes for PyTorch's own doings, and for the copy of a tensor that does not lie in one piece."""


def available() -> int | None:
    """Bytes that a program can have now; None where the system does not say."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvail")) * 1024
    return None


def bind(size: int) -> None:
    """Let this process take so many bytes more than it has, and some room; where that can be said.

    A file that is only mapped counts too, though it takes no memory.
    """
    if resource is None or sys.platform != "linux":
        return
    lines = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + size + ROOM, hard))


def starved(error: BaseException) -> bool:
    """Whether an error tells that memory ran out."""
    return isinstance(error, MemoryError) or bool(STARVED.search(str(error)))
