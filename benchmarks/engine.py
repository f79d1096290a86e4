"""How fast the engine of transformers writes: python -m benchmarks.engine

A Llama of random weights in bfloat16, with --layers 16 as large as Llama 3.2 1B, on the card if
there is one and on the processor. The floor is transformers' own generate with the same model in a
process of its own, which streams nothing: one reply, and several in one batch. Prompts have 32
tokens; reading them is in the time. Runs of both in turn, after a warm-up.
"""

import asyncio
import random
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks.common import HERE, ROOT, arguments, header, load, spread, table
from kernel.contract import Request, Sampling
from kernel.environments import python_of
from kernel.worker import Worker

MODEL, ENGINE = ROOT / "tests/gpu/llama.py", ROOT / "extensions/transformers/worker.py"
SEES = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


PROMPT = 32


class Kind(NamedTuple):
    """What is asked for at once."""

    streams: int
    sampled: bool

    def __str__(self) -> str:
        count = "one reply" if self.streams == 1 else f"{self.streams} replies together"
        return f"{count}, {'sampled' if self.sampled else 'greedy'}"


KINDS = [Kind(streams, sampled) for streams in (1, 16) for sampled in (False, True)]


async def ours(worker: Worker, kind: Kind, tokens: int) -> float:
    """Seconds until the last of the replies has ended."""
    sampling = Sampling(max_new_tokens=tokens, ban_eos_token=True, temperature=0.0)
    if kind.sampled:
        sampling = replace(sampling, temperature=0.8, top_p=0.95)

    async def write() -> None:
        ids = tuple(random.choices(range(3, 500), k=PROMPT))
        reply = worker.generate(Request(token_ids=ids, sampling=sampling))
        async for _ in reply:
            pass
        assert reply.finish
        assert reply.finish.usage.completion == tokens, reply.finish

    begun = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(kind.streams)))
    return time.perf_counter() - begun


async def theirs(bare: asyncio.subprocess.Process, kind: Kind, tokens: int) -> float:
    assert bare.stdin
    assert bare.stdout
    bare.stdin.write(f"{kind.streams} {tokens} {int(kind.sampled)}\n".encode())
    return float(await bare.stdout.readline())


@asynccontextmanager
async def engine(python: Path, folder: Path, device: str) -> AsyncGenerator[Worker]:
    worker = await Worker.start(python, f"{ENGINE}:Engine")
    try:
        await worker.load(folder, {"device": device, "dtype": "bfloat16"})
        yield worker
    finally:
        await worker.close()


@asynccontextmanager
async def bare_model(
    python: Path, folder: Path, device: str, cudnn: bool
) -> AsyncGenerator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    bare = await asyncio.create_subprocess_exec(
        *(python, HERE / "bare.py", folder, device, str(int(cudnn))), stdin=pipe, stdout=pipe
    )
    try:
        yield bare
    finally:
        assert bare.stdin
        bare.stdin.close()
        await bare.wait()


async def first_reply(python: Path, folder: Path, device: str, tokens: int) -> None:
    """What a process makes of its first reply, after a few tokens to warm up."""
    kind, few = Kind(1, False), 8
    async with engine(python, folder, device) as worker:
        await ours(worker, kind, few)
        took = await ours(worker, kind, tokens)
    async with bare_model(python, folder, device, cudnn=True) as bare:
        await theirs(bare, kind, few)
        floor = await theirs(bare, kind, tokens)
    print(f"{device}, a first reply: {tokens / took:.1f} tokens/s, ", end="")
    print(f"bare generate as it comes {tokens / floor:.1f}, ratio {floor / took:.2f}")


async def measure(python: Path, folder: Path, device: str, runs: int, tokens: int) -> None:
    kept: dict[Kind, list[tuple[float, float]]] = defaultdict(list)
    await first_reply(python, folder, device, tokens)
    async with (
        engine(python, folder, device) as worker,
        bare_model(python, folder, device, cudnn=False) as bare,
    ):
        for run in range(runs + 1):
            for kind in KINDS:
                pair = await ours(worker, kind, tokens), await theirs(bare, kind, tokens)
                if run:  # the first was a warm-up
                    kept[kind].append(pair)
    rows = [("what", "the engine, tokens/s", "bare generate, tokens/s", "ratio")]
    for kind, pairs in kept.items():
        said = kind.streams * tokens
        rows.append(
            (
                f"{device}, {kind}",
                spread((said / a for a, _ in pairs), ".1f"),
                spread((said / b for _, b in pairs), ".1f"),
                spread((b / a for a, b in pairs), ".2f"),
            )
        )
    table(rows)


async def main() -> None:
    args = arguments(__doc__, layers=16, vocabulary=128_256, tokens=256)
    python = python_of(args.environments_dir / "torch")
    seen = subprocess.run([python, "-c", SEES], capture_output=True, text=True, check=True)  # noqa: ASYNC221  nothing else runs yet
    card = seen.stdout.strip()
    header(f"The engine of transformers on {card or 'a processor'}")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "llama"
        command = [python, MODEL, folder, str(args.layers), str(args.vocabulary)]
        subprocess.run(command, check=True)  # noqa: ASYNC221
        size = (folder / "model.safetensors").stat().st_size
        print(f"{args.layers} layers, {args.vocabulary:,} tokens, {size / 1e9:.2f} GB in bfloat16")
        if card:
            await measure(python, folder, "cuda", args.runs, args.tokens)
        await measure(python, folder, "cpu", min(args.runs, 3), max(args.tokens // 16, 4))
    print(f"At the end: {load()}")


if __name__ == "__main__":
    asyncio.run(main())
