"""One server, many pages: python -m benchmarks.fanout

Each of --pages pages gets 30 frames a second, of the size of a reply's, from a server on one core;
the pages are on another one. How late the frames come is in them: each says when it was made. The
floor is a server of WebSockets that does nothing else, with the same library.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import connect

from benchmarks.common import (
    HERE,
    ROOT,
    arguments,
    child,
    cpu,
    header,
    install,
    load,
    resident,
    sign_in,
    spread,
    table,
)
from tests.live import free_port, live

RATE, SECONDS = 30, 5


class Bench:
    """A server, pages that read from it, and what is measured of both."""

    def __init__(self, pid: int, port: int, cookie: str) -> None:
        self.pid, self.port, self.cookie = pid, port, cookie
        os.sched_setaffinity(pid, {0})

    async def broadcast(self) -> None:
        """Let the server begin."""
        raise NotImplementedError

    async def run(self, pages: int) -> dict[str, float]:
        """Open the pages, broadcast for a while."""
        command = (HERE / "readers.py", str(self.port), self.cookie, str(pages), str(SECONDS + 1))
        readers = await asyncio.create_subprocess_exec(
            *(sys.executable, *command), stdin=PIPE, stdout=PIPE, limit=1 << 28
        )
        os.sched_setaffinity(readers.pid, {1})
        assert readers.stdin
        assert readers.stdout
        assert await readers.stdout.readline() == b"ready\n"
        before, begun = cpu(self.pid), time.perf_counter()
        readers.stdin.write(b"go\n")
        await self.broadcast()
        late = sorted(json.loads(await readers.stdout.readline()))
        spent, took = cpu(self.pid) - before, time.perf_counter() - begun
        await readers.wait()
        return {
            "frames": len(late) / pages,
            "median": statistics.median(late),
            "p99": late[len(late) * 99 // 100],
            "most": late[-1],
            "cost": spent / len(late) * 1e6,
            "core": spent / min(took, SECONDS) * 100,
            "memory": resident(self.pid),
        }


class Spindle(Bench):
    async def broadcast(self) -> None:
        address = f"ws://127.0.0.1:{self.port}/ws?path=/settings"
        headers = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{self.port}"}
        async with connect(address, additional_headers=headers) as socket:
            action = {"action": "metronome.broadcast", "rate": RATE, "seconds": SECONDS}
            await socket.send(json.dumps(action))
            await asyncio.sleep(SECONDS + 0.5)


class Floor(Bench):
    async def broadcast(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)


@asynccontextmanager
async def bare() -> AsyncGenerator[Bench]:
    """The floor."""
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bare_pages", str(port), str(RATE), str(SECONDS)),
        cwd=ROOT,
    )
    await asyncio.sleep(1.5)
    try:
        yield Floor(server.pid, port, "")
    finally:
        server.terminate()
        await server.wait()


async def main() -> None:
    args = arguments(__doc__, pages=500)
    header(f"{args.pages} pages, {RATE} frames a second each")
    kept: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        install(data, "metronome")
        server = await stack.enter_async_context(live(data, args.environments_dir))
        cookie = sign_in(server.port, server.link)
        spindle = Spindle(child(server.port), server.port, cookie)
        floor = await stack.enter_async_context(bare())
        for _ in range(args.runs):
            for name, bench in (("Spindle", spindle), ("floor", floor)):
                for what, value in (await bench.run(args.pages)).items():
                    kept[name][what].append(value)
    rows = [("", "Spindle", "floor: a bare server")]
    labels = {
        "median": "a frame comes after, median, ms",
        "p99": "99 of 100 frames come within, ms",
        "most": "the last one of all, ms",
        "cost": "server CPU for a frame to a page, us",
        "core": "of the core, %",
        "frames": "frames each page got",
        "memory": "server memory, MB",
    }
    rows += [
        (label, *(spread(kept[name][what], ".1f") for name in ("Spindle", "floor")))
        for what, label in labels.items()
    ]
    table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
