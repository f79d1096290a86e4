"""Who writes replies from a GGUF file: Spindle's worker and server, and what else there is."""

import asyncio
import json
import os
import random
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from websockets.asyncio.client import connect

from benchmarks.common import ROOT
from benchmarks.models import CONTEXT, prompt
from kernel.contract import Request, Sampling
from kernel.worker import ALWAYS, Worker
from tests.live import free_port, live

MOST = 16
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
ENGINE = ROOT / "extensions/llama_cpp/worker.py"


class Reply(NamedTuple):
    """Seconds until the first text and until the end; tokens of its prompt that were known."""

    first: float
    took: float
    cached: int = 0


class Peer:
    """One way to have replies written."""

    def __init__(self, name: str, most: int = MOST) -> None:
        self.name, self.most = name, most
        """The replies it writes at once; more wait for each other."""

    def write(self, prompt: str, tokens: int) -> AsyncGenerator[dict[str, int]]:
        """Yields with each piece of text; with the last, what it says of its prompt's tokens."""
        raise NotImplementedError

    async def reply(self, prompt: str, tokens: int) -> Reply:
        """One of so many tokens, whole."""
        begun, first, known = time.perf_counter(), 0.0, dict[str, int]()
        async for said in self.write(prompt, tokens):
            first, known = first or time.perf_counter() - begun, said
        took = time.perf_counter() - begun
        return Reply(first, took, known.get("cached", 0))

    async def job(self, prompts: Sequence[str], tokens: int) -> tuple[float, list[float]]:
        """Seconds for all of them at once, and to the first token of each."""
        begun = time.perf_counter()
        replies = await asyncio.gather(*(self.reply(each, tokens) for each in prompts))
        return time.perf_counter() - begun, [each.first for each in replies]

    async def cancel(self, prompt: str, after: float) -> float:
        """Seconds until it is idle, when a reply is cancelled so many after it was asked for."""
        pieces = self.write(prompt, 4096)

        async def follow() -> None:
            async for _ in pieces:
                pass

        task = asyncio.create_task(follow())
        await asyncio.sleep(after)
        assert not task.done(), f"{self.name} was done before it could be cancelled"
        begun = time.perf_counter()
        task.cancel()
        await asyncio.wait({task})
        await pieces.aclose()
        await self.idle()
        return time.perf_counter() - begun

    async def idle(self) -> None:
        """Returns when nothing runs any more."""


class Bare(Peer):
    """Spindle's worker with no server around it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__("Spindle's worker")
        self.worker = worker

    async def write(self, prompt: str, tokens: int) -> AsyncGenerator[dict[str, int]]:
        sampling = Sampling(max_new_tokens=tokens, ban_eos_token=True, **SAMPLING)
        reply = self.worker.generate(Request(prompt=prompt, sampling=sampling))
        try:
            async for _ in reply:
                yield {}
            assert reply.finish
            usage = reply.finish.usage
            assert usage.completion == tokens, reply.finish
            yield {"prompt": usage.prompt, "cached": usage.cached}
        finally:
            reply.cancel()
            async for _ in reply:
                pass


class Whole(Peer):
    """Spindle's server, over the WebSocket of its protocol, each user with one of their own."""

    def __init__(self, port: int) -> None:
        super().__init__("Spindle, /api/ws")
        self.address = f"ws://127.0.0.1:{port}/api/ws"

    async def write(self, prompt: str, tokens: int) -> AsyncGenerator[dict[str, int]]:
        sampling = {"max_new_tokens": tokens, "ban_eos_token": True, **SAMPLING}
        async with connect(self.address, compression=None) as socket:
            name = f"r{random.getrandbits(60)}"
            asked = {"type": "start", "id": name, "prompt": prompt, "sampling": sampling}
            await socket.send(json.dumps(asked))
            ended = False
            try:
                while not ended:
                    event = json.loads(await socket.recv())
                    ended = event["type"] in ("done", "error")
                    if event["type"] == "error":
                        raise LookupError(event["error"]["message"])
                    if ended:
                        yield event["usage"]
                    elif event["type"] == "delta":
                        yield {}
            finally:
                if not ended:
                    await socket.send(json.dumps({"type": "cancel", "stream": name}))
                    while json.loads(await socket.recv())["type"] not in ("done", "error"):
                        pass


class Http(Peer):
    """A server that streams JSON events over HTTP."""

    def __init__(self, name: str, port: int, path: str, most: int = MOST, **asked: Any) -> None:
        super().__init__(name, most)
        self.port, self.path, self.asked = port, path, {"stream": True, **SAMPLING, **asked}

    async def write(self, prompt: str, tokens: int) -> AsyncGenerator[dict[str, int]]:
        asked = {**self.asked, "prompt": prompt, "max_tokens": tokens, "n_predict": tokens}
        async with request(self.port, "POST", self.path, asked) as lines:
            async for line in lines:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                known = event.get("timings") or {}
                yield {
                    "prompt": event.get("tokens_evaluated", 0),
                    "cached": known.get("cache_n", 0),
                }

    async def idle(self) -> None:
        while True:
            async with request(self.port, "GET", "/slots", {}) as lines:
                said = b"".join([line async for line in lines])
            if b'"is_processing":true' not in said:
                return


@asynccontextmanager
async def request(
    port: int, method: str, path: str, data: dict[str, Any]
) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The lines of an answer, by hand: a library would cost more than what is measured."""
    body = json.dumps(data).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        first = await reader.readline()
        assert b" 200 " in first, first + await reader.read(2000)
        yield reader
    finally:
        writer.close()


@asynccontextmanager
async def serving(port: int, *command: str | Path) -> AsyncGenerator[None]:
    """A server that answers at its port, ended with the block."""
    server = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **ALWAYS}, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        while True:
            assert server.returncode is None, f"{command[0]} ended by itself"
            try:
                async with request(port, "GET", "/v1/models", {}):
                    break
            except (OSError, AssertionError):
                await asyncio.sleep(0.2)
        yield
    finally:
        server.terminate()
        await server.wait()


@asynccontextmanager
async def worker(python: Path, model: Path) -> AsyncGenerator[Bare]:
    started = await Worker.start(python, f"{ENGINE}:Engine")
    try:
        await started.load(model, {})
        yield Bare(started)
    finally:
        await started.close()


@asynccontextmanager
async def whole(data: Path, environments: Path, model: Path) -> AsyncGenerator[Whole]:
    flags = ("--model-dir", str(model.parent), "--model", model.name)
    native = "extensions: {llama_cpp: {variant: native}}\n"
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread((data / "settings.yaml").write_text, native, "utf-8")
    async with live(data, environments, *flags) as server:
        peer = Whole(server.port)
        for _ in range(100):  # it answers before it loads the model
            with suppress(LookupError):
                await peer.reply(prompt(random.Random(), 8), 4)
                break
            await asyncio.sleep(0.2)
        yield peer


async def llama_server(stack: AsyncExitStack, program: str, model: Path, threads: int) -> Peer:
    port = free_port()
    flags = f"--port {port} -c {CONTEXT} -np {MOST} -kvu -fa off -b 512 -ub 512 -t {threads}"
    await stack.enter_async_context(serving(port, program, "-m", model, *flags.split()))
    return Http("llama-server", port, "/completion", ignore_eos=True, cache_prompt=True)


async def python_server(stack: AsyncExitStack, python: Path, model: Path, threads: int) -> Peer:
    port = free_port()
    flags = f"--port {port} --n_ctx {CONTEXT} --n_threads {threads} --n_threads_batch {threads} "
    flags += "--interrupt_requests false"  # or the next request ends the one before it
    command = (python, "-m", "llama_cpp.server", "--model", model, *flags.split())
    await stack.enter_async_context(serving(port, *command))
    return Http("llama_cpp.server", port, "/v1/completions", most=1, logit_bias={"2": -100})
