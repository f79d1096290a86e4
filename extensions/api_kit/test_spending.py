"""What a key has used: also where an engine reads texts and makes no reply of them."""

import asyncio
import hashlib
import secrets
from pathlib import Path
from typing import Any

import pytest

from extensions.api_kit.api import PROGRAMS
from extensions.api_kit.spending import Spending
from kernel.api import Key
from kernel.testing import running
from tests.programs import Knowing, ask
from tests.sockets import serving

SCORED: dict[str, Any] = {"echo": True, "logprobs": 1, "max_tokens": 0}
READ: list[tuple[str, str, dict[str, Any], int]] = [
    ("openai_api", "/v1/embeddings", {"input": ["a", "a b"]}, 5),
    ("openai_api", "/v1/completions", {"prompt": "a b", **SCORED}, 3),
    ("openai_api", "/v1/completions", {"prompt": [1, 2], **SCORED}, 2),
    ("openai_api", "/v1/internal/logits", {"prompt": "a b"}, 3),
    ("ollama_api", "/api/embed", {"input": ["a", "a b"]}, 5),
    ("ollama_api", "/api/embeddings", {"prompt": "a b"}, 3),
    ("kobold_api", "/api/extra/embeddings", {"input": ["a", "a b"]}, 5),
    ("llama_server_api", "/embedding", {"content": ["a", "a b"]}, 5),
]
"""An extension, a route of its, a body, and the tokens that the engine reads then."""


@pytest.mark.parametrize(("extension", "path", "body", "tokens"), READ)
async def test_what_an_engine_reads_counts(
    extension: str, path: str, body: dict[str, Any], tokens: int
):
    model = Knowing(scores=True)
    async with running(extension, model=model) as app, serving(app) as served:
        await app.kernel.slot("embedding").load(Path("scripted"), "scripted")
        limited, free = (f"sk-{secrets.token_urlsafe(32)}" for _ in range(2))
        served.keyring.keep(
            Key(name, hashlib.sha256(words.encode()).hexdigest(), "generate", tokens=most)
            for name, words, most in (("limited", limited, tokens + 1), ("free", free, 0))
        )
        for _ in range(2):
            answer = await ask(served, "POST", path, limited, **body)
            assert answer.status_code == 200, answer.text
        [programs] = app.kernel.registry.values(PROGRAMS)
        used = {
            key.name: programs.runs.spending.used(f"key:{key.id}") for key in served.keyring.made
        }
        assert used == {"limited": 2 * tokens, "free": 0}
        refused = await ask(served, "POST", path, limited, **body)
        status = 503 if extension == "kobold_api" else 429  # KoboldAI's word for busy.
        assert (refused.status_code, "within a minute" in refused.text) == (status, True)
        assert 50 < int(refused.headers["retry-after"]) <= 61
        assert (await ask(served, "POST", path, free, **body)).status_code == 200
        assert not model.asked


async def test_what_an_engine_refuses_costs_nothing():
    """`Knowing` refuses `scores` unless it is told how to tell them."""
    model = Knowing()
    async with running("openai_api", model=model) as app, serving(app) as served:
        words = f"sk-{secrets.token_urlsafe(32)}"
        key = Key("phone", hashlib.sha256(words.encode()).hexdigest(), "generate", tokens=1)
        served.keyring.keep([key])
        for _ in range(2):
            answer = await ask(served, "POST", "/v1/completions", words, prompt="a", **SCORED)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "echo")


async def test_a_limit_holds_for_many_at_once():
    async with running("openai_api", model=Knowing()) as app, serving(app) as served:
        words = f"sk-{secrets.token_urlsafe(32)}"
        key = hashlib.sha256(words.encode()).hexdigest()
        served.keyring.keep([Key("little", key, "generate", tokens=5)])
        body = {"prompt": "a b", "max_tokens": 40}
        asked = [ask(served, "POST", "/v1/completions", words, **body) for _ in range(10)]
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*asked))
        assert statuses == [200, *[429] * 9]
        refused = await ask(served, "POST", "/v1/completions", words, **body)
        assert (refused.status_code, "within a minute" in refused.text) == (429, True)


def test_as_many_at_once_as_there_is_room_for():
    spending = Spending()
    assert spending.at_once("me", 0, 100, 3) == 3
    assert spending.at_once("me", 0, 100, 0) == 0, "no limit"
    assert spending.at_once("me", 1000, 100, 0) == 10
    assert spending.at_once("me", 1000, 100, 3) == 3
    spending.add("me", 750)
    assert spending.at_once("me", 1000, 100, 0) == 2
    spending.add("me", 750)
    assert spending.at_once("me", 1000, 100, 0) == 1
