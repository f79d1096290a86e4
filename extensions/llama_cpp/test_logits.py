"""What may come next, as the native engine tells it: before the samplers and after each."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Worker, WorkerError
from tests.engines import formulas as f
from tests.engines.real import ROOT, STORIES, STORY, ask, engine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
TEXT = "Once upon a time, there was"
WORDS = ("a", "the", "one", "big", "no", "red")
IMPATIENT = ROOT / "tests" / "engines" / "impatient.py"
WHOLE = 512
"""Tokens of the model."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        await worker.load(STORIES / "stories260K.gguf", {"engine": "native"})
        yield worker


async def logits(worker: Worker, top: int = WHOLE, text: str = TEXT, **sampling: Any) -> Any:
    said = await worker.call("logits", text=text, sampling=sampling, top=top)
    return {each["id"]: each for each in said["tokens"]}


def near(got: Any, expected: dict[int, float]) -> None:
    """What is left and its shares are those of a formula."""
    left = {id: each["after"] for id, each in got.items() if each["after"] > 0}
    assert left.keys() == expected.keys()
    for id, share in expected.items():
        assert left[id] == pytest.approx(share, rel=1e-4, abs=1e-9)


def scores(got: Any) -> f.Logits:
    """Logits that have the shares before the samplers."""
    return {id: math.log(each["before"]) for id, each in got.items()}


async def test_the_shares_are_those_of_all_tokens_and_the_ones_that_replies_report(worker: Worker):
    got = await logits(worker)
    assert len(got) == WHOLE
    assert sum(each["before"] for each in got.values()) == pytest.approx(1, abs=1e-9)
    assert sum(each["after"] for each in got.values()) == pytest.approx(1, abs=1e-9)
    assert not any(each["cut_by"] for each in got.values())
    _, _, deltas = await ask(worker, prompt=TEXT, logprobs=20, max_new_tokens=1)
    [token] = [token for delta in deltas for token in delta.tokens]
    pieces = dict[bytes, float]()  # Some bytes are a token twice; the likelier one comes first.
    for each in got.values():
        pieces.setdefault(each["bytes"], each["before"])
    for piece, logprob in token.top:
        assert pieces[piece] == pytest.approx(math.exp(logprob), rel=1e-5)
    assert next(iter(got)) == token.id, "the likeliest comes first"


@pytest.mark.parametrize(
    ("sampling", "formula", "name"),
    [
        ({"temperature": 0.6}, lambda x: f.temperature(x, 0.6), ""),
        ({"top_k": 5}, lambda x: f.top_k(x, 5), "top_k"),
        ({"min_p": 0.1}, lambda x: f.min_p(x, 0.1), "min_p"),
        ({"top_p": 0.8}, lambda x: f.top_p(x, 0.8), "top_p"),
        ({"typical_p": 0.6}, lambda x: f.typical(x, 0.6), "typical_p"),
        ({"top_a": 0.4}, lambda x: f.top_a(x, 0.4), "top_a"),
        ({"tfs": 0.9}, lambda x: f.tail_free(x, 0.9), "tfs"),
        ({"epsilon_cutoff": 9.0}, lambda x: f.epsilon(x, 9.0), "epsilon_cutoff"),
        ({"top_n_sigma": 1.0}, lambda x: f.top_n_sigma(x, 1.0), "top_n_sigma"),
        (
            {"mirostat_mode": 2, "mirostat_tau": 2.0},
            lambda x: f.mirostat_2(x, 2.0),
            "mirostat_mode",
        ),
        ({"temperature": 0}, lambda x: f.top_k(x, 1), "temperature"),
        ({"do_sample": False}, lambda x: f.top_k(x, 1), "do_sample"),
    ],
)
async def test_after_a_sampler_they_are_what_its_formula_says(
    worker: Worker, sampling: Any, formula: Any, name: str
):
    before = scores(await logits(worker))
    got = await logits(worker, **sampling)
    near(got, f.shares(formula(before)))
    cut = {each["cut_by"] for each in got.values() if not each["after"]}
    assert cut == ({name} if name else set())
    assert not any(each["cut_by"] for each in got.values() if each["after"])


async def test_each_token_is_cut_by_the_sampler_that_met_it_first(worker: Worker):
    before = scores(await logits(worker))
    [best, second, *_] = f.falling(before)
    given = {"custom_token_bans": [best], "top_k": 20, "min_p": 0.2, "temperature": 0.7}
    for order in (["top_k", "min_p"], ["min_p", "top_k"]):
        got = await logits(worker, **given, sampler_priority=[*order, "temperature"])
        left = f.only(before, [id for id in before if id != best])
        first = f.top_k(left, 20) if order[0] == "top_k" else f.min_p(left, 0.2)
        last = f.min_p(first, 0.2) if order[0] == "top_k" else f.top_k(first, 20)
        near(got, f.shares(f.temperature(last, 0.7)))
        assert got[best]["cut_by"] == "custom_token_bans"
        assert got[second]["cut_by"] == ""
        for id in before:
            if id not in left:
                continue
            wanted = order[0] if id not in first else order[1] if id not in last else ""
            assert got[id]["cut_by"] == wanted


async def test_only_the_likeliest_are_told(worker: Worker):
    whole = await logits(worker)
    got = await logits(worker, top=25, top_k=3)
    best = sorted(whole, key=lambda id: -whole[id]["before"])[:25]
    assert set(got) == set(best)
    assert [id for id, each in got.items() if each["after"]] == best[:3]


async def test_replies_beside_it_say_what_they_say_alone(worker: Worker):
    """Long replies run, more than there are places for; meanwhile it is asked again and again."""
    alone = await ask(worker, max_new_tokens=200, ban_eos_token=True)
    replies = [asyncio.ensure_future(ask(worker, max_new_tokens=200, ban_eos_token=True))
               for _ in range(6)]  # fmt: skip
    wished = [logits(worker, text=f"{TEXT} {word}", top_k=3) for word in WORDS]
    beside = await asyncio.gather(*wished)
    for text, finish, _ in await asyncio.gather(*replies):
        assert (text, finish.reason) == (alone[0], "length")
    for word, got in zip(WORDS, beside, strict=True):
        again = await logits(worker, text=f"{TEXT} {word}", top_k=3)
        assert got.keys() == again.keys()
        for id, each in got.items():
            assert each["before"] == pytest.approx(again[id]["before"], rel=2e-3, abs=1e-6)
    text, finish, _ = await ask(worker)
    assert text == STORY
    assert finish.usage.cached, "what was known is known still"


async def test_what_cannot_be_asked_is_refused(worker: Worker):
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"text": "word " * 3000}, "The prompt has"),
        ({"token_ids": [1, 99_999]}, "invalid tokens"),
        ({}, "either a text or token ids"),
        ({"text": "a", "sampling": {"guidance_scale": 3}}, "cannot do this: guidance_scale"),
    ]
    for given, why in wrong:
        with pytest.raises(WorkerError, match=why):
            await worker.call("logits", **given)
    assert (await ask(worker))[0] == STORY


async def test_a_question_that_nobody_waits_for_ends(worker: Worker):
    asking = asyncio.ensure_future(worker.call("logits", text="Tom and Lily " * 100))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert (await ask(worker))[0] == STORY


async def test_tokens_with_their_pieces(worker: Worker):
    ids = await worker.call("tokenize", text="Hi Lily\n")
    pieces = await worker.call("tokenize", text="Hi Lily\n", pieces=True)
    assert [id for id, _, _ in pieces] == ids
    assert pieces[0][2], "the beginning is special"
    assert not any(special for _, _, special in pieces[1:])
    assert b"".join(piece for _, piece, _ in pieces[1:]) == b" Hi Lily\n"


async def test_the_prebuilt_engine_tells_probabilities(worker: Worker, environments_dir: Path):
    async with engine("llama_cpp", environments_dir / "xllamacpp") as prebuilt:
        await prebuilt.load(STORIES / "stories260K.gguf", {"engine": "prebuilt"})
        given = {"temperature": 0.7, "top_k": 3}
        said = await prebuilt.call("logits", text=TEXT, sampling=given, top=5)
        assert said["reasons"] is False
        native = await logits(worker, top=5, **given)
        for each in said["tokens"]:
            assert each["before"] == pytest.approx(native[each["id"]]["before"], rel=2e-2)
            assert each["after"] == pytest.approx(native[each["id"]]["after"], rel=2e-2, abs=1e-9)
        assert [each["after"] > 0 for each in said["tokens"]] == [True] * 3 + [False] * 2
        with pytest.raises(WorkerError, match="refused the request: Prompt contains invalid tok"):
            await prebuilt.call("logits", token_ids=[1, 5000])
        ids = await prebuilt.call("tokenize", text="Hi Lily")
        pieces = await prebuilt.call("tokenize", text="Hi Lily", pieces=True)
        assert [id for id, _, _ in pieces] == ids
        assert [special for _, _, special in pieces] == [True] + [False] * (len(ids) - 1)
        assert b"".join(piece for _, piece, _ in pieces[1:]) == b" Hi Lily"


async def test_the_prebuilt_engine_takes_its_time_for_a_question(environments_dir: Path):
    """It may wait for replies, and for a long prompt."""
    async with engine("llama_cpp", environments_dir / "xllamacpp", IMPATIENT) as prebuilt:
        await prebuilt.load(STORIES / "stories260K.gguf", {})
        said = await prebuilt.call("logits", token_ids=[1, *[403] * 1500], top=5)
        assert len(said["tokens"]) >= 5
