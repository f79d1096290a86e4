"""The samplers with their formulas, as every engine that has them is to draw."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from tests.engines import formulas as f

LOGITS = {300 + at: 2.6 - 0.19 * at + (at * 7 % 5) * 0.11 for at in range(24)}
"""From 2.6 down to below zero, not quite in order."""
PAST = (300, 301, 302, 305, 300, 301, 303, 310, 300, 301, 300, 319, 320)
LOOP = (305, 306, 307, 308, 305, 306, 307, 309, 306, 307)
"""Ends with what was there before, followed by 308 and by 309."""


def mixed(one: dict[int, float], other: dict[int, float], part: float) -> dict[int, float]:
    """Shares of `one`, except in a part of the cases."""
    return {token: (1 - part) * one[token] + part * other.get(token, 0.0) for token in one}


ALONE: dict[str, tuple[dict[str, Any], Any]] = {
    "nothing": ({}, lambda x: x),
    "temperature": ({"temperature": 0.6}, partial(f.temperature, t=0.6)),
    "dynamic temperature": (
        {"dynamic_temperature": True, "dynatemp_low": 0.2, "dynatemp_high": 0.7,
         "dynatemp_exponent": 1.7},
        partial(f.dynamic, low=0.2, high=0.7, exponent=1.7),
    ),
    "smoothing": (
        {"smoothing_factor": 0.7, "smoothing_curve": 2.2},
        partial(f.quadratic, factor=0.7, curve=2.2),
    ),
    "top_k": ({"top_k": 6}, partial(f.top_k, k=6)),
    "top_p": ({"top_p": 0.6}, partial(f.top_p, p=0.6)),
    "min_p": ({"min_p": 0.3}, partial(f.min_p, p=0.3)),
    "typical_p": ({"typical_p": 0.5}, partial(f.typical, p=0.5)),
    "top_n_sigma": ({"top_n_sigma": 0.8}, partial(f.top_n_sigma, n=0.8)),
    "top_a": ({"top_a": 0.9}, partial(f.top_a, a=3 * 0.3)),
    "tfs": ({"tfs": 0.7}, partial(f.tail_free, z=0.7)),
    "epsilon_cutoff": ({"epsilon_cutoff": 9.0}, partial(f.epsilon, value=9.0)),
    "eta_cutoff": ({"eta_cutoff": 20.0}, partial(f.eta, value=20.0)),
    "bias": (
        {"logit_bias": {302: 1.5, 300: -1.0}, "custom_token_bans": [301]},
        lambda x: f.only({**x, 302: x[302] + 1.5, 300: x[300] - 1}, [t for t in x if t != 301]),
    ),
}  # fmt: skip
STEEP = {300 + at: 6.0 - 0.45 * at for at in range(24)}
"""Where some tokens are as rare as the cut-offs in ten-thousandths want them."""

LOOKING_BACK: dict[str, tuple[dict[str, Any], Sequence[int], Any]] = {
    "penalties": (
        {"repetition_penalty": 1.4, "frequency_penalty": 0.3, "presence_penalty": 0.2},
        PAST,
        partial(f.penalties, past=PAST, repetition=1.4, frequency=0.3, presence=0.2),
    ),
    "penalties in a range": (
        {"repetition_penalty": 2.5, "repetition_penalty_range": 3},
        PAST,
        partial(f.penalties, past=PAST[-3:], repetition=2.5, frequency=0, presence=0),
    ),
    "dry": (
        {"dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 2},
        LOOP,
        partial(f.dry, past=LOOP, multiplier=0.8, base=1.5, allowed=2),
    ),
    "the prompt's own words": (
        {"encoder_repetition_penalty": 1.3},
        PAST,
        partial(f.from_prompt, prompt=PAST, penalty=1.3),
    ),
    "no repeated ngram": (
        {"no_repeat_ngram_size": 3},
        LOOP,
        partial(f.no_repeat, past=LOOP, size=3),
    ),
}

ITSELF: dict[str, tuple[dict[str, Any], Any]] = {
    "mirostat 1": (
        {"mirostat_mode": 1, "mirostat_tau": 1.4},
        partial(f.mirostat_1, tau=1.4, vocabulary=512),
    ),
    "mirostat 2": ({"mirostat_mode": 2, "mirostat_tau": 1.9}, partial(f.mirostat_2, tau=1.9)),
    "adaptive p": ({"adaptive_target": 0.07}, partial(f.adaptive, target=0.07)),
}

TEXTGEN = (
    "repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "top_n_sigma",
    "temperature", "dynamic_temperature", "quadratic_sampling", "top_k", "top_p", "typical_p",
    "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "adaptive_p", "mirostat", "xtc",
    "encoder_repetition_penalty", "no_repeat_ngram",
)  # fmt: skip
"""The order that text-generation-webui's presets were made for."""


def simple_1(x: f.Logits) -> dict[int, float]:
    x = f.penalties(x, PAST, 1.15, 0, 0)
    return f.shares(f.temperature(f.top_p(f.top_k(x, 20), 0.9), 0.7))


def creative(x: f.Logits) -> dict[int, float]:
    x = f.min_p(x, 0.02)
    return mixed(f.shares(x), f.shares(f.xtc(x, 0.1)), 0.5)


def big_o(x: f.Logits) -> dict[int, float]:
    x = f.temperature(f.penalties(x, PAST, 1.01, 0, 0), 0.87)
    return f.shares(f.tail_free(f.typical(f.top_p(f.top_k(x, 85), 0.99), 0.68), 0.68))


PRESETS = {
    "Creative": ({"min_p": 0.02, "xtc_probability": 0.5, "xtc_threshold": 0.1}, creative),
    "simple-1": (
        {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.15, "top_k": 20},
        simple_1,
    ),
    "Big O": (
        {"temperature": 0.87, "top_p": 0.99, "typical_p": 0.68, "tfs": 0.68,
         "repetition_penalty": 1.01, "top_k": 85, "sampler_priority": TEXTGEN},
        big_o,
    ),
}  # fmt: skip

ORDERED: list[tuple[dict[str, Any], Any, Any]] = [
    (
        {"temperature": 2.5, "top_p": 0.5},
        lambda x: f.temperature(f.top_p(x, 0.5), 2.5),
        lambda x: f.top_p(f.temperature(x, 2.5), 0.5),
    ),
    (
        {"smoothing_factor": 0.3, "top_a": 0.9},
        lambda x: f.quadratic(f.top_a(x, 0.9), 0.3, 1),
        lambda x: f.top_a(f.quadratic(x, 0.3, 1), 0.9),
    ),
    (
        {"tfs": 0.6, "top_k": 9},
        lambda x: f.tail_free(f.top_k(x, 9), 0.6),
        lambda x: f.top_k(f.tail_free(x, 0.6), 9),
    ),
]
"""Pairs, and what both give in the order against the one named, then in the one named."""
