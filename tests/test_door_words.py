"""What the door says to programs, in the words of the API that they asked."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kernel.testing import Scripted, running
from tests.sockets import Served, serving

ALL = (
    "instruct", "openai_api", "anthropic_api", "ollama_api", "kobold_api", "legacy_api",
    "llama_server_api", "text_api", "websocket_api",
)  # fmt: skip
MADE = "sk-" + "a" * 43
"""In the form of a key that is made here."""


@pytest.fixture(params=[True, False], ids=["key", "no key"])
def needs(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
async def served(needs: bool) -> AsyncIterator[Served]:
    settings = f"api: {{require_key: {str(needs).lower()}}}\n"
    async with running(*ALL, model=Scripted("Yes."), settings=settings) as app, serving(app) as it:
        yield it


async def asked(served: Served, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
        return await client.post(served.http + path, json=body, headers=headers)


@pytest.mark.parametrize("needs", [True], indirect=True)
async def test_each_api_reads_a_refusal_in_its_own_form(served: Served):
    for headers, words in (({}, "A key is needed"), ({"x-api-key": "none"}, "not known here")):
        answer = await asked(served, "/v1/messages", **headers)
        said = answer.json()
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert said.keys() == {"type", "error"}
        assert said["type"] == "error"
        assert said["error"]["type"] == "authentication_error"
        assert words in said["error"]["message"]

        said = (await asked(served, "/api/chat", **headers)).json()
        assert said.keys() == {"error"}
        assert words in said["error"]

        said = (await asked(served, "/api/extra/generate/check", **headers)).json()
        assert words in said["detail"]["msg"]
        assert said["error"]["code"] == "invalid_api_key"

        answer = await asked(served, "/v1/chat/completions", **headers)
        assert answer.status_code == 401
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert words in error.pop("message")
        assert error == {"type": "authentication_error", "param": None, "code": "invalid_api_key"}


@pytest.mark.parametrize("needs", [False], indirect=True)
async def test_on_this_machine_a_word_is_no_key_and_one_that_counts_no_more_is_refused(
    served: Served,
):
    for sent in ({}, {"x-api-key": "none"}, {"authorization": "Bearer sk-111111"}):
        assert (await asked(served, "/v1/chat/completions", **sent)).status_code == 200
    for name, value in (("x-api-key", MADE), ("authorization", f"Bearer {MADE}")):
        answer = await asked(served, "/v1/messages", **{name: value})
        assert answer.status_code == 401
        assert "counts no more" in answer.json()["error"]["message"]
    both = {"x-api-key": MADE, "authorization": f"Bearer {served.key}"}
    assert (await asked(served, "/v1/chat/completions", **both)).status_code == 200


@pytest.mark.parametrize("needs", [False], indirect=True)
async def test_an_api_that_fails_at_its_own_words_says_it_the_usual_way(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    def fails(self: Any, fault: Any) -> Any:
        raise ZeroDivisionError

    tongue = sys.modules["extensions.anthropic_api.tongue"]
    monkeypatch.setattr(tongue.Anthropic, "response", fails)
    answer = await asked(served, "/v1/messages", **{"x-api-key": MADE})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
