"""What passes through a turn as lines that a person can compare, and how two of them differ."""

import difflib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import structs

from kernel.api import UNSET, Audio, Draft, Image, Message, Past, Reasoning, Text

MOST_LINES = 3_000
"""Lines of either side that are compared; more would take seconds."""
NOT_SHOWN = ("principal", "client", "conversation_id", "slot", "begun")
"""Fields that say who asks and where, and nothing that a model is told."""
AROUND = 2
"""Lines shown around a change."""


class Line(NamedTuple):
    """A line of a comparison: in both, new, gone, or standing for some that are left out."""

    kind: Literal["same", "new", "gone", "gap"]
    text: str


def described(value: Any) -> str:
    """A turn, a history, a draft or a text as lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, Past):
        return "\n".join(map(_message, value.messages))
    if isinstance(value, Draft):
        return _fields(value.request)
    return _fields(value)


def _fields(value: Any) -> str:
    lines: list[str] = []
    for name, each in structs.asdict(value).items():
        if name in NOT_SHOWN:
            continue
        if name == "messages":
            lines += map(_message, each or ())
        elif name == "sampling":
            set_ = {k: v for k, v in structs.asdict(each).items() if v is not UNSET}
            lines += [f"{field}: {_plain(v)}" for field, v in set_.items()]
        elif each not in (None, "", (), {}, False):
            lines.append(f"{name.rstrip('_')}: {_plain(each)}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _message(message: Message) -> str:
    said: list[str] = []
    for part in message.parts:
        if isinstance(part, Text):
            said.append(part.text)
        elif isinstance(part, Reasoning):
            said.append(f"(thought: {part.text})")
        elif isinstance(part, Image | Audio):
            said.append(named(part))
        else:
            said.append(_plain(part))
    name = f" {message.name}" if message.name else ""
    return f"[{message.role}{name}] {''.join(said)}"


def named(part: Image | Audio) -> str:
    """In the place of a picture or a sound; the bytes are read when an engine gets them."""
    return f"[{part.media_type}, {len(part.data):,} bytes]" if part.data else f"[{part.media_type}]"


def compared(before: str, after: str) -> list[Line]:
    """What differs, with a little around it; blocking."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        told = f"{len(old):,} lines became {len(new):,}: too many to be compared."
        return [Line("gap", told)]
    return [*_lines(old, new)]


def _lines(old: list[str], new: list[str]) -> Iterator[Line]:
    matcher = difflib.SequenceMatcher(None, old, new)
    for number, group in enumerate(matcher.get_grouped_opcodes(AROUND)):
        if number:
            yield Line("gap", "…")
        for what, a, b, c, d in group:
            if what == "equal":
                yield from (Line("same", line) for line in old[a:b])
                continue
            yield from (Line("gone", line) for line in old[a:b])
            yield from (Line("new", line) for line in new[c:d])
