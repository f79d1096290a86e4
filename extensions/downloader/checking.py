"""Whether what was fetched once is still what the hub has: every byte read, none kept."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kernel.contract import Refused, Report

from .parts import BUFFER, hash_of
from .plan import Item, Plan
from .staging import parts_of
from .trouble import Stopped


def check(data: Mapping[str, Any], report: Report, cancelled: Callable[[], bool]) -> dict[str, str]:
    """The call `check`: each path is “right”, “wrong” or “missing”; reports the part read."""
    plan = msgspec.convert(data["plan"], Plan)
    folder = Path(data["root"]).joinpath(*parts_of(plan.folder))
    total, read, stop = max(plan.size, 1), 0, threading.Event()
    found: dict[str, str] = {}
    for item in plan.items:
        file = folder.joinpath(*parts_of(item.path))

        def step(count: int, path: str = item.path) -> None:
            nonlocal read
            read += count
            if cancelled():
                raise Stopped
            report(min(read / total, 1.0), path)

        try:
            right = file.is_file() and is_right(file, item, stop, step)
            found[item.path] = "right" if right else "wrong" if file.exists() else "missing"
        except OSError as error:
            raise Refused(f"{item.path} cannot be read ({error.strerror}).") from error
    return found


def is_right(
    file: Path, item: Item, stop: threading.Event, step: Callable[[int], None] | None = None
) -> bool:
    """Whether a file on the disk is what the hub has, read once, some hundred kilobytes at a time.
    Where the hub names no hash, its size must do."""
    make, wanted = hash_of(item.size, item.sha256, item.etag)
    if file.stat().st_size != item.size:
        return False
    if not wanted:
        return True
    hash, view = make(), memoryview(bytearray(BUFFER))
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(view):
            hash.update(view[:count])
            if stop.is_set():
                raise Stopped
            if step:
                step(count)
    return hash.hexdigest() == wanted
