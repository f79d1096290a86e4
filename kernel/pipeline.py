"""Modifiers at work on one reply: a chain of stages, each in a task of its own.

A modifier that raises, hangs, lies, ends early or is switched off costs its own change: the next
stage gets what this one had heard as one replacing delta, then the rest untouched.
"""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from msgspec import structs

from kernel.contract import Channel, Delta, Turn
from kernel.guard import Guard
from kernel.points import Entry
from kernel.turn import OutputModifier

LONGEST = 2_000_000
"""Characters in one delta, or said beyond ten times what was heard: a mistake of its modifier."""


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


class Pipe:
    """Deltas on their way to one reader, who may be cancelled and return without loss."""

    def __init__(self) -> None:
        self._items: deque[Delta] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: BaseException | None = None

    def put(self, delta: Delta) -> None:
        self._items.append(delta)
        self._wake()

    def close(self, error: BaseException | None = None) -> None:
        self._closed, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "Pipe":
        return self

    async def __anext__(self) -> Delta:
        while not self._items:
            if self._closed:
                raise self._error or StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._items.popleft()


class Stage:
    """One modifier between two pipes."""

    def __init__(
        self,
        guard: Guard,
        point: str,
        entry: Entry[OutputModifier],
        upstream: AsyncIterator[Delta],
        turn: Turn,
    ) -> None:
        self.since = 0.0
        self.owner, self.heard, self.pipe = entry.owner, Transcript(), Pipe()
        self._guard, self._point, self._entry, self._turn = guard, point, entry, turn
        self._upstream = upstream
        self._ended = self._replaced = self._closed = False
        self._owed: set[tuple[int, Channel]] = set()
        self._length = 0
        self._why: Exception | None = None
        entry.leases.add(self)
        guard.watch(self)
        self._task = asyncio.create_task(self._modify(), name=f"{entry.owner}:{point}")
        self._task.add_done_callback(self._after)

    def overran(self) -> None:
        """The guard's verdict: it kept control for too long."""
        self._why = TimeoutError(f"took longer than {self._guard.budget:g} s over a delta")
        self._task.cancel()

    def leave(self) -> None:
        """Its extension is being switched off: step aside now."""
        if not self._task.done():
            self._task.cancel()

    async def close(self) -> None:
        """The reader is gone."""
        self._closed = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

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
            self.since = 0.0
        self._ended, self.since = True, time.monotonic()

    async def _modify(self) -> None:
        self.since = time.monotonic()
        tap = self._tap()
        modified = self._entry.value(tap, self._turn)
        try:
            await self._pass_on(modified)
        except SystemExit:
            raise RuntimeError("called sys.exit") from None
        finally:
            if inspect.iscoroutine(modified):  # An `async def` that forgot to yield.
                modified.close()
            for stream in (modified, tap):
                if close := getattr(stream, "aclose", None):
                    await close()

    async def _pass_on(self, modified: AsyncIterator[Delta]) -> None:
        said = count = 0
        async for delta in modified:
            self._check(delta)
            if self._owed and (key := (delta.choice, delta.channel)) in self._owed:
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
        if type(delta) is not Delta:
            raise TypeError(f"expected Delta, got {type(delta).__name__}")
        if len(delta.text) > LONGEST:
            raise ValueError(f"a delta of {len(delta.text)} characters")
        if delta.replace and not (self._entry.rewrites or self._replaced):
            raise ValueError("replaced text without ext.on(..., rewrites=True)")
        if not delta.text.isascii():
            delta.text.encode()  # A lone surrogate cannot be stored or sent.

    def _after(self, task: "asyncio.Task[None]") -> None:
        self._guard.unwatch(self)
        self._entry.leases.discard(self)
        if self._closed:
            return
        error = self._why if task.cancelled() else task.exception()
        if error:
            self._guard.failed(self.owner, self._point, error)
        if (error and self._guard.strict) or not (error or task.cancelled()):
            return self.pipe.close(error)
        for delta in self.heard.replay():
            self.pipe.put(delta)
        self._task = asyncio.create_task(self._bypass(), name=f"kernel:{self._point}")

    async def _bypass(self) -> None:
        async for delta in self._upstream:
            self.pipe.put(delta)
        self.pipe.close()


async def modified(
    guard: Guard,
    point: str,
    entries: tuple[Entry[OutputModifier], ...],
    source: AsyncIterator[Delta],
    turn: Turn,
    watch: "list[Stage] | None" = None,
) -> AsyncGenerator[Delta]:
    """`source` as the modifiers leave it; `watch` collects the stages for the prompt inspector."""
    stages: list[Stage] = [] if watch is None else watch
    pump: asyncio.Task[None] | None = None
    last = source
    if entries and not isinstance(source, Pipe):  # A stage that is cancelled must not end it.
        last = Pipe()
        pump = asyncio.create_task(_pump(source, last), name=f"kernel:{point}")
    for entry in entries:
        stages.append(stage := Stage(guard, point, entry, last, turn))
        last = stage.pipe
    try:
        async for delta in last:
            yield delta
    finally:
        for stage in reversed(stages):
            await stage.close()
        if pump:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)


async def _pump(source: AsyncIterator[Delta], pipe: Pipe) -> None:
    error: BaseException | None = None
    try:
        async for delta in source:
            pipe.put(delta)
    except Exception as failure:
        error = failure
    finally:
        pipe.close(error)
