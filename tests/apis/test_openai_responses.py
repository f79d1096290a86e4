"""The openai package asks for responses: whole, streamed, parsed, kept, over its WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.apis.clients import CALL, CITY
from tests.apis.packages import openai
from tests.programs import Knowing
from tests.sockets import Served

NAME = "scripted"
TOOL: Any = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}


class City(BaseModel):
    """What a reply is to be."""

    city: str


@pytest.fixture
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.http}/v1", api_key=served.key) as client:
        yield client


async def test_a_response(client: openai.AsyncOpenAI):
    whole = await client.responses.create(model=NAME, input="Hello?", instructions="Be brief.")
    assert (whole.output_text, whole.status) == ("One two.", "completed")
    assert whole.usage
    assert whole.usage.output_tokens == 2
    again = await client.responses.create(model=NAME, input="And?", previous_response_id=whole.id)
    assert again.previous_response_id == whole.id
    assert (await client.responses.retrieve(whole.id)).output_text == "One two."
    await client.responses.delete(whole.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(whole.id)


async def test_a_stream(client: openai.AsyncOpenAI):
    async with client.responses.stream(model=NAME, input="Hello?") as events:
        pieces = [e.delta async for e in events if e.type == "response.output_text.delta"]
        whole = await events.get_final_response()
    assert "".join(pieces) == whole.output_text == "One two."


async def test_tools(client: openai.AsyncOpenAI, said: Knowing):
    said.scripts = [CALL, "It rains."]
    whole = await client.responses.create(model=NAME, input="Paris?", tools=[TOOL])
    [call] = [item for item in whole.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("weather", '{"city": "Paris"}')
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    again = await client.responses.create(
        model=NAME, input=[result], tools=[TOOL], previous_response_id=whole.id
    )
    assert again.output_text == "It rains."


async def test_a_structure(client: openai.AsyncOpenAI, said: Knowing):
    said.scripts = ['{"city": "Paris"}']
    parsed = await client.responses.parse(model=NAME, input="A city?", text_format=City)
    assert parsed.output_parsed == City(city="Paris")


async def test_what_is_wrong_is_raised(client: openai.AsyncOpenAI):
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(model=NAME, input="Hi", temperature=9)
    assert raised.value.param == "temperature"


async def test_over_a_websocket(client: openai.AsyncOpenAI):
    async with client.responses.connect() as connection:
        for _ in range(2):
            await connection.response.create(model=NAME, input="Hello?")
            pieces: list[str] = []
            async for event in connection:
                if event.type == "response.output_text.delta":
                    pieces.append(event.delta)
                if event.type == "response.completed":
                    break
            assert "".join(pieces) == "One two."
