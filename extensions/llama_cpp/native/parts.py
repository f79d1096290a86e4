"""llama.cpp's own samplers, made from a request's parameters."""

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import neutral
from extensions.llama_cpp.native.library import Model
from kernel.contract import Refused, Sampling

MOST_BREAKERS = 50
"""Sequence breakers of DRY; each is looked for in every token of the vocabulary."""
STRONGEST = 1e4
"""A bias beyond it says nothing more."""
TINY = 1e-37
"""A share of the best that no draw ever meets."""
RANDOM = 0xFFFFFFFF
"""The seed that llama.cpp takes for none."""
REMEMBERING = ("penalties", "dry")
"""Those that look at what was read and written."""


def seed_of(sampling: Sampling) -> int:
    seed = neutral(sampling, "seed")
    return RANDOM if seed == -1 else min(seed, RANDOM - 1)


def is_greedy(sampling: Sampling) -> bool:
    """Whether the likeliest token is taken, whatever filters would leave."""
    if not neutral(sampling, "do_sample"):
        return True
    return neutral(sampling, "temperature") == 0 and not neutral(sampling, "dynamic_temperature")


def reach(sampling: Sampling, most: int) -> int:
    """How many tokens penalties and DRY look back; a range of 0 is all that the context holds."""
    return min(neutral(sampling, "repetition_penalty_range") or most, most)


def biases(sampling: Sampling, model: Model) -> dict[int, float]:
    """What is added to the logits of tokens that the model has; a ban is minus infinity."""
    found: dict[int, float] = {}
    for token, bias in neutral(sampling, "logit_bias").items():
        if math.isnan(bias):
            raise Refused(f"The bias of token {token} is not a number. Correct it.")
        found[token] = max(-STRONGEST, min(STRONGEST, bias))
    found |= dict.fromkeys(neutral(sampling, "custom_token_bans"), -math.inf)
    found = {token: bias for token, bias in found.items() if 0 <= token < model.vocabulary_size}
    banned = {token for token, bias in found.items() if bias == -math.inf}
    if len(banned) == model.vocabulary_size:
        raise Refused("All tokens of this model are banned. Allow some of them.")
    if neutral(sampling, "ban_eos_token"):
        found |= dict.fromkeys(model.eog, -math.inf)
    return found


def bias(model: Model, found: Mapping[int, float]) -> Any:
    array = (C.llama_logit_bias * len(found))(*found.items())
    return C.llama_sampler_init_logit_bias(model.vocabulary_size, len(found), array)


def part(name: str, sampling: Sampling, model: Model, most: int) -> Any:
    """The sampler that `sampler_priority` calls so; None where it would change nothing. `most` is
    how many tokens the context holds."""

    def value(field: str) -> Any:
        return neutral(sampling, field)

    past = reach(sampling, most)
    match name:
        case "penalties":
            kinds = ("repetition", "frequency", "presence")
            given = tuple(value(f"{kind}_penalty") for kind in kinds)
            if given != (1, 0, 0):
                return C.llama_sampler_init_penalties(model.vocabulary_size, past, *given)
        case "dry" if value("dry_multiplier"):
            return dry(sampling, model, past)
        case "top_n_sigma" if value(name):
            return C.llama_sampler_init_top_n_sigma(value(name))
        case "top_k" if value(name):
            return C.llama_sampler_init_top_k(min(value(name), model.vocabulary_size))
        case "typ_p" if value("typical_p") < 1:
            return C.llama_sampler_init_typical(value("typical_p"), 1)
        case "top_p" if value(name) < 1:
            return C.llama_sampler_init_top_p(value(name), 1)
        case "min_p" if value(name):
            return C.llama_sampler_init_min_p(value(name), 1)
        case "xtc" if value("xtc_probability"):
            given = value("xtc_probability"), value("xtc_threshold")
            return C.llama_sampler_init_xtc(*given, 1, seed_of(sampling))
        case "temperature" if value("dynamic_temperature"):
            low, high = value("dynatemp_low"), value("dynatemp_high")
            middle, spread = (low + high) / 2, abs(high - low) / 2
            return C.llama_sampler_init_temp_ext(middle, spread, value("dynatemp_exponent"))
        case "temperature" if value(name) != 1:
            return C.llama_sampler_init_temp(value(name))
    return None


def dry(sampling: Sampling, model: Model, past: int) -> Any:
    breakers: Sequence[str] = neutral(sampling, "dry_sequence_breakers")
    if len(breakers) > MOST_BREAKERS:
        raise Refused(
            f"DRY has {len(breakers):,} sequence breakers, and {MOST_BREAKERS} are the most. "
            "Leave some out."
        )
    encoded = [each.encode("utf-8", "replace") for each in breakers if each]
    return C.llama_sampler_init_dry(
        model.vocabulary,
        neutral(sampling, "dry_multiplier"),
        neutral(sampling, "dry_base"),
        neutral(sampling, "dry_allowed_length"),
        past,
        (ctypes.c_char_p * len(encoded))(*encoded),
        len(encoded),
    )


def without_the_impossible() -> Any:
    """Drops what was given no chance: typical-p, dynamic temperature and mirostat count it in
    otherwise, and typical-p is then no number."""
    return C.llama_sampler_init_min_p(TINY, 1)


def chooser(sampling: Sampling, model: Model) -> Any:
    """The last sampler, which selects."""

    def value(field: str) -> Any:
        return neutral(sampling, field)

    seed = seed_of(sampling)
    if is_greedy(sampling):
        return C.llama_sampler_init_greedy()
    if (mode := value("mirostat_mode")) == 1:
        given = value("mirostat_tau"), value("mirostat_eta")
        return C.llama_sampler_init_mirostat(model.vocabulary_size, seed, *given, 100)
    if mode == 2:
        return C.llama_sampler_init_mirostat_v2(seed, value("mirostat_tau"), value("mirostat_eta"))
    if target := value("adaptive_target"):
        return C.llama_sampler_init_adaptive_p(target, value("adaptive_decay"), seed)
    return C.llama_sampler_init_dist(seed)
