"""Files that a person may edit are replaced in one step, or not at all."""

import errno
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kernel.crash import kill_at

log = logging.getLogger(__name__)
HELD = os.name == "nt"
"""Whether a file that somebody has open, as guards against viruses do, cannot be replaced."""
ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""A disk that takes nothing, whoever writes."""
ALWAYS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, *ROOM}
LACKS = {*ALWAYS, errno.EACCES} if HELD else ALWAYS


def write(path: Path, data: bytes, mode: int = 0, still: Callable[[], bool] = lambda: True) -> None:
    """Replace a file's content in one step: after a crash there is the old or the new one.

    Keeps the mode unless one is given, and writes through links. `still` is asked at the last
    moment: when it says no, InterruptedError is raised and the file stays as it was.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        mode = mode or path.stat().st_mode & 0o7777
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.chmod(draft, mode or 0o644)
            kill_at("write.begun")
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        kill_at("write.synced")
        if not still():
            raise InterruptedError(f"{path.name} was changed by another program")
        replace(draft, path)
        kill_at("write.replaced")
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def replace(draft: str | Path, path: Path) -> None:
    """`os.replace`; who has the file open for a moment is waited for where that is in the way."""
    for pause in (0.02, 0.1, 0.3, 1.0) if HELD else ():
        with suppress(PermissionError):
            return os.replace(draft, path)
        time.sleep(pause)
    os.replace(draft, path)


def stamp(path: Path) -> object:
    """What tells one state of a file from another: times are coarse. None: it is not there."""
    with suppress(OSError):
        now = path.stat()
        return now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino
    return None


def passing(error: BaseException) -> bool:
    """Whether it tells of a lack of the moment (open files, memory, room on the disk), which is no
    damage, and nobody's fault."""
    return isinstance(error, OSError) and error.errno in LACKS


def set_aside(path: Path, cost: str) -> None:
    """Move a file that cannot be read out of the way, and say what that costs (a sentence)."""
    names = (path.with_name(f"{path.name}.damaged{n or ''}") for n in itertools.count())
    kept = next(name for name in names if not name.exists())
    try:
        path.rename(kept)
    except OSError:
        kept = path
    log.warning("%s is damaged. %s The file is kept as %s.", path.name, cost, kept)


class Copy:
    """A text as it could last be read, for a start at which it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, text: str) -> None:
        """Have this one, if the disk takes it."""
        data = text.encode()
        with suppress(OSError):
            if not self._path.exists() or self._path.read_bytes() != data:
                write(self._path, data, 0o600)

    def read(self) -> str:
        """It, or "" where there is none."""
        with suppress(OSError, UnicodeError):
            return self._path.read_text("utf-8")
        return ""
