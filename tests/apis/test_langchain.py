"""LangChain's classes for OpenAI drive a running server: replies, tools, structures, vectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

from tests.apis.clients import CALL, everything, freed, full, model, with_vectors
from tests.apis.packages import langchain_openai, openai
from tests.programs import Knowing
from tests.sockets import Served


class City(BaseModel):
    """A city."""

    city: str


@tool
def weather(city: str) -> str:
    """How it is."""
    return f"rain in {city}"


class Chats:
    """A chat model with connections of its own, which a test can close."""

    def __init__(self, served: Served, **more: Any) -> None:
        self.web = openai.DefaultAsyncHttpxClient()
        self.sync = openai.DefaultHttpxClient()
        self.model = langchain_openai.ChatOpenAI(
            base_url=f"{served.http}/v1", api_key=SecretStr("unused"), model="scripted",
            http_async_client=self.web, http_client=self.sync, **more,
        )  # fmt: skip

    async def __aenter__(self) -> langchain_openai.ChatOpenAI:
        return self.model

    async def __aexit__(self, *_: object) -> None:
        await self.web.aclose()
        self.sync.close()


@pytest.fixture
async def chat(served: Served) -> AsyncIterator[langchain_openai.ChatOpenAI]:
    async with Chats(served) as chat:
        yield chat


async def test_replies(chat: langchain_openai.ChatOpenAI):
    said = await chat.ainvoke("Hello?")
    assert said.content == "One two."
    assert said.usage_metadata
    assert said.usage_metadata["total_tokens"] == 12
    pieces = [piece.content async for piece in chat.astream("Hello?")]
    assert "".join(str(piece) for piece in pieces) == "One two."


async def test_tools(chat: langchain_openai.ChatOpenAI, said: Knowing):
    said.scripts = [CALL, "It rains."]
    able, talk = chat.bind_tools([weather]), ["Paris?"]
    called: Any = await able.ainvoke(talk)
    [call] = called.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})
    result = {"role": "tool", "content": weather.invoke(call["args"]), "tool_call_id": call["id"]}
    assert (await able.ainvoke([*talk, called, result])).content == "It rains."


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_structures(chat: langchain_openai.ChatOpenAI, said: Knowing, method: Any):
    call = '<tool_call>{"name": "City", "arguments": {"city": "Paris"}}</tool_call>'
    said.scripts = [call if method == "function_calling" else '{"city": "Paris"}']
    found = await chat.with_structured_output(City, method=method).ainvoke("A city, as JSON?")
    assert found == City(city="Paris")


async def test_likelihoods(served: Served):
    async with Chats(served, logprobs=True, top_logprobs=1) as chat:
        said = await chat.ainvoke("Hello?")
    assert said.response_metadata["logprobs"]["content"][0]["logprob"] == -0.5


async def test_vectors(served: Served):
    await with_vectors(served.app)
    async with openai.DefaultAsyncHttpxClient() as web:
        with openai.DefaultHttpxClient() as sync:
            vectors = langchain_openai.OpenAIEmbeddings(
                base_url=f"{served.http}/v1", api_key=SecretStr("unused"), model="scripted",
                check_embedding_ctx_length=False, http_async_client=web, http_client=sync,
            )  # fmt: skip
            found = await vectors.aembed_documents(["ab", "c"])
    assert [each[0] for each in found] == [2.0, 1.0]


async def test_what_is_wrong_is_raised(served: Served):
    async with Chats(served, temperature=9) as chat:
        with pytest.raises(openai.BadRequestError) as raised:
            await chat.ainvoke("Hello?")
        assert raised.value.param == "temperature"


async def test_what_is_too_long_is_known_as_that(
    chat: langchain_openai.ChatOpenAI, said: Knowing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(said, "generate", full)
    with pytest.raises(ContextOverflowError):
        await chat.ainvoke("word " * 5000)


async def test_leaving_frees_the_engine():
    async with everything(model(gate=asyncio.Semaphore(1))) as served, Chats(served) as chat:
        stream: Any = chat.astream("Hello?")
        async for piece in stream:
            if piece.content:
                break
        await stream.aclose()
        await freed(served.app)
