"""A wait that somebody may end, whose task goes on and tells of it."""

import asyncio
from typing import Any

from .problems import CANCELLED, unavailable


class Wait:
    """What its task waits for in a `with`, until `stop` ends that with a Problem that says why."""

    def __init__(self, says: str) -> None:
        self._says = says
        self._task: asyncio.Task[Any] | None = None
        self.stopped = False
        """Whether somebody ended it."""

    def stop(self) -> None:
        """End it; nothing where it has ended."""
        if self._task and not self.stopped:
            self.stopped = True
            self._task.cancel()

    def __enter__(self) -> "Wait":
        self._task = asyncio.current_task()
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        task, self._task = self._task, None
        if not (task and self.stopped):
            return
        others = task.uncancel()  # Its server stops, or its program has gone: that goes before.
        if kind is asyncio.CancelledError and not others:
            raise unavailable(self._says, CANCELLED) from None
