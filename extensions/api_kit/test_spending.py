"""What a key has used: also where an engine reads texts and makes no reply of them."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

import pytest

from extensions.api_kit.api import PROGRAMS
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
