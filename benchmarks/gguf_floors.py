"""The C library with nothing around it, and llama-cpp-python's class, beside benchmarks.gguf."""

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.gguf_peers import Peer, Reply
from benchmarks.models import CONTEXT
from kernel.worker import ALWAYS


class Child:
    """A program of ours in the engine's Python, which answers a line with figures."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self._alone = process, asyncio.Lock()

    async def ask(self, line: str) -> float:
        return (await self.figures(line))[0]

    async def figures(self, line: str) -> list[float]:
        assert self._process.stdin
        assert self._process.stdout
        async with self._alone:
            self._process.stdin.write(line.encode() + b"\n")
            return [float(each) for each in (await self._process.stdout.readline()).split()]


@asynccontextmanager
async def child(*command: str | Path) -> AsyncGenerator[Child]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={**os.environ, **ALWAYS}
    )
    try:
        yield Child(process)
    finally:
        process.terminate()
        await process.wait()


class Loop(Peer):
    """The C library's batched decoding and nothing else."""

    def __init__(self, child: Child, name: str) -> None:
        super().__init__(name)
        self.child = child

    async def job(self, prompts: Sequence[str], tokens: int) -> tuple[float, list[float]]:
        read = len(prompts[0].split()) + 1
        return await self.child.ask(f"{len(prompts)} {read} {tokens} none"), []


class Tool(Peer):
    """The same by llama.cpp's own program, which reads the file anew each time."""

    def __init__(self, program: str, model: Path, threads: int) -> None:
        super().__init__("llama-batched-bench")
        flags = f"-c {CONTEXT} -b 512 -ub 512 -fa off -kvu -t {threads} --output-format jsonl"
        self.command = (program, "-m", str(model), *flags.split())

    async def job(self, prompts: Sequence[str], tokens: int) -> tuple[float, list[float]]:
        read = len(prompts[0].split()) + 1
        kind = f"-npp {read} -ntg {tokens} -npl {len(prompts)}"
        process = await asyncio.create_subprocess_exec(
            *self.command, *kind.split(), env={**os.environ, **ALWAYS}, stdout=PIPE, stderr=DEVNULL
        )
        said, _ = await process.communicate()
        line = next(line for line in said.decode().splitlines() if line.startswith("{"))
        return json.loads(line)["t"], []


class High(Peer):
    """llama-cpp-python's class, which writes one reply after the other."""

    def __init__(self, child: Child) -> None:
        super().__init__("llama-cpp-python's Llama", most=1)
        self.child = child

    async def reply(self, prompt: str, tokens: int) -> Reply:
        first, took = await self.child.figures(f"{tokens} {json.dumps(prompt)}")
        return Reply(first, took)
