"""How the next token is chosen: every parameter that Spindle knows, by its usual name."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """The base of all data: immutable, compared by value, cheap to encode."""


Unit = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Words = Annotated[tuple[str, ...], Meta(max_length=1000)]


class Sampling(Struct, frozen=True):
    """How the next token is chosen; what is unset is left to the loader's neutral default.

    Names, ranges and meanings are text-generation-webui's; `temperature` 0 means greedy.
    """

    temperature: Annotated[float, Meta(ge=0, le=5)] | UnsetType = UNSET
    dynamic_temperature: bool | UnsetType = UNSET
    dynatemp_low: Annotated[float, Meta(ge=0.01, le=5)] | UnsetType = UNSET
    dynatemp_high: Annotated[float, Meta(ge=0.01, le=5)] | UnsetType = UNSET
    dynatemp_exponent: Annotated[float, Meta(ge=0.01, le=5)] | UnsetType = UNSET
    smoothing_factor: Annotated[float, Meta(ge=0, le=10)] | UnsetType = UNSET
    smoothing_curve: Annotated[float, Meta(ge=1, le=10)] | UnsetType = UNSET
    top_p: Unit | UnsetType = UNSET
    top_k: Count | UnsetType = UNSET
    min_p: Unit | UnsetType = UNSET
    top_n_sigma: Annotated[float, Meta(ge=0, le=5)] | UnsetType = UNSET
    typical_p: Unit | UnsetType = UNSET
    xtc_threshold: Annotated[float, Meta(ge=0, le=0.5)] | UnsetType = UNSET
    xtc_probability: Unit | UnsetType = UNSET
    epsilon_cutoff: Annotated[float, Meta(ge=0, le=9)] | UnsetType = UNSET
    eta_cutoff: Annotated[float, Meta(ge=0, le=20)] | UnsetType = UNSET
    tfs: Unit | UnsetType = UNSET
    top_a: Unit | UnsetType = UNSET
    adaptive_target: Unit | UnsetType = UNSET
    adaptive_decay: Annotated[float, Meta(ge=0, le=0.99)] | UnsetType = UNSET
    dry_multiplier: Annotated[float, Meta(ge=0, le=5)] | UnsetType = UNSET
    dry_allowed_length: Annotated[int, Meta(ge=1, le=20)] | UnsetType = UNSET
    dry_base: Annotated[float, Meta(ge=1, le=4)] | UnsetType = UNSET
    dry_sequence_breakers: Words | UnsetType = UNSET
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | UnsetType = UNSET
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | UnsetType = UNSET
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | UnsetType = UNSET
    encoder_repetition_penalty: Annotated[float, Meta(ge=0.8, le=1.5)] | UnsetType = UNSET
    no_repeat_ngram_size: Annotated[int, Meta(ge=0, le=20)] | UnsetType = UNSET
    repetition_penalty_range: Count | UnsetType = UNSET
    penalty_alpha: Annotated[float, Meta(ge=0, le=5)] | UnsetType = UNSET
    guidance_scale: Annotated[float, Meta(ge=-0.5, le=10)] | UnsetType = UNSET
    negative_prompt: str | UnsetType = UNSET
    mirostat_mode: Annotated[int, Meta(ge=0, le=2)] | UnsetType = UNSET
    mirostat_tau: Annotated[float, Meta(ge=0, le=10)] | UnsetType = UNSET
    mirostat_eta: Unit | UnsetType = UNSET
    do_sample: bool | UnsetType = UNSET
    temperature_last: bool | UnsetType = UNSET
    sampler_priority: Words | UnsetType = UNSET
    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET
    auto_max_new_tokens: bool | UnsetType = UNSET
    min_length: Count | UnsetType = UNSET
    prompt_lookup_num_tokens: Annotated[int, Meta(ge=0, le=10)] | UnsetType = UNSET
    max_tokens_second: Count | UnsetType = UNSET
    ban_eos_token: bool | UnsetType = UNSET
    custom_token_bans: Annotated[tuple[Count, ...], Meta(max_length=10_000)] | UnsetType = UNSET
    logit_bias: Annotated[Mapping[int, float], Meta(max_length=10_000)] | UnsetType = UNSET
    add_bos_token: bool | UnsetType = UNSET
    skip_special_tokens: bool | UnsetType = UNSET
    static_cache: bool | UnsetType = UNSET
    truncation_length: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 1)] | UnsetType = UNSET
    custom_stopping_strings: Words | UnsetType = UNSET
    num_beams: Annotated[int, Meta(ge=1, le=20)] | UnsetType = UNSET
    length_penalty: Annotated[float, Meta(ge=-5, le=5)] | UnsetType = UNSET
    early_stopping: bool | UnsetType = UNSET
    extra: Mapping[str, Any] | UnsetType = UNSET
    """What the loader adds of its own, by name, see `SAMPLERS`; checked before it reaches it."""


class Processor(Struct, frozen=True):
    """A logits processor of an extension: code by name, built in the worker, once a request."""

    code: str
    """`"<file>.py:<Class>"`, the file absolute."""
    params: Mapping[str, Any] = {}
