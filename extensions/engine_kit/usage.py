"""What a process uses of the machine's memory, as Linux tells it, else as `ps` does. It blocks."""

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from extensions.engine_kit.room import field


class Used(NamedTuple):
    """Bytes: those that are the process's own, and those of files that the system may drop."""

    own: int
    files: int

    @property
    def total(self) -> int:
        return self.own + self.files


def used(pid: int, root: Path = Path("/")) -> Used | None:
    """None where the process is gone, or nobody says it."""
    status = root / f"proc/{pid}/status"
    names = ("RssAnon:", "RssFile:", "RssShmem:")
    anonymous, files, shared = (field(status, name, 1024) for name in names)
    if anonymous is not None:
        return Used(anonymous + (shared or 0), files or 0)
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        said = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, timeout=5
        ).stdout
        return Used(int(said) * 1024, 0)
    return None
