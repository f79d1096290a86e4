"""The engine behind `app.load_in_worker`: a child process that says its scripts, word by word."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel.contract import Delta, Finish, ModelInfo, Output, Refused, Report, Request, Usage


class Engine:
    """Says one script for each request, in turn; all of them are said together."""

    concurrent: Sequence[str] = ()

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        self._scripts: list[str] = list(options["scripts"])
        self._pause = float(options["pause"])
        self._asked = 0
        self._open: dict[int, list[str]] = {}
        self._said: dict[int, int] = {}
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._never = threading.Event()
        report(0.5, "Half way")
        return ModelInfo(
            "scripted",
            loader="scripted_worker",
            context_length=4096,
            chat_template="{{ messages }}",  # Never read; a guessed one is rendered by a process.
        )

    def submit(self, id: int, request: Request) -> None:
        with self._lock:
            script = self._scripts[self._asked % len(self._scripts)]
            self._asked += 1
            self._open[id], self._said[id] = re.findall(r"\s*\S+\s*$|\s*\S+", script), 0
        self._news.set()

    def poll(self, timeout: float) -> Sequence[Output]:
        if not self._news.wait(timeout):
            return ()
        self._never.wait(self._pause)
        with self._lock:
            outputs = [self._step(id) for id in tuple(self._open)]
            if not self._open:
                self._news.clear()
        return outputs

    def cancel(self, id: int) -> None:
        with self._lock:
            if id in self._open:
                self._open[id], self._said[id] = [], -1
                self._news.set()

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        raise Refused(f"A scripted model knows no call {name!r}.")

    def _step(self, id: int) -> Output:
        if words := self._open[id]:
            self._said[id] += 1
            return Output(id, Delta(words.pop(0)), progress=1.0)
        del self._open[id]
        said = self._said.pop(id)
        return Output(id, finish=Finish("cancelled" if said < 0 else "stop", Usage(10, said)))
