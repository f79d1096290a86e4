"""Programs that ask for replies and read them at next to no cost: the server is what works."""

import asyncio
import base64
import json
import os
import time
import urllib.request
from secrets import token_hex
from typing import Any

TAIL = 40
"""Bytes that a mark may have, cut in two."""


class Program(asyncio.Protocol):
    """Counts its marks in what comes, and when; done after so many ends."""

    def __init__(self, mark: bytes, end: bytes, ends: int) -> None:
        self.stamps: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mark, self._end, self._left = mark, end, ends
        self._rest = self._last = b""

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._rest, marks = counted(self._rest + data, self._mark)
        self.stamps += [now] * marks
        self._last, ends = counted(self._last + data, self._end)
        self._left -= ends
        if not self._left:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for waited in (self.greeted, self.done):
            if not waited.done():
                waited.set_exception(exc or ConnectionError("the stream ended too soon"))


def counted(data: bytes, mark: bytes) -> tuple[bytes, int]:
    """How often a mark is there, and the end in which one may have begun."""
    count = data.count(mark)
    if not count:
        return data[-TAIL:], 0
    return data[data.rindex(mark) + len(mark) :][-TAIL:], count


async def sse(port: int, text: str, **more: Any) -> list[float]:
    """One reply as OpenAI's events; when each came."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True, **more}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Length: {len(data)}\r\n\r\n"
    return await asked(port, head.encode() + data, b"", b'"delta":{"content":', b"[DONE]", 1)


async def prompt(port: int, text: str) -> str:
    """What the server gives its model for that."""
    body = {"messages": [{"role": "user", "content": text}]}
    ask = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/internal/chat-prompt",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with await asyncio.to_thread(urllib.request.urlopen, ask) as answer:
        return json.load(answer)["prompt"]


async def ws(port: int, texts: list[str]) -> list[float]:
    """Replies over one WebSocket; when each event came."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    said = [[{"role": "user", "content": text}] for text in texts]
    starts = [{"type": "start", "id": token_hex(4), "messages": messages} for messages in said]
    data = b"".join(frame(json.dumps(start).encode()) for start in starts)
    return await asked(port, head.encode(), data, b'"type":"delta"', b'"type":"done"', len(texts))


def frame(data: bytes) -> bytes:
    """A text frame of a client, of up to 65,535 bytes, under a mask of zeros."""
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


async def asked(
    port: int, head: bytes, data: bytes, mark: bytes, end: bytes, ends: int
) -> list[float]:
    """Say the head, after the first answer the data, and read until the last end."""
    loop = asyncio.get_running_loop()
    transport, program = await loop.create_connection(
        lambda: Program(mark, end, ends), "127.0.0.1", port
    )
    transport.write(head)
    try:
        await program.greeted
        transport.write(data)
        await program.done
    finally:
        transport.close()
    return program.stamps
