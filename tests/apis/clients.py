"""What the tests of clients share: a server with every API, and a model that knows its lines."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from extensions.api_kit.api import PROGRAMS, Programs
from kernel.api import LOADERS, Phase, Refused, Request
from kernel.testing import App, ScriptedLoader, running
from tests.programs import Knowing
from tests.sockets import Served, serving

EXTENSIONS = (
    "openai_api", "anthropic_api", "ollama_api", "llama_server_api",
    "instruct", "models", "reasoning", "tool_calls",
)  # fmt: skip
CAPABLE = ("text", "logprobs", "grammar", "tools", "images")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'
KEY_NEEDED = "api:\n  require_key: true\n"
"""Else programs on this machine need none, whatever they send."""
HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]


def model(*scripts: str, **more: Any) -> Knowing:
    """Says these; each of its words has the logprob -0.5."""
    more = {"capabilities": CAPABLE, "logprobs": (-0.5,), **more}
    return Knowing(*scripts or ("One two.",), **more)


def full(request: Request) -> Any:
    """What an engine says of a prompt that it has no room for."""
    raise Refused("The prompt has 5,000 tokens, and the context of this model 4,096.")


@asynccontextmanager
async def everything(
    model: Knowing | None, settings: str | Mapping[str, Mapping[str, Any]] = ""
) -> AsyncIterator[Served]:
    """A server with all APIs of a family."""
    async with (
        running(*EXTENSIONS, model=model, settings=settings) as app,
        serving(app) as served,
    ):
        yield served


async def with_vectors(app: App) -> None:
    """A model in the slot for vectors."""
    loader: Any = ScriptedLoader(Knowing(capabilities=("embeddings",)))
    app.kernel.registry.add(LOADERS, loader, "test", phase=Phase.NORMAL, rank=0, rewrites=False)
    await app.kernel.slot("embedding").load(Path("scripted"), "scripted")


def programs(app: App) -> Programs:
    """The service that knows the replies under way."""
    [found] = app.kernel.registry.values(PROGRAMS)
    return found


async def freed(app: App, seconds: float = 5) -> None:
    """Until no reply is under way; fails when one goes on."""
    async with asyncio.timeout(seconds):
        await app.until(lambda: not programs(app).runs.live)
