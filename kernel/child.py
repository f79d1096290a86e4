"""A child process as events: what it prints, the frames it sends, its end and why."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable

import msgspec

from kernel.frames import LARGEST, FromWorker
from kernel.platform_ import STARVED, memory_kills

Gone = Callable[[str], None]
"""Told `"process"`, `"log"` and `"pipe"` as each of them ends."""

PER_SECOND = 200
"""Log lines; nobody reads what prints more than that."""


class Process(asyncio.SubprocessProtocol):
    """The lines a child prints, and why it ended; a flood of lines costs next to nothing."""

    transport: asyncio.SubprocessTransport

    def __init__(self, tell: Callable[[str], None], gone: Gone) -> None:
        self.tail: deque[str] = deque(maxlen=200)
        self._tell, self._gone = tell, gone
        self._rest, self._second, self._count = b"", 0, 0
        self._kills = memory_kills()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self.transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._second != (second := int(time.monotonic())):
            self._second, self._count = second, 0
        *lines, rest = (self._rest + data).rsplit(b"\n", 100)
        self._rest = rest[-2000:]
        for line in lines:
            self._line(line[-2000:].rpartition(b"\n")[2])

    def _line(self, line: bytes) -> None:
        if text := line.decode(errors="replace").rstrip():
            self.tail.append(text)
            self._count += 1
            if self._count <= PER_SECOND:
                self._tell(text if self._count < PER_SECOND else "… (more than can be shown)")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._line(self._rest)
        self._gone("log")

    def process_exited(self) -> None:
        self._gone("process")

    def autopsy(self, doing: str) -> str:
        """Why the process ended while it was `doing` that: a sentence for the user."""
        code = self.transport.get_returncode() or 0
        starved = code == -9 and memory_kills() > self._kills
        if starved or (code and STARVED.search("\n".join(self.tail))):
            return (
                f"The engine ran out of memory while {doing}. Choose a smaller model, "
                "a shorter context or fewer GPU layers."
            )
        if code < 0:
            how = "was killed" if code in (-9, -15) else "crashed"
            return f"The engine {how} ({signal.Signals(-code).name}) while {doing}."
        if code > 1 << 31:  # Windows
            return f"The engine crashed (0x{code:08X}) while {doing}."
        return f"The engine ended by itself (exit code {code}) while {doing}."


class Frames(asyncio.Protocol):
    """Cuts what comes through the pipe into frames, until there is garbage."""

    transport: asyncio.Transport

    def __init__(
        self, hear: Callable[[FromWorker], None], garbage: Callable[[], None], gone: Gone
    ) -> None:
        self._hear, self._garbage, self._gone = hear, garbage, gone
        self._decode = msgspec.msgpack.Decoder(FromWorker).decode
        self._bytes = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        at, end = 0, len(self._bytes)
        while end - at >= 4:
            size = int.from_bytes(self._bytes[at : at + 4], "little")
            if end - at - 4 < size <= LARGEST:
                break
            try:
                frame = self._decode(self._bytes[at + 4 : at + 4 + size])
            except msgspec.MsgspecError:
                self._bytes.clear()
                return self._garbage()
            self._hear(frame)
            at += 4 + size
        del self._bytes[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone("pipe")
