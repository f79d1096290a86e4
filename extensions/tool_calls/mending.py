"""Calls and results of earlier turns, each with its other half, as templates take for granted."""

import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from msgspec import structs

from kernel.api import Message, Part, ToolCall, ToolResult

NINE = re.compile(r"\b(?:length|len)\b\W{0,4}\s*(?:!=|==|<)\s*9\b")
"""How Mistral's templates tell that they want ids of nine letters and digits."""


def mended(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Each result a message with its function's name, right after its call.

    A result without a call, as is left where the beginning was cut off, is dropped, and so is a
    call that nothing answers; only the last message may wait for answers.
    """
    parts = (part for message in messages for part in message.parts)
    if not any(isinstance(part, ToolCall | ToolResult) for part in parts):
        return tuple(message for message in messages if message.role != "tool")
    said: list[Message] = []
    at = 0
    while at < len(messages):
        message, at = messages[at], at + 1
        if message.role == "tool" or any(isinstance(p, ToolResult) for p in message.parts):
            continue
        answers = at
        while at < len(messages) and messages[at].role == "tool":
            at += 1
        said += _pairs(message, messages[answers:at], last=at == len(messages))
    return tuple(said)


def _pairs(message: Message, answers: Sequence[Message], *, last: bool) -> Iterable[Message]:
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    results = [result for each in answers for result in results_of(each)]
    if last and not results:
        return [message]
    found = iter(paired(calls, results))
    parts: list[Part] = []
    answered: list[Message] = []
    for part in message.parts:
        if not isinstance(part, ToolCall):
            parts.append(part)
        elif result := next(found):
            parts.append(part)
            answered.append(Message("tool", (result,), name=part.name))
    kept = structs.replace(message, parts=tuple(parts))
    return [*([kept] if parts or not message.parts else []), *answered]


def results_of(message: Message) -> Sequence[ToolResult]:
    """The results that a message brings: as such, or in plain words."""
    found = [part for part in message.parts if isinstance(part, ToolResult)]
    return found or [ToolResult("", message.text)]


def paired(calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> list[ToolResult | None]:
    """The result of each call, by its id; calls of one id, and results without an id that fits, in
    their order. Of several results of one call the last counts."""
    many = Counter(call.id for call in calls)
    given = {id: deque[ToolResult](maxlen=many[id] if id else None) for id in ("", *many)}
    for result in results:
        if result.id in given:
            given[result.id].append(result)
    found: list[ToolResult | None] = []
    for call in calls:
        fit = given[call.id] or given[""]
        found.append(ToolResult(call.id, fit.popleft().content) if fit else None)
    return found


def with_ids_of_nine(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The ids of calls cut to nine letters and digits, no two alike."""
    known: dict[str, str] = {}
    taken = set[str]()

    def nine(id: str) -> str:
        if id not in known:
            letters = re.sub(r"[^A-Za-z0-9]", "", id)[-9:].rjust(9, "0")
            known[id] = letters if letters not in taken else f"{len(known):09d}"
            taken.add(known[id])
        return known[id]

    def short(message: Message) -> Message:
        parts = tuple(
            structs.replace(p, id=nine(p.id)) if isinstance(p, ToolCall | ToolResult) else p
            for p in message.parts
        )
        return message if parts == message.parts else structs.replace(message, parts=parts)

    return tuple(short(message) for message in messages)
