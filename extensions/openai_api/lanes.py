"""/v1/responses as a WebSocket: responses one after another on a lane, and lanes side by side."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from extensions.api_kit.api import ASKER, Call, Fault, Problem, growing, nothing, read, refused

from .asking import Ask, asked
from .responses import Responses
from .telling import Event, Telling

WAITING = 64
"""Requests of one connection that may wait."""
STALL = 15.0
"""Seconds in which a program takes nothing until it is let go."""
STRIKES = 100
"""Frames that are refused until the connection is closed."""
FLOODED = "A hundred frames were refused. Correct the program."
SERVER = 1012
"""The WebSocket's word for a server that stops."""


class Create(msgspec.Struct):
    """What is common to all frames."""

    type: str
    stream_id: str | None = None
    generate: bool | None = None


class Lanes:
    """One connection."""

    def __init__(self, socket: WebSocket, responses: Responses) -> None:
        self._socket, self._responses = socket, responses
        self._lanes: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._works: dict[str, asyncio.Task[None]] = {}
        self._one = asyncio.Lock()
        self._strikes = 0
        self._failed: asyncio.Future[BaseException] = asyncio.Future()
        """What was the end of a lane, and is the connection's: its program takes nothing."""

    async def serve(self) -> None:
        """Until either side has had enough; what is under way then ends."""
        await self._socket.accept()
        hearing = asyncio.create_task(self._hear())
        stopping = False
        try:
            await asyncio.wait({hearing, self._failed}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            stopping = True
            raise
        finally:
            works = [hearing, *self._works.values()]
            for task in works:
                task.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            self._responses.kept.leave(self)
            if stopping:
                with suppress(Exception):
                    async with asyncio.timeout(1):
                        await self._socket.close(SERVER)
        if self._strikes >= STRIKES:  # Its answer would come behind the flood.
            with suppress(Exception):
                async with asyncio.timeout(1):
                    last = {"type": "websocket.send", "texts": [], "over": FLOODED}
                    await self._socket.send(last)
        errors = [None if hearing.cancelled() else hearing.exception()]
        errors += [self._failed.result()] if self._failed.done() else []
        for error in errors:
            if error and not isinstance(error, (WebSocketDisconnect, TimeoutError)):
                raise error

    # --- in -----------------------------------------------------------------------------

    async def _hear(self) -> None:
        while self._strikes < STRIKES:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                self._take(message.get("text") or message.get("bytes") or "")
            except Problem as problem:
                self._strikes += 1
                await self._refuse(problem.fault, None)
            await asyncio.sleep(0)  # A flood of frames must not stop the server.

    def _take(self, text: str | bytes) -> None:
        """Put a request into its lane; raises Problem."""
        said: dict[str, Any] = read(text, dict[str, Any])
        frame: Create = read(text, Create)
        if frame.type != "response.create":
            says = f"type: {frame.type!r} is nothing that can be done here. Send response.create."
            raise refused(says, "type", "unsupported_value")
        if sum(lane.qsize() for lane in self._lanes.values()) >= WAITING:
            says = f"{WAITING} requests of this connection wait already. Wait for one of them."
            raise Problem(Fault(says, "rate_limit_error", None, "too_many_requests"))
        lane = frame.stream_id or ""
        self._lanes.setdefault(lane, asyncio.Queue()).put_nowait(said)
        if lane not in self._works or self._works[lane].done():
            work = self._works[lane] = asyncio.create_task(self._work(lane), name="lane")
            work.add_done_callback(partial(self._over, lane))

    def _over(self, lane: str, work: "asyncio.Task[None]") -> None:
        """A lane is empty, or was cut off."""
        if self._works.get(lane) is work:
            del self._works[lane]
        error = None if work.cancelled() else work.exception()
        if error and not self._failed.done():
            self._failed.set_result(error)

    async def _work(self, lane: str) -> None:
        """What waits in a lane, one after another."""
        queue = self._lanes[lane]
        while not queue.empty():
            said = queue.get_nowait()
            try:
                await self._respond(said, lane)
            except Problem as problem:
                await self._refuse(problem.fault, lane)
        del self._lanes[lane]

    async def _respond(self, said: dict[str, Any], lane: str) -> None:
        """One response; raises Problem for what cannot begin."""
        here = self._responses
        scope = {**self._socket.scope, "type": "http", "method": "POST"}
        call = Call("openai", scope, nothing, self._nowhere)
        ASKER.set(call)
        said = {key: value for key, value in said.items() if key not in ("type", "stream_id")}
        try:
            ask = await asked(here.rest, here.kept, call, said, self)
            telling = here.telling(call, ask)
            if said.get("generate") is False:
                await self._tell([*telling.begin(), *telling.prepared()], lane)
                return here.keep(call, ask, telling, self)
            await self._reply(call, ask, telling, lane)
        finally:
            call.end()

    async def _reply(self, call: Call, ask: Ask, telling: Telling, lane: str) -> None:
        programs, first = self._responses.rest.programs, [*telling.begin()]
        async with programs.run(call, growing(ask.wish), hold=True) as run:
            async for delta in run:
                await self._tell([*first, *telling.hear(delta)], lane)
                first = []
            try:
                await programs.finished(run)
            except Problem as problem:
                if first:
                    raise
                return await self._tell([*telling.fail(problem.fault)], lane)
        last = [*first, *telling.end(run)]
        self._responses.keep(call, ask, telling, self)
        await self._tell(last, lane)

    # --- out ----------------------------------------------------------------------------

    async def _tell(self, events: list[Event], lane: str | None) -> None:
        """Send events, with the lane that they belong to where it has a name."""
        named = ({**event, "stream_id": lane} if lane else event for event in events)
        texts = [msgspec.json.encode(event) for event in named]
        async with self._one, asyncio.timeout(STALL):
            await self._socket.send({"type": "websocket.send", "texts": texts})

    async def _refuse(self, fault: Fault, lane: str | None) -> None:
        says = {"message": fault.message, "code": fault.code, "param": fault.param}
        error = {"type": "error", "sequence_number": 0, "status": fault.status, **says}
        await self._tell([{**error, "error": fault}], lane)

    async def _nowhere(self, message: Any) -> None:
        """The answer of a call goes over the socket instead."""
