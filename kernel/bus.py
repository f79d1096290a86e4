"""A typed, in-process event bus. Listeners never delay, break or reorder the sender."""

import asyncio
import logging
from typing import Any, TypeVar

from kernel.points import Disposer

log = logging.getLogger(__name__)
E = TypeVar("E")


class _Backlog(asyncio.Queue[Any]):
    """What waits for a listener."""

    def holds(self, event: object) -> bool:
        return event in self._queue  # pyright: ignore  # of asyncio's own subclasses, too


class Bus:
    """Delivers each event to every listener of its class or of a base class."""

    def __init__(self, backlog: int = 1000) -> None:
        self._backlog = backlog
        self._queues: dict[type, list[_Backlog]] = {}

    def emit(self, event: object) -> None:
        """Queue `event` for its listeners; one that is a full backlog behind loses its oldest.

        Where the class says that it is `idempotent`, one that waits stands for all of its equals.
        """
        once = getattr(event, "idempotent", False)
        for kind in type(event).__mro__:
            for queue in self._queues.get(kind, ()):
                if once and queue.holds(event):
                    continue
                if queue.full():
                    lost = queue.get_nowait()
                    log.warning("A listener is %d events behind; lost %r", self._backlog, lost)
                queue.put_nowait(event)

    def open(self, kind: type[E]) -> tuple[asyncio.Queue[E], Disposer]:
        """A queue that receives events of `kind` from now on, and what closes it."""
        queue = _Backlog(self._backlog)
        listeners = self._queues.setdefault(kind, [])
        listeners.append(queue)

        def dispose() -> None:
            if queue in listeners:
                listeners.remove(queue)

        return queue, dispose
