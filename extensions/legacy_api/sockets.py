"""The WebSockets of the old form: a request, its words, perhaps another request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from extensions.api_kit.api import ASKER, Call, Problem

from .replies import Say, text_of

Stream = Callable[[Call, Say], Awaitable[None]]
FAILED = 1011
STALL = 30.0
"""Seconds in which a program takes nothing until it is let go."""


class Socket:
    """Serves one kind of stream; a reply ends with its connection."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def serve(self, socket: WebSocket) -> None:
        """Requests one after the other, until the program goes."""
        await socket.accept()
        waiting: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)
        work = [
            asyncio.create_task(part)
            for part in (self._read(socket, waiting), self._answer(socket, waiting))
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        for task in work:
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def _read(self, socket: WebSocket, waiting: "asyncio.Queue[bytes]") -> None:
        while (message := await socket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            await waiting.put(text.encode() if text is not None else message.get("bytes") or b"")

    async def _answer(self, socket: WebSocket, waiting: "asyncio.Queue[bytes]") -> None:
        while True:
            call = call_of(socket)
            call.body = await waiting.get()
            ASKER.set(call)
            try:
                await self._stream(call, lambda data: self._say(socket, data))
            except Problem as problem:
                return await self._refuse(socket, problem)
            except (WebSocketDisconnect, TimeoutError):
                return

    async def _say(self, socket: WebSocket, data: dict[str, Any]) -> None:
        async with asyncio.timeout(STALL):
            await socket.send_text(text_of(data))

    async def _refuse(self, socket: WebSocket, problem: Problem) -> None:
        """Old programs know no event for this; that the connection ends is what they notice."""
        error = msgspec.to_builtins(problem.fault)
        try:
            await self._say(socket, {"event": "error", "message_num": 0, "error": error})
            await socket.close(FAILED)
        except (WebSocketDisconnect, TimeoutError):
            return


def call_of(socket: WebSocket) -> Call:
    """A frame as the kit knows requests."""

    async def nothing() -> Message:
        return await asyncio.Future()

    async def nowhere(message: Message) -> None:
        """Answers go out as frames."""

    return Call("legacy", {**socket.scope, "type": "http", "method": "POST"}, nothing, nowhere)
