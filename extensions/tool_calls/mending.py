"""Calls and results of earlier turns, each with its other half, as templates take for granted."""

import re
from collections.abc import Iterable, Sequence

from msgspec import structs

from kernel.api import Message, ToolCall, ToolResult

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
    found = paired(calls, results)
    parts = tuple(p for p in message.parts if not isinstance(p, ToolCall) or p.id in found)
    kept = message if parts == message.parts else structs.replace(message, parts=parts)
    return [
        *([kept] if parts or not message.parts else []),
        *(Message("tool", (found[c.id],), name=c.name) for c in calls if c.id in found),
    ]


def results_of(message: Message) -> Sequence[ToolResult]:
    """The results that a message brings: as such, or in plain words."""
    found = [part for part in message.parts if isinstance(part, ToolResult)]
    return found or [ToolResult("", message.text)]


def paired(calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> dict[str, ToolResult]:
    """The result of each call by the call's id; those without an id that fits, in their order."""
    found = {each.id: each for each in results if each.id in {call.id for call in calls}}
    rest = iter([each for each in results if not each.id])
    for call in calls:
        if call.id not in found and (result := next(rest, None)):
            found[call.id] = ToolResult(call.id, result.content)
    return found


def with_ids_of_nine(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The ids of calls cut to nine letters and digits, no two alike."""
    known: dict[str, str] = {}

    def nine(id: str) -> str:
        if id not in known:
            letters = re.sub(r"[^A-Za-z0-9]", "", id)[-9:].rjust(9, "0")
            taken = known.values()
            known[id] = letters if letters not in taken else f"{len(known):09d}"
        return known[id]

    def short(message: Message) -> Message:
        parts = tuple(
            structs.replace(p, id=nine(p.id)) if isinstance(p, ToolCall | ToolResult) else p
            for p in message.parts
        )
        return message if parts == message.parts else structs.replace(message, parts=parts)

    return tuple(short(message) for message in messages)
