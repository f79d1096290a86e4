"""What the tests of real engines share: a worker in the engine's environment, and a model."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel.contract import Delta, Finish, Request, Sampling
from kernel.environments import python_of
from kernel.generation import Generation
from kernel.worker import Worker

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "tests" / "data" / "stories260K"
FAULTY = ROOT / "tests" / "engines" / "faulty.py"
STORY = ", there was a little girl named Lily. She loved to play outside in the p"
"""How both engines go on after "Once upon a time": the likeliest 24 tokens."""
AT_ONCE = 2
"""Seconds that a cancelled reply may go on where a machine is busy; else it is 0.2, or a step."""


def interpreter(environment: Path, package: str = "") -> Path:
    """The Python of an engine's environment; the test is skipped where that was never built, or
    lacks a package."""
    python = python_of(environment)
    if not python.is_file() or (package and not [*environment.glob(f"**/site-packages/{package}")]):
        pytest.skip(f"{environment} has no {package or 'Python'}; python -m tests builds it")
    return python


@asynccontextmanager
async def engine(
    extension: str, environment: Path, file: Path | None = None
) -> AsyncIterator[Worker]:
    """The worker of an extension, or another `file` in its environment; the test is skipped where
    that was never built."""
    python = interpreter(environment)
    file = file or ROOT / "extensions" / extension / "worker.py"
    worker = await Worker.start(python, f"{file}:Engine")
    try:
        yield worker
    finally:
        await worker.close()


async def ask(
    worker: Worker, prompt: str | None = "Once upon a time", **more: Any
) -> tuple[str, Finish, list[Delta]]:
    """A greedy reply of 24 tokens, unless the sampling fields given say otherwise."""
    known = Request.__struct_fields__
    request = {name: value for name, value in more.items() if name in known}
    fields = {name: value for name, value in more.items() if name not in known}
    sampling = Sampling(**{"temperature": 0.0, "max_new_tokens": 24, **fields})
    if "messages" in request or "token_ids" in request:
        prompt = None
    reply = worker.generate(Request(prompt=prompt, sampling=sampling, **request))
    deltas = [delta async for delta in reply]
    assert reply.finish
    return "".join(delta.text for delta in deltas), reply.finish, deltas


async def late_words(reply: Generation, question: Coroutine[Any, Any, Any]) -> int:
    """Cancel a reply: how many of its words came once the engine had heard that, up to its end.

    An engine answers the `question` beside its steps, so after it has heard what was sent before.
    """
    reply.cancel()
    heard = asyncio.create_task(question)
    late = sum([heard.done() async for _ in reply])
    await heard
    return late
