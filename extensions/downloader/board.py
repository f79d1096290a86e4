"""The files of a group on their way: who fetches what next, until all are right or given up."""

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from kernel.contract import Refused

from .files import WRITE, File
from .trouble import Full, Stopped
from .way import Way
from .wire import Wire

AWAY = 3
"""So many files in a row that nobody answered for: then the others are not tried."""
NOBODY = (
    "The hub cannot be reached. Check the network, or set a mirror in the downloader's settings."
)
LEAVING = 5.0
"""Seconds that threads have to end; one that still waits for a name to be found ends by itself."""


class Board:
    """Threads that take the next range of the first file that has one, or begin the next file.

    So several fetch one large file, each fetches a small one, and the order is kept.
    """

    def __init__(self, files: Sequence[File], way: Way) -> None:
        self.files, self._way = files, way
        self.full = False
        """The disk took no more; all stopped for that."""
        self._new = list(reversed(files))
        self._open: list[File] = []
        self._change = threading.Condition()
        self._at_work = 0
        self._wires: set[Wire] = set()
        self._strange: SimpleQueue[BaseException] = SimpleQueue()

    def run(self, tick: Callable[[], None]) -> None:
        """Fetch them all; `tick` is called some times a second, and may raise to stop."""
        threads = [
            threading.Thread(target=self._work, name="fetch", daemon=True)
            for _ in range(min(self._way.threads, max(len(self.files), self._pieces())))
        ]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                tick()
                if self._way.xet:
                    self._way.xet.watch()
                threads[-1].join(0.1)
                threads.sort(key=threading.Thread.is_alive)
            tick()
        finally:
            self._end(threads)
        if not self._strange.empty():
            raise self._strange.get()

    def _pieces(self) -> int:
        return sum(1 + file.item.size // (1 << 20) for file in self.files)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._way.stop.set()
        with self._change:
            self._change.notify_all()
            for wire in self._wires:
                wire.cut()
        if self._way.xet:
            self._way.xet.cut()
        until = time.monotonic() + LEAVING
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        for file in self.files:
            if file.part:
                file.part.close()

    # --- a thread ---

    def _work(self) -> None:
        wire = Wire(self._way.home, self._way.stall)
        buffer = memoryview(bytearray(WRITE))
        with self._change:
            self._wires.add(wire)
        try:
            while task := self._next():
                self._do(*task, wire, buffer)
        except Stopped:
            pass
        except Full:
            self.full = True
            self._way.stop.set()
        except BaseException as error:
            self._strange.put(error)
            self._way.stop.set()
        finally:
            wire.close()
            with self._change:
                self._wires.discard(wire)
                self._change.notify_all()

    def _next(self) -> tuple[File, int | None] | None:
        """A file and the key of a range of it, or None for its beginning; None when all is done."""
        with self._change:
            while not self._way.stop.is_set():
                self._open = [file for file in self._open if file.state in ("new", "open")]
                now = time.monotonic()
                for file in self._open:
                    free = file.state == "open" and file.ready <= now
                    if free and (key := file.take()) is not None:
                        self._at_work += 1
                        return file, key
                if self._new and len(self._open) < self._way.threads * 2:
                    self._open.append(file := self._new.pop())
                    self._at_work += 1
                    return file, None
                if not self._open and not self._new and not self._at_work:
                    return None
                resting = [file.ready - now for file in self._open if file.ready > now]
                self._change.wait(min([*resting, 1.0]))
        return None

    def _do(self, file: File, key: int | None, wire: Wire, buffer: memoryview) -> None:
        try:
            if key is None:
                file.begin()
            else:
                file.fetch(key, wire, buffer)
            if file.ends():
                file.check()
        except Refused as error:
            file.fail(str(error))
        except OSError as error:
            file.fail(f"It could not be written: {error.strerror or error}. Check the disk.")
        finally:
            with self._change:
                self._at_work -= 1
                if file.state == "failed":
                    self._give_up()
                self._change.notify_all()

    def _give_up(self) -> None:
        """When nobody answers for several files, nobody will for the other ten thousand."""
        if sum(file.state == "failed" and file.away for file in self.files) >= AWAY:
            for file in self.files:
                if file.state in ("new", "open"):
                    file.fail(NOBODY)
            self._new.clear()
