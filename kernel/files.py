"""Files that a person may edit are replaced in one step, or not at all."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


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
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not still():
            raise InterruptedError(f"{path.name} was changed by another program")
        os.replace(draft, path)
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
