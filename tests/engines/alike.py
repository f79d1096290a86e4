"""Tests that several engines have in common: import them beside a fixture `worker`."""

from typing import Any

import pytest

from kernel.api import Worker
from tests.engines.real import STORY, ask

PENALTIES: list[tuple[str, Any]] = [
    ("logit_bias", {432: -100.0}),
    ("custom_token_bans", (432,)),
    ("repetition_penalty", 3.0),
    ("frequency_penalty", 2.0),
    ("presence_penalty", 2.0),
]


async def test_seeds_repeat_and_differ(worker: Worker):
    one, two, three = [(await ask(worker, temperature=1.5, seed=seed))[0] for seed in (7, 7, 8)]
    assert one == two
    assert one != three


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *PENALTIES,
        ("no_repeat_ngram_size", 1),
        ("encoder_repetition_penalty", 1.5),
    ],
)
async def test_a_penalty_changes_the_words(worker: Worker, field: str, value: Any):
    plain, _, _ = await ask(worker, max_new_tokens=60)
    changed, _, _ = await ask(worker, max_new_tokens=60, **{field: value})
    assert changed != plain


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 1),
        ("top_p", 0.01),
        ("min_p", 0.99),
        ("top_n_sigma", 0.01),
        ("epsilon_cutoff", 9.0),
        ("eta_cutoff", 20.0),
        ("typical_p", 0.2),
    ],
)
async def test_a_filter_narrows_the_choice(worker: Worker, field: str, value: Any):
    """Hot enough for nonsense, unless the filter comes first and leaves little to choose."""
    hot = {"temperature": 2.0, "temperature_last": True, "seed": 3, "max_new_tokens": 12}
    plain, _, _ = await ask(worker, **hot)
    narrow, _, _ = await ask(worker, **hot, **{field: value})
    assert narrow != plain
    if field in ("top_k", "top_p", "min_p", "top_n_sigma"):
        assert STORY.startswith(narrow)
