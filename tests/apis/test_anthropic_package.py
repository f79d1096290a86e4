"""The anthropic package drives a running server: messages, tools, thoughts, counts, errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.apis.clients import CALL, CITY, HELLO, KEY_NEEDED, everything, freed, model
from tests.apis.packages import anthropic
from tests.programs import Knowing
from tests.sockets import Served

ASK: dict[str, Any] = {"model": "scripted", "messages": HELLO, "max_tokens": 100}
TOOL: Any = {"name": "weather", "description": "How it is.", "input_schema": CITY}


def of(served: Served, key: str = "unused", **more: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=served.http, api_key=key, **more)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with of(served, served.key) as client:
        yield client


async def test_messages(client: anthropic.AsyncAnthropic, said: Knowing):
    whole = await client.messages.create(**ASK, system="Be brief.")
    assert [block.type for block in whole.content] == ["text"]
    assert whole.content[0].text == "One two."
    assert (whole.role, whole.stop_reason) == ("assistant", "end_turn")
    assert whole.usage.output_tokens == 2
    messages = said.asked[-1].messages
    assert messages
    assert (messages[0].role, messages[0].text) == ("system", "Be brief.")
    limited = await client.messages.create(**{**ASK, "max_tokens": 1})
    assert limited.stop_reason == "max_tokens"


async def test_stream(client: anthropic.AsyncAnthropic):
    async with client.messages.stream(**ASK) as stream:
        text = [piece async for piece in stream.text_stream]
        whole = await stream.get_final_message()
    assert "".join(text) == "One two."
    assert len(text) == 2
    assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 2)


async def test_thoughts(client: anthropic.AsyncAnthropic, said: Knowing):
    said.scripts = ["<think>Hm.</think>So."]
    async with client.messages.stream(
        **{**ASK, "max_tokens": 2000}, thinking={"type": "enabled", "budget_tokens": 1024}
    ) as stream:
        whole: Any = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert (whole.content[0].thinking, whole.content[1].text) == ("Hm.", "So.")


@pytest.mark.parametrize("streams", [False, True])
async def test_tools(client: anthropic.AsyncAnthropic, said: Knowing, streams: bool):
    said.scripts = [CALL, "It rains."]
    if streams:
        async with client.messages.stream(**ASK, tools=[TOOL]) as stream:
            whole: Any = await stream.get_final_message()
    else:
        whole = await client.messages.create(**ASK, tools=[TOOL])
    [call] = [block for block in whole.content if block.type == "tool_use"]
    assert (whole.stop_reason, call.name, call.input) == ("tool_use", "weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    talk: Any = [*HELLO, {"role": "assistant", "content": whole.content},
                 {"role": "user", "content": [result]}]  # fmt: skip
    again: Any = await client.messages.create(**{**ASK, "messages": talk}, tools=[TOOL])
    assert again.content[0].text == "It rains."


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic):
    counted = await client.messages.count_tokens(model="scripted", messages=HELLO)
    assert counted.input_tokens > 0


async def test_models(client: anthropic.AsyncAnthropic):
    listed = await client.models.list()
    assert listed.data[0].id == "scripted"


class Counter:
    """Counts the requests that a client really sends."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, _: Any) -> None:
        self.sent += 1


async def test_what_is_wrong_is_raised_and_not_asked_again(said: Knowing):
    async with everything(said, KEY_NEEDED) as served:
        await refused(served)


async def refused(served: Served) -> None:
    for key, body, kind in (
        (served.key, {**ASK, "stop_sequences": "x"}, anthropic.BadRequestError),
        (served.key, {**ASK, "stop_sequences": "x", "stream": True}, anthropic.BadRequestError),
        ("sk-unknown", ASK, anthropic.AuthenticationError),
    ):
        counter = Counter()
        web = anthropic.DefaultAsyncHttpxClient(event_hooks={"request": [counter]})
        async with of(served, key, http_client=web) as client:
            with pytest.raises(kind):
                await client.messages.create(**body)
        assert counter.sent == 1


async def test_without_a_model():
    async with everything(None) as served, of(served, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await client.messages.create(**ASK)
        assert raised.value.status_code in (503, 529)


async def test_leaving_frees_the_engine():
    gate = asyncio.Semaphore(1)
    async with everything(model(gate=gate)) as served, of(served) as client:
        async with client.messages.stream(**ASK) as stream:
            async for _ in stream.text_stream:
                break
        await freed(served.app)


async def test_the_client_that_is_not_async(served: Served):
    def talk() -> str:
        with (
            anthropic.Anthropic(base_url=served.http, api_key="unused") as client,
            client.messages.stream(**ASK) as stream,
        ):
            return "".join(stream.text_stream)

    assert await asyncio.to_thread(talk) == "One two."
