"""An engine whose phases a test can tell apart: it loads, queues, reads and writes in steps."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernel.contract import Delta, Finish, ModelInfo, Output, Report, Request, Usage

STEP = 0.02
"""Seconds of a step, be it of reading or of writing."""


class Engine:
    """Counts for every request, `slots` of them at once; the others wait."""

    concurrent: Sequence[str] = ("state",)

    def __init__(self) -> None:
        self._queue: dict[int, str] = {}
        self._reading: dict[int, list[Any]] = {}
        self._writing: dict[int, list[Any]] = {}
        self._cancelled: set[int] = set()
        self._seen: list[str] = []
        self._lock = threading.Lock()

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        self._slots, self._reads = options["slots"], options["reading"]
        until = time.monotonic() + options["loading"]
        gate = Path(options["gate"] or __file__)
        while time.monotonic() < until or not gate.exists():
            report(0.5, "Half way")
            time.sleep(STEP)
        return ModelInfo("phases", loader="phases", context_length=4096)

    def submit(self, id: int, request: Request) -> None:
        name = request.messages[-1].text if request.messages else request.prompt or ""
        with self._lock:
            self._queue[id] = name
            self._seen.append(name)

    def cancel(self, id: int) -> None:
        with self._lock:
            self._cancelled.add(id)

    def poll(self, timeout: float) -> Sequence[Output]:
        time.sleep(STEP)
        with self._lock:
            outputs = [Output(id, finish=self._end(id)) for id in self._open() & self._cancelled]
            while self._queue and len(self._reading) + len(self._writing) < self._slots:
                id = next(iter(self._queue))
                self._reading[id] = [self._queue.pop(id), self._reads]
            for id, state in [*self._writing.items()]:
                state[1] += 1
                outputs.append(Output(id, Delta(f"{state[1]} ")))
            for id, state in [*self._reading.items()]:
                state[1] -= 1
                if state[1] <= 0:
                    self._writing[id] = [self._reading.pop(id)[0], 0]
                outputs.append(Output(id, progress=1 - max(0, state[1]) / self._reads))
            return outputs

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        with self._lock:
            return {
                "queued": [*self._queue.values()],
                "reading": [name for name, _ in self._reading.values()],
                "writing": {name: said for name, said in self._writing.values()},
                "seen": [*self._seen],
            }

    def _open(self) -> set[int]:
        return {*self._queue, *self._reading, *self._writing}

    def _end(self, id: int) -> Finish:
        self._queue.pop(id, None)
        self._reading.pop(id, None)
        _, said = self._writing.pop(id, ("", 0))
        self._cancelled.discard(id)
        return Finish("cancelled", usage=Usage(10, said))
