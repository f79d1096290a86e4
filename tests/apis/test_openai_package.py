"""The openai package drives a running server: what it reads, retries, and raises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.apis.clients import (
    CALL,
    CITY,
    HELLO,
    KEY_NEEDED,
    everything,
    freed,
    model,
    programs,
    with_vectors,
)
from tests.apis.packages import openai
from tests.programs import Knowing
from tests.sockets import Served

NAME = "scripted"
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": CITY}}


class City(BaseModel):
    """What a reply is to be."""

    city: str


def of(served: Served, key: str = "unused", **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.http}/v1", api_key=key, **more)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with of(served, served.key) as client:
        yield client


async def test_chat(client: openai.AsyncOpenAI):
    said = await client.chat.completions.create(model=NAME, messages=HELLO)
    [choice] = said.choices
    assert (choice.message.content, choice.finish_reason) == ("One two.", "stop")
    assert said.usage
    assert said.usage.total_tokens == 12
    limited = await client.chat.completions.create(
        model=NAME, messages=HELLO, max_completion_tokens=1, n=2, seed=1, stop=["x"]
    )
    assert [each.finish_reason for each in limited.choices] == ["length", "length"]


async def test_stream(client: openai.AsyncOpenAI):
    text, usage = "", None
    async for chunk in await client.chat.completions.create(
        model=NAME, messages=HELLO, stream=True, stream_options={"include_usage": True}
    ):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == "One two."
    assert usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 2)
    async with client.chat.completions.stream(model=NAME, messages=HELLO) as events:
        kinds = {event.type async for event in events}
        whole = await events.get_final_completion()
    assert "content.done" in kinds
    assert whole.choices[0].message.content == "One two."


async def test_thoughts(client: openai.AsyncOpenAI, said: Knowing):
    said.scripts = ["<think>Hm.</think>So."]
    whole = await client.chat.completions.create(model=NAME, messages=HELLO)
    message: Any = whole.choices[0].message
    assert (message.content, message.reasoning_content) == ("So.", "Hm.")


@pytest.mark.parametrize("streams", [False, True])
async def test_tools(client: openai.AsyncOpenAI, said: Knowing, streams: bool):
    said.scripts = [f"{CALL}\n{CALL}", "It rains."]
    asks: dict[str, Any] = {"model": NAME, "messages": HELLO, "tools": [TOOL]}
    if streams:
        async with client.chat.completions.stream(**asks) as events:
            async for _ in events:
                pass
            whole: Any = await events.get_final_completion()
    else:
        whole = await client.chat.completions.create(**asks)
    [choice] = whole.choices
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in calls] == ["weather", "weather"]
    assert calls[0].function.arguments == '{"city": "Paris"}'
    assert calls[0].id != calls[1].id
    results: list[Any] = [{"role": "tool", "tool_call_id": c.id, "content": "rain"} for c in calls]
    asked: Any = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
    again = await client.chat.completions.create(
        model=NAME, messages=[*HELLO, asked, *results], tools=[TOOL]
    )
    assert again.choices[0].message.content == "It rains."


async def test_p8_calls_come_by_index(client: openai.AsyncOpenAI, said: Knowing):
    said.scripts = [f"{CALL}\n{CALL}"]
    found: dict[int, str] = {}
    stream = await client.chat.completions.create(
        model=NAME, messages=HELLO, tools=[TOOL], stream=True
    )
    deltas = [choice.delta async for chunk in stream for choice in chunk.choices]
    for delta in deltas:
        for call in delta.tool_calls or ():
            assert call.function
            if call.index not in found:
                assert call.id
                assert call.function.name == "weather"
            found[call.index] = found.get(call.index, "") + (call.function.arguments or "")
    assert found == {0: '{"city": "Paris"}', 1: '{"city": "Paris"}'}


async def test_p8_a_call_that_has_to_be_comes_while_it_is_written(
    client: openai.AsyncOpenAI, said: Knowing
):
    said.scripts = ['{"name": "weather", "arguments": {"city": "Paris on the Seine"}}']
    for most, reason in ((100, "tool_calls"), (5, "length")):
        deltas, last = list[Any](), ""
        stream = await client.chat.completions.create(
            model=NAME, messages=HELLO, tools=[TOOL], tool_choice="required", stream=True,
            max_tokens=most,
        )  # fmt: skip
        async for chunk in stream:
            deltas += chunk.choices[0].delta.tool_calls or ()
            last = chunk.choices[0].finish_reason or last
        first, *others = deltas
        assert first.id
        assert first.function.name == "weather"
        assert all((each.index, each.id, each.function.name) == (0, None, None) for each in others)
        given = "".join(each.function.arguments for each in deltas)
        assert (given, last) == ('{"city": "Paris on the Seine"}'[: len(given)], reason)
        assert len(others) > 0


async def test_schema(client: openai.AsyncOpenAI, said: Knowing):
    said.scripts = ['{"city": "Paris"}']
    parsed = await client.chat.completions.parse(model=NAME, messages=HELLO, response_format=City)
    assert parsed.choices[0].message.parsed == City(city="Paris")
    assert '"city"' in said.asked[-1].grammar
    with pytest.raises(openai.LengthFinishReasonError):
        await client.chat.completions.parse(
            model=NAME, messages=HELLO, response_format=City, max_tokens=1
        )
    held = await client.chat.completions.create(
        model=NAME, messages=HELLO, response_format={"type": "json_object"}
    )
    assert held.choices[0].message.content == '{"city": "Paris"}'


async def test_logprobs(client: openai.AsyncOpenAI):
    whole = await client.chat.completions.create(
        model=NAME, messages=HELLO, logprobs=True, top_logprobs=1
    )
    told = whole.choices[0].logprobs
    assert told
    assert told.content
    assert [(each.token, each.logprob) for each in told.content] == [("One", -0.5), (" two.", -0.5)]
    assert told.content[0].top_logprobs[0].token == "One"
    old = await client.completions.create(model=NAME, prompt="Once", logprobs=1)
    assert old.choices[0].logprobs
    assert old.choices[0].logprobs.token_logprobs == [-0.5, -0.5]


async def test_texts_are_gone_on_with(client: openai.AsyncOpenAI):
    whole = await client.completions.create(model=NAME, prompt=["Once", "Twice"], max_tokens=1)
    assert [(each.index, each.text) for each in whole.choices] == [(0, "One"), (1, "One")]
    text = ""
    async for chunk in await client.completions.create(model=NAME, prompt="Once", stream=True):
        text += "".join(choice.text for choice in chunk.choices)
    assert text == "One two."


async def test_p9_vectors(client: openai.AsyncOpenAI, served: Served):
    with pytest.raises(openai.BadRequestError, match="embedding"):
        await client.embeddings.create(model=NAME, input="a")
    await with_vectors(served.app)
    packed = await client.embeddings.create(model=NAME, input=["ab", "c"])
    plain = await client.embeddings.create(model=NAME, input=["ab", "c"], encoding_format="float")
    assert [each.embedding for each in packed.data] == [each.embedding for each in plain.data]
    assert packed.data[0].embedding[0] == 2.0


async def test_models(client: openai.AsyncOpenAI):
    [first, *_] = [each async for each in client.models.list()]
    assert first == await client.models.retrieve(NAME)
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nowhere")


class Counting:
    """Counts the requests that a client really sends."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, _: Any) -> None:
        self.sent += 1


def counting(served: Served, key: str = "unused") -> tuple[openai.AsyncOpenAI, Counting]:
    counter = Counting()
    web = openai.DefaultAsyncHttpxClient(event_hooks={"request": [counter]})
    return of(served, key, http_client=web), counter


async def test_what_is_wrong_is_raised_and_not_asked_again(served: Served):
    client, counter = counting(served, served.key)
    async with client:
        wrong: Any = {"model": NAME, "messages": HELLO, "temperature": "hot"}
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(**wrong)
        assert (raised.value.param, raised.value.type) == ("temperature", "invalid_request_error")
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(**wrong, stream=True)
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nowhere")
        assert counter.sent == 3


async def test_a_wrong_key(said: Knowing):
    async with everything(said, KEY_NEEDED) as served:
        client, counter = counting(served, "sk-unknown")
        async with client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
            assert counter.sent == 1
        async with of(served, served.key) as client:
            assert await client.models.list()


async def test_without_a_model_it_is_asked_once():
    async with everything(None) as served:
        client, counter = counting(served, served.key)
        async with client:
            with pytest.raises(openai.InternalServerError) as raised:
                await client.with_options(max_retries=1).chat.completions.create(
                    model=NAME, messages=HELLO
                )
            assert (raised.value.status_code, raised.value.code) == (503, "no_model")
            assert counter.sent == 1


async def test_a_full_queue():
    gate = asyncio.Semaphore(0)
    settings = {"api_kit": {"at_once": 1, "queue": 1}}
    async with (
        everything(model(gate=gate), settings) as served,
        of(served, max_retries=0) as client,
    ):
        stream = await _begun(client, gate)
        asks = client.chat.completions.create(model=NAME, messages=HELLO)
        waits = asyncio.create_task(asks)
        await served.app.until(lambda: programs(served.app).runs.gate.waiting == 1)
        again, counter = counting(served)
        async with again.with_options(max_retries=1) as client_again:
            with pytest.raises(openai.RateLimitError) as raised:
                await client_again.chat.completions.create(model=NAME, messages=HELLO)
        assert counter.sent == 2  # It may go well later, so the client asks again.
        assert raised.value.response.headers["retry-after"]
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await stream.close()
        await freed(served.app)


async def _begun(client: openai.AsyncOpenAI, gate: asyncio.Semaphore) -> Any:
    """A stream that has said its first word and says no more."""
    gate.release()
    stream = await client.chat.completions.create(model=NAME, messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            return stream
    raise AssertionError("It said nothing.")


async def test_p3_what_fails_after_the_first_word():
    gate = asyncio.Semaphore(0)
    said = model(gate=gate)
    async with everything(said) as served, of(served) as client:
        stream = await _begun(client, gate)
        said.die("The engine stopped.")
        with pytest.raises(openai.APIError, match="engine stopped"):
            async for _ in stream:
                pass


@pytest.mark.parametrize("streams", [True, False])
async def test_p10_leaving_frees_the_engine(streams: bool):
    gate = asyncio.Semaphore(0)
    async with everything(model(gate=gate)) as served, of(served, max_retries=0) as client:
        if streams:
            stream = await _begun(client, gate)
            began = asyncio.get_running_loop().time()
            await stream.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                await client.with_options(timeout=0.3).chat.completions.create(
                    model=NAME, messages=HELLO
                )
            began = asyncio.get_running_loop().time()
        await freed(served.app)
        assert asyncio.get_running_loop().time() - began < 2


async def test_the_client_that_is_not_async(served: Served):
    def talk() -> list[str]:
        with openai.OpenAI(base_url=f"{served.http}/v1", api_key="unused") as client:
            whole = client.chat.completions.create(model=NAME, messages=HELLO)
            stream = client.chat.completions.create(model=NAME, messages=HELLO, stream=True)
            pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(model=NAME, messages=[])
        return [whole.choices[0].message.content or "", "".join(pieces)]

    assert await asyncio.to_thread(talk) == ["One two.", "One two."]
