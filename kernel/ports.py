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


class Ports:
    """Opens them. `config` is what uvicorn is told, `host` the address to listen at."""

    def __init__(self, door: Security, config: Callable[[], uvicorn.Config], host: str) -> None:
        self._door, self._config, self._host = door, config, host

    @asynccontextmanager
    async def also(self, port: int) -> AsyncGenerator[None]:
        """Answer at this port, too, as long as the block lasts; raises Refused."""
        if not 0 < port < 65536:
            raise Refused(f"There is no port {port}. Use a number from 1 to 65535.")
        try:
            listener = listen(self._host, port)
        except OSError as error:
            raise Refused(TAKEN.format(port, error.strerror)) from None
        with listener, self._door.hosts.at(listener.getsockname()[1]):
            server = WebServer(self._config())
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield
            finally:
                server.end()
                await asyncio.wait({serving})
