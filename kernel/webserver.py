"""uvicorn, which wakes the processor once a second and not ten times while nothing happens."""

import asyncio
import os
import signal
import socket
import time
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn

from kernel.contract import Refused
from kernel.listener import WAITING

MEANT = 0.1
"""Seconds after which a second signal is a second wish: some things send two at once."""


class WebServer(uvicorn.Server):
    """Serves until it is told to `end`; who hears of signals is somebody else."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers right."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ended.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Patient(WebServer):
    """A signal ends only its serving: the kernel closes after it, in peace."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING)
        self.ready()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        loop, ends = asyncio.get_running_loop(), {signal.SIGINT, signal.SIGTERM}
        closed = getattr(signal, "SIGHUP", signal.SIGTERM)  # Its terminal; Windows has no such.
        if signal.getsignal(closed) is signal.SIG_DFL:  # With nohup it is ignored.
            ends.add(closed)
        before = {number: signal.getsignal(number) for number in ends}
        asked = 0.0

        def end(number: int, frame: FrameType | None) -> None:
            nonlocal asked
            asked = asked or time.monotonic()
            if not self.should_exit and time.monotonic() - asked > MEANT:  # The loop stands still.
                os._exit(130)
            loop.call_soon_threadsafe(self.end)

        for number in ends:
            signal.signal(number, end)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def idle(self) -> list[TransportSocket]:
        """The sockets of connections on which no request is under way."""
        found: list[TransportSocket] = []
        for connection in tuple(self.server_state.connections):
            cycle = getattr(connection, "cycle", self)  # A WebSocket has none, and is never idle.
            if cycle is None or getattr(cycle, "response_complete", False):
                found.append(connection.transport.get_extra_info("socket"))
        return found


def check_certificate(cert: Path, key: Path) -> None:
    """Raise Refused for what uvicorn would end the start with a traceback for."""
    import ssl  # noqa: PLC0415 - 10 ms, at every start without

    def ask() -> str:
        raise Refused(f"{key} has a passphrase, which nobody may be there to type. Take it off.")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, ask)
    except OSError as error:  # ssl's own is one.
        why = getattr(error, "reason", None) or error.strerror or error
        says = f"{cert} and {key} are no certificate and its key in PEM form, or cannot be read"
        raise Refused(f"{says} ({why}). Give others: --tls-cert and --tls-key.") from None
