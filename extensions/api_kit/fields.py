"""The sampling fields of all APIs, under every name that programs give them."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kernel.api import Parameter, Sampling, parameters

from .problems import refused

ALIASES = {
    "max_new_tokens": ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_length",
                       "n_predict", "num_predict"),
    "custom_stopping_strings": ("stop", "stopping_strings", "stop_sequences", "stop_sequence"),
    "typical_p": ("typical",),
    "top_n_sigma": ("nsigma",),
    "tfs": ("tfs_z",),
    "min_length": ("min_tokens",),
    "repetition_penalty": ("rep_pen", "repeat_penalty"),
    "repetition_penalty_range": ("rep_pen_range", "repeat_last_n"),
    "mirostat_mode": ("mirostat",),
    "ban_eos_token": ("ignore_eos",),
    "seed": ("sampler_seed",),
    "truncation_length": ("max_context_length", "num_ctx"),
}  # fmt: skip
"""The names that the same field has elsewhere; its own counts first, then these in turn."""
PARAMETERS: Mapping[str, Parameter] = parameters()
SEEDS = 2**32
MOST = 10_000
"""Entries of a field, as in Sampling; with far more, reading it would hold up other replies."""


def sampling_of(body: Mapping[str, Any], **over: Any) -> Sampling:
    """The sampling that a request asks for; `over` stands instead of what it says.

    Null is the same as nothing, and so is what only tunes something that is off: clients send all
    they know at once. Raises Problem, which names the field as the program wrote it.
    """
    body = _spread(body)
    said: dict[str, Any] = {}
    written: dict[str, str] = {}
    for name in PARAMETERS:
        names = (name, *ALIASES.get(name, ()))
        mine = next((each for each in names if body.get(each) is not None), "")
        if mine:
            written[name] = mine
            said[name] = _value(name, mine, body[mine])
    said = {name: value for name, value in {**said, **over}.items() if value is not None}
    said = {name: value for name, value in said.items() if _matters(name, said)}
    for name, value in said.items():
        try:
            msgspec.convert({name: value}, Sampling)
            msgspec.msgpack.encode(value)  # As its engine is told it.
        except msgspec.ValidationError as error:
            mine, what = written.get(name, name), str(error).partition(" - at ")[0]
            raise refused(f"{mine}: {what}.", mine, "invalid_value") from None
        except OverflowError:
            mine = written.get(name, name)
            raise refused(f"{mine}: A number of it is too large.", mine, "invalid_value") from None
    return msgspec.convert(said, Sampling)


def _spread(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """`dynatemp_range` alone, as llama.cpp and KoboldCpp have it: so far from the temperature."""
    wide, middle = body.get("dynatemp_range"), body.get("temperature")
    middle = 1.0 if middle is None else middle
    numbers = all(isinstance(each, int | float) for each in (wide, middle))
    if not wide or not numbers or body.get("dynamic_temperature") is not None:
        return body
    try:
        low, high = max(0.01, middle - wide), min(5.0, middle + wide)
    except OverflowError:
        says = "dynatemp_range: A number of it, or of the temperature, is too large."
        raise refused(says, "dynatemp_range", "invalid_value") from None
    ends = {"dynatemp_low": low, "dynatemp_high": high}
    return {**ends, **body, "dynamic_temperature": True}


def _matters(name: str, said: Mapping[str, Any]) -> bool:
    """Whether anything that it tunes is on, if it only tunes."""
    mains = PARAMETERS[name].tunes.split()
    neutral = {main: PARAMETERS[main].neutral for main in mains}
    return not mains or any(said.get(main, off) != off for main, off in neutral.items())


def _value(name: str, written: str, value: Any) -> Any:
    """A value as Spindle writes it; None: it says nothing."""
    if reads := READS.get(name):
        return reads(written, value)
    neutral = PARAMETERS[name].neutral
    number = isinstance(value, int | float) and not isinstance(value, bool)
    below = number and neutral == 0 and not isinstance(neutral, bool) and value < 0
    if below and name not in ("frequency_penalty", "presence_penalty"):
        return 0  # Clients mean "off" by a number below the smallest.
    if number and isinstance(neutral, bool) and value in (0, 1):
        return bool(value)
    return value


def _limit(written: str, value: Any) -> Any:
    """0 and less mean that there is none."""
    return None if isinstance(value, int | float) and value <= 0 else value


def _range(written: str, value: Any) -> Any:
    """Less than nothing means all of it, which is 0 here."""
    return 0 if isinstance(value, int | float) and value < 0 else value


def _seed(written: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"{written}: Expected a whole number.", written, "invalid_value")
    return -1 if value < 0 else int(value) % SEEDS


def _strings(written: str, value: Any) -> Any:
    """One, or several, also as the JSON text of a list; empty ones would stop at once."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
        except RecursionError:
            value = None  # Refused below: there is no text among so many brackets.
    found: list[Any] = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise refused(f"{written}: Expected a text or a list of texts.", written, "invalid_value")
    return [each for each in found if each]


def _breakers(written: str, value: Any) -> Any:
    """text-generation-webui writes them as texts in quotes with commas between."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        value = f"[{value}]"
    return _strings(written, value)


def _few(written: str, value: Any) -> None:
    """Raises Problem where a list, or a text with commas between, has too many entries."""
    many = len(value) if isinstance(value, list | Mapping) else 0
    if isinstance(value, str):
        many = value.count(",")
    if many > MOST:
        raise refused(f"{written}: It has more than {MOST:,} entries.", written, "invalid_value")


def _order(written: str, value: Any) -> Any:
    """A list, or lines, or words with commas between; names that are none are left out."""
    if isinstance(value, str):
        value = value.replace("\n", ",")
    _few(written, value)
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",")]
    known: tuple[str, ...] = PARAMETERS["sampler_priority"].neutral
    found = [each for each in _strings(written, value) if each in known]
    return found or None


def _bans(written: str, value: Any) -> Any:
    _few(written, value)
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",") if each.strip()]
    try:
        return [int(each) for each in value]
    except (TypeError, ValueError):
        says = f"{written}: Expected the numbers of tokens, such as 12,345."
        raise refused(says, written, "invalid_value") from None


STRONGEST = 1e9
"""A bias; more is the same, and engines count with numbers that end at 1e38."""


def _biases(written: str, value: Any) -> Any:
    """A mapping as OpenAI has it, or pairs as llama.cpp has them, where false forbids a token."""
    _few(written, value)
    pairs = value.items() if isinstance(value, Mapping) else value
    try:
        read = {int(id): -100.0 if bias is False else float(bias) for id, bias in pairs}
        if any(math.isnan(bias) for bias in read.values()):
            raise ValueError("nan")
        return {id: min(max(bias, -STRONGEST), STRONGEST) for id, bias in read.items()}
    except (TypeError, ValueError, OverflowError):
        says = f'{written}: Expected numbers of tokens and what to add, such as {{"12": -5}}.'
        raise refused(says, written, "invalid_value") from None


READS: Mapping[str, Callable[[str, Any], Any]] = {
    "max_new_tokens": _limit,
    "truncation_length": _limit,
    "repetition_penalty_range": _range,
    "seed": _seed,
    "custom_stopping_strings": _strings,
    "dry_sequence_breakers": _breakers,
    "sampler_priority": _order,
    "custom_token_bans": _bans,
    "logit_bias": _biases,
}
