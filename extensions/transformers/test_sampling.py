"""Transformers chooses by the same formulas as llama.cpp; see tests/engines/samplers.py."""

import math
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.transformers.honoured import HONOURED
from kernel.api import Worker
from tests.engines import formulas as f
from tests.engines.real import ROOT, STORIES, ask, engine
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
    TEXTGEN,
    mixed,
)

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
DRAWS, FAR, CLEAR = 5_000, 4, 10
"""The last two are standard deviations: no chance explains FAR, and CLEAR shows a sampler."""
COLON = ":"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    file = ROOT / "tests" / "engines" / "chosen.py"
    async with engine("transformers", environments_dir / "torch", file) as worker:
        await worker.load(STORIES / "hf", {"dtype": "float32"})
        yield worker


async def follow(
    worker: Worker, sampling: dict[str, Any], logits: f.Logits = LOGITS, **more: Any
) -> list[tuple[int, dict[int, float], dict[int, str]]]:
    """Each token of a run, the shares it was chosen by, and what took the others out."""
    given = {str(token): value for token, value in logits.items()}
    told = await worker.call("follow", logits=given, sampling=sampling, **more)
    return [(token, dict(shares), dict(cut_by)) for token, shares, cut_by in told]


async def draw(
    worker: Worker, sampling: dict[str, Any], logits: f.Logits = LOGITS, **more: Any
) -> dict[int, int]:
    """How often each token came first."""
    given = {str(token): value for token, value in logits.items()}
    more = {"count": DRAWS, **more}
    return dict(await worker.call("draw", logits=given, sampling=sampling, **more))


def near(got: dict[int, float], expected: dict[int, float]) -> None:
    assert got.keys() == expected.keys()
    for token, share in expected.items():
        assert got[token] == pytest.approx(share, rel=1e-4, abs=1e-9)


EACH: dict[str, tuple[dict[str, Any], Sequence[int], Any]] = {
    **{name: (sampling, (), formula) for name, (sampling, formula) in (ALONE | ITSELF).items()},
    **LOOKING_BACK,
}


@pytest.mark.parametrize("name", EACH)
async def test_each_sampler_is_its_formula(worker: Worker, name: str):
    sampling, past, formula = EACH[name]
    logits = STEEP if "cutoff" in name or name == "top_a" else LOGITS
    [(_, shares, _)] = await follow(worker, sampling, logits, prompt=past)
    near(shares, f.shares(formula(logits)))


CUT = {
    "top_a": {"top_a": 0.9}, "tfs": {"tfs": 0.7}, "mirostat_mode": {"mirostat_mode": 2,
    "mirostat_tau": 1.9}, "epsilon_cutoff": {"epsilon_cutoff": 9.0}, "xtc":
    {"xtc_probability": 1.0}, "no_repeat_ngram_size": {"no_repeat_ngram_size": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
async def test_what_a_sampler_takes_out_is_told_by_its_name(worker: Worker, name: str):
    [(_, shares, cut_by)] = await follow(worker, CUT[name], STEEP, prompt=LOOP)
    assert {token for token, by in cut_by.items() if by == name} == STEEP.keys() - shares.keys()
    assert len(shares) < len(STEEP)


async def test_xtc_takes_the_likely_ones_out_as_often_as_it_should(worker: Worker):
    drawn = await draw(worker, {"xtc_probability": 0.4, "xtc_threshold": 0.07})
    before = f.shares(LOGITS)
    expected = mixed(before, f.shares(f.xtc(LOGITS, 0.07)), 0.4)
    assert f.surprise(drawn, expected) < FAR
    assert f.surprise(drawn, before) > CLEAR


async def test_xtc_spares_line_breaks_and_ends(worker: Worker):
    newline = (await worker.call("tokenize", text="\n", special=False))[-1]
    for token in (2, newline):
        logits = {**LOGITS, token: 2.9}
        [(_, shares, _)] = await follow(worker, {"xtc_probability": 1.0}, logits)
        near(shares, f.shares(logits))


@pytest.mark.parametrize("name", ["Creative", "Big O"])
async def test_presets_that_stack_them(worker: Worker, name: str):
    sampling, formula = PRESETS[name]
    drawn = await draw(worker, {**sampling, "sampler_priority": TEXTGEN}, STEEP, prompt=PAST)
    assert f.surprise(drawn, formula(STEEP)) < FAR


@pytest.mark.parametrize(
    ("sampling", "first", "second"),
    [
        *ORDERED,
        (
            {"dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 3.0, "min_p": 0.2},
            lambda x: f.dynamic(f.min_p(x, 0.2), 0.5, 3.0, 1),
            lambda x: f.min_p(f.dynamic(x, 0.5, 3.0, 1), 0.2),
        ),
        (
            {"presence_penalty": 2.0, "top_k": 5},
            lambda x: f.penalties(f.top_k(x, 5), PAST, 1, 0, 2.0),
            lambda x: f.top_k(f.penalties(x, PAST, 1, 0, 2.0), 5),
        ),
    ],
)
async def test_the_order_is_the_users(worker: Worker, sampling: Any, first: Any, second: Any):
    names = [name for name in sampling if not name.startswith("dynatemp")]
    for priority, formula in ((names, second), (names[::-1], first)):
        priority = [{"smoothing_factor": "quadratic_sampling"}.get(n, n) for n in priority]
        wish = {**sampling, "sampler_priority": priority}
        [(_, shares, _)] = await follow(worker, wish, STEEP, prompt=PAST)
        near(shares, f.shares(formula(STEEP)))


async def test_temperature_last_comes_after_all(worker: Worker):
    sampling = {"temperature": 2.5, "tfs": 0.6, "sampler_priority": ["temperature", "tfs"]}
    [(_, shares, _)] = await follow(worker, {**sampling, "temperature_last": True}, STEEP)
    near(shares, f.shares(f.temperature(f.tail_free(STEEP, 0.6), 2.5)))


@pytest.mark.parametrize("mode", [1, 2])
async def test_mirostat_learns_from_what_it_chose(worker: Worker, mode: int):
    tau, eta = 2.0, 0.6
    sampling = {"mirostat_mode": mode, "mirostat_tau": tau, "mirostat_eta": eta}
    formula = partial(f.mirostat_1, vocabulary=512) if mode == 1 else f.mirostat_2
    most = 2 * tau
    for token, shares, _ in await follow(worker, sampling, length=12):
        expected = f.shares(formula(LOGITS, tau=most / 2))
        near(shares, expected)
        most -= eta * (-math.log2(expected[token]) - tau)
    assert most != 2 * tau


async def test_adaptive_p_learns_from_what_it_chose(worker: Worker):
    target, decay, before = 0.07, 0.5, f.shares(LOGITS)
    mean = target
    sampling = {"adaptive_target": target, "adaptive_decay": decay}
    for token, shares, _ in await follow(worker, sampling, length=12):
        near(shares, f.shares(f.adaptive(LOGITS, min(1, max(0, 2 * target - mean)))))
        mean = decay * mean + (1 - decay) * before[token]


async def test_dry_does_not_reach_past_breakers_and_its_range(worker: Worker):
    dry = {"dry_multiplier": 0.8, "dry_base": 1.5, "dry_sequence_breakers": [COLON]}
    colon = (await worker.call("tokenize", text="a:", special=False))[-1]
    formula = partial(f.dry, multiplier=0.8, base=1.5, allowed=2)
    for past in (LOOP, (*LOOP[:6], colon, *LOOP[6:]), (*LOOP[:5], colon, *LOOP, colon)):
        [(_, shares, _)] = await follow(worker, dry, prompt=past)
        near(shares, f.shares(formula(LOGITS, past=past, breakers=(colon,))))
    [(_, shares, _)] = await follow(worker, {**dry, "repetition_penalty_range": 4}, prompt=LOOP)
    near(shares, f.shares(formula(LOGITS, past=LOOP[-4:], breakers=(colon,))))
    long = (305, 306) * 80
    [(_, shares, _)] = await follow(worker, {**dry, "dry_base": 1.01}, prompt=long)
    assert shares[305] < f.shares(LOGITS)[305], "a run is followed for fifty tokens"


ODD = [
    {"repetition_penalty": 10.0, "repetition_penalty_range": 1_000_000},
    {"top_p": 0.0, "min_p": 1.0, "typical_p": 0.0, "tfs": 0.0, "top_a": 1.0},
    {"mirostat_mode": 1, "mirostat_tau": 0.0},
    {"mirostat_mode": 2, "mirostat_tau": 0.0},
    {"mirostat_mode": 2, "mirostat_eta": 1.0, "top_k": 1},
    {"mirostat_mode": 1, "top_k": 1},
    {"adaptive_target": 1.0, "adaptive_decay": 0.0, "top_k": 1},
    {"dynamic_temperature": True, "dynatemp_low": 5.0, "dynatemp_high": 0.01},
    {"dynamic_temperature": True, "temperature": 0.0, "top_k": 1},
    {"smoothing_factor": 10.0, "smoothing_curve": 10.0},
    {"dry_multiplier": 5.0, "dry_base": 4.0, "dry_sequence_breakers": ["", "x" * 500, "é"]},
    {"xtc_probability": 1.0, "xtc_threshold": 0.0},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 20, "dry_multiplier": 1.0, "dry_allowed_length": 20},
]


@pytest.mark.parametrize("sampling", ODD, ids=range(len(ODD)))
async def test_what_is_odd_still_gives_tokens(worker: Worker, sampling: Any):
    for logits in (LOGITS, dict.fromkeys(LOGITS, 1.0), {300: 1e4, 301: -1e4, 302: 0.0}):
        for prompt in ((), (300,), LOOP * 20):
            told = await follow(worker, sampling, logits, prompt=prompt, length=4)
            assert {token for token, _, _ in told} <= set(logits)
            assert not any(math.isnan(share) for _, shares, _ in told for share in shares.values())


HOT = {"temperature": 1.5}
COMPANIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "temperature": ({}, 0.5), "dynamic_temperature": ({"dynatemp_high": 3.0}, True),
    "dynatemp_low": ({"dynamic_temperature": True}, 0.3),
    "dynatemp_high": ({"dynamic_temperature": True}, 3.0),
    "dynatemp_exponent": ({"dynamic_temperature": True, "dynatemp_high": 3.0}, 3.0),
    "smoothing_factor": ({}, 0.5), "smoothing_curve": ({"smoothing_factor": 0.5}, 4.0),
    "top_p": (HOT, 0.5), "top_k": (HOT, 3), "min_p": (HOT, 0.3), "top_n_sigma": (HOT, 1.0),
    "typical_p": (HOT, 0.3), "xtc_threshold": ({"xtc_probability": 1.0}, 0.01),
    "xtc_probability": ({"xtc_threshold": 0.01}, 1.0), "epsilon_cutoff": (HOT, 9.0),
    "eta_cutoff": (HOT, 20.0), "tfs": (HOT, 0.5), "top_a": (HOT, 0.5),
    "adaptive_target": ({"top_k": 9}, 0.2), "adaptive_decay": ({"adaptive_target": 0.1}, 0.1),
    "dry_multiplier": ({}, 3.0), "dry_allowed_length": ({"dry_multiplier": 1.0}, 1),
    "dry_base": ({"dry_multiplier": 1.0}, 4.0),
    "dry_sequence_breakers": ({"dry_multiplier": 1.0}, (" cat",)),
    "repetition_penalty": ({}, 1.5), "frequency_penalty": ({}, 1.0),
    "presence_penalty": ({}, 1.0), "encoder_repetition_penalty": ({}, 1.5),
    "no_repeat_ngram_size": ({}, 2), "repetition_penalty_range": ({"presence_penalty": 1.0}, 3),
    "mirostat_mode": ({"mirostat_tau": 1.0, **HOT}, 2),
    "mirostat_tau": ({"mirostat_mode": 2, **HOT}, 1.0),
    "mirostat_eta": ({"mirostat_mode": 2, "mirostat_tau": 1.0, **HOT}, 1.0),
    "do_sample": ({}, False), "temperature_last": ({"temperature": 3.0, "top_p": 0.9}, True),
    "sampler_priority": ({"temperature": 3.0, "top_p": 0.9}, ("top_p", "temperature")),
    "max_new_tokens": ({}, 3), "auto_max_new_tokens": ({"max_new_tokens": 5}, True),
    "min_length": ({"logit_bias": {2: 50.0}}, 5),
    "ban_eos_token": ({"logit_bias": {2: 50.0}}, True),
    "custom_token_bans": ({}, (403, 432)), "logit_bias": ({}, {300: 9.0}),
    "add_bos_token": ({}, False),
    "skip_special_tokens": ({"logit_bias": {0: 50.0}}, False), "seed": (HOT, 8),
    "custom_stopping_strings": ({}, ("a", "e", " ")),
    "guidance_scale": ({"negative_prompt": "Once upon a time"}, 2.0),
    "negative_prompt": ({"guidance_scale": 2.0}, "Once upon a time"),
    "extra": ({}, {"banned_strings": ("a", "e")}),
}  # fmt: skip
"""What each needs beside it, and a value at which it is to change something."""


@pytest.mark.parametrize("name", COMPANIONS)
async def test_what_is_honoured_takes_effect(worker: Worker, name: str):
    beside, value = COMPANIONS[name]
    text, wish = "The cat sat on a mat. The cat sat", {"max_new_tokens": 12, "seed": 3, **beside}

    async def said(**wish: Any) -> Any:
        told = await worker.call("logits", text=text, sampling=wish, top=512)
        reply, finish, _ = await ask(worker, text, **{"temperature": 1.0, **wish})
        shares = {each["id"]: each["after"] for each in told["tokens"]}
        return reply, finish.usage.completion, shares

    before = await said(**wish)
    assert await said(**wish) == before
    assert await said(**{**wish, name: value}) != before


async def test_all_that_is_honoured_was_tried():
    assert set(COMPANIONS) == set(HONOURED)
