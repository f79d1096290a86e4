"""P11: one conversation through every API gives the same words, with a real engine."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from kernel.testing import running
from tests.engines.real import STORIES, interpreter
from tests.sockets import Served, serving

pytestmark = pytest.mark.engine
APIS = ("openai_api", "kobold_api", "legacy_api", "llama_server_api")
MESSAGES = [
    {"role": "user", "content": "Tell me of Lily."},
    {"role": "assistant", "content": "Once upon a time"},
    {"role": "user", "content": "And then?"},
]
SURE = {"temperature": 0, "seed": 0}


async def post(served: Served, path: str, **body: Any) -> Any:
    async with httpx.AsyncClient(timeout=60) as web:
        answer = await web.post(f"{served.http}{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def streamed(served: Served, path: str, field: str, **body: Any) -> str:
    """The words of a stream of events."""
    async with httpx.AsyncClient(timeout=60) as web:
        answer = await web.post(f"{served.http}{path}", json=body)
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return "".join(json.loads(line)[field] for line in lines)


async def socket(served: Served, body: dict[str, Any]) -> str:
    """The words of the old WebSocket."""
    said = ""
    async with connect(f"ws://127.0.0.1:{served.port}/api/v1/stream", proxy=None) as program:
        await program.send(json.dumps(body))
        while (event := json.loads(await program.recv()))["event"] == "text_stream":
            said += event["text"]
    assert event["event"] == "stream_end"
    return said


@pytest.mark.parametrize("name", ["xllamacpp", "xllamacpp-native"])
async def test_p11_every_api_gives_the_same_words(name: str, environments_dir: Path):
    python = interpreter(environments_dir / name)
    async with (
        running(*APIS, "instruct", "llama_cpp", python=python) as app,
        serving(app) as served,
    ):
        await app.kernel.slot().load(STORIES / "stories260K.gguf", "llama_cpp", {})
        said = await post(served, "/v1/chat/completions", messages=MESSAGES, max_tokens=24, **SURE)
        words = said["choices"][0]["message"]["content"]
        assert len(words) > 20
        prompt = (await post(served, "/apply-template", messages=MESSAGES))["prompt"]
        same = await post(served, "/v1/internal/chat-prompt", messages=MESSAGES)
        assert prompt == same["prompt"]
        asks = {"prompt": prompt, **SURE}
        completed = await post(served, "/completion", **asks, n_predict=24, return_tokens=True)
        kobold = await post(served, "/api/v1/generate", **asks, max_length=24, rep_pen=1)
        legacy = await post(
            served, "/api/v1/generate", **asks, max_new_tokens=24, repetition_penalty=1
        )
        plain = await post(served, "/v1/completions", **asks, max_tokens=24)
        assert completed["content"] == words
        assert kobold["results"][0]["text"] == words
        assert legacy["results"][0]["text"] == words
        assert plain["choices"][0]["text"] == words
        ids = (await post(served, "/tokenize", content=prompt, add_special=True))["tokens"]
        told = await post(served, "/completion", prompt=ids, n_predict=24, **SURE)
        assert told["content"] == words, "tokens instead of words"
        for path, field, more in (
            ("/completion", "content", {"n_predict": 24, "stream": True}),
            ("/api/extra/generate/stream", "token", {"max_length": 24, "rep_pen": 1}),
        ):
            assert await streamed(served, path, field, **asks, **more) == words
        assert (
            await socket(served, {**asks, "max_new_tokens": 24, "repetition_penalty": 1}) == words
        )
        spoken = await post(
            served, "/api/v1/chat", user_input=MESSAGES[-1]["content"], mode="instruct",
            history={"internal": [[m["content"] for m in MESSAGES[:2]]], "visible": []},
            max_new_tokens=24, repetition_penalty=1, **SURE,
        )  # fmt: skip
        assert spoken["results"][0]["history"]["internal"][-1][1] == words
        counted = await post(served, "/api/extra/tokencount", prompt=prompt)
        assert counted["ids"] == ids
        assert counted["value"] == completed["tokens_evaluated"]
        assert len(completed["tokens"]) == completed["tokens_predicted"] == 24
        assert (await post(served, "/detokenize", tokens=completed["tokens"]))["content"]
        for path, body in (
            ("/detokenize", {"tokens": [10**6]}),
            ("/completion", {"prompt": [512]}),
        ):
            async with httpx.AsyncClient(timeout=60) as web:
                answer = await web.post(f"{served.http}{path}", json=body)
            assert answer.status_code == 400, "it never reaches the engine"
