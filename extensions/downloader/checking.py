"""Whether what was fetched once is still what the hub has: every byte read, none kept."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kernel.contract import Refused, Report

from .files import is_right
from .plan import Plan
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
