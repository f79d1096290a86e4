"""Another file takes the place of the database: in steps that a crash may cut at any point.

The new one waits, complete, beside the old; what a crash cut short is finished at the next start.
A write-ahead log never stays beside a file that it does not belong to: SQLite would replay it.
"""

import itertools
import os
import shutil
from contextlib import suppress
from pathlib import Path

from kernel.api import kill_at

READY = ".next"


def ready_beside(path: Path, suffix: str) -> Path:
    """An unused name beside the database, for a file in the making."""
    new = path.with_name(path.name + suffix)
    for name in (new, _log(new), _index(new)):
        name.unlink(missing_ok=True)
    return new


def aside(path: Path, label: str) -> Path:
    """An unused name beside the database, for what was there."""
    names = (
        path.with_name(f"{path.name}.{label}{f'-{n}' if n else ''}") for n in itertools.count()
    )
    return next(name for name in names if not name.exists())


def put_in_place(path: Path, new: Path, keep: Path | None = None) -> None:
    """Put the complete file `new` where the database is, which is kept as `keep`, or not at all."""
    if keep:
        for old, kept in ((_log(path), _log(keep)), (path, keep)):
            _duplicate(old, kept)
        kill_at("replace.kept")
    settle(new, path.with_name(path.name + READY))
    kill_at("replace.ready")
    finish(path)


def settle(new: Path, path: Path) -> None:
    """Give a complete file its name, for good: both are on the disk when this returns."""
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    _sync(path.parent)


def finish(path: Path) -> None:
    """Take the last steps of a replacement, if one is under way."""
    ready = path.with_name(path.name + READY)
    if not ready.exists():
        return
    for name in (_log(path), _index(path)):
        name.unlink(missing_ok=True)
    kill_at("replace.alone")
    os.replace(ready, path)
    kill_at("replace.done")
    _sync(path.parent)


def _duplicate(old: Path, kept: Path) -> None:
    """The same bytes under a second name; nothing writes to the first any more."""
    with suppress(FileNotFoundError):
        if not old.stat().st_size:
            return
        try:
            os.link(old, kept)
        except (OSError, NotImplementedError):  # Some file systems know no second names.
            shutil.copyfile(old, kept)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _index(path: Path) -> Path:
    return path.with_name(f"{path.name}-shm")


def _sync(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):  # Elsewhere a folder cannot be opened.
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
