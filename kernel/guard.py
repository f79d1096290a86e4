"""Run extension code so that its failure is reported, counted and never the user's problem."""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from kernel.points import Entry

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """An extension raised, overran its budget or lied while contributing to `point`."""

    owner: str
    point: str
    error: BaseException
    fatal: bool = False
    """True when this failure used up the extension's allowance."""


class Watched(Protocol):
    """Extension code at work; `since` is when it took control (monotonic), 0 while it waits."""

    since: float

    def overran(self) -> None: ...


async def contained(work: Awaitable[T]) -> T:
    """Await extension code; its `sys.exit` would end the whole server from inside a task."""
    try:
        return await work
    except SystemExit:
        raise RuntimeError("called sys.exit") from None


class Lease:
    """A short piece of work that its extension's resources outlive."""

    def leave(self) -> None:
        """It ends by itself, within the budget."""


class Guard:
    """Calls extension code; after `allowance` failures in `window` seconds the owner is out."""

    def __init__(
        self,
        report: Callable[[Failure], None],
        *,
        allowance: int = 3,
        window: float = 60,
        budget: float = 2,
        strict: bool = False,
    ) -> None:
        self._report = report
        self._allowance, self._window, self.strict = allowance, window, strict
        self._history: dict[str, deque[float]] = defaultdict(deque)
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.budget = budget

    def failed(self, owner: str, point: str, error: BaseException) -> None:
        """Count a failure, log it and report it."""
        history = self._history[owner]
        history.append(now := time.monotonic())
        while history[0] < now - self._window:
            history.popleft()
        log.error("%s failed in %s: %s", owner, point, error, exc_info=error)
        self._report(Failure(owner, point, error, len(history) >= self._allowance))

    def forgive(self, owner: str) -> None:
        self._history.pop(owner, None)

    async def call(
        self, entry: Entry[Any], point: str, argument: Any, kind: type[T], fallback: T
    ) -> T:
        """Await a modifier within the budget; one that fails or answers no `kind` is passed by."""
        entry.leases.add(lease := Lease())
        try:
            async with asyncio.timeout(self.budget):
                result = await entry.value(argument)
            if not isinstance(result, kind):
                raise TypeError(f"expected {kind.__name__}, got {type(result).__name__}")
            return result
        except (Exception, SystemExit) as error:
            if isinstance(error, TimeoutError):
                error = TimeoutError(f"took longer than {self.budget:g} s")
            self.failed(entry.owner, point, error)
            if self.strict:
                raise
            return fallback
        finally:
            entry.leases.discard(lease)

    def watch(self, work: Watched) -> None:
        """Tell `work` when it overran its budget: one shared timer, nothing per delta."""
        self._watched.add(work)
        if not self._timer:
            self._tick()

    def unwatch(self, work: Watched) -> None:
        self._watched.discard(work)

    def _tick(self) -> None:
        limit = time.monotonic() - self.budget
        for work in [w for w in self._watched if 0 < w.since < limit]:
            self._watched.discard(work)
            work.overran()
        loop, pause = asyncio.get_running_loop(), self.budget / 8
        self._timer = loop.call_later(pause, self._tick) if self._watched else None
