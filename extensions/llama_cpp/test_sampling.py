"""The native engine draws as the formulas say, from given logits for each sampler: with --long
20,000 tokens, else 8,000, which tell all of them apart as well."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Sampling, Worker, WorkerError
from tests.engines import formulas as f
from tests.engines.real import ROOT, STORIES, engine
from tests.engines.samplers import (
    ALONE,
    ITSELF,
    LOGITS,
    LOOKING_BACK,
    LOOP,
    ORDERED,
    PAST,
    PRESETS,
    STEEP,
    mixed,
)

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
DRAWS, FEW = 20_000, 8_000
FEWER = 5_000
"""Enough to tell one order from another."""
FAR, CLEAR = 4, 10
"""Standard deviations; beyond FAR no chance explains it, and CLEAR is what a sampler must do."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    file = ROOT / "tests" / "engines" / "drawing.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        await worker.load(STORIES / "stories260K.gguf", {})
        yield worker


@pytest.fixture(autouse=True)
def draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.config.getoption("--long"):
        monkeypatch.setattr(sys.modules[__name__], "DRAWS", FEW)


async def draw(
    worker: Worker, sampling: dict[str, Any], logits: f.Logits = LOGITS, **more: Any
) -> dict[int, int]:
    """How often each token came."""
    given = {str(token): value for token, value in logits.items()}
    more = {"count": DRAWS, **more}
    runs = await worker.call("draw", logits=given, sampling=sampling, **more)
    return {run[0]: times for run, times in runs}


@pytest.mark.parametrize("name", ALONE)
async def test_each_sampler_alone(worker: Worker, name: str):
    sampling, formula = ALONE[name]
    logits = STEEP if "cutoff" in name or name == "top_a" else LOGITS
    drawn = await draw(worker, sampling, logits)
    assert f.surprise(drawn, f.shares(formula(logits))) < FAR
    if name != "nothing":
        before = f.shares(logits)
        cut = len(formula(logits)) < len(logits)
        assert cut or f.surprise(drawn, before) > CLEAR, "it changes something"


async def test_xtc_takes_the_likely_ones_out_as_often_as_it_should(worker: Worker):
    drawn = await draw(worker, {"xtc_probability": 0.4, "xtc_threshold": 0.07})
    before = f.shares(LOGITS)
    expected = mixed(before, f.shares(f.xtc(LOGITS, 0.07)), 0.4)
    assert f.surprise(drawn, expected) < FAR
    assert f.surprise(drawn, before) > CLEAR


@pytest.mark.parametrize("name", LOOKING_BACK)
async def test_each_sampler_that_looks_back(worker: Worker, name: str):
    sampling, past, formula = LOOKING_BACK[name]
    drawn = await draw(worker, sampling, prompt=past)
    assert f.surprise(drawn, f.shares(formula(LOGITS))) < FAR
    assert f.surprise(drawn, f.shares(LOGITS)) > CLEAR or len(formula(LOGITS)) < len(LOGITS)


@pytest.mark.parametrize("name", ITSELF)
async def test_each_sampler_that_chooses_itself(worker: Worker, name: str):
    sampling, formula = ITSELF[name]
    drawn = await draw(worker, sampling, fresh=True)
    assert f.surprise(drawn, f.shares(formula(LOGITS))) < FAR
    assert f.surprise(drawn, f.shares(LOGITS)) > CLEAR or len(formula(LOGITS)) < len(LOGITS)


@pytest.mark.parametrize("name", PRESETS)
async def test_presets_that_stack_them(worker: Worker, name: str):
    sampling, formula = PRESETS[name]
    drawn = await draw(worker, sampling, STEEP, prompt=PAST)
    assert f.surprise(drawn, formula(STEEP)) < FAR


@pytest.mark.parametrize(
    ("sampling", "first", "second"), ORDERED, ids=["both in C", "both ours", "one of each"]
)
async def test_the_order_is_the_users(worker: Worker, sampling: Any, first: Any, second: Any):
    names = list(sampling)
    for priority, formula, other in ((names, second, first), (names[::-1], first, second)):
        wanted, unwanted = f.shares(formula(STEEP)), f.shares(other(STEEP))
        priority = [{"smoothing_factor": "quadratic_sampling"}.get(n, n) for n in priority]
        drawn = await draw(worker, {**sampling, "sampler_priority": priority}, STEEP, count=FEWER)
        assert f.surprise(drawn, wanted) < FAR
        assert f.surprise(drawn, unwanted) > CLEAR or wanted.keys() != unwanted.keys()


async def test_temperature_last_comes_after_all(worker: Worker):
    sampling = {"temperature": 2.5, "tfs": 0.6, "sampler_priority": ["temperature", "tfs"]}
    drawn = await draw(worker, {**sampling, "temperature_last": True}, STEEP, count=FEWER)
    expected = f.shares(f.temperature(f.tail_free(STEEP, 0.6), 2.5))
    assert f.surprise(drawn, expected) < FAR


async def test_what_is_impossible_is_not_counted(worker: Worker):
    """llama.cpp's typical-p and dynamic temperature count banned tokens, and are wrong then."""
    kept = f.only(LOGITS, [token for token in LOGITS if token not in (300, 303)])
    ban = {"custom_token_bans": [300, 303]}
    drawn = await draw(worker, {**ban, "typical_p": 0.5})
    assert f.surprise(drawn, f.shares(f.typical(kept, 0.5))) < FAR
    heat = {"dynamic_temperature": True, "dynatemp_low": 0.2, "dynatemp_high": 1.8}
    drawn = await draw(worker, {**ban, **heat})
    assert f.surprise(drawn, f.shares(f.dynamic(kept, 0.2, 1.8, 1))) < FAR


async def test_greedy_takes_the_best_after_penalties(worker: Worker):
    best, second = f.falling(LOGITS)[:2]
    for sampling in (
        {"temperature": 0.0, "top_p": 0.5, "xtc_probability": 1.0},
        {"do_sample": False, "temperature": 3.0},
    ):
        assert await draw(worker, sampling, count=1) == {best: 1}
        penalised = {**sampling, "presence_penalty": 2.0}
        assert await draw(worker, penalised, count=1, prompt=(best,)) == {second: 1}


async def test_no_reply_ends_before_its_least_length(worker: Worker):
    wishes = {**LOGITS, 2: 50.0}
    given = {str(token): value for token, value in wishes.items()}
    for sampling in ({}, {"tfs": 0.9}, {"temperature": 0.0}):
        asked = {"logits": given, "sampling": {**sampling, "min_length": 3}, "length": 4}
        for run, _ in await worker.call("draw", **asked):
            assert run[3] == 2
            assert 2 not in run[:3]


async def test_a_bias_is_only_for_tokens_that_there_are(worker: Worker):
    """A number beyond 32 bits would arrive at llama.cpp as another one."""
    best = f.falling(LOGITS)[0]
    odd = {"logit_bias": {2**32 + best: -50.0, -1: 9.0, 10**9: 50.0}, "temperature": 0.0}
    assert await draw(worker, odd, count=1) == {best: 1}
    assert await draw(worker, {**odd, "logit_bias": {best: -50.0}}, count=1) != {best: 1}


async def test_a_seed_repeats_also_the_greatest(worker: Worker):
    for seed in (0, 7, 2**32 - 1):
        again = [await draw(worker, {"seed": seed}, count=1, length=1) for _ in range(3)]
        assert again[0] == again[1] == again[2]
    given = {str(token): value for token, value in LOGITS.items()}
    asked = {"logits": given, "sampling": {"seed": -1}, "length": 30}
    runs = [await worker.call("draw", **asked) for _ in range(2)]
    assert runs[0] != runs[1]


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"custom_token_bans": list(range(512))}, "All tokens of this model are banned"),
        ({"dry_multiplier": 1.0, "dry_sequence_breakers": ["x"] * 51}, "51 sequence breakers"),
    ],
)
async def test_what_leaves_nothing_is_refused(worker: Worker, sampling: Any, words: str):
    with pytest.raises(WorkerError, match=words):
        await draw(worker, sampling)


NOT_HERE = {
    "penalty_alpha", "guidance_scale", "negative_prompt", "prompt_lookup_num_tokens",
    "max_tokens_second", "static_cache", "truncation_length", "num_beams", "length_penalty",
    "early_stopping",
}  # fmt: skip
"""What needs a second context, several rows, or is the server's to honour."""


async def test_it_honours_all_parameters_but_these(worker: Worker):
    info = await worker.load(STORIES / "stories260K.gguf", {})
    assert len(set(info.samplers)) == len(info.samplers)
    assert set(info.samplers) == set(Sampling.__struct_fields__) - NOT_HERE


ODD = [
    {"logit_bias": {10**9: 5.0, 511: 2.0}, "custom_token_bans": [999_999]},
    {"repetition_penalty": 10.0, "repetition_penalty_range": 1_000_000},
    {"repetition_penalty": 1e-9},
    {"temperature": 1e-30},
    {"temperature": 5.0, "top_k": 1_000_000},
    {"top_p": 0.0, "min_p": 1.0, "typical_p": 0.0, "tfs": 0.0, "top_a": 1.0},
    {"mirostat_mode": 1, "mirostat_tau": 0.0},
    {"mirostat_mode": 2, "mirostat_tau": 0.0},
    {"dynamic_temperature": True, "dynatemp_low": 5.0, "dynatemp_high": 0.01},
    {"smoothing_factor": 10.0, "smoothing_curve": 10.0},
    {"dry_multiplier": 5.0, "dry_base": 4.0, "dry_sequence_breakers": ["", "x" * 500, "é"]},
    {"custom_token_bans": list(LOGITS)},
    {"no_repeat_ngram_size": 1},
]


@pytest.mark.parametrize("sampling", ODD, ids=range(len(ODD)))
async def test_what_is_odd_still_gives_tokens(worker: Worker, sampling: Any):
    drawn = await draw(worker, sampling, count=50, prompt=LOOP * 20)
    assert sum(drawn.values()) == 50
    assert set(drawn) <= set(range(512))


@pytest.mark.parametrize("sampling", [{}, {"tfs": 0.5}, {"temperature": 0.0}])
async def test_logits_that_are_no_numbers_end_the_request_only(worker: Worker, sampling: Any):
    broken = {**LOGITS, 305: float("nan"), 309: float("inf")}
    with pytest.raises(WorkerError, match="what is no number"):
        await draw(worker, sampling, broken, count=1)
    assert await draw(worker, sampling, count=1)
