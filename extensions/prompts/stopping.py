"""Stopping strings: what a template puts between turns, found by rendering a few invented ones."""

from collections.abc import Sequence
from typing import Any

from kernel.api import Message, Role, Text

SAID = ("first-question-7c1d", "first-answer-7c1d", "second-question-7c1d", "second-answer-7c1d")
"""Words that no template has of itself."""
ROLES: tuple[Role, ...] = ("user", "assistant", "user", "assistant")
PAIRS = {"<": ">", "[": "]", "(": ")", "{": "}"}
FINAL = "<|channel|>final<|message|>"
"""A template with channels: there the token below ends a channel, and another one the reply."""
CHANNEL_ENDS, REPLY_ENDS = "<|end|>", "<|return|>"


def invented() -> list[Message]:
    """Four turns to be rendered, without a generation prompt."""
    return [Message(role, (Text(words),)) for role, words in zip(ROLES, SAID, strict=True)]


def stops_in(rendered: str, source: str = "") -> tuple[str, ...]:
    """The strings that begin another turn or end one, in the rendered turns of `invented`."""
    found: list[str] = []
    for text in between(rendered):
        if (stop := first_of(text)) and stop not in found:
            found.append(stop)
    found = [s for s in found if not any(s != other and s.startswith(other) for other in found)]
    if FINAL in source:
        found = [REPLY_ENDS if stop == CHANNEL_ENDS else stop for stop in found]
    return tuple(found)


def between(rendered: str) -> list[str]:
    """What stands after each of the words, up to the next ones."""
    places = [rendered.find(words) for words in SAID]
    if -1 in places or places != sorted(places):  # It leaves turns out, or orders them anew.
        return []
    ends = [place + len(words) for place, words in zip(places, SAID, strict=True)]
    return [rendered[end:next] for end, next in zip(ends, [*places[1:], None], strict=True)]


def first_of(text: str) -> str:
    """A leading token in brackets, or all up to a colon; else nothing."""
    bare = text.strip()
    if bare and (closing := PAIRS.get(bare[0])) and closing in bare:
        return bare[: bare.index(closing) + 1]
    name, colon, _ = text.partition(":")
    return name + colon if colon and name.strip() else ""


def merged(*lists: Sequence[str] | Any) -> tuple[str, ...]:
    """All of them once, in their order."""
    return tuple(dict.fromkeys(stop for stops in lists for stop in stops if stop))
