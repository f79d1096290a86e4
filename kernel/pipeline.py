"""Modifiers at work on one reply: a chain of stages, each in a task of its own.

A modifier that raises, hangs, lies, ends early or is switched off costs its own change: the next
stage gets what this one had heard as one replacing delta, then the rest untouched.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import get_args

from msgspec import structs

from kernel.contract import Channel, Delta, Turn
from kernel.guard import Guard, check, contained
from kernel.pipe import Pipe
from kernel.points import Entry
from kernel.records import placed
from kernel.turn import OutputModifier

CHANNELS = frozenset(get_args(Channel))
PATIENCE = 0.1
"""Seconds that a modifier may take to end when it is cancelled."""
LONGEST = 2_000_000
"""Characters in one delta, or said beyond ten times what was heard: a mistake of its modifier."""


def checked(delta: Delta) -> None:
    """Raise when what extension code calls a delta is none, or cannot be stored or sent."""
    if type(delta) is not Delta:
        raise TypeError(f"expected Delta, got {type(delta).__name__}")
    text = delta.text
    if type(text) is not str or type(delta.choice) is not int or delta.channel not in CHANNELS:
        raise TypeError("a delta whose text, channel or choice is of a wrong type")
    if len(text) > LONGEST:
        raise ValueError(f"a delta of {len(text)} characters")
    if not text.isascii():
        text.encode()  # A lone surrogate cannot be stored or sent.
    if delta.marks:
        check(delta, Delta)


class Transcript:
    """What a stream of deltas amounts to, by choice and channel."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[int, Channel], list[str]] = {}

    def add(self, delta: Delta) -> None:
        key = delta.choice, delta.channel
        if delta.replace or key not in self._pieces:
            self._pieces[key] = [delta.text]
        else:
            self._pieces[key].append(delta.text)

    def get(self, channel: Channel = "text", choice: int = 0) -> str:
        pieces = self._pieces.get((choice, channel))
        if not pieces:
            return ""
        if len(pieces) > 1:
            pieces[:] = ["".join(pieces)]
        return pieces[0]

    def replay(self) -> list[Delta]:
        """Deltas that bring any reader to this state, whatever it was told before."""
        return [
            Delta(self.get(channel, choice), channel, replace=True, choice=choice)
            for choice, channel in self._pieces
        ]


class Stage:
    """One modifier between two pipes."""

    def __init__(
        self,
        guard: Guard,
        point: str,
        entry: Entry[OutputModifier],
        upstream: Pipe,
        turn: Turn,
        asked: Turn,
    ) -> None:
        self.since = 0.0
        self.idle = False
        """Whether its modifier answered with the very deltas it was given: it takes no part."""
        self.owner, self.heard, self.pipe = entry.owner, Transcript(), Pipe()
        self._guard, self._point, self._entry, self._turn = guard, point, entry, turn
        self._upstream, self._asked = upstream, asked
        self._ended = self._replaced = self._closed = self._left = self._bypassing = False
        self._said: set[tuple[int, Channel]] = set()
        self._owed: set[tuple[int, Channel]] = set()
        self._length = 0
        self._why: BaseException | None = None
        entry.leases.add(self)
        guard.watch(self)
        self._task = asyncio.create_task(self._modify(), name=f"{entry.owner}:{point}")
        self._task.add_done_callback(self._after)

    def overran(self) -> None:
        """The guard's verdict: it kept control for too long."""
        self._why = TimeoutError(f"took longer than {self._guard.budget:g} s over a delta")
        self._end()

    def leave(self) -> None:
        """Its extension is being switched off: step aside now."""
        self._left = True
        self._end()

    def _end(self) -> None:
        if self._task.done() or self._bypassing:
            return
        self._task.cancel()
        asyncio.get_running_loop().call_later(PATIENCE, self._abandon)

    def _abandon(self) -> None:
        """It did not even end when it was cancelled: the reply goes on without it."""
        if not self._bypassing and not self._task.done():
            self._task.remove_done_callback(self._after)
            self._after(None)

    async def close(self) -> None:
        """The reader is gone."""
        self._closed = True
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=PATIENCE)

    async def _tap(self) -> AsyncIterator[Delta]:
        self.since = 0.0
        async for delta in self._upstream:
            self.heard.add(delta)
            self._length += len(delta.text)
            if delta.replace:
                self._replaced = True
                self._owed.add((delta.choice, delta.channel))
            self.since = time.monotonic()
            yield delta
            if self._bypassing:
                return
            self.since = 0.0
        self._ended, self.since = True, time.monotonic()

    async def _modify(self) -> None:
        self.since = time.monotonic()
        tap = self._tap()

        async def begun() -> AsyncIterator[Delta]:
            return self._entry.value(tap, self._turn)

        modified = await contained(begun())
        if inspect.iscoroutine(modified):
            modified.close()
            raise TypeError("it gives a value where it must yield")
        if modified is tap:
            self.idle = True
            return self._upstream.lead(self.pipe)
        try:
            await contained(self._pass_on(modified))
        finally:
            for stream in (modified, tap):
                if close := getattr(stream, "aclose", None):
                    await close()

    async def _pass_on(self, modified: AsyncIterator[Delta]) -> None:
        said = count = 0
        async for delta in modified:
            if self._bypassing:
                return
            self._check(delta)
            key = delta.choice, delta.channel
            self._said.add(key)
            if key in self._owed:
                self._owed.remove(key)  # What is said first after a replacement replaces too.
                delta = structs.replace(delta, replace=True)
            self.pipe.put(delta)
            said += len(delta.text)
            count += 1
            if said > LONGEST + 10 * self._length:
                raise ValueError(f"said {said} characters after hearing {self._length}")
            if not count % 256:  # A modifier that never waits must not stop the server.
                await asyncio.sleep(0)
        if not self._ended:
            raise ValueError("ended before the reply did")

    def _check(self, delta: Delta) -> None:
        checked(delta)
        if delta.replace and not (self._replaced or self._entry.may_rewrite(self._asked)):
            raise ValueError("replaced text without ext.on(..., rewrites=True)")

    def _after(self, task: "asyncio.Task[None] | None") -> None:
        """Its work ended, by itself or not; None: it does not end, and is left to itself."""
        self._guard.unwatch(self)
        self._entry.leases.discard(self)
        if self._closed or self.idle:
            return
        error = self._why
        if task and task.cancelled() and not (self._left or error):
            error = RuntimeError("cancelled itself")
        elif task and not task.cancelled():
            error = task.exception()
        if error:
            placed(error, self._entry.value)
            self._guard.failed(self.owner, self._point, error, asked=True)
        ended = task and not task.cancelled() and not error
        if ended or (error and self._guard.strict):
            return self.pipe.close(error)
        self._bypassing = True
        heard = self.heard.replay()
        own = self._said - {(delta.choice, delta.channel) for delta in heard}
        for delta in (*(Delta("", each, replace=True, choice=n) for n, each in own), *heard):
            self.pipe.put(delta)
        self._task = asyncio.create_task(self._bypass(), name=f"kernel:{self._point}")

    async def _bypass(self) -> None:
        await pump(self._upstream, self.pipe)


async def modified(
    guard: Guard,
    point: str,
    entries: tuple[Entry[OutputModifier], ...],
    source: AsyncIterator[Delta],
    turn: Turn,
    asked: Turn | None = None,
    watch: "list[Stage] | None" = None,
) -> AsyncGenerator[Delta]:
    """`source` as the modifiers leave it; `watch` collects the stages for the prompt inspector.
    `asked` is the turn as it was asked: by that one, which is known before a stream begins, they
    say whether they may rewrite."""
    stages: list[Stage] = [] if watch is None else watch
    pumping: asyncio.Task[None] | None = None
    pipe = source if isinstance(source, Pipe) else Pipe()
    if entries and pipe is not source:  # A stage that is cancelled must not end it.
        pumping = asyncio.create_task(pump(source, pipe), name=f"kernel:{point}")
    for entry in entries:
        stages.append(stage := Stage(guard, point, entry, pipe, turn, asked or turn))
        pipe = stage.pipe
    last = pipe if entries else source
    try:
        async for delta in last:
            yield delta
    finally:
        for stage in reversed(stages):
            await stage.close()
        if pumping:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)


async def pump(source: AsyncIterator[Delta], pipe: Pipe) -> None:
    """Fill a pipe from a source; whoever reads may go, and the source ends with its task."""
    error: Exception | None = None
    try:
        async for delta in source:
            pipe.put(delta)
    except Exception as failure:
        error = failure
    except SystemExit:
        error = RuntimeError("called sys.exit")
    except asyncio.CancelledError:
        error = RuntimeError("was cancelled")
        raise
    finally:
        pipe.close(error)
