"""The check that nothing is left: tasks, threads, child processes, sockets."""

import asyncio
import gc
import os
import stat
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

POOLS = ("asyncio_", "AnyIO", "extension-pool")
"""Threads of pools that belong to the event loop or the kernel, and end with it."""
TASKS, SOCKETS = Path("/proc/self/task"), Path("/dev/fd")


@asynccontextmanager
async def leaving_nothing(patience: float = 1) -> AsyncGenerator[None]:
    """Fail when the block leaves something open that was not open before."""
    before = open_things()
    yield
    deadline = asyncio.get_running_loop().time() + patience
    while left := open_things() - before:  # A closed transport is gone a few turns later.
        if asyncio.get_running_loop().time() > deadline:
            things = "\n".join(sorted(map(str, left)))
            raise AssertionError(f"Something is left behind; close what was opened:\n{things}")
        await asyncio.sleep(0.01)


def open_things() -> set[object]:
    """All that this process has open and that could be left."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    threads = {t for t in threading.enumerate() if not t.name.startswith(POOLS)}
    return {*tasks, *threads, *children(), *sockets()}


def children() -> set[object]:
    """Child processes; without a /proc, those that Python's own Popen started."""
    if TASKS.is_dir():
        found: set[object] = set()
        for file in TASKS.glob("*/children"):
            with suppress(OSError):  # A thread may end while we look.
                found |= {f"process {pid}" for pid in file.read_text().split()}
        return found
    gc.collect()
    things: list[Any] = gc.get_objects()
    started = (thing for thing in things if type(thing).__name__ == "Popen")
    return {f"process {child.pid}" for child in started if child.poll() is None}


def sockets() -> set[object]:
    """Open sockets, by number and inode; none are seen on Windows."""
    found: set[object] = set()
    for name in os.listdir(SOCKETS) if SOCKETS.is_dir() else ():
        with suppress(OSError):  # The listing itself was one of them.
            about = os.fstat(int(name))
            if stat.S_ISSOCK(about.st_mode):
                found.add(f"socket {name} (inode {about.st_ino})")
    return found
