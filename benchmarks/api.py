"""What the APIs cost: python -m benchmarks.api

An engine that keeps time (benchmarks/metronome) speaks to eight programs at once, through OpenAI's
events and through the WebSocket; the floors are the same replies taken from the kernel, with the
modifiers that a server has by itself, and then written to as many connections. Then the
delay of a first token beside the bare worker's, a hundred programs at thirty tokens a second, and
the words a second of a real engine through the API beside the bare one's. CPU time, medians of
several runs, kinds in turn.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from benchmarks import models, programs
from benchmarks.common import (
    HERE,
    ROOT,
    arguments,
    child,
    children,
    cpu,
    header,
    install,
    load,
    spread,
    table,
)
from benchmarks.joined import Joined
from kernel.contract import Message, Request, Sampling, Text, Turn
from kernel.environments import python_of
from kernel.testing import App, running
from kernel.worker import Worker
from tests.live import Live, live

STREAMS, SECONDS = 8, 3
CORES = os.sched_getaffinity(0)
RATES = (100, 400)
PACES = {"Beat": "in step, as an engine batches them", "Turn": "each alone, as far apart as can be"}
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


def apart(process: int) -> None:
    """Give what is measured a core of its own; all else that we started shares the others."""
    for each in (os.getpid(), *children(os.getpid())):
        os.sched_setaffinity(each, {0} if each == process else CORES - {0} or CORES)


def together() -> None:
    for each in (os.getpid(), *children(os.getpid())):
        os.sched_setaffinity(each, CORES)


async def costs(server: Live, app: App, port: int, pace: str, rate: int, runs: int) -> None:
    """Server CPU of an event at eight streams of so many tokens a second."""
    pid, texts = child(server.port), [f"{pace} {rate} {rate * SECONDS}"] * STREAMS
    kept: dict[str, list[float]] = defaultdict(list)

    async def served() -> int:
        return sum(map(len, await asyncio.gather(*(programs.sse(server.port, t) for t in texts))))

    async def taken() -> int:
        return sum(await asyncio.gather(*(kernel(app, text) for text in texts)))

    async def spoken() -> int:
        return len(await programs.ws(server.port, texts))

    own = {
        "taken from the kernel": taken,
        "and written, a connection each": lambda: written(app, texts, port, one=False),
        "and written to one connection": lambda: written(app, texts, port, one=True),
    }
    theirs = {"OpenAI's events": served, "WebSocket": spoken}
    kinds = [*{**own, **theirs}.items()]
    for _ in range(runs):
        before = cpu(pid)
        await asyncio.sleep(SECONDS)
        idle = cpu(pid) - before
        kinds.append(kinds.pop(0))  # Who is measured first differs from round to round.
        for name, work in kinds:
            process = pid if name in theirs else os.getpid()
            apart(process)
            begun = cpu(process)
            count = await work()
            spent = cpu(process) - begun - (idle if name in theirs else 0)
            kept[name].append(spent / count * 1e6)
    together()
    floors = dict(zip(theirs, [*own][1:], strict=True))
    print(f"{STREAMS} streams, {PACES[pace]}:")
    rows = [(f"{rate} tokens/s each", "us of CPU an event", "above that floor")]
    for name in (*own, *theirs):
        values = kept[name]
        pairs = zip(values, kept[floors.get(name, name)], strict=True)
        above = spread((mine - floor for mine, floor in pairs), ".1f") if name in theirs else ""
        rows.append((name, spread(values, ".1f"), above))
    table(rows)


async def first(server: Live, worker: Worker, runs: int) -> None:
    """What an API adds to the delay of a first token."""
    kept: dict[str, list[float]] = defaultdict(list)
    request = Request(messages=(Message("user", (Text("Speak 100 3"),)),))
    for n in range(runs * 4):
        begun = time.perf_counter()
        stamps = await programs.sse(server.port, "Speak 100 3")
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
        before, begun = cpu(pid), time.perf_counter()
        text = f"Speak {SLOW} {SLOW * 5}"
        stamps = await asyncio.gather(*(programs.sse(server.port, text) for _ in range(MANY)))
        shares.append((cpu(pid) - before) / (time.perf_counter() - begun) * 100)
        found = sorted(b - a for mine in stamps for a, b in pairwise(mine))
        gaps.append(found[int(len(found) * 0.99)] * 1000)
    rows = [(f"{MANY} streams at {SLOW} tokens/s", ""), ("p99 gap, ms", spread(gaps, ".1f"))]
    table([*rows, ("of a core, %", spread(shares, ".0f"))])


async def whole(server: Live, workers: list[Worker], tokens: int, runs: int) -> None:
    """Tokens a second of a real engine through the API, beside two bare ones.

    What the two bare ones differ by is what the machine makes of one and the same.
    """
    rows = [("a real engine", "streams", "API tokens/s", "API : bare", "bare : bare")]
    for streams in (1, 4):
        api, one, other = await rounds(server, workers, streams, tokens, runs)
        ratios = [a / b for bare in (one, other) for a, b in zip(api, bare, strict=True)]
        alike = [a / b for a, b in zip(other, one, strict=True)]
        figures = (spread(api, ".1f"), spread(ratios, ".3f"), spread(alike, ".3f"))
        rows.append(("", str(streams), *figures))
    table(rows)


async def rounds(
    server: Live, workers: list[Worker], streams: int, tokens: int, runs: int
) -> list[list[float]]:
    """Tokens a second of each in every round, the API first; the first, which reads the file, is
    left out. Each begins a round in turn."""
    texts = [f"a b c {n}" for n in range(streams)]
    prompts = [await programs.prompt(server.port, text) for text in texts]
    more = {"max_tokens": tokens, "ban_eos_token": True, "temperature": 0}

    def asked(worker: Worker | None) -> list[Coroutine[Any, Any, Any]]:
        if worker:
            return [bare(worker, prompt, tokens) for prompt in prompts]
        return [programs.sse(server.port, text, **more) for text in texts]

    kinds = [None, *workers]
    kept: list[list[float]] = [[] for _ in kinds]
    for n in range(runs + 1):
        for place in range(len(kinds)):
            kind = (n + place) % len(kinds)
            begun = time.perf_counter()
            await asyncio.gather(*asked(kinds[kind]))
            kept[kind].append(streams * tokens / (time.perf_counter() - begun))
    return [rates[1:] for rates in kept]


async def bare(worker: Worker, prompt: str, tokens: int) -> None:
    sampling = Sampling(max_new_tokens=tokens, ban_eos_token=True, temperature=0)
    async for _ in worker.generate(Request(prompt=prompt, sampling=sampling)):
        pass


@asynccontextmanager
async def engine(python: Path, code: Path, model: Path, **options: Any) -> AsyncGenerator[Worker]:
    """A worker with a model, without a server."""
    worker = await Worker.start(python, f"{code}:Engine")
    try:
        await worker.load(model, options)
        yield worker
    finally:
        await worker.close()


async def main() -> None:
    args = arguments(__doc__, size="110m", tokens=100, threads=0)
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
            for pace, rate in product(PACES, RATES):
                await costs(server, app, port, pace, rate, args.runs)
        code = HERE / "metronome" / "worker.py"
        worker = await enter(engine(python, code, scratch / "beat.tick"))
        await first(server, worker, args.runs)
        await crowd(server, args.runs)

        two = scratch / "two" / "models"
        two.mkdir(parents=True)
        file = models.make(two, args.size)
        flags = ("--model-dir", str(two), "--model", file.name, "--threads", str(args.threads))
        server = await enter(live(scratch / "two", args.environments_dir, *flags))
        await ready(server)
        code = ROOT / "extensions" / "llama_cpp" / "worker.py"
        workers = [await enter(engine(python, code, file, threads=args.threads)) for _ in "ab"]
        threads = args.threads or "as usual"
        print(f"{file.name}, llama.cpp as it is installed first, threads {threads}:")
        await whole(server, workers, args.tokens, args.runs)
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
