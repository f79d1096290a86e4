"""Other ports at which the same server answers, behind the same door."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import uvicorn

from kernel.contract import Refused
from kernel.listener import listen
from kernel.security import Security
from kernel.webserver import WebServer

TAKEN = (
    "Port {} cannot be had ({}): perhaps another program has it. Stop that, or use another port."
)


@asynccontextmanager
async def also(
    door: Security, config: Callable[[], uvicorn.Config], host: str, port: int
) -> AsyncGenerator[None]:
    """Answer at this port, too, as long as the block lasts; raises Refused."""
    if not 0 < port < 65536:
        raise Refused(f"There is no port {port}. Use a number from 1 to 65535.")
    try:
        listener = listen(host, port)
    except OSError as error:
        raise Refused(TAKEN.format(port, error.strerror)) from None
    with listener, door.hosts.at(listener.getsockname()[1]):
        server = WebServer(config())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.end()
            await asyncio.wait({serving})
