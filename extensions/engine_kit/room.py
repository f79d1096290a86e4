"""How much of the machine's memory is free for a model: as the system, a container and a limit
of this process say, whichever is least."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

UNKNOWN = 8 << 30
"""Bytes, where the system does not say: a modest guess."""


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that may be allocated now; what the system only caches counts as free."""
    known = [
        found for found in (available(root), of_group(root), of_process(root)) if found is not None
    ]
    return max(0, min(known, default=physical()))


def available(root: Path) -> int | None:
    if sys.platform == "darwin":
        return of_macos(*map(said_by, (["vm_stat"], ["sysctl", "-n", "hw.pagesize"])))
    windows = of_windows()
    return windows[0] if windows else field(root / "proc/meminfo", "MemAvailable:", 1024)


def of_macos(pages: str, size: str) -> int | None:
    """What `vm_stat` counts as free, or would give up at once."""
    found = re.findall(r"^Pages (?:free|inactive|purgeable|speculative): +([0-9]+)", pages, re.M)
    return sum(map(int, found)) * int(size) if found and size.strip().isdigit() else None


def of_windows() -> tuple[int, int] | None:
    """Free and all bytes."""
    if sys.platform != "win32":
        return None
    import ctypes  # noqa: PLC0415 - only where it is asked

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", *"abcde")),
        ]

    said = Status(length=ctypes.sizeof(Status))
    asked = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(said))
    return (said.free, said.total) if asked else None


def said_by(command: list[str]) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout
    return ""


def of_group(root: Path) -> int | None:
    """What the limits of a container leave, in both versions of Linux's control groups."""
    found = [limit - used + cached for limit, used, cached in groups(root)]
    return min(found, default=None)


def limit_of_group(root: Path) -> int | None:
    return min((limit for limit, _, _ in groups(root)), default=None)


def groups(root: Path) -> list[tuple[int, int, int]]:
    """The limit of each group that this process is in, what it uses, and what is only cached."""
    found: list[tuple[int, int, int]] = []
    for line in text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = Path(path.lstrip("/"))
        for group in (own, *own.parents):
            limit, used = whole(base / group / names[0]), whole(base / group / names[1])
            if limit is not None and used is not None:
                cached = field(base / group / "memory.stat", names[2], 1) or 0
                found.append((limit, used, cached))
    return found


def of_process(root: Path) -> int | None:
    """What a limit on this process's addresses leaves."""
    if not resource:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = field(root / "proc/self/status", "VmSize:", 1024)
    return None if limit == resource.RLIM_INFINITY or used is None else limit - used


def all_memory(root: Path = Path("/")) -> int:
    """Bytes that the machine has, or the container where that is less."""
    known = (field(root / "proc/meminfo", "MemTotal:", 1024), limit_of_group(root))
    return min((found for found in known if found is not None), default=physical())


def physical() -> int:
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    windows = of_windows()
    return windows[1] if windows else UNKNOWN


def text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", "replace")
    return ""


def whole(path: Path) -> int | None:
    found = text(path).strip()
    return int(found) if found.isdigit() else None


def field(path: Path, name: str, unit: int) -> int | None:
    for line in text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1]) * unit
    return None
