"""A request of a program: who asks, what was sent, and the stream it is answered with."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from kernel.api import Principal, Struct

from .problems import Fault, Problem
from .reading import read

T = TypeVar("T")


class Caller(Struct, frozen=True):
    """Who asks: the kind is page, key or local (a program on this machine)."""

    kind: str
    id: str = ""
    admin: bool = False
    """Whether it may do everything: the page, or a key of that scope."""
    name: str = ""
    """What its key is called."""
    at_once: int = 0
    tokens: int = 0
    """Requests at once and tokens a minute that its key may have; 0 is no limit."""

    @property
    def owner(self) -> str:
        """To whom a reply belongs."""
        return f"{self.kind}:{self.id}"


def caller_of(scope: Any) -> Caller:
    """As the server's door found out."""
    principal: Principal | None = scope.get("spindle.principal")
    if not principal:
        return Caller("")
    who, admin = principal, principal.may("admin")
    return Caller(who.kind, who.id, admin, who.name, who.at_once, who.tokens)


class Asking:
    """Who asks for replies; `api` names who speaks (`openai`), for the list of requests."""

    entered = False
    """Whether the turn of one of its replies has come."""

    def __init__(self, api: str, caller: Caller) -> None:
        self.api, self.caller = api, caller

    def queued(self, run: Any, position: int) -> None:
        """One of its replies has to wait; 1 is the next."""


ASKER: ContextVar[Asking] = ContextVar("asker")
"""For whom a task works, where it works for a request: who waits for a model in it."""


class Call(Asking):
    """One request over HTTP."""

    def __init__(self, api: str, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(api, caller_of(scope))
        self.scope, self.id = scope, secrets.token_hex(8)
        self.http = Request(scope, receive)
        self.headers: dict[str, str] = {}
        """What the answer is to carry besides."""
        self.body: bytes | bytearray = b""
        self.out: Out | None = None
        """The stream it is answered with, if it is one."""
        self.stopped: Problem | None = None
        """Why the server ends it, where its program did not."""
        self.ends: list[Callable[[], None]] = []
        """What is called when it has ended."""
        self.send = send

    def queued(self, run: Any, position: int) -> None:
        self.headers["x-queue-position"] = str(position)

    @property
    def path(self) -> Mapping[str, str]:
        """What the route's pattern took out of the address."""
        return cast(Mapping[str, str], self.http.path_params)

    async def load(self) -> None:
        """Take in the body; raises Problem when it is too large.

        Piece by piece: fifty megabytes that are joined at the end hold everything up meanwhile.
        """
        self.body = bytearray()
        try:
            async for piece in self.http.stream():
                self.body += piece
        except HTTPException as error:
            says = f"{error.detail} Send a shorter conversation."
            raise Problem(Fault(says, "too_large_error", None, "body_too_large")) from None

    def end(self) -> None:
        """It has been carried out, or was given up."""
        for each in self.ends:
            each()

    def form(self) -> AbstractAsyncContextManager[FormData]:
        """The body as the form that it is."""

        async def again() -> Message:
            return {"type": "http.request", "body": bytes(self.body)}

        return Request(self.scope, again).form()

    def read(self, kind: type[T]) -> T:
        """The body as this struct; raises Problem."""
        return read(self.body or b"{}", kind)

    def stream(self, media_type: str = "text/event-stream", sign: bytes = b": ping\n\n") -> "Out":
        """Answer piece by piece; `sign` tells that Spindle lives while the model reads."""
        self.out = Out(self, self.send, media_type, sign)
        return self.out


class Out:
    """The body of a streamed answer; its first piece opens it, so until then errors have a status.

    `async with` begins the signs of life, and closes the body when all went well.
    """

    QUIET = 15.0
    """Seconds without a piece until there is a sign of life."""
    STALL = 15.0
    """Seconds in which a program takes nothing until it is let go."""

    def __init__(self, call: Call, send: Send, media_type: str, sign: bytes) -> None:
        self.begun = False
        self._call, self._send, self._type, self._sign = call, send, media_type, sign
        self._now = asyncio.get_running_loop().time
        self._last = self._now()
        self._opening = asyncio.Lock()
        self._sending = 0
        """Pieces that the program has not taken yet."""
        self._signs: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> "Out":
        self._writer = asyncio.current_task()
        self._signs = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, kind: Any, *_: object) -> None:
        assert self._signs
        self._signs.cancel()
        await asyncio.wait({self._signs})
        if kind is None:
            await self.write(b"", more=False)

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send this now; waits while the program does not take it."""
        if not self.begun:
            await self._open()
        self._sending += 1
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            self._sending -= 1
        self._last = self._now()

    async def _open(self) -> None:
        async with self._opening:
            if self.begun:
                return
            headers = {"content-type": self._type, **self._call.headers}
            raw = [(n.encode(), text.encode("latin-1", "replace")) for n, text in headers.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": raw})
            self.begun = True

    async def _live(self) -> None:
        """Signs of life, until the program takes nothing any more."""
        taken = True
        while taken:
            await asyncio.sleep(max(0.25, self._last + self.QUIET - self._now()))
            taken = await self._taken()
        if self._writer:
            self._writer.cancel()

    async def _taken(self) -> bool:
        """Whether the program takes what it is sent; where it was sent nothing, a sign."""
        quiet = self._now() - self._last
        if quiet < self.QUIET or self._sending:
            return quiet < self.QUIET + self.STALL
        try:
            async with asyncio.timeout(self.STALL):
                await self.write(self._sign)
        except TimeoutError:
            return False
        return True
