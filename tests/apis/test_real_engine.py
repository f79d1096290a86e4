"""The packages that people use drive a real engine: chat, stream, tools, JSON, vectors, errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel

from tests.apis.clients import HELLO, freed
from tests.apis.engine import CALLS, CONTEXT, FILE, FORCED, LONG, TOOL, WEATHER, engine
from tests.apis.packages import anthropic, ollama, openai
from tests.apis.test_langchain import Chats
from tests.sockets import Served

pytestmark = pytest.mark.engine
SURE = {"temperature": 0, "seed": 0}
GREEDY: dict[str, Any] = {**SURE, "max_tokens": 24}
OLD: Any = [*LONG, {"role": "assistant", "content": "Yes."}, *HELLO]
"""A conversation whose beginning does not fit."""


class City(BaseModel):
    """What a reply is to be."""

    city: Literal["Paris", "Rome"]


CITIES = (City(city="Paris"), City(city="Rome"))


@pytest.fixture(params=["xllamacpp", pytest.param("xllamacpp-native", marks=pytest.mark.long)])
async def served(request: pytest.FixtureRequest, environments_dir: Path) -> AsyncIterator[Served]:
    async with engine(environments_dir / request.param) as served:
        yield served


async def with_vectors(served: Served) -> None:
    """The same model in the slot for vectors: any has some."""
    await served.app.kernel.slot("embedding").load(FILE, "llama_cpp", {"ctx_size": CONTEXT})


async def test_openai(served: Served):
    asks: dict[str, Any] = {"model": FILE.stem, "messages": HELLO}
    async with openai.AsyncOpenAI(
        base_url=f"{served.http}/v1", api_key="unused", max_retries=0
    ) as client:
        create = client.chat.completions.create
        whole = await create(**asks, **GREEDY, logprobs=True, top_logprobs=3)
        [choice] = whole.choices
        assert choice.message.content
        assert choice.logprobs
        assert choice.logprobs.content
        likeliest = [each.top_logprobs[0].token for each in choice.logprobs.content]
        assert likeliest == [each.token for each in choice.logprobs.content]
        assert "".join(likeliest).strip() == choice.message.content.strip()
        text, usage = "", None
        async for chunk in await create(
            **asks, **GREEDY, stream=True, stream_options={"include_usage": True}
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            usage = chunk.usage or usage
        assert text == choice.message.content
        assert usage
        assert whole.usage
        assert usage.completion_tokens == whole.usage.completion_tokens <= 24
        parsed = await client.chat.completions.parse(**asks, response_format=City, max_tokens=400)
        assert parsed.choices[0].message.parsed in CITIES
        async with client.chat.completions.stream(
            **asks, tools=[TOOL], tool_choice=FORCED, max_tokens=400
        ) as events:
            async for _ in events:
                pass
            said: Any = await events.get_final_completion()
        assert said.choices[0].finish_reason == "tool_calls"
        [call] = said.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) in CALLS
        with pytest.raises(openai.BadRequestError) as raised:
            await create(model=FILE.stem, messages=LONG)
        assert raised.value.code == "context_length_exceeded"
        answered = await client.responses.create(model=FILE.stem, input="Hello?", temperature=0)
        assert answered.output_text
        with pytest.raises(openai.BadRequestError, match="context"):
            await client.responses.create(model=FILE.stem, input=OLD)
        cut = await client.responses.create(
            model=FILE.stem, input=OLD, truncation="auto", temperature=0
        )
        assert (cut.truncation, cut.output_text) == ("auto", answered.output_text)
        with pytest.raises(openai.BadRequestError, match="embedding"):
            await client.embeddings.create(model=FILE.stem, input="a")
        await with_vectors(served)
        vectors = await client.embeddings.create(model=FILE.stem, input=["a cat", "a dog"])
        first, second = [each.embedding for each in vectors.data]
        assert len(first) == len(second) == 64
        assert first != second


async def test_leaving_frees_the_engine(served: Served):
    endless: Any = {"ban_eos_token": True, "max_tokens": 900}
    async with openai.AsyncOpenAI(base_url=f"{served.http}/v1", api_key="unused") as client:
        stream: Any = await client.chat.completions.create(
            model=FILE.stem, messages=HELLO, stream=True, extra_body=endless
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()
        await freed(served.app)
        again = await client.chat.completions.create(model=FILE.stem, messages=HELLO, **GREEDY)
        assert again.choices[0].message.content


async def test_anthropic(served: Served):
    asks: dict[str, Any] = {"model": FILE.stem, "messages": HELLO, "max_tokens": 24}
    offered: Any = {"name": "weather", "input_schema": WEATHER}
    forced: Any = {"type": "tool", "name": "weather"}
    async with anthropic.AsyncAnthropic(
        base_url=served.http, api_key="unused", max_retries=0
    ) as client:
        whole: Any = await client.messages.create(**asks, extra_body=SURE)
        async with client.messages.stream(**asks, extra_body=SURE) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert whole.content[0].text == text != ""
        assert final.usage.output_tokens == whole.usage.output_tokens
        counted = await client.messages.count_tokens(model=FILE.stem, messages=HELLO)
        usage = whole.usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
        called: Any = await client.messages.create(
            **{**asks, "max_tokens": 400}, tools=[offered], tool_choice=forced
        )
        assert called.stop_reason == "tool_use"
        assert called.content[-1].input in CALLS
        with pytest.raises(anthropic.BadRequestError, match="context"):
            await client.messages.create(**{**asks, "messages": LONG})


async def test_ollama(served: Served):
    greedy = {"temperature": 0, "seed": 0, "num_predict": 24}
    client = ollama.AsyncClient(host=served.http)
    async with client._client:
        whole = await client.chat(FILE.stem, HELLO, options=greedy)
        assert whole.message.content
        pieces = [
            part async for part in await client.chat(FILE.stem, HELLO, options=greedy, stream=True)
        ]
        assert "".join(part.message.content or "" for part in pieces) == whole.message.content
        assert pieces[-1].eval_count == whole.eval_count
        held = await client.chat(FILE.stem, HELLO, format=City.model_json_schema())
        assert City.model_validate_json(held.message.content or "") in CITIES
        shown = await client.show(FILE.stem)
        assert shown.modelinfo
        await with_vectors(served)
        vectors = await client.embed(FILE.stem, ["a cat", "a dog"])
        assert [len(each) for each in vectors.embeddings] == [64, 64]
        with pytest.raises(ollama.ResponseError, match="context"):
            await client.chat(FILE.stem, LONG)


@tool
def weather(city: Literal["Paris", "Rome"]) -> str:
    """How it is."""
    return f"rain in {city}"


async def test_langchain(served: Served):
    async with Chats(served, temperature=0, seed=0, max_completion_tokens=400) as chat:
        said = await chat.ainvoke("Hello?")
        assert said.content
        pieces = [piece.content async for piece in chat.astream("Hello?")]
        assert "".join(str(piece) for piece in pieces) == said.content
        able = chat.bind_tools([weather], tool_choice="weather")
        called: Any = await able.ainvoke("Paris?")
        [call] = called.tool_calls
        assert call["args"] in CALLS
        for method in ("json_schema", "function_calling"):
            structured: Any = chat.with_structured_output(City, method=method)
            assert await structured.ainvoke("A city?") in CITIES


async def test_all_at_once(served: Served):
    """Of five requests of two programs each gets what it gets alone."""
    async with (
        openai.AsyncOpenAI(base_url=f"{served.http}/v1", api_key="unused") as one,
        anthropic.AsyncAnthropic(base_url=served.http, api_key="unused") as two,
    ):
        asks: dict[str, Any] = {"model": FILE.stem, "messages": HELLO}

        async def first() -> str:
            said = await one.chat.completions.create(**asks, **GREEDY)
            return said.choices[0].message.content or ""

        async def second() -> str:
            said: Any = await two.messages.create(**asks, max_tokens=24, extra_body=SURE)
            return said.content[0].text

        alone = await first()
        assert await asyncio.gather(first(), second(), first(), second(), first()) == [alone] * 5
