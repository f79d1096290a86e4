"""litellm, which Aider and others speak through, drives a running server by three of its APIs."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel.testing import ROOT
from tests.apis.clients import CALL, CITY, HELLO, everything, freed, full, model, with_vectors
from tests.apis.engine import CALLS, FORCED, LONG, engine
from tests.apis.engine import TOOL as REAL
from tests.programs import Knowing
from tests.sockets import Served

pytestmark = pytest.mark.filterwarnings("ignore:Items? .* using the .ReadOnly. qualifier")
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
PROVIDERS = {"openai": "/v1", "anthropic": ""}
"""What each expects behind the address."""


def lite() -> Any:
    """The package."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # Else it asks the network for prices.
    import litellm  # noqa: PLC0415, it takes five seconds, of whoever collects tests

    return litellm


@asynccontextmanager
async def closed() -> AsyncIterator[None]:
    """litellm is put away before the server looks at what is left open."""
    try:
        yield
    finally:
        core = lite().litellm_core_utils.logging_worker
        await core.GLOBAL_LOGGING_WORKER.stop()
        await lite().close_litellm_async_clients()
        lite().in_memory_llm_clients_cache.flush_cache()


@asynccontextmanager
async def spoken(model: Knowing) -> AsyncIterator[Served]:
    """A server that litellm asks."""
    async with everything(model) as served, closed():
        yield served


@pytest.fixture
async def served(said: Knowing) -> AsyncIterator[Served]:
    async with spoken(said) as served:
        yield served


def told(served: Served, provider: str = "openai", **more: Any) -> dict[str, Any]:
    """What every call is given."""
    address = served.http + PROVIDERS[provider]
    how = {"model": f"{provider}/scripted", "api_base": address, "api_key": "unused"}
    return {**how, "max_retries": 0, **more}


async def ask(served: Served, provider: str = "openai", **more: Any) -> Any:
    return await lite().acompletion(**told(served, provider, **{"messages": HELLO, **more}))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_replies(served: Served, provider: str):
    said = await ask(served, provider)
    assert said.choices[0].message.content == "One two."
    assert (said.choices[0].finish_reason, said.usage.completion_tokens) == ("stop", 2)
    pieces = [piece async for piece in await ask(served, provider, stream=True)]
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "One two."
    assert pieces[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tools(served: Served, said: Knowing, provider: str):
    said.scripts = [CALL, "It rains."]
    called = (await ask(served, provider, tools=[TOOL])).choices[0].message
    [call] = called.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather", {"city": "Paris"},
    )  # fmt: skip
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    talk = [*HELLO, called.model_dump(exclude_none=True), result]
    then = await ask(served, provider, tools=[TOOL], messages=talk)
    assert then.choices[0].message.content == "It rains."


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tools_come_in_a_stream(served: Served, said: Knowing, provider: str):
    said.scripts = [CALL]
    pieces = [each async for each in await ask(served, provider, tools=[TOOL], stream=True)]
    whole = lite().stream_chunk_builder(pieces)
    [call] = whole.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert whole.choices[0].finish_reason == "tool_calls"


async def test_what_aider_sends(served: Served, said: Knowing):
    """Greedy, a forced tool, and a body of its own."""
    said.scripts = [CALL]
    forced = {"type": "function", "function": {"name": "weather"}}
    more = {"top_p": 0.9, "top_k": 20, "min_p": 0.1, "reasoning_effort": "low"}
    reply = await ask(served, temperature=0, tools=[TOOL], tool_choice=forced, extra_body=more)
    assert reply.choices[0].message.tool_calls[0].function.name == "weather"
    sampling = said.asked[-1].sampling
    assert (sampling.temperature, sampling.top_k, sampling.min_p) == (0, 20, 0.1)


async def test_a_schema_is_kept_to(served: Served, said: Knowing):
    said.scripts = ['{"city": "Paris"}']
    schema = {"name": "city", "schema": CITY, "strict": True}
    form = {"type": "json_schema", "json_schema": schema}
    reply = await ask(served, response_format=form)
    assert json.loads(reply.choices[0].message.content) == {"city": "Paris"}
    assert json.loads(said.asked[-1].grammar) == CITY


async def test_likelihoods(served: Served):
    said = await ask(served, logprobs=True, top_logprobs=1)
    assert said.choices[0].logprobs.content[0].logprob == -0.5


async def test_vectors(served: Served):
    await with_vectors(served.app)
    found = await lite().aembedding(**told(served, input=["ab", "c"], encoding_format="float"))
    assert [each["embedding"][0] for each in found.data] == [2.0, 1.0]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_is_wrong_is_raised(served: Served, provider: str):
    with pytest.raises(lite().BadRequestError, match="temperature"):
        await ask(served, provider, temperature=9)


async def test_what_is_too_long_is_known_as_that(
    served: Served, said: Knowing, monkeypatch: pytest.MonkeyPatch
):
    """As Aider tells its user what to do then."""
    monkeypatch.setattr(said, "generate", full)
    messages = [{"role": "user", "content": "word " * 5000}]
    for provider in PROVIDERS:
        with pytest.raises(lite().ContextWindowExceededError):
            await ask(served, provider, messages=messages)


@pytest.mark.long  # It starts a program that imports litellm once more.
async def test_ollama(served: Served, said: Knowing):
    said.scripts = ["One two.", "One two.", CALL]
    command = (sys.executable, "-m", "tests.apis.litellm_program", served.http)
    program = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, cwd=ROOT)
    out, error = await program.communicate()
    assert program.returncode == 0, error.decode()
    heard = json.loads(out)
    assert (heard["reply"], heard["tokens"], heard["stream"]) == ("One two.", 2, "One two.")
    assert heard["call"] == ["weather", {"city": "Paris"}]
    assert "temperature" in heard["wrong"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_leaving_frees_the_engine(provider: str):
    async with spoken(model(gate=asyncio.Semaphore(1))) as served:
        stream: Any = await ask(served, provider, stream=True)
        async for piece in stream:
            if piece.choices[0].delta.content:
                break
        await stream.aclose()
        await freed(served.app)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.engine
async def test_a_real_engine(provider: str, environments_dir: Path):
    async with engine(environments_dir / "xllamacpp") as served, closed():
        said = await ask(served, provider, temperature=0, max_tokens=24)
        words = said.choices[0].message.content
        assert words
        stream = await ask(served, provider, temperature=0, max_tokens=24, stream=True)
        pieces = [piece async for piece in stream]
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == words
        how = {"tools": [REAL], "tool_choice": FORCED, "max_tokens": 400}
        [call] = (await ask(served, provider, **how)).choices[0].message.tool_calls
        assert json.loads(call.function.arguments) in CALLS
        with pytest.raises(lite().BadRequestError, match="context"):
            await ask(served, provider, messages=LONG, max_tokens=24)
