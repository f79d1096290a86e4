"""Logits processors of extensions see the tokens and change the logits, each request its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Processor, Worker, WorkerError
from tests.engines.real import ROOT, STORIES, STORY, ask, engine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
FILE = ROOT / "tests" / "engines" / "leaning.py"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    file = ROOT / "tests" / "engines" / "drawing.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        info = await worker.load(STORIES / "stories260K.gguf", {})
        assert "processors" in info.capabilities
        yield worker


def using(name: str, **params: Any) -> dict[str, Any]:
    return {"processors": (Processor(f"{FILE}:{name}", params),)}


async def test_it_changes_what_is_chosen_in_its_own_request_only(worker: Worker):
    asked = [ask(worker, logprobs=0, **using("Lean", token=300 + at)) for at in range(3)]
    replies = await asyncio.gather(*asked, ask(worker))
    for at, (_, _, deltas) in enumerate(replies[:3]):
        ids = [token.id for delta in deltas for token in delta.tokens]
        assert ids == [432, *[300 + at] * 23], "each began to count for itself"
    assert replies[3][0] == STORY


async def test_it_sees_the_prompt_and_the_reply(worker: Worker):
    more = {"logprobs": 0, "max_new_tokens": 10, "temperature": 1.0}
    _, _, deltas = await ask(worker, token_ids=(1, 400), **more, **using("After"))
    ids = [token.id for delta in deltas for token in delta.tokens]
    assert ids == list(range(401, 411))


async def test_several_work_in_order_and_samplers_come_after(worker: Worker):
    wanted = (using("After")["processors"][0], using("Lean", token=350, by=2000.0)["processors"][0])
    more = {"token_ids": (1, 400), "logprobs": 0, "max_new_tokens": 3}
    _, _, deltas = await ask(worker, processors=wanted, **more)
    assert [token.id for delta in deltas for token in delta.tokens] == [401, 350, 350]
    banned = {"custom_token_bans": (350,), "min_p": 0.1}
    _, _, deltas = await ask(worker, processors=wanted, **more, **banned)
    assert [token.id for delta in deltas for token in delta.tokens] == [401, 402, 403]


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("Raise", {}, r"leaning\.py:Raise failed: ValueError: no idea"),
        ("Short", {}, r"leaning\.py:Short answered \(7,\) instead of \(512,\) logits"),
        ("Nothing", {}, r"leaning\.py:Nothing left logits that are no numbers"),
        ("Lean", {}, r"leaning\.py:Lean cannot be made: TypeError"),
        ("Nobody", {}, r"leaning\.py:Nobody cannot be made: AttributeError"),
    ],
)
async def test_a_bad_one_costs_its_own_request(
    worker: Worker, name: str, params: dict[str, Any], words: str
):
    bad = ask(worker, **using(name, **params))
    results = await asyncio.gather(bad, ask(worker), return_exceptions=True)
    assert isinstance(results[0], WorkerError)
    with pytest.raises(WorkerError, match=words):
        raise results[0]
    assert not isinstance(results[1], BaseException)
    assert results[1][0] == STORY


async def test_the_prebuilt_engine_says_that_it_cannot(environments_dir: Path):
    async with engine("llama_cpp", environments_dir / "xllamacpp") as worker:
        await worker.load(STORIES / "stories260K.gguf", {})
        with pytest.raises(WorkerError, match=r"do this: processors\. .* The native engine can"):
            await ask(worker, **using("Raise"))
