"""What a frame of a worker costs the server: python -m benchmarks.frames

An engine that speaks as fast as it goes (benchmarks/metronome), in a process of its own: one reply,
and 16 replies of which each step's tokens are one frame. The floor is the same bytes from a socket,
cut into frames and read by msgspec, and nothing done with them.
"""

import asyncio
import socket
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.common import HERE, arguments, header, load, spread, table
from kernel import frames
from kernel.child import Frames
from kernel.contract import Delta, Output, Request, Token
from kernel.environments import python_of
from kernel.worker import Worker

TOKENS = 20_000
KINDS = (1, 16)
"""Replies at once."""


async def said(worker: Worker, replies: int) -> tuple[float, float]:
    """Seconds of the clock and of this process for all tokens."""

    async def listen() -> int:
        reply = worker.generate(Request(prompt=f"Speak 0 {TOKENS // replies}"))
        return sum([len(delta.tokens) async for delta in reply])

    cpu, begun = time.process_time(), time.perf_counter()
    heard = await asyncio.gather(*(listen() for _ in range(replies)))
    assert sum(heard) == TOKENS
    return time.perf_counter() - begun, time.process_time() - cpu


async def floor(replies: int) -> tuple[float, float]:
    """The same frames from a thread that only writes."""
    output = [Output(n, Delta(" word", tokens=(Token(n, b" word"),))) for n in range(replies)]
    data = frames.pack(frames.Outputs(tuple(output))) * (TOKENS // replies)
    ours, theirs = socket.socketpair()
    heard, gone = 0, asyncio.Event()

    def hear(frame: frames.FromWorker) -> None:
        nonlocal heard
        heard += 1

    pipe = Frames(hear, gone.set, lambda what: gone.set())
    await asyncio.get_running_loop().create_connection(lambda: pipe, sock=ours)
    cpu, begun = time.process_time(), time.perf_counter()

    def write() -> None:
        theirs.sendall(data)
        theirs.close()

    writing = threading.Thread(target=write)
    writing.start()
    await gone.wait()
    writing.join()
    assert heard == TOKENS // replies
    return time.perf_counter() - begun, time.process_time() - cpu


async def main() -> None:
    args = arguments(__doc__)
    header("Frames of a worker")
    python = python_of(args.environments_dir / "xllamacpp")
    kept: dict[tuple[int, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        worker = await Worker.start(python, f"{HERE / 'metronome' / 'worker.py'}:Engine")
        try:
            await worker.load(Path(folder) / "beat.tick", {})
            for run in range(args.runs + 1):
                for replies in KINDS:
                    took, cpu = await said(worker, replies)
                    least, bare = await floor(replies)
                    if run:  # the first was a warm-up
                        count = TOKENS / replies
                        kept[replies, "rate"].append(count / took)
                        kept[replies, "cost"].append(cpu / TOKENS * 1e6)
                        kept[replies, "floor rate"].append(count / least)
                        kept[replies, "floor cost"].append(bare / TOKENS * 1e6)
        finally:
            await worker.close()
    rows = [("replies at once", "frames/s", "floor", "server CPU a token, us", "floor")]
    rows += [
        (
            str(replies),
            spread(kept[replies, "rate"], ",.0f"),
            spread(kept[replies, "floor rate"], ",.0f"),
            spread(kept[replies, "cost"], ".1f"),
            spread(kept[replies, "floor cost"], ".1f"),
        )
        for replies in KINDS
    ]
    table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
