"""What is sent to a WebSocket at once leaves in one piece, and comes as it was sent."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol

from kernel.flags import Flags
from kernel.outbox import PORTION, Fragment, portions
from kernel.server import _config, _listening
from kernel.webserver import Patient
from kernel.websocket import ManyTexts

Talk = Callable[[WebSocket], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk, **how: Any) -> AsyncGenerator[ClientConnection]:
    """A client of a server that talks so; `how` it listens."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await talk(socket)

    flags = Flags(port=0)
    with _listening(flags) as listener:
        config: uvicorn.Config = _config(app, flags)
        server, ready = Patient(config), asyncio.Event()
        server.ready = ready.set
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        port = listener.getsockname()[1]
        try:
            async with connect(f"ws://127.0.0.1:{port}/", proxy=None, **how) as client:
                yield client
        finally:
            server.end()
            await task


async def test_texts_come_as_they_were_sent_and_left_in_one_piece(monkeypatch: pytest.MonkeyPatch):
    pieces = list[bytes]()
    texts = [b"one", "zwölf".encode(), b"", b"x" * 70_000, b"last"]

    class Counting(ManyTexts):
        async def send(self, message: object) -> None:
            write = self.transport.write
            with monkeypatch.context() as patch:
                patch.setattr(self.transport, "write", lambda d: (pieces.append(d), write(d)))
                await super().send(message)

    monkeypatch.setattr("kernel.websocket.ManyTexts", Counting)

    async def talk(socket: WebSocket) -> None:
        pieces.clear()
        await socket.send({"type": "websocket.send", "texts": texts})
        await socket.send_text("alone")
        await socket.receive()

    async with talking(talk) as client:
        heard = [await client.recv() for _ in range(len(texts) + 1)]
    assert heard == [*(text.decode() for text in texts), "alone"]
    assert len(pieces) == 2


async def test_a_text_in_fragments_comes_whole_and_pings_are_answered_between(
    monkeypatch: pytest.MonkeyPatch,
):
    frames = list[tuple[Opcode, bool]]()
    say = Protocol.send_frame

    def noted(self: Protocol, frame: Frame) -> None:
        frames.append((frame.opcode, frame.fin))
        say(self, frame)

    monkeypatch.setattr("websockets.server.ServerProtocol.send_frame", noted)
    large = "zwölf " * 10_000

    async def talk(socket: WebSocket) -> None:
        for texts in portions(["first", large, "last"]):
            await socket.send({"type": "websocket.send", "texts": texts})
            if isinstance(texts[0], Fragment):
                await socket.receive()  # The client had a pong before it said something.

    async def heartbeat(client: ClientConnection) -> None:
        while True:
            await (await client.ping())
            await client.send("go on")

    async with talking(talk) as client:
        beating = asyncio.create_task(heartbeat(client))
        assert [await client.recv() for _ in range(3)] == ["first", large, "last"]
        beating.cancel()
    assert (Opcode.TEXT, False) in frames
    begun = frames.index((Opcode.TEXT, False))
    ended = frames.index((Opcode.CONT, True))
    between = frames[begun:ended]
    assert between.count((Opcode.CONT, False)) == len(large.encode()) // PORTION - 1
    assert (Opcode.PONG, True) in between


async def test_who_reads_nothing_is_waited_for_until_the_line_is_cut():
    pending, cut = asyncio.Event(), asyncio.Event()

    async def flood(socket: WebSocket) -> None:
        for _ in range(100):  # megabytes
            sending = socket.send({"type": "websocket.send", "texts": [b"x" * 100_000] * 10})
            work = asyncio.ensure_future(sending)
            if not (await asyncio.wait({work}, timeout=0.5))[0]:
                pending.set()
            await work

    async def talk(socket: WebSocket) -> None:
        with pytest.raises(WebSocketDisconnect):
            await flood(socket)
        cut.set()

    async with talking(talk, max_queue=1) as client, asyncio.timeout(20):
        await pending.wait()
        assert not cut.is_set()
        client.transport.abort()
        await cut.wait()


async def test_who_has_gone_is_told_nothing_more():
    ended = asyncio.Event()

    async def talk(socket: WebSocket) -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
        with pytest.raises(WebSocketDisconnect):
            await socket.send({"type": "websocket.send", "texts": [b"too late"]})
        ended.set()

    async with talking(talk) as client:
        await client.close()
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_message_in_fragments_without_an_end_ends_the_socket():
    async def talk(socket: WebSocket) -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    async with talking(talk) as client:
        await client.send([""] * 1000 + ["a whole message"])
        with suppress(ConnectionClosed):
            await client.send([""] * 5000)
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (
            1008, "A message has at most 1023 fragments."
        )  # fmt: skip


async def test_who_takes_nothing_gets_no_answers_to_its_pings(monkeypatch: pytest.MonkeyPatch):
    made = list[ManyTexts]()

    class Seen(ManyTexts):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)

    monkeypatch.setattr("kernel.websocket.ManyTexts", Seen)

    async def talk(socket: WebSocket) -> None:
        await socket.receive()
        await socket.receive()

    async with talking(talk) as client:
        await (await client.ping())
        written = list[bytes]()
        [server] = made
        server.pause_writing()  # As its transport does when what it holds is too much.
        with monkeypatch.context() as patch:
            patch.setattr(server.transport, "write", written.append)
            for _ in range(100):
                await client.ping()
            await client.send("behind them")
            while not server.read_paused:
                await asyncio.sleep(0)
        server.resume_writing()
        await (await client.ping())
    assert b"".join(written) == b""
