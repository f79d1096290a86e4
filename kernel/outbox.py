"""What one page has not been sent yet, bounded by what it shows."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator

PORTION = 16 << 10
"""Bytes that are written at once; asyncio makes who writes wait when it holds four times that."""


class Outbox:
    """What one page has not been sent yet: bounded by what it shows, never by time.

    A part with a key replaces the queued part of the same key; without, it is appended in order.
    """

    def __init__(self, *, rate: float = 30, limit: int = 1 << 20, stall: float = 15) -> None:
        self.overflowed = False
        self._pause, self._limit, self._stall = 1 / rate, limit, stall
        self._parts: dict[tuple[str, object], tuple[str, int]] = {}  # with what each counts
        self._size = 0
        self._serial = itertools.count()
        self._some = asyncio.Event()
        self._since, self._stalled = 0.0, False
        self._clock: asyncio.TimerHandle
        self._looks = itertools.count(1)

    def put(self, owner: str, html: str, key: str | None = None, *, whole: bool = False) -> None:
        """Queue a part; `whole` is a snapshot, which may be as large as what it shows."""
        index = owner, key if key is not None else next(self._serial)
        self._forget(index)
        counts = 0 if whole else len(html)
        self._parts[index] = html, counts
        self._size += counts
        if self._size > self._limit:  # Too far behind: forget it all, a fresh snapshot follows.
            self._parts.clear()
            self._size, self.overflowed = 0, True
        self._some.set()

    def drop(self, owner: str) -> None:
        """Forget what an owner queued: a snapshot taken now says it all."""
        for index in [i for i in self._parts if i[0] == owner]:
            self._forget(index)

    def _forget(self, index: tuple[str, object]) -> None:
        self._size -= self._parts.pop(index, ("", 0))[1]

    def take(self) -> list[str]:
        """All that waits. Each part is a message of its own: htmx looks up the targets of a whole
        message before it swaps any of them, so a part may name what the one before brought."""
        parts, self._parts, self._size = [html for html, _ in self._parts.values()], {}, 0
        return parts

    async def send(
        self, send: Callable[[list[bytes]], Awaitable[None]], behind: Callable[[], None]
    ) -> None:
        """Send for ever: what comes first at once, then what gathers `rate` times a second.

        After a quiet moment three may follow at once: a click is answered by several.
        """
        loop, due = asyncio.get_running_loop(), 0.0
        self._look(asyncio.current_task())
        try:
            while True:
                await self._some.wait()
                if (early := due - loop.time()) > 0:
                    await asyncio.sleep(early)
                self._some.clear()
                if self.overflowed:
                    self.overflowed = False
                    behind()
                for texts in portions(self.take()):
                    self._since = loop.time()
                    await send(texts)
                self._since = 0.0
                due = max(due, loop.time() - 3 * self._pause) + self._pause
        except asyncio.CancelledError:
            if self._stalled:
                raise TimeoutError("the page takes nothing") from None
            raise
        finally:
            self._clock.cancel()

    def _look(self, sending: "asyncio.Task[None] | None") -> None:
        """End a sending that takes too long; a clock for each would cost as much as the sending.

        Every third time say something: a page learns of a dead wire by nothing but the silence.
        """
        loop = asyncio.get_running_loop()
        if not next(self._looks) % 3:
            self.put("kernel", "", "alive")
        if sending and 0 < self._since < loop.time() - self._stall:
            self._stalled = sending.cancel()
        self._clock = loop.call_later(self._stall / 4, self._look, sending)


class Fragment(bytes):
    """A piece of a text, the rest of which follows: pings may come between."""


def portions(parts: Iterable[str]) -> Iterator[list[bytes]]:
    """A little at once, of what is larger too: a slow page that takes some is not dead."""
    texts, size = list[bytes](), 0
    for part in parts:
        text = part.encode(errors="replace")  # no half surrogates
        if texts and size + len(text) > PORTION:
            yield texts
            texts, size = [], 0
        last = max(len(text) - 1, 0) // PORTION * PORTION
        for at in range(0, last, PORTION):
            yield [Fragment(text[at : at + PORTION])]
        texts.append(text[last:])
        size += len(texts[-1])
    if texts:
        yield texts
