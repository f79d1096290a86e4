"""All replies of programs, kept for a while so that who was cut off misses nothing."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from extensions.api_kit.api import (
    PROGRAMS,
    Caller,
    Fault,
    Heard,
    Problem,
    Wish,
    refused,
    unavailable,
)
from kernel.api import Extension

from . import protocol
from .problems import unknown
from .stream import Reader, Stream

log = logging.getLogger(__name__)

KEPT = 600.0
"""Seconds after its end that a reply can be resumed."""
LARGEST = 32 << 20
"""Bytes of events of one reply; what would be longer ends there."""
ALTOGETHER, MOST = 128 << 20, 10_000
"""Bytes of events of replies that have ended, and how many; beyond it the oldest are forgotten
sooner."""
GLANCE = 1.0
"""Seconds until a reply's place in the queue, and the key of its program, are looked at again."""
NO_WORD = "The engine failed, and did not say why. Its log may."


class Streams:
    """All replies of programs, under way and just ended; each belongs to who asked for it."""

    def __init__(self, ext: Extension[Any]) -> None:
        self.ext, self._programs = ext, ext.one(PROGRAMS)
        self._all: dict[tuple[str, str], Stream] = {}
        self._running = Counter[str]()
        """Replies under way, by whose they are."""
        self._ended: dict[Stream, None] = {}
        """Those that are still kept, the oldest first."""
        self._size = 0
        """Bytes of their events."""

    def start(
        self,
        caller: Caller,
        asked: protocol.Asked,
        reader: Reader,
        *,
        id: str,
        linger: float | None,
        hold: bool = False,
        whole: bool = False,
    ) -> Stream:
        """Begin a reply; raises Problem. With `hold`, text that may be replaced waits; with `whole`
        all that was said is gathered."""
        wishes = asked.wishes()
        self._check(caller.owner, id, wishes[0])
        while_alone: float = self.ext.settings.linger if linger is None else linger
        stream = Stream(caller, id, while_alone, tokens=asked.logprobs is not None)
        stream.heard = defaultdict(Heard) if whole else None
        self._all[caller.owner, id] = stream
        self._running[caller.owner] += 1
        stream.follow(reader)
        stream.say(protocol.Started(id, 1, protocol.VERSION))
        for index, wish in enumerate(wishes):
            one = self._one(stream, index, wish, hold)
            stream.work.append(self.ext.spawn(one, f"choice {id}"))
        self.ext.spawn(self._write(stream), f"reply {id}")
        return stream

    def find(self, owner: str, id: str) -> Stream:
        """Raises Problem when there is no such reply, or it is another's."""
        if stream := self._all.get((owner, id)):
            return stream
        raise unknown(id)

    @property
    def stopping(self) -> bool:
        return bool(self.ext.why)

    async def farewell(self, streams: Iterable[Stream]) -> None:
        """End these because all is switched off, so that their readers are told."""
        for stream in (mine := [*streams]):
            stream.cancel()
        await asyncio.gather(*(stream.over.wait() for stream in mine))

    def forget(self, stream: Stream) -> None:
        if stream.timer:
            stream.timer.cancel()
        if self._all.get((stream.owner, stream.id)) is stream:
            del self._all[stream.owner, stream.id]
        if stream in self._ended:
            del self._ended[stream]
            self._size -= stream.size

    def close(self) -> None:
        for stream in [*self._all.values()]:
            self.forget(stream)

    # --- inside ------------------------------------------------------------------------

    def _check(self, owner: str, id: str, wish: Wish) -> None:
        if (owner, id) in self._all:
            says = f"You asked for a reply {id} before, and it is still kept. To hear that one, "
            says += "send resume with this id; for a new reply, choose another id."
            raise refused(says, "id", "stream_exists")
        self._programs.runs.check(wish)
        running = self._running[owner]
        if running >= self.ext.settings.at_once:
            says = f"{running} replies are under way already. Wait until one has ended."
            raise Problem(Fault(says, "rate_limit_error", None, "too_many_streams"))

    async def _one(self, stream: Stream, index: int, wish: Wish, hold: bool) -> Problem | None:
        """Make one choice; what went wrong with it."""
        try:
            async with self._programs.run(stream, wish, hold=hold) as run:
                stream.begin(index, run)
                if stream.cancelled:
                    run.cancel()
                async for delta in run:
                    stream.hear(index, delta)
                    if stream.size > LARGEST:
                        run.cancel()
                if stream.size > LARGEST:
                    says = "The reply became too long to be kept, and was stopped."
                    raise Problem(Fault(says, "too_large_error", None, "reply_too_long"))
                await self._programs.finished(run)
                if run.finish.reason == "error":
                    raise Problem(Fault(NO_WORD, "engine_error", None, "engine_failed"))
        except Problem as problem:
            return problem if problem.fault.code != "cancelled" else None
        except Exception as error:
            log.exception("A reply for a program failed")
            says = f"Spindle failed at this reply: {type(error).__name__}. Its log says more."
            return Problem(Fault(says, "engine_error", None, "internal_error"))

    async def _write(self, stream: Stream) -> None:
        """Until all choices have ended; one that fails stops the others."""
        problem, rest = None, {*stream.work}
        try:
            while rest:
                wait = asyncio.wait(rest, timeout=GLANCE, return_when=asyncio.FIRST_COMPLETED)
                done, rest = await wait
                wrong = (task.result() for task in done if not task.cancelled())
                if not problem and (problem := next(filter(None, wrong), None)):
                    stream.cancel()
                stream.look(self._programs.runs.gate)
                if not (stream.cancelled or self._counts(stream.caller)):
                    stream.cancel()
        finally:
            stopped = not problem and not stream.cancelled and rest
            if self.ext.why and (stopped or stream.cancelled):
                problem = unavailable(self.ext.why, "switched_off")
            stream.end(problem or stream.stopped)
            self._running[stream.owner] -= 1
            self._running += Counter()  # Forgets who has none any more.
            self._retire(stream)

    def _counts(self, caller: Caller) -> bool:
        """Whether its key was not revoked: the door ends what is connected, and no more."""
        door = self.ext.admin.access.door
        return caller.kind != "key" or not door or door.keyring.counts(caller.id)

    def _retire(self, stream: Stream) -> None:
        if stream.timer:
            stream.timer.cancel()
        if self._all.get((stream.owner, stream.id)) is not stream:
            return
        if stream.denied:  # Its program asks again, by the same name.
            return self.forget(stream)
        stream.timer = asyncio.get_running_loop().call_later(KEPT, self.forget, stream)
        self._ended[stream] = None
        self._size += stream.size
        while self._size > ALTOGETHER or len(self._ended) > MOST:
            self.forget(next(iter(self._ended)))
