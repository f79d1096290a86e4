"""A real server on a real port inside the test, so that both ends of a wire can be looked at."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from kernel.flags import Flags
from kernel.keyring import Keyring
from kernel.origins import Api
from kernel.ports import also
from kernel.records import Access
from kernel.security import Security
from kernel.server import _config, _listening
from kernel.testing import App
from kernel.webserver import Patient


class Served:
    """Where an application is served."""

    def __init__(self, app: App, port: int, key: str) -> None:
        self.app, self.port, self.key = app, port, key
        self.http, self.ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/api/ws"
        self.server: Any = None
        self.keyring: Any = None
        self.cookie = ""
        """Of a page's session."""

    def page(self, path: str, **more: Any) -> connect:
        """The socket of a page."""
        headers = {"Cookie": f"spindle_{self.port}={self.cookie}", "Origin": self.http}
        address = f"ws://127.0.0.1:{self.port}/ws?path={path}"
        return connect(
            address, compression=None, proxy=None, additional_headers=headers, max_size=None, **more
        )

    def connect(self, **more: Any) -> connect:
        # The library stops reading when its queue is full, and then misses the answer to its close.
        return connect(self.ws, compression=None, proxy=None, max_queue=None, **more)


@asynccontextmanager
async def serving(app: App, listen: str = "", **config: Any) -> AsyncGenerator[Served]:
    """Serve it as `kernel.server` does; `config` overrides what is told to uvicorn."""
    flags = Flags(port=0, listen=listen)
    with _listening(flags) as listener:
        port = listener.getsockname()[1]
        keyring = Keyring(app.kernel.data / "secrets")
        rules = partial(app.kernel.settings.section, "api", Api)
        how = {"port": port, "listens": bool(listen), "rules": rules, "refused": app.web.refused}
        door = Security(app.web, keyring, app.web.access, lambda **_: "<form>", **how)
        ports = partial(also, door, partial(_config, door, flags), listen or "127.0.0.1")
        app.kernel.access = Access(key=keyring.key, door=door, also=ports)
        told = _config(door, flags)
        for name, value in config.items():
            setattr(told, name, value)
        server, ready = Patient(told), asyncio.Event()
        server.ready = ready.set
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        served = Served(app, port, keyring.key)
        served.server, served.cookie, served.keyring = server, keyring.begin(), keyring
        try:
            yield served
        finally:
            server.end()
            await task


async def render_one(served: Served) -> None:
    """Have a first chat rendered: the process for templates is then no test's that shares it."""
    body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 1}
    async with httpx.AsyncClient(base_url=served.http, timeout=60) as web:
        assert (await web.post("/v1/chat/completions", json=body)).status_code == 200
    await until_left(served)


async def until_left(served: Served) -> None:
    """No client is there any more, as a server that tests share sees it."""
    while served.server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)


async def tell(program: ClientConnection, **frame: Any) -> None:
    await program.send(msgspec.json.encode(frame).decode())


async def hear(program: ClientConnection, seconds: float = 20) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        return msgspec.json.decode(await program.recv(), type=dict[str, Any])


async def until(
    program: ClientConnection, *types: str, seconds: float = 20
) -> list[dict[str, Any]]:
    """What comes, up to the first event of one of these types."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in types:
        events.append(await hear(program, seconds))
    return events


def said(events: list[dict[str, Any]]) -> str:
    """What the events of one reply amount to."""
    text = ""
    for event in events:
        if event["type"] in ("delta", "replace"):
            text = event["text"] if event["type"] == "replace" else text + event["text"]
    return text


class Raw:
    """A request written byte by byte, whose connection ends when the test says so."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        data = msgspec.json.encode(body)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)
        await self.writer.drain()

    async def close(self) -> None:
        """With a FIN, as a program does that ends."""
        self.writer.close()
        await self.writer.wait_closed()

    def abort(self) -> None:
        """With a RST, as a program does that is killed."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()
