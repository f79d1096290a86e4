"""llamacpp_HF chooses as llama.cpp's own engine does, on the very same logits."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Worker
from tests.engines.real import STORIES, ask, engine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]
TEXT = "The cat sat on a mat. The cat sat"
HEAT_LAST = ["quadratic_sampling", "temperature", "dynamic_temperature"]
"""As llama.cpp has it by itself; what is not named comes before."""
ALIKE: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.6},
    "dynatemp": {"dynamic_temperature": True, "dynatemp_low": 0.3, "dynatemp_high": 2.0,
                 "dynatemp_exponent": 1.7},
    "smoothing": {"smoothing_factor": 0.7, "smoothing_curve": 2.2},
    "top_p": {"top_p": 0.8}, "top_k": {"top_k": 7}, "min_p": {"min_p": 0.05},
    "top_n_sigma": {"top_n_sigma": 1.0}, "typical_p": {"typical_p": 0.5},
    "xtc": {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    "epsilon": {"epsilon_cutoff": 9.0}, "eta": {"eta_cutoff": 20.0}, "tfs": {"tfs": 0.8},
    "top_a": {"top_a": 0.3}, "mirostat 1": {"mirostat_mode": 1, "mirostat_tau": 1.5},
    "mirostat 2": {"mirostat_mode": 2, "mirostat_tau": 1.5},
    "adaptive-p": {"adaptive_target": 0.2, "min_p": 0.01},
    "dry": {"dry_multiplier": 0.8, "dry_allowed_length": 1, "dry_sequence_breakers": ["\n", "."]},
    "penalties": {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.3},
    "the last few": {"presence_penalty": 1.0, "repetition_penalty_range": 3},
    "the prompt's": {"encoder_repetition_penalty": 1.3}, "ngram": {"no_repeat_ngram_size": 2},
    "many": {"temperature": 1.4, "min_p": 0.02, "tfs": 0.95, "smoothing_factor": 0.4,
             "repetition_penalty": 1.1},
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="package", scope="module", autouse=True)
async def worker(spare: Worker) -> Worker:
    await spare.load(STORIES / "stories260K.gguf", {})
    return spare


@pytest_asyncio.fixture(loop_scope="package", scope="module")
async def native(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        await worker.load(STORIES / "stories260K.gguf", {"engine": "native"})
        yield worker


async def shares(worker: Worker, wish: dict[str, Any]) -> dict[int, float]:
    wish = {**wish, "sampler_priority": HEAT_LAST}
    told = await worker.call("logits", text=TEXT, sampling=wish, top=512)
    return {each["id"]: each["after"] for each in told["tokens"] if each["after"]}


@pytest.mark.parametrize("name", ALIKE)
async def test_both_engines_give_the_same_shares(worker: Worker, native: Worker, name: str):
    one, other = await shares(worker, ALIKE[name]), await shares(native, ALIKE[name])
    assert one.keys() == other.keys()
    for token, share in one.items():
        assert share == pytest.approx(other[token], rel=1e-3, abs=1e-8)
    assert one != await shares(worker, {})


async def test_banned_strings_beside_samplers_that_learn(worker: Worker):
    wish: dict[str, Any] = {"temperature": 1.0, "max_new_tokens": 60, "ban_eos_token": True}
    banned = {"extra": {"banned_strings": ("e", "th")}}
    for learns in ({"mirostat_mode": 2, "mirostat_tau": 3.0}, {"adaptive_target": 0.3}):
        text, finish, _ = await ask(worker, TEXT, seed=5, **wish, **learns, **banned)
        assert finish.usage.completion == 60
        assert "e" not in text.lower()


async def test_a_grammar_goes_beside_what_cuts_tokens(worker: Worker):
    """What the samplers leave may be forbidden: what is allowed is then chosen from anew."""
    grammar = 'root ::= "zebra" [0-9]'
    wishes: list[dict[str, Any]] = [
        {"top_k": 1}, {"min_p": 0.9}, {"mirostat_mode": 2, "mirostat_tau": 0.1},
    ]  # fmt: skip
    for wish in wishes:
        text, finish, _ = await ask(worker, temperature=1.0, grammar=grammar, **wish)
        assert (text[:5], text[5:].isdigit(), finish.reason) == ("zebra", True, "stop")
