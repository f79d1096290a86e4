"""Routes of an API: what they take, what they give, and how a request is carried out."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from kernel.api import Point, Route, Router, Routes, Struct

from .calls import ASKER, Call
from .problems import STATUS, Fault, Problem, unavailable

Answer = Callable[[Call], Awaitable[Response | None]]
"""Carries out a request: answers with a response, or writes to `call.stream()` and answers None;
raises Problem."""


class Tongue:
    """How an API says what went wrong: OpenAI's way, which most clients know."""

    id_header = "x-request-id"
    """Where an answer carries the id of its request."""

    stream_type = "text/event-stream"
    """The media type of its streams."""

    def response(self, fault: Fault) -> Response:
        """Before the first word."""
        return fault.response()

    def event(self, fault: Fault) -> bytes:
        """In a stream that had begun; its last event."""
        return fault.event()


class Endpoint(Struct, frozen=True):
    """One route. `takes` and `gives` are the structs of its bodies, for the document at /docs."""

    path: str
    """As Starlette writes it: `/v1/models/{id:path}`."""
    answer: Answer
    method: Literal["GET", "POST", "DELETE", "PUT"] = "POST"
    takes: Any = None
    gives: Any = None
    summary: str = ""
    events: Any = None
    """What one event of a stream is, where the answer may be one."""
    samples: bool = False
    """Whether it takes the sampling fields beside those of `takes`."""
    admin: bool = False
    """Only for who may do everything: a key of that scope, or the page."""


class Api(Struct, frozen=True):
    """A family of routes, as its clients know it."""

    id: str
    label: str
    endpoints: tuple[Endpoint, ...]
    tongue: Tongue = Tongue()

    def served(self, *others: BaseRoute) -> Routes:
        """What is added to ROUTES, with `others` before: programs reach all but what is for who
        may do everything."""
        admin = frozenset(each.path for each in self.endpoints if each.admin)
        router = Router([*others, *self.routes()])
        router.default = self._nowhere
        return Routes(router, access="inference", pages=admin, refuses=self.refused)

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Below its addresses, where nothing is; a socket is closed before it is accepted."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        says = f"There is nothing at {scope['path']}. See /docs for what there is."
        await self.refused(404, "not_found", says)(scope, receive, send)

    def refused(self, status: int, code: str, says: str) -> Response:
        """A no of the server's door, which asks for a key, in the words of this API."""
        kind = next(kind for kind, its in STATUS.items() if its == status)
        return self.tongue.response(Fault(says, kind, None, code))

    def routes(self) -> list[Route]:
        """For `Router`; several methods of one path are one route each."""
        return [Place(self, each) for each in self.endpoints]


class Place(Route):
    """A route of an API, which says in the API's words what methods its path takes."""

    def __init__(self, api: Api, endpoint: Endpoint) -> None:
        super().__init__(endpoint.path, Served(api, endpoint), methods=[endpoint.method])
        self._api = api

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            return await super().handle(scope, receive, send)
        takes = sorted({e.method for e in self._api.endpoints if e.path == self.path})
        says = f"{scope['path']} takes {' and '.join(takes)}, not {scope['method']}."
        response = self._api.refused(405, "method_not_allowed", says)
        response.headers["allow"] = ", ".join(takes)
        await response(scope, receive, send)


APIS: Point[Api] = Point("apis", "The APIs that programs may use, for their document at /docs.")


def json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A struct, or plain data, as an answer."""
    return Response(msgspec.json.encode(data), status, headers, "application/json")


LESS = "This is only for who may do everything: the page, and keys with all rights."
STOPPING = "Spindle is stopping. Try again when it is back."
SWITCHED = (
    "This API was switched off, or is starting again. Try again, or see its card in Settings."
)
REVOKED = (
    "This key was revoked, or its session has ended. Make another in Settings, under API keys."
)


def stopped(scope: Scope, cancelled: asyncio.CancelledError) -> Problem:
    """What a program is told whose request Spindle ends: the key counts no more, the server stops,
    or an extension does."""
    if scope.get("spindle.revoked", bool)():
        return Problem(Fault(REVOKED, "authentication_error", None, "invalid_api_key"))
    # uvicorn gives a reason when it cancels, and the kernel none.
    return unavailable(STOPPING if cancelled.args else SWITCHED, "switched_off")


class Served:
    """The ASGI application of one endpoint: the request ends with its connection."""

    def __init__(self, api: Api, endpoint: Endpoint) -> None:
        self._api, self._endpoint = api, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self._api.id, scope, receive, send)
        call.headers[self._api.tongue.id_header] = call.id
        if self._endpoint.admin and not call.caller.admin:  # The door knows paths alone.
            return await self._respond(call, self._api.refused(403, "insufficient_scope", LESS))
        try:
            await call.load()
        except Problem as problem:
            return await self._refuse(call, problem)
        answer = asyncio.create_task(self._answer(call), name=self._endpoint.path)
        answer.add_done_callback(lambda _: call.end())
        gone = asyncio.create_task(left(receive))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as cancelled:
            call.stopped = stopped(scope, cancelled)
        ends = asyncio.gather(answer, gone, return_exceptions=True)
        while not ends.done():  # When the server stops, the kernel cancels this once more.
            answer.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({ends})
        if answer.cancelled() and call.stopped:
            raise asyncio.CancelledError
        if answer.cancelled():
            raise ClientDisconnect
        if error := answer.exception():
            raise error

    async def _answer(self, call: Call) -> None:
        ASKER.set(call)
        try:
            response = await self._endpoint.answer(call)
        except Problem as problem:
            return await self._refuse(call, problem)
        except asyncio.CancelledError:
            with suppress(TimeoutError):  # It takes nothing.
                async with asyncio.timeout(1):
                    if call.stopped:
                        return await self._refuse(call, call.stopped)
            raise
        if response:
            await self._respond(call, response)

    async def _refuse(self, call: Call, problem: Problem) -> None:
        """As long as nothing was said with a status; then as the last event."""
        if call.out and call.out.begun:
            return await call.out.write(self._api.tongue.event(problem.fault), more=False)
        if problem.after:
            call.headers["retry-after"] = str(problem.after)
        await self._respond(call, self._api.tongue.response(problem.fault))

    async def _respond(self, call: Call, response: Response) -> None:
        response.headers.update(call.headers)
        await response(call.scope, nothing, call.send)


async def left(receive: Receive) -> None:
    """Until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def nothing() -> Message:
    """A response hears of no disconnect: it is `left` that waits for one."""
    return await asyncio.Future()
