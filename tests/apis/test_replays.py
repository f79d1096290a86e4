"""The calls of SillyTavern's chat completion and of its type generic, and those of Open WebUI.

The other types stand in tests/test_sillytavern.py and extensions/openai_api/test_clients.py.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernel.api import LOADERS, Phase
from kernel.testing import ScriptedLoader
from tests.apis.clients import CALL, CITY, HELLO, everything, freed, model, programs
from tests.programs import Knowing
from tests.sockets import Served

TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
GENERIC = {
    "model": "scripted", "prompt": "Ada: Hi\nBot:", "max_tokens": 20, "temperature": 1, "top_p": 1,
    "frequency_penalty": 0, "presence_penalty": 0, "stop": ["\nAda:", "\nBot:", "x", "y"],
    "seed": 5, "n": 1, "logit_bias": {}, "logprobs": 10, "stream": True,
}  # fmt: skip
CUSTOM = {
    "messages": HELLO, "model": "scripted", "temperature": 1, "max_tokens": 20,
    "max_completion_tokens": 20, "stream": True, "presence_penalty": 0, "frequency_penalty": 0,
    "top_p": 1, "top_k": 0, "stop": [], "logit_bias": {}, "seed": 5, "n": 1,
    "reasoning_effort": "low",
}  # fmt: skip
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6"
    "kgAAAABJRU5ErkJggg=="
)  # fmt: skip


@pytest.fixture
async def web(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {served.key}"}
    async with httpx.AsyncClient(base_url=served.http, headers=headers, timeout=60) as web:
        yield web


async def events(web: httpx.AsyncClient, path: str, body: Any) -> list[Any]:
    """The events of a stream; a stray `error`, `message` or `detail` would be shown and end it."""
    answer = await web.post(path, json=body)
    assert answer.headers["content-type"] == "text/event-stream", answer.text
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    found = [json.loads(line) for line in lines]
    assert not {"error", "message", "detail"} & {key for event in found for key in event}
    return found


# --- SillyTavern --------------------------------------------------------------------------


async def test_sillytavern_as_generic(web: httpx.AsyncClient):
    assert (await web.get("/v1/models")).json()["data"][0]["id"] == "scripted"
    found = await events(web, "/v1/completions", GENERIC)
    assert "".join(c["text"] for e in found for c in e["choices"]) == "One two."


async def test_sillytavern_as_custom_chat_completion(web: httpx.AsyncClient, said: Knowing):
    said.scripts = [f"<think>Hm.</think>Look.\n{CALL}\n{CALL}"]
    assert (await web.get("/v1/models")).json()["data"][0]["id"] == "scripted"
    found = await events(web, "/v1/chat/completions", {**CUSTOM, "tools": [TOOL]})
    deltas = [choice["delta"] for event in found for choice in event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas).strip() == "Look."
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Hm."
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["index"] for call in calls] == [0, 1]
    schema = {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": CITY}}
    whole = {**CUSTOM, "stream": False, "response_format": schema}
    assert (await web.post("/v1/chat/completions", json=whole)).status_code == 200
    assert '"city"' in said.asked[-1].grammar


async def test_sillytavern_captions_a_picture(web: httpx.AsyncClient):
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "auto"}},
    ]
    body = {"model": "scripted", "messages": [{"role": "user", "content": content}],
            "max_tokens": 500}  # fmt: skip
    answer = await web.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "One two."


# --- Open WebUI ---------------------------------------------------------------------------


async def test_p6_models_are_listed_at_once_while_one_loads(served: Served, web: httpx.AsyncClient):
    opened = asyncio.Event()

    class Slow(ScriptedLoader):
        """Loads when it may."""

        async def open(self, path: Path, options: Any, report: Any) -> Any:
            await opened.wait()
            return await super().open(path, options, report)

    slow: Any = Slow(model())
    slow.id = "slow"
    add = served.app.kernel.registry.add
    add(LOADERS, slow, "test", phase=Phase.LATE, rank=0, rewrites=False)
    slot = served.app.kernel.slot()
    loading = asyncio.create_task(slot.load(Path("other"), "slow"))
    await served.app.until(lambda: slot.state.state == "loading")
    await web.get("/v1/models")
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        assert (await web.get("/v1/models")).status_code == 200
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05
    waits = asyncio.create_task(web.post("/v1/chat/completions", json={"messages": HELLO}))
    await served.app.until(lambda: bool(programs(served.app).runs.live))
    opened.set()
    await loading
    assert (await waits).status_code == 200


async def test_open_webui_asks_for_titles_while_a_long_chat_runs():
    """The chat has begun; an essay and then side jobs wait: the short ones go first."""
    gate = asyncio.Semaphore(0)
    said = model("A long chat.", "Short.", gate=gate)
    async with (
        everything(said, {"api_kit": {"at_once": 1}}) as served,
        httpx.AsyncClient(base_url=f"{served.http}/v1", timeout=60) as web,
    ):
        runs = programs(served.app).runs

        def asks(words: str, **more: Any) -> asyncio.Task[httpx.Response]:
            body = {"messages": [{"role": "user", "content": words}], "model": "scripted", **more}
            return asyncio.create_task(web.post("/chat/completions", json=body))

        usage = {"include_usage": True}
        chat = asks("The chat", stream=True, stream_options=usage, max_tokens=2000)
        await served.app.until(lambda: bool(said.asked))
        essay = asks("An essay", max_tokens=4000)
        await served.app.until(lambda: runs.gate.waiting == 1)
        jobs = [asks(f"A {job}", max_tokens=20) for job in ("title", "tag", "follow-up")]
        await served.app.until(lambda: runs.gate.waiting == 4)
        for _ in range(40):
            gate.release()
        answers = await asyncio.gather(chat, essay, *jobs)
        assert [answer.status_code for answer in answers] == [200] * 5
        assert all(answer.headers["x-queue-position"] for answer in answers[1:])
        order = [request.messages[-1].text for request in said.asked if request.messages]
        assert order[0] == "The chat"
        assert order[-1] == "An essay", "side jobs are not starved behind it"
        lines = [line for line in answers[0].text.splitlines() if line.startswith("data: {")]
        assert json.loads(lines[-1][6:])["usage"]["completion_tokens"] == 3
        await freed(served.app)


async def test_open_webui_as_ollama(web: httpx.AsyncClient, served: Served):
    assert (await web.get("/api/version")).json()["version"]
    [first, *_] = (await web.get("/api/tags")).json()["models"]
    assert (await web.get("/api/ps")).json()["models"][0]["name"] == first["name"]
    assert (await web.post("/api/show", json={"model": first["model"]})).json()["capabilities"]
    answer = await web.post(
        "/api/chat", json={"model": first["model"], "messages": HELLO, "stream": True}
    )
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "One two."
    assert lines[-1]["done"]
    await web.post("/api/generate", json={"model": first["model"], "keep_alive": 0})
    await served.app.until(lambda: served.app.kernel.slot().model is None)
