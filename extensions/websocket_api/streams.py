"""Replies as numbered events, kept for a while so that who was cut off misses nothing."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from extensions.api_kit.api import Fault, Problem, refused
from kernel.api import MODES, Delta, Extension, Finish, Reply

from . import protocol
from .problems import unknown

log = logging.getLogger(__name__)

KEPT = 600.0
"""Seconds after its end that a reply can be resumed."""
LARGEST = 32 << 20
"""Bytes of events of one reply; what would be longer ends there."""
ALTOGETHER = 128 << 20
"""Bytes of events of replies that have ended; beyond it the oldest are forgotten sooner."""


class Reader(Protocol):
    """Who follows a reply."""

    def wake(self) -> None: ...


class Stream:
    """One reply: its events as bytes, and who reads them."""

    def __init__(self, owner: str, id: str, linger: float, reply: Reply) -> None:
        self.owner, self.id, self.linger, self.reply = owner, id, linger, reply
        self.events: list[bytes] = []
        self.size, self.tool = 0, ""
        self.held = self.begun = False
        self.over = asyncio.Event()
        self.finish: protocol.Done | protocol.Failed | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._readers: set[Reader] = set()
        self._pieces: dict[tuple[Any, int], list[str]] = {}

    def follow(self, reader: Reader) -> None:
        self._readers.add(reader)
        if self.timer and not self.finish:
            self.timer.cancel()

    def leave(self, reader: Reader) -> None:
        """Without a reader it goes on for as long as it lingers."""
        self._readers.discard(reader)
        if self._readers or self.finish:
            return
        if self.linger:
            self.timer = asyncio.get_running_loop().call_later(self.linger, self.reply.cancel)
        else:
            self.reply.cancel()

    # --- what is said -------------------------------------------------------------------

    def hear(self, delta: Delta) -> None:
        """Tell the readers, or keep it for the end."""
        self.begun = True
        if delta.channel == "tool" and not delta.choice:
            self.tool = delta.onto(self.tool)
        if self.held:
            pieces = self._pieces.setdefault((delta.channel, delta.choice), [])
            if delta.replace:
                pieces.clear()
            pieces.append(delta.text)
            self.size += len(delta.text)
            return self._wake()
        kind = protocol.Replace if delta.replace else protocol.Delta
        self.say(kind(self.id, self._next, delta.text, delta.channel, delta.choice))

    def end(self, finish: Finish, model: str, fault: Fault | None) -> None:
        for (channel, choice), pieces in self._pieces.items():
            self.say(protocol.Delta(self.id, self._next, "".join(pieces), channel, choice))
        if fault or finish.reason == "error":
            fault = fault or Fault(finish.error, "engine_error", None, "engine_failed")
            self.finish = protocol.Failed(self.id, self._next, fault)
        else:
            more = (finish.usage, finish.timings, finish.cut_by)
            self.finish = protocol.Done(self.id, self._next, finish.reason, model, *more)
        self.begun = True
        self.over.set()
        self.say(self.finish)

    def say(self, event: msgspec.Struct) -> None:
        data = msgspec.json.encode(event)
        self.events.append(data)
        self.size += len(data)
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    @property
    def _next(self) -> int:
        return len(self.events) + 1


class Streams:
    """All replies of programs, under way and just ended; each belongs to who asked for it."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._all: dict[tuple[str, str], Stream] = {}

    def start(
        self,
        owner: str,
        asked: protocol.Asked,
        reader: Reader,
        *,
        id: str,
        linger: float | None,
        hold: bool = False,
    ) -> Stream:
        """Begin a reply; raises Problem. With `hold`, text that may be replaced waits."""
        turn, history = asked.turn(owner)
        self._check(owner, id, asked)
        while_alone: float = self._ext.settings.linger if linger is None else linger
        stream = Stream(owner, id, while_alone, self._ext.run(turn, history))
        self._all[owner, id] = stream
        stream.held = hold and stream.reply.rewritten
        stream.follow(reader)
        stream.say(protocol.Started(id, 1, protocol.VERSION))
        self._ext.spawn(self._write(stream, stream.reply), f"reply {id}")
        return stream

    def find(self, owner: str, id: str) -> Stream:
        """Raises Problem when there is no such reply, or it is another's."""
        if stream := self._all.get((owner, id)):
            return stream
        raise unknown(id)

    @property
    def stopping(self) -> bool:
        return bool(self._ext.why)

    async def farewell(self, streams: Iterable[Stream]) -> None:
        """End these because all is switched off, so that their readers are told."""
        for stream in (mine := [*streams]):
            stream.reply.cancel()
        await asyncio.gather(*(stream.over.wait() for stream in mine))

    def forget(self, stream: Stream) -> None:
        if stream.timer:
            stream.timer.cancel()
        if self._all.get((stream.owner, stream.id)) is stream:
            del self._all[stream.owner, stream.id]

    def close(self) -> None:
        for stream in [*self._all.values()]:
            self.forget(stream)

    # --- inside ------------------------------------------------------------------------

    def _check(self, owner: str, id: str, asked: protocol.Asked) -> None:
        if (owner, id) in self._all:
            says = (
                f"You asked for a reply {id} before, and it is still kept. To hear that one, send "
            )
            says += "resume with this id; for a new reply, choose another id."
            raise refused(says, "id", "stream_exists")
        modes = [mode.id for mode in self._ext.get(MODES)]
        if asked.prompt is None and asked.mode not in modes:
            says = f"The mode {asked.mode} is not running. Running: {', '.join(modes) or 'none'}."
            raise refused(says, "mode", "mode_not_found")
        running = sum(not s.finish for s in self._all.values() if s.owner == owner)
        if running >= self._ext.settings.at_once:
            says = f"{running} replies are under way already. Wait until one has ended."
            raise Problem(Fault(says, "rate_limit_error", None, "too_many_streams"))

    async def _write(self, stream: Stream, reply: Reply) -> None:
        fault: Fault | None = None
        try:
            async for delta in reply:
                stream.hear(delta)
                if stream.size > LARGEST and not fault:
                    says = "The reply became too long to be kept, and was stopped."
                    fault = Fault(says, "too_large_error", None, "reply_too_long")
                    reply.cancel()
        except Exception as error:
            log.exception("A reply for a program failed")
            says = f"Spindle failed at this reply: {type(error).__name__}. Its log says more."
            fault = Fault(says, "engine_error", None, "internal_error")
        finally:
            finish = reply.finish or Finish("cancelled")
            if finish.reason == "cancelled" and self._ext.why and not fault:
                fault = Fault(self._ext.why, "unavailable_error", None, "switched_off")
            stream.end(finish, reply.model, fault or self._why(reply, finish))
            self._retire(stream)

    def _why(self, reply: Reply, finish: Finish) -> Fault | None:
        """What a finish says of an error, as a program can test for it."""
        if not finish.error:
            return None
        if finish.reason == "cancelled":  # What carried it was switched off.
            return Fault(finish.error, "unavailable_error", None, "switched_off")
        if not reply.model and self._ext.slot().state.state in ("empty", "failed"):
            return Fault(finish.error, "unavailable_error", None, "no_model")
        return Fault(finish.error, "engine_error", None, "engine_failed")

    def _retire(self, stream: Stream) -> None:
        if stream.timer:
            stream.timer.cancel()
        if self._all.get((stream.owner, stream.id)) is not stream:
            return
        stream.timer = asyncio.get_running_loop().call_later(KEPT, self.forget, stream)
        ended = [other for other in self._all.values() if other.finish]
        size = sum(other.size for other in ended)
        for oldest in ended:
            if size <= ALTOGETHER:
                break
            size -= oldest.size
            self.forget(oldest)
