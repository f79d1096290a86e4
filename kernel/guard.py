"""Run extension code so that its failure is reported, counted and never the user's problem."""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Protocol, TypeVar, cast

import msgspec

from kernel.contract import Refused
from kernel.files import passing
from kernel.generation import GONE
from kernel.points import Entry
from kernel.records import placed, told, where
from kernel.waiting import GRACE, STEPS, unfinished

log = logging.getLogger(__name__)
T = TypeVar("T")
Failed = Callable[[str, str, BaseException], None]
LARGEST = 64 << 20
"""Bytes of a turn, a history or a request, pictures included."""
ROOM = 4 << 20
"""Bytes of it that are left to what modifiers and modes add."""
ALLOWANCE, WINDOW = 3, 60.0


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
    """Await extension code; what would end more than its own task becomes an ordinary error."""
    try:
        return await work
    except SystemExit:
        raise RuntimeError("called sys.exit") from None
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise RuntimeError("cancelled itself") from None
    except Exception as error:
        try:
            str(error)  # Whoever tells of it will do that.
        except Exception:
            why = f"raised {type(error).__name__}, which cannot be printed"
            raise RuntimeError(why) from None
        raise


async def called(function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Call and await a function of an extension, contained."""

    async def run() -> T:
        try:
            work: Any = function(*arguments)
        except TypeError as error:  # Of the call itself, such as one argument too many.
            placed(error, function)
            raise
        if not isawaitable(work):
            raise TypeError(_plain(function))
        return await work

    return await contained(run())


def _plain(function: Callable[..., object]) -> str:
    """What is wrong with one that has to be awaited, and where it is: no frame of it is left."""
    return f"{getattr(function, '__name__', 'it')} must be “async def”{where(function)}"


def check(value: object, kind: type[Any]) -> None:
    """Raise when a struct that extension code made holds what cannot be sent on.

    That is another type somewhere in it, half a character, or more than anybody can have meant.
    """
    data = msgspec.msgpack.encode(value)
    if len(data) > LARGEST:
        raise ValueError(f"gave {len(data) >> 20} MB, more than anybody can have meant")
    msgspec.msgpack.decode(data, type=kind)


def sendable(turn: object, history: object) -> None:
    """Raise Refused where what was asked could not be handed on, whoever would handle it."""
    try:
        size = len(msgspec.msgpack.encode((turn, turn, history)))  # As a draft has them.
    except Exception as error:
        raise Refused(f"This cannot be handed on ({error}). Correct it.") from None
    if size > LARGEST - ROOM:
        raise Refused("The messages are too large: pictures and all. Leave some out.", "prompt")


class SwitchedOff(Exception):
    """Its extension left while it was at work: nobody's failure."""


class Lease:
    """Work of an extension, whose resources outlive it."""

    def __init__(self, entry: Entry[Any], end: Callable[[], object]) -> None:
        self.left, self._end, self._leases = False, end, entry.leases
        self._leases.add(self)

    def leave(self) -> None:
        """Its extension is being switched off."""
        self.left = True
        self._end()

    def done(self, *_: object) -> None:
        self._leases.discard(self)


class Guard:
    """Calls extension code; whose owner is out after `ALLOWANCE` failures in `WINDOW` seconds."""

    def __init__(
        self, report: Callable[[Failure], None], *, budget: float = 2, strict: bool = False
    ) -> None:
        self._report = report
        self.strict = strict
        self._history: dict[str, deque[tuple[str, float]]] = defaultdict(deque)
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.budget = budget
        """Seconds for a modifier, a panel, an undoing."""
        self.patience = 30.0
        """Seconds for what may have to ask an engine first: a mode, a listener."""
        self.moment = 1.0
        """Seconds in which what is done for each page fails but once."""
        self.silence = 60.0
        """Seconds without a word after which an answer in the engine's place counts as hung."""

    def failed(
        self,
        owner: str,
        point: str,
        error: BaseException,
        *,
        asked: bool = False,
        again: bool = False,
    ) -> None:
        """Count a failure, log it and report it; where it `asked` a model, that may be to blame.

        What is done `again` for each page fails once for all of a moment.
        """
        if asked and isinstance(error, GONE):
            return log.info("%s went without a model in %s: %s", owner, point, error)
        history = self._history[owner]
        now = time.monotonic()
        known = again and any(p == point and t > now - self.moment for p, t in history)
        if not passing(error) and not known:
            history.append((point, now))
        while history and history[0][1] < now - WINDOW:
            history.popleft()
        log.error("%s failed in %s: %s", owner, point, told(error), exc_info=error)
        self._report(Failure(owner, point, error, len(history) >= ALLOWANCE))

    def forgive(self, owner: str) -> None:
        self._history.pop(owner, None)

    async def call(self, entry: Entry[Any], point: str, argument: Any, kind: Any, fallback: T) -> T:
        """Await a modifier within the budget; one that fails or answers no `kind` is passed by."""
        try:
            result = await self.within(self.budget, entry, entry.value, argument)
            if not isinstance(result, kind):
                wanted = getattr(kind, "__name__", str(kind))
                says = f"expected {wanted}, got {type(result).__name__}{where(entry.value)}"
                raise TypeError(says)
            if result is not argument and isinstance(result, msgspec.Struct):
                check(result, kind)
            return cast(T, result)
        except SwitchedOff:
            return fallback
        except Exception as error:
            self.failed(entry.owner, point, error, asked=True)
            if self.strict:
                raise
            return fallback

    async def within(
        self,
        seconds: float,
        entry: Entry[Any],
        function: Callable[..., Any],
        *arguments: Any,
        more: Callable[[], float] = lambda: 0,
    ) -> Any:
        """Await a function of an extension, in a task of its own; raises what went wrong.

        The seconds are those in which the loop went round: what it missed, because the machine
        slept or somebody else held it up, nobody could use; `more` is asked for others that
        were not its own. One that does not even end when it is cancelled is left to itself.
        """

        task = asyncio.create_task(called(function, *arguments), name=f"{entry.owner}:call")
        lease = Lease(entry, task.cancel)
        task.add_done_callback(lease.done)
        try:
            await unfinished({task}, seconds)
            while not task.done() and (extra := more()):
                await unfinished({task}, extra)
        finally:
            late = not task.done()
            task.cancel()
        if late:
            task.add_done_callback(lambda t: t.cancelled() or t.exception())  # Nobody else asks.
            await asyncio.wait({task}, timeout=GRACE)
            raise TimeoutError(f"took longer than {seconds:g} s")
        if lease.left and (task.cancelled() or task.exception()):
            raise SwitchedOff("It was switched off meanwhile.")
        if task.cancelled():
            raise RuntimeError("cancelled itself")
        return task.result()

    def watch(self, work: Watched) -> None:
        """Tell `work` when it overran its budget: one shared timer, nothing per delta."""
        self._watched.add(work)
        if not self._timer:
            self._tick(0)

    def unwatch(self, work: Watched) -> None:
        self._watched.discard(work)

    def _tick(self, due: float) -> None:
        """Comes late where the loop was held up: that time is nobody's."""
        loop, pause = asyncio.get_running_loop(), self.budget / STEPS
        now = time.monotonic()
        missed = loop.time() - due if due and loop.time() > due + pause else 0
        for work in [w for w in self._watched if w.since]:
            work.since = min(now, work.since + missed)
            if work.since < now - self.budget:
                self._watched.discard(work)
                work.overran()
        due = loop.time() + pause
        self._timer = loop.call_at(due, self._tick, due) if self._watched else None
