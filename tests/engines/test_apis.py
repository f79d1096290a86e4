"""P11: one conversation through every API that has conversations gives the same tokens."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from kernel.testing import running
from tests.engines.real import STORIES, interpreter
from tests.sockets import Served, render_one, serving, until_left

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
APIS = ("openai_api", "anthropic_api", "ollama_api")
SYSTEM = "You tell stories."
TALK = [
    {"role": "user", "content": "Once upon a time"},
    {"role": "assistant", "content": "there was a little girl."},
    {"role": "user", "content": "What was her name?"},
]
TOLD = [{"role": "system", "content": SYSTEM}, *TALK]
CONTEXT = 256


class Client:
    """Speaks all of them."""

    def __init__(self, web: httpx.AsyncClient) -> None:
        self.web = web

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.web.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def openai(self, messages: list[Any], most: int, **more: Any) -> tuple[str, int, int]:
        said = await self.post(
            "/v1/chat/completions",
            messages=messages, max_tokens=most, temperature=0, seed=0, **more,
        )  # fmt: skip
        usage = said["usage"]
        text = said["choices"][0]["message"]["content"]
        return text, usage["prompt_tokens"], usage["completion_tokens"]

    async def anthropic(self, messages: list[Any], most: int, **more: Any) -> tuple[str, int, int]:
        said = await self.post(
            "/v1/messages",
            messages=messages, system=SYSTEM, max_tokens=most, temperature=0, seed=0, **more,
        )  # fmt: skip
        usage = said["usage"]
        read = usage["input_tokens"] + usage["cache_read_input_tokens"]
        return said["content"][0]["text"], read, usage["output_tokens"]

    async def ollama(self, messages: list[Any], most: int, **more: Any) -> tuple[str, int, int]:
        options = {"num_predict": most, "temperature": 0, "seed": 0}
        said = await self.post(
            "/api/chat", messages=messages, options=options, stream=False, **more
        )
        return said["message"]["content"], said["prompt_eval_count"], said["eval_count"]

    async def streams(self, most: int) -> list[str]:
        """The same words, as they come."""
        how = {"temperature": 0, "seed": 0}
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/v1/chat/completions", {"messages": TOLD, "max_tokens": most, **how}),
            ("/v1/messages", {"messages": TALK, "system": SYSTEM, "max_tokens": most, **how}),
            ("/api/chat", {"messages": TOLD, "options": {"num_predict": most, **how}}),
        ]
        texts: list[str] = []
        for path, body in asked:
            answer = await self.web.post(path, json={**body, "stream": True})
            rows = [row.removeprefix("data: ") for row in answer.text.splitlines()]
            events = [json.loads(row) for row in rows if row.startswith("{")]
            texts.append("".join(words(event) for event in events))
        return texts


def words(event: dict[str, Any]) -> str:
    """The words in an event of any of them."""
    for choice in event.get("choices", ()):
        return choice["delta"].get("content", "")
    if "message" in event and "done" in event:
        return event["message"]["content"]
    return event.get("delta", {}).get("text", "")


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=["xllamacpp", "xllamacpp-native"]
)
async def served(request: pytest.FixtureRequest, environments_dir: Path) -> AsyncIterator[Served]:
    python = interpreter(environments_dir / request.param)
    extensions = (*APIS, "instruct", "models", "llama_cpp")
    async with running(*extensions, python=python) as app:
        options = {"ctx_size": CONTEXT}
        await app.kernel.slot().load(STORIES / "stories260K.gguf", "llama_cpp", options)
        async with serving(app) as served:
            await render_one(served)
            yield served


@pytest_asyncio.fixture(loop_scope="module")
async def client(served: Served) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=served.http, timeout=60) as web:
        yield Client(web)
    await until_left(served)


async def test_p11_one_conversation_has_the_same_tokens_everywhere(client: Client):
    said = await client.openai(TOLD, 24)
    assert said[0]
    assert await client.anthropic(TALK, 24) == said
    assert await client.ollama(TOLD, 24) == said
    assert await client.streams(24) == [said[0]] * 3
    counted = await client.post("/v1/messages/count_tokens", messages=TALK, system=SYSTEM)
    assert counted["input_tokens"] == said[1]


async def test_a_beginning_is_gone_on_with_everywhere(client: Client):
    begun = {"role": "assistant", "content": "Her name was"}
    said = await client.openai([*TOLD, begun], 8, continue_=True)
    assert said[0]
    assert await client.anthropic([*TALK, begun], 8) == said
    assert await client.ollama([*TOLD, begun], 8) == said
    assert "Her name was" not in said[0]


async def test_what_cut_a_reply_is_told(client: Client):
    text = (await client.anthropic(TALK, 24))[0]
    stop = text.split()[3]
    said = await client.post(
        "/v1/messages", messages=TALK, system=SYSTEM, max_tokens=24, temperature=0, seed=0,
        stop_sequences=["never there", stop],
    )  # fmt: skip
    assert (said["stop_reason"], said["stop_sequence"]) == ("stop_sequence", stop)
    assert said["content"][0]["text"] == text[: text.index(stop)]


async def test_the_prompts_own_likelihoods_are_told_where_the_engine_knows_them(
    client: Client, request: pytest.FixtureRequest
):
    """What programs that measure models ask for."""
    asked = {"prompt": "Once upon a time", "echo": True, "logprobs": 2, "max_tokens": 0}
    answer = await client.web.post("/v1/completions", json=asked)
    if "native" not in request.node.name:
        assert answer.status_code == 400
        assert "the native one can do it: build or choose it in Settings" in answer.text
        return
    [choice] = answer.json()["choices"]
    told = choice["logprobs"]
    assert choice["text"].strip() == "Once upon a time"
    assert told["token_logprobs"][0] is None
    assert -0.1 < told["token_logprobs"][-1] < 0, "the model is nearly sure of the last word"
    assert len(told["top_logprobs"][-1]) == 2
    answer = await client.web.post("/v1/completions", json={**asked, "prompt": "a " * 2 * CONTEXT})
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize("times", [2, 200])
async def test_what_is_too_long_is_refused_before_the_first_word(client: Client, times: int):
    """By the words that programs test for; the longer one is not even made into tokens."""
    long = [{"role": "user", "content": "word " * times * CONTEXT}]
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"max_tokens": 5},
        "/v1/messages": {"max_tokens": 5},
        "/api/chat": {"options": {"num_ctx": 9000, "num_predict": 5}},
    }
    for path, body in bodies.items():
        for stream in (True, False):
            answer = await client.web.post(path, json={**body, "messages": long, "stream": stream})
            assert answer.status_code == 400, answer.text
            assert "prompt is too long: The prompt has" in answer.text
