"""A thread that notices when the event loop stands still, and names the extension that holds it."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kernel.clients import Everyone

if TYPE_CHECKING:
    from kernel.manager import Kernel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """The loop stands still: whose code holds it (empty: nobody's in particular), and where."""

    owner: str
    where: str
    stack: str
    seconds: float = 0.0


Rescue = Callable[[Block, threading.Event], None]
"""Called in the thread once a block has lasted; returns when the event is set: the loop is free."""


class Watchdog:
    """Twice in `after` seconds it asks the loop for a sign of life, and else does nothing."""

    def __init__(
        self,
        kernel: "Kernel",
        *,
        after: float = 1,
        limit: Callable[[], float] = lambda: 10,
        rescue: Rescue | None = None,
    ) -> None:
        self._kernel, self._after, self._limit, self._rescue = kernel, after, limit, rescue
        self._pause, self._patience = after / 2, limit()
        self._free, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._loop, self._watched = asyncio.get_running_loop(), threading.get_ident()
        self._native = threading.get_native_id()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._free.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._end.wait(self._pause):
            self._free.clear()
            self._loop.call_soon_threadsafe(self._alive)
            if (block := self._await()) and not self._end.is_set():
                self._loop.call_soon_threadsafe(self._report, block)

    def _alive(self) -> None:
        """On the loop: reading the settings may have to wait for who reads them already."""
        self._free.set()
        self._patience = self._limit()

    def _await(self) -> Block | None:
        """Wait for the sign of life; answers what kept it, if anything kept it for long.

        A pause of which neither this thread nor the processor knows is the machine's: it slept. A
        library that holds the interpreter shows in the processor's time. A loop that waits for a
        processor, which others have, is held by nobody.
        """
        held, block = 0.0, None
        clock, worked, queued = time.monotonic(), time.process_time(), _queued(self._native)
        while not self._free.wait(self._pause):
            now, work, queue = time.monotonic(), time.process_time(), _queued(self._native)
            waited = queue - queued  # Linux tells it when the wait is over: then it is taken back.
            held = max(0.0, held + min(now - clock - waited, max(self._pause, work - worked)))
            clock, worked, queued = now, work, queue
            if held >= self._after and (not block or not block.owner):
                first, block = not block, self._look()
                if first or block.owner:
                    self._tell(block)
            if block and held >= self._patience and self._rescue:
                self._rescue(self._look(), self._free)
        return block and replace(block, seconds=held)

    def _look(self) -> Block:
        """What the loop's thread is doing now."""
        frame = sys._current_frames().get(self._watched)  # pyright: ignore[reportPrivateUsage]
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        innermost = frame
        folders = {record.folder: record.id for record in self._kernel.records.values()}
        while frame:
            file = Path(frame.f_code.co_filename)
            if owner := next((id for folder, id in folders.items() if folder in file.parents), ""):
                return Block(owner, _place(frame), stack)
            frame = frame.f_back
        return Block("", _place(innermost) if innermost else "", stack)

    def _tell(self, block: Block) -> None:
        """Into the log at once: nothing else can be told before the loop is free."""
        who = self._kernel.name(block.owner) if block.owner else "Something"
        log.error("%s holds everything up at %s", who, block.where)
        for line in block.stack.splitlines():
            log.error(line)

    def _report(self, block: Block) -> None:
        """The loop is free again: count it, and tell the pages."""
        if not block.owner:
            return
        error = TimeoutError(f"it held everything up for {block.seconds:.1f} s at {block.where}")
        self._kernel.guard.failed(block.owner, "event loop", error)
        name = self._kernel.name(block.owner)
        text = f"{name} held everything up for {block.seconds:.1f} s. Its card in Settings says"
        self._kernel.hub.tell(f"{text} where.", Everyone())


def _queued(thread: int) -> float:
    """Seconds a thread could have gone on and got no processor; 0 where only Linux would tell.

    The second field of `schedstat` (Documentation/scheduler/sched-stats.rst), in nanoseconds.
    """
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _place(frame: FrameType) -> str:
    file = Path(frame.f_code.co_filename)
    return f"{file.parent.name}/{file.name}:{frame.f_lineno}, in {frame.f_code.co_name}"
