"""Presets: files that say how tokens are chosen, as text-generation-webui has them."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, structs

from kernel.api import Malformed, Refused, Sampling, Struct, dump_yaml, read_yaml

from . import texts
from .texts import KNOWN

GROUPS = (
    "Curve shape", "Curve cutoff", "Repetition suppression", "Alternative sampling methods",
    "Other options",
)  # fmt: skip
"""What belongs to a preset; length, seed, bans and the like stay as they are."""
HELD = tuple(known.name for known in KNOWN.values() if known.group in GROUPS)
NEUTRAL: Mapping[str, Any] = {name: KNOWN[name].neutral for name in HELD}
OLD = {"additive_repetition_penalty": "presence_penalty"}
"""What was called differently."""


class Preset(Struct, frozen=True):
    """What a file says; `others` is what it says beside, which is kept."""

    name: str
    sampling: Sampling = Sampling()
    others: Mapping[str, Any] = {}
    problems: tuple[str, ...] = ()


def parse(name: str, text: str) -> Preset:
    """Read a preset, of whatever age; raises Refused where it is none."""
    try:
        tree = read_yaml(text) or {}
    except Malformed as why:
        raise Refused(f"The preset {name} cannot be read: {why}. Correct the file.") from None
    if not isinstance(tree, dict):
        raise Refused(f"The preset {name} is no list of parameters, each with its value.")
    good, others, problems = dict[str, Any](), dict[str, Any](), list[str]()
    for key, value in tree.items():
        key = OLD.get(str(key), str(key))
        if key not in Sampling.__struct_fields__ or key == "extra":
            others[key] = value
            continue
        try:
            good[key] = texts.read(key, value)
        except Refused as error:
            others[key] = value
            problems.append(str(error))
    unknown = [key for key in others if key not in Sampling.__struct_fields__]
    if unknown:
        problems.append(f"Spindle knows no {', '.join(unknown)[:200]}; it stays in the file.")
    return Preset(name, Sampling(**good), others, tuple(problems))


def said(sampling: Sampling, neutral: Mapping[str, Any] = NEUTRAL) -> dict[str, Any]:
    """What of a preset's parameters is set and differs from neutral, as plain data."""
    found = {name: getattr(sampling, name) for name in HELD}
    return {k: v for k, v in found.items() if v is not UNSET and v != neutral[k]}


def beside(sampling: Sampling) -> dict[str, Any]:
    """What of the other parameters is set, as plain data."""
    found = {name: getattr(sampling, name) for name in KNOWN if name not in HELD}
    return {k: v for k, v in found.items() if v is not UNSET}


def dump(values: Mapping[str, Any]) -> str:
    """A preset file's text."""
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return dump_yaml(plain or {"temperature": 1.0})


def applied(sampling: Sampling, preset: Sampling) -> Sampling:
    """What is chosen when a preset is: its values in place of those of all that presets hold."""
    values = {name: getattr(preset, name) for name in HELD}
    values |= {k: v for k, v in structs.asdict(preset).items() if v is not UNSET and k != "extra"}
    return structs.replace(sampling, **values)
