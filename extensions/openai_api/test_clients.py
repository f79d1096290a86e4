"""What SillyTavern, Open WebUI, Continue and LangChain ask, call by call, as in their sources."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extensions.api_kit.api import PROGRAMS
from kernel.testing import running
from tests.programs import Knowing, events
from tests.sockets import Served, serving

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def model() -> Knowing:
    can = ("text", "logprobs", "tools")
    return Knowing("One two.", capabilities=can, logprobs=(-0.25,))


@pytest.fixture
async def served(model: Knowing, tmp_path: Path) -> AsyncIterator[Served]:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "other.gguf").write_bytes(b"GGUF")
    async with (
        running("openai_api", "instruct", model=model, data=tmp_path) as app,
        serving(app) as served,
    ):
        yield served


@pytest.fixture
async def web(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {served.key}"}
    async with httpx.AsyncClient(base_url=served.http, headers=headers, timeout=60) as web:
        yield web


async def test_sillytavern_as_ooba(served: Served, web: httpx.AsyncClient):
    listed = await web.get("/v1/models")
    assert isinstance(listed.json()["data"], list)
    assert listed.json()["data"][0]["id"] == "scripted"
    info = await web.get("/v1/internal/model/info")
    assert info.json()["model_name"] == "scripted"
    for answer in (listed, info):
        assert "x-powered-by" not in answer.headers  # It would be taken for LM Studio.
    counted = (await web.post("/v1/internal/encode", json={"text": "a b"})).json()
    assert len(counted["tokens"]) == counted["length"] == 3
    body = {"prompt": "You: Hi\nBot:", "max_tokens": 9, "max_new_tokens": 9, "logprobs": 10}
    for event in await events(served, "/v1/completions", **body):
        assert not {"error", "message", "detail"} & event.keys()
        assert event["choices"][0]["index"] == 0
        assert "text" in event["choices"][0]


async def test_sillytavern_as_tabby(web: httpx.AsyncClient, model: Knowing):
    assert (await web.get("/v1/model/list")).json()["data"][0]["id"] == "scripted"
    assert (await web.get("/v1/model")).json()["id"] == "scripted"
    assert (await web.get("/v1/auth/permission")).json() == {"permission": "admin"}
    plain = {"text": "a b", "add_bos_token": False, "encode_special_tokens": False}
    counted = (await web.post("/v1/token/encode", json=plain)).json()
    assert len(counted["tokens"]) == counted["length"] == 2
    body = {"prompt": "a", "json_schema": None, "repetition_decay": 0, "n": 2,
            "speculative_ngram": False, "temperature_last": True}  # fmt: skip
    answer = (await web.post("/v1/completions", json=body)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]


async def test_who_closes_the_socket_cancels(served: Served, model: Knowing):
    [programs] = served.app.kernel.registry.values(PROGRAMS)
    for path, body in (
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": HI}),
        ("/v1/responses", {"input": "Hi"}),
    ):
        for stream in (True, False):
            model.gate = gate = asyncio.Semaphore(1)
            async with httpx.AsyncClient() as web:
                asked = asyncio.ensure_future(
                    web.post(served.http + path, json={**body, "stream": stream})
                )
                await served.app.until(gate.locked)
                assert programs.runs.live
                asked.cancel()
            await served.app.until(lambda: not programs.runs.live)


async def test_open_webui(web: httpx.AsyncClient, model: Knowing):
    listed = (await web.get("/v1/models")).json()["data"]
    states = {each["id"]: each["status"]["value"] for each in listed}
    assert states == {"scripted": "loaded", "other": "unloaded"}
    body = {"model": "scripted", "messages": HI, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip

    async def side() -> Any:
        """A title, a tag: they come beside the chat."""
        return (
            await web.post("/v1/chat/completions", json={"messages": HI, "max_tokens": 9})
        ).json()

    chat, *others = await asyncio.gather(
        web.post("/v1/chat/completions", json=body), side(), side()
    )
    assert chat.text.endswith("data: [DONE]\n\n")
    assert '"timings":{' in chat.text
    assert all(other["choices"][0]["message"]["content"] for other in others)
    assert (await web.post("/v1/models/unload", json={"model": "scripted"})).json()["success"]
    assert (await web.post("/v1/models/load", json={"model": "other"})).json()["success"]


async def test_continue_and_langchain(web: httpx.AsyncClient, model: Knowing):
    first = (await web.get("/v1/models")).json()["data"][0]
    assert first["max_model_len"] == 4096
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    body = {"messages": HI, "tools": [tool], "parallel_tool_calls": False, "max_tokens": None,
            "stop": None, "n": None, "seed": None, "response_format": None}  # fmt: skip
    answer = await web.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    tokens = await web.post("/v1/embeddings", json={"input": [[1, 2]], "model": "x"})
    assert (tokens.status_code, tokens.json()["error"]["code"]) == (400, "no_embedding_model")
