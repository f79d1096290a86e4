"""How the next token is chosen: every parameter that Spindle knows, by its usual name.

This is the one declaration: forms, presets, schemas, engines and docs/parameters.md read it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

T = TypeVar("T")


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """The base of all data: immutable, compared by value, cheap to encode."""


def built(kind: type[T]) -> type[T]:
    """Have msgspec look at a struct where it is defined, for those that threads read: it does so at
    the first read otherwise, and two that meet there end the process (msgspec 0.22.0)."""
    msgspec.json.Decoder(kind)
    return kind


class Parameter(Struct, frozen=True):
    """What there is to know of a field of `Sampling`, beside its type."""

    name: str
    help: str
    group: str
    neutral: Any
    """The value at which it changes nothing; None: the loader or the model decides."""
    step: float = 0
    shown: tuple[float, float] = (0, 0)
    """What a slider covers, where more is taken."""
    tunes: str = ""
    """The parameters (by their names) without which it does nothing."""


CURVE, CUTOFF, REPETITION = "Curve shape", "Curve cutoff", "Repetition suppression"
METHODS, OTHER = "Alternative sampling methods", "Other options"
LENGTH, TOKENS, BEAMS = "Length", "Tokens and stopping", "Beam search"
ORDER = (
    "repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "top_n_sigma",
    "temperature", "dynamic_temperature", "quadratic_sampling", "top_k", "top_p", "typical_p",
    "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "adaptive_p", "mirostat", "xtc",
    "encoder_repetition_penalty", "no_repeat_ngram",
)  # fmt: skip
"""What `sampler_priority` puts in order, as text-generation-webui has it."""


def says(group: str, neutral: Any, help: str, **more: Any) -> Meta:
    """The rest of a `Parameter`, as a part of its field's type."""
    return Meta(description=help, extra={"group": group, "neutral": neutral, **more})


Unit = Annotated[float, Meta(ge=0, le=1)]
Five = Annotated[float, Meta(ge=0, le=5)]
Ten = Annotated[float, Meta(ge=0, le=10)]
Heat = Annotated[float, Meta(ge=0.01, le=5)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Few = Annotated[int, Meta(ge=0, le=20)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Words = Annotated[tuple[str, ...], Meta(max_length=1000)]
Ids = Annotated[tuple[Count, ...], Meta(max_length=10_000)]
Biases = Annotated[Mapping[int, float], Meta(max_length=10_000)]


# fmt: off
class Sampling(Struct, frozen=True):
    """How the next token is chosen; what is unset is left to the loader's neutral default.

    Names, ranges and meanings are text-generation-webui's; `temperature` 0 means greedy.
    """

    temperature: Annotated[Five, says(CURVE, 1.0,
        "Lower is steadier, higher is freer. 0 always takes the likeliest.")] | UnsetType = UNSET
    dynamic_temperature: Annotated[bool, says(CURVE, False,
        "The temperature follows how unsure the model is.")] | UnsetType = UNSET
    dynatemp_low: Annotated[Heat, says(CURVE, 1.0, "The temperature where it is sure.",
        tunes="dynamic_temperature")] | UnsetType = UNSET
    dynatemp_high: Annotated[Heat, says(CURVE, 1.0, "The temperature where it is least sure.",
        tunes="dynamic_temperature")] | UnsetType = UNSET
    dynatemp_exponent: Annotated[Heat, says(CURVE, 1.0, "How it grows between the two.",
        tunes="dynamic_temperature")] | UnsetType = UNSET
    smoothing_factor: Annotated[Ten, says(CURVE, 0.0,
        "Below 1 evens the likeliest tokens out, above it sharpens; 0 is off.")] | UnsetType = UNSET
    smoothing_curve: Annotated[float, Meta(ge=1, le=10), says(CURVE, 1.0,
        "How steeply it drops for the others.", tunes="smoothing_factor")] | UnsetType = UNSET
    top_p: Annotated[Unit, says(CUTOFF, 1.0,
        "Keeps the likeliest tokens that make up this share; 1 is off.")] | UnsetType = UNSET
    top_k: Annotated[Count, says(CUTOFF, 0, "Keeps so many of the likeliest tokens; 0 is off.",
        shown=(0, 200))] | UnsetType = UNSET
    min_p: Annotated[Unit, says(CUTOFF, 0.0,
        "Drops what is below this share of the likeliest; 0 is off.")] | UnsetType = UNSET
    top_n_sigma: Annotated[Five, says(CUTOFF, 0.0,
        "Keeps scores within so many deviations of the best; 0 is off.")] | UnsetType = UNSET
    typical_p: Annotated[Unit, says(CUTOFF, 1.0,
        "Keeps tokens that surprise as much as usual; 1 is off.")] | UnsetType = UNSET
    xtc_threshold: Annotated[float, Meta(ge=0, le=0.5), says(CUTOFF, 0.1,
        "What is so likely counts for that.", tunes="xtc_probability")] | UnsetType = UNSET
    xtc_probability: Annotated[Unit, says(CUTOFF, 0.0,
        "How often the likeliest but one are dropped (XTC); 0 is off.")] | UnsetType = UNSET
    epsilon_cutoff: Annotated[float, Meta(ge=0, le=9), says(CUTOFF, 0.0,
        "Drops what is less likely, in units of 0.0001; 0 is off.")] | UnsetType = UNSET
    eta_cutoff: Annotated[float, Meta(ge=0, le=20), says(CUTOFF, 0.0,
        "The same, milder where the model is unsure; 0 is off.")] | UnsetType = UNSET
    tfs: Annotated[Unit, says(CUTOFF, 1.0,
        "Cuts where the curve of likelihoods levels out; 1 is off.")] | UnsetType = UNSET
    top_a: Annotated[Unit, says(CUTOFF, 0.0,
        "Drops what is below this times the likeliest squared; 0 is off.")] | UnsetType = UNSET
    adaptive_target: Annotated[Unit, says(METHODS, 0.0,
        "Steers towards tokens about so likely, best with a min_p; 0 is off.")] | UnsetType = UNSET
    adaptive_decay: Annotated[float, Meta(ge=0, le=0.99), says(METHODS, 0.9,
        "How long it looks back.", tunes="adaptive_target")] | UnsetType = UNSET
    dry_multiplier: Annotated[Five, says(REPETITION, 0.0,
        "How much repeated runs of words are held back (DRY); 0 is off.")] | UnsetType = UNSET
    dry_allowed_length: Annotated[int, Meta(ge=1, le=20), says(REPETITION, 2,
        "Runs of so many tokens are free.", tunes="dry_multiplier")] | UnsetType = UNSET
    dry_base: Annotated[float, Meta(ge=1, le=4), says(REPETITION, 1.75,
        "How fast that grows with longer runs.", tunes="dry_multiplier")] | UnsetType = UNSET
    dry_sequence_breakers: Annotated[Words, says(OTHER, ("\n", ":", '"', "*"),
        "Where a run for DRY begins anew.", tunes="dry_multiplier")] | UnsetType = UNSET
    repetition_penalty: Annotated[float, Meta(gt=0, le=10), says(REPETITION, 1.0,
        "Divides the scores of what was there; 1 is off.", shown=(1, 1.5))] | UnsetType = UNSET
    frequency_penalty: Annotated[Penalty, says(REPETITION, 0.0, step=0.05, shown=(0, 2),
        help="Lowers a score for each time it was there; 0 is off.")] | UnsetType = UNSET
    presence_penalty: Annotated[Penalty, says(REPETITION, 0.0, step=0.05, shown=(0, 2),
        help="Lowers the score of what was there, once; 0 is off.")] | UnsetType = UNSET
    encoder_repetition_penalty: Annotated[float, Meta(ge=0.8, le=1.5), says(REPETITION, 1.0,
        "Above 1 favours words of the prompt (hallucination filter).")] | UnsetType = UNSET
    no_repeat_ngram_size: Annotated[Few, says(REPETITION, 0,
        "No run of so many tokens comes twice; 0 is off.")] | UnsetType = UNSET
    repetition_penalty_range: Annotated[Count, says(REPETITION, 1024, step=64, shown=(0, 4096),
        help="How many tokens the penalties look back; 0 is all.",
        tunes="repetition_penalty frequency_penalty presence_penalty dry_multiplier",
        )] | UnsetType = UNSET
    penalty_alpha: Annotated[Five, says(METHODS, 0.0,
        "Contrastive search, with do_sample off and a small top_k; 0 is off.")] | UnsetType = UNSET
    guidance_scale: Annotated[float, Meta(ge=-0.5, le=10), says(METHODS, 1.0,
        "Away from the negative prompt (CFG), such as 1.5; 1 is off.",
        step=0.05, shown=(-0.5, 2.5))] | UnsetType = UNSET
    negative_prompt: Annotated[str, says(TOKENS, "", "What replies should lead away from.",
        tunes="guidance_scale")] | UnsetType = UNSET
    mirostat_mode: Annotated[int, Meta(ge=0, le=2), says(METHODS, 0,
        "Holds how surprising the text is: 1 or 2; 0 is off.")] | UnsetType = UNSET
    mirostat_tau: Annotated[Ten, says(METHODS, 5.0, "How surprising it is to be.",
        tunes="mirostat_mode")] | UnsetType = UNSET
    mirostat_eta: Annotated[Unit, says(METHODS, 0.1, "How quickly it gets there.",
        tunes="mirostat_mode")] | UnsetType = UNSET
    do_sample: Annotated[bool, says(OTHER, True,
        "Off always takes the likeliest token.")] | UnsetType = UNSET
    temperature_last: Annotated[bool, says(OTHER, False,
        "The temperature works after all others, whatever their order.")] | UnsetType = UNSET
    sampler_priority: Annotated[Words, says(OTHER, ORDER,
        "The order in which samplers work.")] | UnsetType = UNSET
    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000), says(LENGTH, None,
        "A reply ends there at the latest.", shown=(1, 4096))] | UnsetType = UNSET
    auto_max_new_tokens: Annotated[bool, says(LENGTH, False,
        "A reply may fill what is left of the context instead.")] | UnsetType = UNSET
    min_length: Annotated[Count, says(LENGTH, 0,
        "A reply has at least so many tokens.", shown=(0, 2000))] | UnsetType = UNSET
    prompt_lookup_num_tokens: Annotated[int, Meta(ge=0, le=10), says(LENGTH, 0,
        "Guesses so many tokens ahead out of the prompt, to be faster.")] | UnsetType = UNSET
    max_tokens_second: Annotated[Count, says(LENGTH, 0,
        "No faster than this, to read along; 0 is as fast as can be.",
        shown=(0, 20))] | UnsetType = UNSET
    ban_eos_token: Annotated[bool, says(TOKENS, False,
        "A reply never ends by itself.")] | UnsetType = UNSET
    custom_token_bans: Annotated[Ids, says(TOKENS, (),
        "Tokens that never come, by their numbers.")] | UnsetType = UNSET
    logit_bias: Annotated[Biases, says(TOKENS, {},
        "Added to the scores of tokens, by their numbers.")] | UnsetType = UNSET
    add_bos_token: Annotated[bool, says(TOKENS, True,
        "A plain text begins with the model's token for that.")] | UnsetType = UNSET
    skip_special_tokens: Annotated[bool, says(TOKENS, True,
        "Tokens that are marks for the model are not shown.")] | UnsetType = UNSET
    static_cache: Annotated[bool, says(LENGTH, False,
        "A cache of one size, for a compiled model.")] | UnsetType = UNSET
    truncation_length: Annotated[int, Meta(ge=1), says(LENGTH, None, step=256, shown=(256, 131072),
        help="Prompts are cut to fit with the reply; empty is the model's.")] | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 1), says(TOKENS, -1,
        "The same number gives the same reply; -1 is a new one each time.")] | UnsetType = UNSET
    custom_stopping_strings: Annotated[Words, says(TOKENS, (),
        "A reply ends before any of these.")] | UnsetType = UNSET
    num_beams: Annotated[int, Meta(ge=1, le=20), says(BEAMS, 1,
        "Follows so many texts at once; 1 is off.")] | UnsetType = UNSET
    length_penalty: Annotated[float, Meta(ge=-5, le=5), says(BEAMS, 1.0,
        "Above 0 favours long ones.", tunes="num_beams")] | UnsetType = UNSET
    early_stopping: Annotated[bool, says(BEAMS, False,
        "Ends when so many are complete.", tunes="num_beams")] | UnsetType = UNSET
    extra: Mapping[str, Any] | UnsetType = UNSET
    """What the loader adds of its own, by name, see `SAMPLERS`; checked before it reaches it."""
# fmt: on


def parameters() -> dict[str, Parameter]:
    """Every parameter by its name, without what loaders add."""
    found: dict[str, Parameter] = {}
    for field in msgspec.structs.fields(Sampling):
        for meta in getattr(get_args(field.type)[0], "__metadata__", ()):
            if meta.extra:
                found[field.name] = Parameter(field.name, meta.description, **meta.extra)
    return found


class Processor(Struct, frozen=True):
    """A logits processor of an extension: code by name, built in the worker, once a request."""

    code: str
    """`"<file>.py:<Class>"`, the file absolute."""
    params: Mapping[str, Any] = {}
