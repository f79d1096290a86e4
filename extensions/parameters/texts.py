"""Values as a person writes them, and back: also in the forms that older programs wrote."""

import ast
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from kernel.api import Refused, Sampling, check, parameters

KNOWN = parameters()
ORDER: tuple[str, ...] = tuple(KNOWN["sampler_priority"].neutral)
"""What can be put in order."""
LISTS = ("custom_stopping_strings", "dry_sequence_breakers")
"""Texts that may hold line breaks: in quotes, with commas between them."""
EXAMPLE = r'Write them like this: "\n", "Human:"'


def read(name: str, typed: Any) -> Any:
    """The value of a parameter, of a form's text or a file's value; UNSET where it is empty;
    raises Refused with a sentence."""
    if typed == "":
        return UNSET
    if name in LISTS and isinstance(typed, str):
        typed = quoted(typed) or ""
    if name == "sampler_priority" and typed:
        typed = order(typed)
    if name == "custom_token_bans" and isinstance(typed, str):
        typed = [each for each in typed.replace(",", " ").split() if each] or ""
    good, bad = check(Sampling, {name: typed})
    if bad:
        raise Refused(" ".join(bad.values()))
    return good.get(name, UNSET)


def quoted(text: str) -> list[str]:
    """Texts out of a comma list of quoted ones, a JSON array, or one a line."""
    text = text.strip()
    if not text:
        return []
    if text[0] not in "[\"'":
        return [line for line in text.splitlines() if line.strip()]
    inside = text if text[0] == "[" else f"[{text}]"
    try:
        found = json.loads(inside)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(inside)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise Refused(f"These texts cannot be told apart. {EXAMPLE}") from None
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise Refused(f"Each must be a text in quotes. {EXAMPLE}")
    return found


def order(typed: Any) -> list[str]:
    """The names of samplers, of a list, or of a text with commas or line breaks."""
    if not isinstance(typed, str | list | tuple):
        raise Refused("The order of the samplers is a list of their names.")
    names = typed.replace(",", "\n").splitlines() if isinstance(typed, str) else list(typed)
    names = list(dict.fromkeys(str(name).strip() for name in names if str(name).strip()))
    aliases = {"encoder_repetition": "encoder_repetition_penalty"}
    names = [aliases.get(name, name) for name in names]
    if wrong := [name for name in names if name not in ORDER]:
        raise Refused(f"There is no sampler called {', '.join(wrong)[:200]}. Leave it out.")
    return names


def written(name: str, value: Any) -> str:
    """A value as a form's text; empty where it is unset."""
    if value is UNSET or value is None:
        return ""
    if name in LISTS:
        return ", ".join(json.dumps(each, ensure_ascii=False) for each in value)
    value = msgspec.to_builtins(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(map(str, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
