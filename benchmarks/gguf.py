"""GGUF models: Spindle beside the C library and other servers: python -m benchmarks.gguf

One file of random weights (benchmarks/models.py), on the same machine, in one run, everybody in
turn: Spindle through /api/ws and its bare worker, a loop of llama_decode that neither samples nor
makes text, llama-cpp-python's class Llama and its server (where its packages are in the
environment), llama-server and llama-batched-bench (--llama-server, --batched-bench, or on the
PATH). Ratios are of pairs of one round, medians of all. In every process GOMP_SPINCOUNT is 500,
flash attention is off, the context has 40,960 tokens, and there are as many threads as Spindle
chooses.

--sizes of 15m, 110m, 1b; --streams at once; --tokens of a reply (0: 128, of 1b 48); --prompt of a
long prompt. `--sizes 15m --runs 2` takes about two minutes, the whole a quarter of an hour.
"""

import asyncio
import random
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.common import HERE, arguments, header, load, spread, table
from benchmarks.gguf_floors import Child, High, Loop, Tool, child
from benchmarks.gguf_long import beside_idle, cancelling, long_prompts, many_users, restarting
from benchmarks.gguf_peers import Peer, llama_server, python_server, whole, worker
from benchmarks.models import CONTEXT, make, prompt
from extensions.llama_cpp.files import threads_for
from kernel.environments import python_of

QUIET = 1.0
"""Seconds between two of them, so that nobody tidies up in another's time."""
SHORT = 16
"""Tokens of the prompts where it is the writing that counts."""
FLOOR = "llama_decode alone"
SERVER = "import llama_cpp.server.app"
Kept = dict[int, dict[str, list[float]]]
"""What was measured, by how many streams and whose."""


async def writing(peers: list[Peer], widths: list[int], tokens: int, runs: int) -> None:
    """Tokens a second of so many replies at once, whose prompts share nothing, all included.

    Each begins a round in turn: who comes first finds another machine than who comes last.
    """
    seconds: Kept = defaultdict(lambda: defaultdict(list))
    firsts: Kept = defaultdict(lambda: defaultdict(list))
    for n in range(runs):
        order = [*peers[n % len(peers) :], *peers[: n % len(peers)]]
        for width in widths:
            for peer in order:
                if width > peer.most:
                    continue  # one after the other: as with one
                prompts = [prompt(random.Random(), SHORT) for _ in range(width)]
                took, first = await peer.job(prompts, tokens)
                await asyncio.sleep(QUIET)
                seconds[width][peer.name].append(took)
                if first:
                    firsts[width][peer.name].append(max(first))
    floor, other = FLOOR, "llama-server"
    for width in widths:
        title = f"{width} at once, {SHORT} tokens read and {tokens} written by each"
        rows: list[tuple[str, ...]] = [
            (title, "tokens/s", f"of {floor}", f"of {other}", "last one's first token, ms")
        ]
        for name in (peer.name for peer in peers if width <= peer.most):
            took = seconds[width][name]
            rate = spread((width * tokens / each for each in took), ",.0f")
            ratios = [ratio(seconds[width], name, of) for of in (floor, other)]
            first = [each * 1000 for each in firsts[width][name]]
            rows.append((name, rate, *ratios, spread(first, ",.0f") if first else ""))
        table(rows)


def ratio(seconds: dict[str, list[float]], name: str, of: str) -> str:
    """How much faster one was than another, the median of the rounds."""
    if of not in seconds or of == name:
        return ""
    pairs = zip(seconds[of], seconds[name], strict=True)
    return f"{statistics.median(theirs / mine for theirs, mine in pairs):.2f}"


async def costs(batcher: Child, widths: list[int], tokens: int, runs: int) -> None:
    """Where the engine's thread spends a token."""
    parts = ("llama_decode", "the samplers, in C", "Python", "the frame")
    rows: list[tuple[str, ...]] = [("us of CPU a token, at once", *parts)]
    kept: dict[int, list[list[float]]] = defaultdict(list)
    for run in range(runs + 1):
        for width in widths:
            figures = await batcher.figures(f"{width} {tokens}")
            if run:  # the first was a warm-up
                kept[width].append(figures)
    for width, runs_of in kept.items():
        cells = [spread(each, ".1f") for each in zip(*runs_of, strict=True)]
        rows.append((str(width), *cells))
    table(rows)


async def stopping(loop: Child, tokens: int, runs: int) -> None:
    """What it costs that a step can be stopped: llama.cpp asks a function before every node."""
    kinds = {"none": "nothing is asked", "strlen": "strlen, as here", "python": "a Python function"}
    kept: dict[str, list[float]] = defaultdict(list)
    for _ in range(2 * runs):
        for kind in kinds:
            kept[kind].append(await loop.ask(f"1 {SHORT} {tokens} {kind}") / tokens * 1e6)
    rows = [("abort", "us a token", "of nothing is asked")]
    for kind, label in kinds.items():
        of = statistics.median(b / a for a, b in zip(kept["none"], kept[kind], strict=True))
        rows.append((label, spread(kept[kind], ",.0f"), f"{of:.3f}"))
    table(rows)


def has_server(python: Path) -> bool:
    return subprocess.run([python, "-c", SERVER], capture_output=True).returncode == 0


async def measure(size: str, args: Any, python: Path, scratch: Path) -> None:
    model = make(scratch / "models", size)
    threads = threads_for(0, model.stat().st_size)
    tokens, small = args.tokens or (48 if size == "1b" else 128), threads == 1
    runs = args.runs if small else min(args.runs, 3)
    widths = [int(each) for each in args.streams.split(",")]
    print(f"{model.name}: {model.stat().st_size / 1e6:,.1f} MB, {threads} threads. {load()}\n")
    async with AsyncExitStack() as stack:
        enter: Any = stack.enter_async_context
        native = python.parents[1].name.endswith("native")
        data = scratch / f"data-{size}"
        ours = [await enter(worker(python, model))]
        ours += [await enter(whole(data, args.environments_dir, model))]
        peers: list[Peer] = [*ours]
        script = (python, HERE / "bare_llama.py")
        more = (model, str(threads), str(CONTEXT))
        if native:
            twice = (FLOOR, f"{FLOOR}, again")
            peers[:0] = [Loop(await enter(child(*script, "loop", *more)), name) for name in twice]
            peers += [High(await enter(child(*script, "high", *more)))]
        if native and has_server(python):
            peers += [await python_server(stack, python, model, threads)]
        if program := args.llama_server or shutil.which("llama-server"):
            peers += [await llama_server(stack, program, model, threads)]
        if program := args.batched_bench or shutil.which("llama-batched-bench"):
            peers[:0] = [Tool(program, model, threads)]
        for peer in peers:
            await peer.job([prompt(random.Random(), SHORT)], 8)  # a warm-up
        await writing(peers, widths, tokens, runs)
        users = [peer for peer in peers if not isinstance(peer, Loop | Tool)]
        cold = await long_prompts(users, args.prompt, runs if small else 2)
        await many_users([each for each in users if each.most > 1], args.prompt, size, runs)
        await cancelling([each for each in users if each.most > 1], args.prompt, cold, runs)
        if native:
            batcher = await enter(child(python, HERE / "bare_batcher.py", model))
            await costs(batcher, widths, 4 * tokens if small else tokens, runs)
        if native and small:
            fresh = await enter(worker(python, model))  # Others fill the memory for what is idle.
            await beside_idle(fresh, args.prompt, runs)
            await stopping(await enter(child(*script, "loop", *more)), 2 * tokens, runs)
    await restarting(python, args.environments_dir, model, scratch / f"again-{size}", args.prompt)


async def main() -> None:
    more = {"sizes": "15m,1b", "streams": "1,4,8,16", "llama_server": "", "batched_bench": ""}
    args = arguments(__doc__, tokens=0, prompt=2000, **more)
    header("GGUF")
    python = python_of(args.environments_dir / "xllamacpp-native")
    if not python.is_file():
        python = python_of(args.environments_dir / "xllamacpp")
        print("The native engine is not built, so this is the prebuilt one, beside less.")
    elif not has_server(python):
        print("The packages of llama_cpp.server are not in the environment: it is left out.")
    with tempfile.TemporaryDirectory() as scratch:
        for size in args.sizes.split(","):
            await measure(size, args, python, Path(scratch))
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
