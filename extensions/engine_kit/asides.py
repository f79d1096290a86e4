"""Questions that take part in an engine's steps like requests, and whose answer is no reply."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kernel.contract import EngineFailed, Finish, Output, Refused

LOOK = 0.1
"""Seconds between two looks whether who asked still wants to know."""
STOPPED = "The question was cancelled."


class Aside:
    """One of them: who takes part in the steps for it gives it an `answer`."""

    def __init__(self, id: int) -> None:
        self.id, self.value = id, None
        self.end: Finish | None = None
        self.ended = threading.Event()

    def answer(self, value: Any) -> None:
        """Know it; it ends with the finish of its own row."""
        self.value = value


class Asides:
    """All that are open. They are asked on a thread of a call, and end on the engine's."""

    def __init__(self) -> None:
        self._ids = itertools.count(-1, -1)
        """Below zero: no request has such an id."""
        self._open: dict[int, Aside] = {}

    def ask(
        self,
        begin: Callable[[Aside], None],
        cancel: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> Any:
        """Let something take part in the steps, and wait for its answer; raises Refused."""
        aside = Aside(next(self._ids))
        self._open[aside.id] = aside
        try:
            begin(aside)
        except BaseException:
            del self._open[aside.id]
            raise
        given_up = False
        while not aside.ended.wait(LOOK):
            if cancelled() and not given_up:
                given_up = True
                cancel(aside.id)
        end = aside.end
        if end and end.error and end.refused is None:
            raise EngineFailed(end.error)
        if (end and end.error) or aside.value is None:
            raise Refused((end and end.error) or STOPPED, (end and end.refused) or "")
        return aside.value

    def without(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """What concerns requests; what concerns a question ends it."""
        if not self._open:
            return outputs
        for output in outputs:
            if output.id < 0 and output.finish and (aside := self._open.pop(output.id, None)):
                aside.end = output.finish
                aside.ended.set()
        return [output for output in outputs if output.id >= 0]
