"""What may come next, as Transformers tells it: before the samplers and after each."""

import asyncio
import math
from typing import Any

import pytest

from kernel.api import Worker, WorkerError
from tests.engines import formulas as f
from tests.engines.real import STORY, ask

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]
TEXT = "Once upon a time, there was"
WHOLE = 512
"""Tokens of the model."""


async def logits(worker: Worker, text: str = TEXT, **sampling: Any) -> Any:
    said = await worker.call("logits", text=text, sampling=sampling, top=WHOLE)
    return {each["id"]: each for each in said["tokens"]}


async def test_the_shares_are_those_of_all_tokens(worker: Worker):
    got = await logits(worker)
    assert len(got) == WHOLE
    for when in ("before", "after"):
        assert sum(each[when] for each in got.values()) == pytest.approx(1, abs=1e-9)
    _, _, deltas = await ask(worker, prompt=TEXT, logprobs=0, max_new_tokens=1)
    [token] = [token for delta in deltas for token in delta.tokens]
    assert got[token.id]["before"] == pytest.approx(math.exp(token.logprob or 0), rel=1e-5)
    assert got[token.id]["bytes"] == token.bytes


@pytest.mark.parametrize(
    ("sampling", "formula", "name"),
    [
        ({"temperature": 0.6}, lambda x: f.temperature(x, 0.6), ""),
        ({"top_k": 5}, lambda x: f.top_k(x, 5), "top_k"),
        ({"min_p": 0.1}, lambda x: f.min_p(x, 0.1), "min_p"),
        ({"top_p": 0.8}, lambda x: f.top_p(x, 0.8), "top_p"),
        ({"top_n_sigma": 1.0}, lambda x: f.top_n_sigma(x, 1.0), "top_n_sigma"),
        ({"temperature": 0}, lambda x: f.top_k(x, 1), "temperature"),
        ({"do_sample": False}, lambda x: f.top_k(x, 1), "do_sample"),
    ],
)
async def test_after_a_sampler_they_are_what_its_formula_says(
    worker: Worker, sampling: Any, formula: Any, name: str
):
    scores = {id: math.log(each["before"]) for id, each in (await logits(worker)).items()}
    got = await logits(worker, **sampling)
    expected = f.shares(formula(scores))
    left = {id: each["after"] for id, each in got.items() if each["after"] > 0}
    assert left.keys() == expected.keys()
    for id, share in expected.items():
        assert left[id] == pytest.approx(share, rel=1e-3, abs=1e-8)
    assert {each["cut_by"] for each in got.values() if not each["after"]} == ({name} - {""})


async def test_the_first_that_cuts_a_token_is_named(worker: Worker):
    scores = {id: each["before"] for id, each in (await logits(worker)).items()}
    best = max(scores, key=lambda id: scores[id])
    given = {"custom_token_bans": [best], "top_k": 20, "min_p": 0.2, "logit_bias": {best: 1.0}}
    got = await logits(worker, **given, sampler_priority=["top_k", "min_p"])
    assert got[best]["cut_by"] == "custom_token_bans"
    names = [each["cut_by"] for each in got.values()]
    assert names.count("top_k") == WHOLE - 21
    assert 0 < names.count("min_p") < 20


async def test_replies_beside_it_say_what_they_say_alone(worker: Worker):
    alone = await ask(worker, max_new_tokens=60, ban_eos_token=True)
    replies = [asyncio.ensure_future(ask(worker, max_new_tokens=60, ban_eos_token=True))
               for _ in range(3)]  # fmt: skip
    beside = [await logits(worker, text=TEXT + word) for word in (" a", " the", " one")]
    for text, _, _ in await asyncio.gather(*replies):
        assert text == alone[0]
    for word, got in zip((" a", " the", " one"), beside, strict=True):
        again = await logits(worker, text=TEXT + word)
        for id, each in got.items():
            assert each["before"] == pytest.approx(again[id]["before"], rel=1e-3, abs=1e-7)


async def test_what_cannot_be_asked_is_refused(worker: Worker):
    with pytest.raises(WorkerError, match="The prompt has"):
        await worker.call("logits", text="word " * 3000)
    with pytest.raises(WorkerError, match="cannot do this: penalty_alpha"):
        await worker.call("logits", text="a", sampling={"penalty_alpha": 0.6})
    assert (await ask(worker))[0] == STORY


async def test_tokens_with_their_pieces(worker: Worker):
    ids = await worker.call("tokenize", text="Hi Lily\n")
    pieces = await worker.call("tokenize", text="Hi Lily\n", pieces=True)
    assert [id for id, _, _ in pieces] == ids
    assert [special for _, _, special in pieces] == [True] + [False] * (len(ids) - 1)
    assert b"".join(piece for _, piece, _ in pieces[1:]) == b" Hi Lily\n"
