"""A program's socket: frames come in, events of the replies it follows go out."""

import asyncio
from collections import deque
from contextlib import suppress

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from extensions.api_kit.api import Fault, Problem, caller_of, refused
from kernel.api import __version__

from .acts import Acts
from .events import Events, Subscription
from .frames import Act, Hello, Subscribe, Subscribed, Unsubscribe, Welcome
from .problems import later
from .protocol import VERSION, Cancel, Failed, FromProgram, Resume, Start, Waiting, about, read
from .stream import Stream
from .streams import Streams

STALL = 15.0
"""Seconds in which a program takes nothing until it is let go; it can resume."""
STRIKES = 100
"""Frames that are refused until the socket is closed."""
FLOODED = "A hundred frames were refused, or their answers not taken. Correct the program."
TURN = 16
"""Events of one reply until the next reply has its turn."""
LATE = "A key comes with the handshake or in the first frame. Connect again with it."


class Connection:
    """One socket. Nothing waits for it: it is told that there is news, and fetches."""

    def __init__(self, socket: WebSocket, streams: Streams, events: Events) -> None:
        self._socket, self._streams, self._events = socket, streams, events
        self._begun = False
        self._be()
        self._at: dict[Stream, int] = {}
        self._fresh: dict[Stream, None] = {}
        """Those of which there may be more to tell, in the order of their news."""
        self._places: dict[Stream, int] = {}
        """What was told of their places in the queue."""
        self._answers: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._strikes = 0
        self._since = 0.0
        """When the program was given what it has not taken yet; 0 where it took all."""

    def _be(self) -> None:
        """Act for whom the door says it is."""
        scope = self._socket.scope
        self._caller = caller_of(scope)
        self._heard = Subscription(self._caller, self.wake)
        near = scope.get("spindle.near", False)
        self._acts = Acts(self._streams.ext, self._caller, near=near)

    def tell(self, stream: Stream) -> None:
        """There is more of a reply that it follows."""
        self._fresh[stream] = None
        self.wake()

    def wake(self) -> None:
        self._news.set()

    async def serve(self) -> None:
        """Until either side has had enough."""
        await self._socket.accept()
        parts = (self._receive(), self._send(), self._watch())
        work = [asyncio.create_task(part) for part in parts]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if self._streams.stopping:
                await self._goodbye()
            for stream in self._at:  # Its key was revoked: nobody comes back for them.
                stream.cancel()
            raise
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._events.all.discard(self._heard)
            for stream in self._at:
                stream.leave(self)
        for task in work:
            if not task.cancelled() and (error := task.exception()):
                raise error
        if self._flooded:
            await self._end(FLOODED)

    async def _end(self, why: str) -> None:
        """The last answers and why no more come. What the program says to that is not waited for:
        it would come behind the flood."""
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(1):
                answers = [*self._answers]
                await self._socket.send({"type": "websocket.send", "texts": answers, "over": why})

    async def _goodbye(self) -> None:
        """Everything is switched off: who takes it in a second gets every word and the reason."""
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(1):
                await self._streams.farewell(self._at)
                while self._at:
                    self._fresh.update(dict.fromkeys(self._at))
                    self.wake()
                    await asyncio.sleep(0.01)
                await self._socket.close(1012)

    # --- in -----------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._hear(message.get("text"))
            if self._flooded:
                return
            await asyncio.sleep(0)  # A flood of frames must not stop the server.

    @property
    def _flooded(self) -> bool:
        return max(self._strikes, len(self._answers)) >= STRIKES

    def _hear(self, text: str | None) -> None:
        try:
            if text is None:
                raise refused("Frames are text: send JSON as text.", None, "bad_json")
            frame, first = read(text, FromProgram), not self._begun
            self._begun = True
            if isinstance(frame, Hello) and frame.key is not None:
                self._adopt(frame.key, first)
            self._carry_out(frame)
            self._strikes = max(0, self._strikes - 1)
        except Problem as problem:
            self._strikes += 1
            self._answer(Failed(about(text), 0, problem.fault, later(problem)))

    def _answer(self, frame: msgspec.Struct) -> None:
        self._answers.append(msgspec.json.encode(frame))
        self.wake()

    def _carry_out(self, frame: FromProgram) -> None:
        match frame:
            case Start(id=id, linger=linger):
                stream = self._streams.start(self._caller, frame, self, id=id, linger=linger)
                self._at[stream] = 0
            case Cancel(stream=name):
                self._streams.find(self._caller.owner, name).cancel()
            case Resume():
                self._resume(frame)
            case Subscribe(events=names):
                self._events.subscribe(self._heard, names)
                self._answer(Subscribed(tuple(sorted(self._heard.names))))
            case Unsubscribe(events=names):
                self._heard.names.difference_update(names)
                self._answer(Subscribed(tuple(sorted(self._heard.names))))
            case Act():
                self._acts.check()
                self._streams.ext.spawn(self._act(frame), f"act {frame.action}")
            case Hello():
                rights = "admin" if self._caller.admin else "generate"
                self._answer(Welcome(VERSION, __version__, rights))

    def _adopt(self, key: str, first: bool) -> None:
        """Be whose the key is, before anything was asked for."""
        if not first:
            raise refused(LATE, "key", "key_too_late")
        scope = self._socket.scope
        try:
            scope["spindle.principal"] = scope["spindle.adopt"](key)
        except LookupError as error:
            fault = Fault(str(error), "authentication_error", "key", "invalid_api_key")
            raise Problem(fault) from None
        self._be()

    async def _act(self, frame: Act) -> None:
        try:
            self._answer(await self._acts.act(frame))
        except Problem as problem:
            self._answer(Failed(frame.id, 0, problem.fault, later(problem)))

    def _resume(self, frame: Resume) -> None:
        stream = self._streams.find(self._caller.owner, frame.stream)
        if frame.last_seq > (last := len(stream.events)):
            says = f"Its last event has the number {last}, so {frame.last_seq} was never sent."
            raise refused(says, "last_seq", "last_seq_too_large")
        self._at[stream] = frame.last_seq
        stream.follow(self)
        self.tell(stream)

    # --- out ----------------------------------------------------------------------------

    async def _send(self) -> None:
        now, send = asyncio.get_running_loop().time, self._socket.send
        with suppress(WebSocketDisconnect):
            while True:
                await self._news.wait()
                self._news.clear()
                if waiting := self._waiting():
                    self._since = now()
                    await send({"type": "websocket.send", "texts": waiting})
                    self._since = 0.0

    async def _watch(self) -> None:
        """Until the program takes nothing for too long: one timer, and nothing an event."""
        now = asyncio.get_running_loop().time
        while not self._since or now() - self._since < STALL:  # noqa: ASYNC110 - a clock
            await asyncio.sleep(STALL / 4)

    def _waiting(self) -> list[bytes]:
        """Some of what is new of every reply, so that none waits for another."""
        found = [*self._answers, *self._heard.take()]
        self._answers.clear()
        fresh, self._fresh = self._fresh, {}
        for stream in fresh:
            if (at := self._at.get(stream)) is None:
                continue
            found += (events := stream.events[at : at + TURN])
            self._at[stream] = at = at + len(events)
            if at < len(stream.events):
                self.tell(stream)
            if stream.position and self._places.get(stream) != stream.position:
                self._places[stream] = stream.position
                found.append(msgspec.json.encode(Waiting(stream.id, at, stream.position)))
            if stream.finish and at == len(stream.events):
                del self._at[stream]
                self._places.pop(stream, None)
                stream.leave(self)
        return found
