"""What the tests of clients ask a real engine: a tool of two answers, and too much."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kernel.testing import running
from tests.apis.clients import EXTENSIONS
from tests.engines.real import STORIES, interpreter
from tests.sockets import Served, serving

FILE = STORIES / "stories260K.gguf"
CONTEXT = 1024
LONG: list[Any] = [{"role": "user", "content": "word " * 2 * CONTEXT}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "How it is.", "parameters": WEATHER}
TOOL: Any = {"type": "function", "function": FUNCTION}
FORCED: Any = {"type": "function", "function": {"name": "weather"}}
CALLS = ({"city": "Paris"}, {"city": "Rome"})
"""What a call of it can be."""


@asynccontextmanager
async def engine(environment: Path) -> AsyncIterator[Served]:
    """A server with all APIs of a family, and llama.cpp of this environment with a tiny model."""
    python = interpreter(environment)
    async with running(*EXTENSIONS, "llama_cpp", python=python) as app:
        await app.kernel.slot().load(FILE, "llama_cpp", {"ctx_size": CONTEXT})
        async with serving(app) as served:
            yield served
