"""What the APIs cost: python -m benchmarks.api

An engine that keeps time (benchmarks/metronome) speaks to eight programs at once, through OpenAI's
events and through the WebSocket; the floors are the same replies taken from the kernel, with the
modifiers that a server has by itself, and then written to as many connections. Then the
delay of a first token beside the bare worker's, a hundred programs at thirty tokens a second, and
the words a second of a real engine through the API beside the bare one's. CPU time, medians of
several runs, kinds in turn.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from typing import Any

from websockets.asyncio.client import connect

from benchmarks import models
from benchmarks.common import (
    HERE,
    ROOT,
    arguments,
    child,
    cpu,
    header,
    install,
    load,
    spread,
    table,
)
from kernel.contract import Message, Request, Sampling, Text, Turn
from kernel.environments import python_of
from kernel.joined import Joined
from kernel.testing import App, running
from kernel.worker import Worker
from tests.live import Live, live

STREAMS, SECONDS = 8, 3
RATES = (100, 400)
MANY, SLOW = 100, 30
EVENT = b'c8\r\ndata: {"text":"%b"' + b" " * 168 + b"}\n\n\r\n"
"""As long as a chunk of OpenAI's."""
MODIFIERS = ("instruct", "reasoning", "tool_calls", "roleplay", "parameters")
"""What takes part in a reply of a server as it comes, beside the API."""
SETTINGS = """
extensions:
  api_kit: {enabled: true, at_once: 200}
  metronome: {enabled: true}
"""


async def sse(port: int, text: str, stamps: list[float], **more: Any) -> int:
    """One reply as OpenAI's events, read with next to nothing; how many there were."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True, **more}
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    count = 0
    try:
        while b"[DONE]" not in (line := await reader.readline()):
            assert line, "the stream ended too soon"
            if line.startswith(b"data: {") and b'"delta":{"content":' in line:
                count += 1
                stamps.append(time.perf_counter())
    finally:
        writer.close()
    return count


async def ws(port: int, texts: list[str], stamps: list[float]) -> int:
    """Replies over one socket."""
    address, count, done = f"ws://127.0.0.1:{port}/api/ws", 0, 0
    async with connect(address, compression=None, proxy=None, max_queue=None) as socket:
        for n, text in enumerate(texts):
            said = [{"role": "user", "content": text}]
            await socket.send(
                json.dumps({"type": "start", "id": f"{token_hex(4)}-{n}", "messages": said})
            )
        async for frame in socket:
            count += '"delta"' in str(frame)
            stamps.append(time.perf_counter())
            done += '"type":"done"' in str(frame)
            assert '"type":"error"' not in str(frame), frame
            if done == len(texts):
                return count
    raise AssertionError("the socket ended too soon")


async def kernel(app: App, text: str, write: Callable[[bytes], None] | None = None) -> int:
    """The same reply taken from the kernel; `write` is given as many bytes as an event has."""
    count = 0
    async for delta in app.run(Turn((Message("user", (Text(text),)),))):
        count += 1
        if write:
            write(EVENT % delta.text.encode())
    return count


async def written(app: App, texts: list[str], port: int, *, one: bool) -> int:
    """Such replies written to a connection each, or to one: what every server has to do."""
    async with AsyncExitStack() as stack:

        async def connection() -> Callable[[bytes], None]:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            return Joined(writer.transport).write

        writes = [await connection() for _ in texts[: 1 if one else None]]
        writes *= len(texts) if one else 1
        pairs = zip(texts, writes, strict=True)
        return sum(await asyncio.gather(*(kernel(app, text, write) for text, write in pairs)))


@contextmanager
def sink() -> Generator[int]:
    """A process that reads and forgets what it is sent, and its port."""
    command = [sys.executable, HERE / "sink.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def costs(server: Live, app: App, port: int, rate: int, runs: int) -> None:
    """Server CPU of an event at eight streams of so many tokens a second."""
    pid, texts = child(server.port), [f"Speak {rate} {rate * SECONDS}"] * STREAMS
    kept: dict[str, list[float]] = defaultdict(list)

    async def served() -> int:
        return sum(await asyncio.gather(*(sse(server.port, text, []) for text in texts)))

    async def taken() -> int:
        return sum(await asyncio.gather(*(kernel(app, text) for text in texts)))

    own = {
        "taken from the kernel": taken,
        "and written, a connection each": lambda: written(app, texts, port, one=False),
        "and written to one connection": lambda: written(app, texts, port, one=True),
    }
    theirs = {"OpenAI's events": served, "WebSocket": lambda: ws(server.port, texts, [])}
    for _ in range(runs):
        before = cpu(pid)
        await asyncio.sleep(SECONDS)
        idle = cpu(pid) - before
        for name, work in {**own, **theirs}.items():
            process = pid if name in theirs else os.getpid()
            begun = cpu(process)
            count = await work()
            spent = cpu(process) - begun - (idle if name in theirs else 0)
            kept[name].append(spent / count * 1e6)
    floors = dict(zip(theirs, [*own][1:], strict=True))
    rows = [(f"{STREAMS} streams at {rate} tokens/s", "us of CPU an event", "above that floor")]
    for name, values in kept.items():
        pairs = zip(values, kept[floors.get(name, name)], strict=True)
        above = spread((mine - floor for mine, floor in pairs), ".1f") if name in theirs else ""
        rows.append((name, spread(values, ".1f"), above))
    table(rows)


async def first(server: Live, worker: Worker, runs: int) -> None:
    """What an API adds to the delay of a first token."""
    kept: dict[str, list[float]] = defaultdict(list)
    request = Request(messages=(Message("user", (Text("Speak 100 3"),)),))
    for n in range(runs * 4):
        begun, stamps = time.perf_counter(), list[float]()
        await sse(server.port, "Speak 100 3", stamps)
        through = stamps[0] - begun
        begun, at = time.perf_counter(), 0.0
        async for delta in worker.generate(request):
            at = at or (time.perf_counter() if delta.text else 0.0)
        if n:
            kept["OpenAI's events"].append(through * 1000)
            kept["floor: the bare worker"].append((at - begun) * 1000)
            kept["so it adds"].append((through - (at - begun)) * 1000)
    rows = [("to the first token", "ms")]
    table([*rows, *((name, spread(values, ".2f")) for name, values in kept.items())])


async def crowd(server: Live, runs: int) -> None:
    """A hundred programs: how even the words come, and what of a core that takes."""
    pid = child(server.port)
    gaps, shares = list[float](), list[float]()
    for _ in range(runs):
        stamps = [list[float]() for _ in range(MANY)]
        before, begun = cpu(pid), time.perf_counter()
        text = f"Speak {SLOW} {SLOW * 5}"
        await asyncio.gather(*(sse(server.port, text, mine) for mine in stamps))
        shares.append((cpu(pid) - before) / (time.perf_counter() - begun) * 100)
        found = sorted(b - a for mine in stamps for a, b in pairwise(mine))
        gaps.append(found[int(len(found) * 0.99)] * 1000)
    rows = [(f"{MANY} streams at {SLOW} tokens/s", ""), ("p99 gap, ms", spread(gaps, ".1f"))]
    table([*rows, ("of a core, %", spread(shares, ".0f"))])


async def whole(server: Live, worker: Worker, tokens: int, runs: int) -> None:
    """Tokens a second of a real engine, through the API and bare, in turn."""
    rows = [("a real engine", "streams", "API tokens/s", "bare tokens/s", "API : bare")]
    for streams in (1, 4):
        kept: dict[str, list[float]] = defaultdict(list)
        for _ in range(runs):
            begun = time.perf_counter()
            more = {"max_tokens": tokens, "ban_eos_token": True, "temperature": 0}
            texts = [f"a b c {n}" for n in range(streams)]
            await asyncio.gather(*(sse(server.port, text, [], **more) for text in texts))
            kept["api"].append(streams * tokens / (time.perf_counter() - begun))
            begun = time.perf_counter()
            await asyncio.gather(*(bare(worker, text, tokens) for text in texts))
            kept["bare"].append(streams * tokens / (time.perf_counter() - begun))
        ratios = [a / b for a, b in zip(kept["api"], kept["bare"], strict=True)]
        figures = (spread(kept["api"], ".1f"), spread(kept["bare"], ".1f"), spread(ratios, ".3f"))
        rows.append(("", str(streams), *figures))
    table(rows)


async def bare(worker: Worker, text: str, tokens: int) -> None:
    sampling = Sampling(max_new_tokens=tokens, ban_eos_token=True, temperature=0)
    request = Request(messages=(Message("user", (Text(text),)),), sampling=sampling)
    async for _ in worker.generate(request):
        pass


@asynccontextmanager
async def engine(python: Path, code: Path, model: Path) -> AsyncGenerator[Worker]:
    """A worker with a model, without a server."""
    worker = await Worker.start(python, f"{code}:Engine")
    try:
        await worker.load(model, {})
        yield worker
    finally:
        await worker.close()


async def main() -> None:
    args = arguments(__doc__, size="110m", tokens=100)
    header("APIs")
    python = python_of(args.environments_dir / "xllamacpp")
    async with AsyncExitStack() as stack:
        enter: Any = stack.enter_async_context
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = install(scratch / "one", "metronome")
        settings = scratch / "settings.yaml"
        settings.write_text(SETTINGS)
        flags = ("--model-dir", str(folder), "--settings", str(settings), "--model", "beat.tick")
        server: Live = await enter(live(scratch / "one", args.environments_dir, *flags))
        alone = scratch / "alone"
        alone.mkdir()
        (alone / "environments").symlink_to(args.environments_dir)
        app: App = await enter(running("metronome", *MODIFIERS, folders=[HERE], data=alone))
        (alone / "beat.tick").touch()
        await app.kernel.slot().load(alone / "beat.tick")
        await ready(server)
        with sink() as port:
            for rate in RATES:
                await costs(server, app, port, rate, args.runs)
        code = HERE / "metronome" / "worker.py"
        worker = await enter(engine(python, code, scratch / "beat.tick"))
        await first(server, worker, args.runs)
        await crowd(server, args.runs)

        two = scratch / "two" / "models"
        two.mkdir(parents=True)
        file = models.make(two, args.size)
        flags = ("--model-dir", str(two), "--model", file.name)
        server = await enter(live(scratch / "two", args.environments_dir, *flags))
        await ready(server)
        code = ROOT / "extensions" / "llama_cpp" / "worker.py"
        worker = await enter(engine(python, code, file))
        print(f"{file.name}, llama.cpp as it is installed first:")
        await whole(server, worker, args.tokens, args.runs)
    print(f"At the end: {load()}")


async def ready(server: Live) -> None:
    """Wait until its model is loaded."""
    async with asyncio.timeout(120):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                f"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
            )
            said = await reader.read()
            writer.close()
            if b'"loaded"' in said:
                return
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
