"""A wire that misbehaves: it stalls, cuts, closes one half, drips, or gathers what it passes on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class FaultProxy:
    """Stands between clients and a server; what it does to the way back is changed at any time."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.connections = 0
        """How many were made through it."""
        self.gather = 0
        """Bytes that are held back until there are so many, or nothing came for 0.2 seconds."""
        self.idle = 0.0
        """Seconds without a byte in either direction until it cuts the connection."""
        self.drip = 0
        """Bytes a second; 0 is as they come."""
        self.flows = asyncio.Event()
        """Cleared, it stalls: bytes are taken, and none is passed on."""
        self.flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Reset every connection, as a network does that changes."""
        for writer in [*self._open]:
            writer.transport.abort()

    def swallow(self) -> None:
        """What is open now passes nothing on any more, and nobody is told; the next are whole."""
        self.flows.clear()
        self.flows = asyncio.Event()
        self.flows.set()

    def half_close(self) -> None:
        """Say to the clients that nothing more comes, and go on taking what they send."""
        for writer in [*self._open]:
            with suppress(OSError):
                writer.write_eof()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        self._open.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return self._tasks.discard(task)
        last = [asyncio.get_running_loop().time()]
        work = [
            asyncio.create_task(self._pass(reader, back, last, back=False)),
            asyncio.create_task(self._pass(there, writer, last, back=True)),
            asyncio.create_task(self._watch(last)),
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(writer)
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            for each in (writer, back):
                each.transport.abort()
            self._tasks.discard(task)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        last: list[float],
        *,
        back: bool,
    ) -> None:
        flows = self.flows
        with suppress(OSError):
            while data := await reader.read(self.drip if back and self.drip else 65536):
                last[0] = asyncio.get_running_loop().time()
                while back and self.gather > len(data):
                    try:
                        async with asyncio.timeout(0.2):
                            more = await reader.read(65536)
                    except TimeoutError:
                        break
                    if not more:
                        break
                    data += more
                await flows.wait()
                writer.write(data)
                await writer.drain()
                if back and self.drip:
                    await asyncio.sleep(1)

    async def _watch(self, last: list[float]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05)
            if self.idle and loop.time() - last[0] > self.idle:
                return

    async def close(self) -> None:
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def faulty(target: int, port: int = 0) -> AsyncGenerator[FaultProxy]:
    """A proxy before the port `target`, at any free port unless that is given."""
    proxy = FaultProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
