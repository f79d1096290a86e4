"""The ollama package drives a running server: chat, generate, tools, formats, vectors, models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.apis.clients import CALL, CITY, HELLO, KEY_NEEDED, everything, freed, model, with_vectors
from tests.apis.packages import ollama
from tests.programs import Knowing
from tests.sockets import Served

NAME = "scripted"
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "How it is.", "parameters": CITY},
}


def of(served: Served, key: str = "") -> ollama.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return ollama.AsyncClient(host=served.http, headers=headers)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[ollama.AsyncClient]:
    async with of(served, served.key) as client:
        yield client


async def test_chat(client: ollama.AsyncClient):
    whole = await client.chat(NAME, HELLO)
    assert (whole.message.content, whole.done_reason, whole.eval_count) == ("One two.", "stop", 2)
    pieces = [part async for part in await client.chat(NAME, HELLO, stream=True)]
    assert "".join(part.message.content or "" for part in pieces) == "One two."
    assert pieces[-1].done
    limited = await client.chat(NAME, HELLO, options={"num_predict": 1, "temperature": 0})
    assert limited.done_reason == "length"


async def test_generate(client: ollama.AsyncClient):
    whole = await client.generate(NAME, "Once")
    assert whole.response == "One two."
    pieces = [part async for part in await client.generate(NAME, "Once", stream=True)]
    assert "".join(part.response or "" for part in pieces) == "One two."


async def test_thoughts(client: ollama.AsyncClient, said: Knowing):
    said.scripts = ["<think>Hm.</think>So."]
    whole = await client.chat(NAME, HELLO, think=True)
    assert (whole.message.thinking, whole.message.content) == ("Hm.", "So.")


@pytest.mark.parametrize("streams", [False, True])
async def test_tools(client: ollama.AsyncClient, said: Knowing, streams: bool):
    said.scripts = [CALL, "It rains."]
    if streams:
        parts = [part async for part in await client.chat(NAME, HELLO, tools=[TOOL], stream=True)]
        messages = [part.message for part in parts if part.message.tool_calls]
    else:
        messages = [(await client.chat(NAME, HELLO, tools=[TOOL])).message]
    [message] = messages
    assert message.tool_calls
    [call] = message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Paris"})
    talk = [*HELLO, message, {"role": "tool", "content": "rain", "tool_name": "weather"}]
    again = await client.chat(NAME, talk, tools=[TOOL])
    assert again.message.content == "It rains."


async def test_formats(client: ollama.AsyncClient, said: Knowing):
    said.scripts = ['{"city": "Paris"}']
    whole = await client.chat(NAME, HELLO, format=CITY)
    assert whole.message.content == '{"city": "Paris"}'
    assert '"city"' in said.asked[-1].grammar
    await client.generate(NAME, "A city?", format="json")
    assert said.asked[-1].grammar


async def test_vectors(client: ollama.AsyncClient, served: Served):
    with pytest.raises(ollama.ResponseError, match="embedding"):
        await client.embed(NAME, "a")
    await with_vectors(served.app)
    told = await client.embed(NAME, ["ab", "c"])
    assert [each[0] for each in told.embeddings] == [2.0, 1.0]
    assert [*(await client.embeddings(NAME, "ab")).embedding] == [*told.embeddings[0]]


async def test_models(client: ollama.AsyncClient):
    listed = await client.list()
    assert listed.models[0].model == NAME
    running = await client.ps()
    assert [each.model for each in running.models] == [NAME]
    shown = await client.show(NAME)
    assert shown.capabilities
    with pytest.raises(ollama.ResponseError) as raised:
        await client.show("nowhere")
    assert raised.value.status_code == 404


async def test_a_wrong_key(said: Knowing):
    async with everything(said, KEY_NEEDED) as served, of(served, "sk-unknown") as stranger:
        with pytest.raises(ollama.ResponseError) as raised:
            await stranger.chat(NAME, HELLO)
        assert raised.value.status_code == 401


async def test_what_is_wrong_is_raised(served: Served):
    async def drain(client: ollama.AsyncClient) -> None:
        options: Any = {"temperature": "hot"}
        async for _ in await client.chat(NAME, HELLO, options=options, stream=True):
            pass

    async with of(served) as client:
        whole = client.chat(NAME, HELLO, options={"temperature": "hot"})
        for asks in (whole, drain(client)):
            with pytest.raises(ollama.ResponseError) as raised:
                await asks
            assert raised.value.status_code == 400
            assert "temperature" in raised.value.error


async def test_leaving_frees_the_engine():
    gate = asyncio.Semaphore(1)
    async with everything(model(gate=gate)) as served, of(served) as client:
        stream: Any = await client.chat(NAME, HELLO, stream=True)
        async for _ in stream:
            break
        await stream.aclose()
        await freed(served.app)


async def test_the_client_that_is_not_async(served: Served):
    def talk() -> str:
        with ollama.Client(host=served.http) as client:
            parts = client.chat(NAME, HELLO, stream=True)
            return "".join(part.message.content or "" for part in parts)

    assert await asyncio.to_thread(talk) == "One two."
