"""Messages as Anthropic writes them: a role and blocks."""

from typing import Any, Literal

import msgspec

from extensions.api_kit.api import Problem, decoded, refused, unseen
from kernel.api import Image, Message, Part, Reasoning, Text, ToolCall, ToolResult

Str = str | None
FETCHES = (
    "Spindle fetches nothing from the network and keeps no files for programs. Send it as "
    '{"type": "base64", "media_type": "image/png", "data": "…"}.'
)
NO_CALL = (
    "It answers no call of the message before it, so the model could not see it. Send the "
    "assistant's message with that call first."
)
KNOWN = "text, image, tool_use, tool_result, thinking, and document where it is plain text"


class Source(msgspec.Struct):
    """What a picture or a document is."""

    type: str
    media_type: Str = None
    data: Str = None


class Piece(msgspec.Struct):
    """A block of a message's content."""

    type: str
    text: Str = None
    source: Source | None = None
    id: Str = None
    name: Str = None
    input: dict[str, Any] | None = None
    tool_use_id: Str = None
    content: "str | list[Piece] | None" = None
    is_error: bool | None = None
    thinking: Str = None
    title: Str = None


class Said(msgspec.Struct):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Piece]


def messages_of(
    system: str | list[Piece] | None, said: list[Said], *, sees: bool = True
) -> tuple[Message, ...]:
    """What a model is told, which sees pictures or not; raises Problem, which names the block."""
    if not said:
        raise refused("messages: There is none. Send at least one.", "messages", "empty_array")
    found: list[Message] = []
    calls: set[str] = set()
    for n, each in enumerate(said):
        new = told(each, f"messages[{n}]", calls, sees)
        found += new
        if new and new[-1].role != "tool":  # After results others may wait for theirs.
            calls = {part.id for part in new[-1].parts if isinstance(part, ToolCall)}
    first = texts_of(system, "system")
    return (Message("system", (Text(first),)), *found) if first.strip() else tuple(found)


def told(said: Said, where: str, calls: set[str], sees: bool) -> list[Message]:
    """One of them: the results of tools, each a message, come before what the user says."""
    if isinstance(said.content, str):
        return [Message(said.role, (Text(said.content),) if said.content else ())]
    results: list[Message] = []
    parts: list[Part] = []
    for n, piece in enumerate(said.content):
        at = f"{where}.content[{n}]"
        if piece.type == "tool_result":
            if piece.tool_use_id not in calls:
                raise refused(f"{at}.tool_use_id: {NO_CALL}", f"{at}.tool_use_id", "invalid_value")
            content = pieces_of(piece.content)
            words = texts_of([each for each in content if each.type != "image"], f"{at}.content")
            words = f"Error: {words}" if piece.is_error else words
            results.append(Message("tool", (ToolResult(piece.tool_use_id or "", words),)))
            seen = [each for each in content if each.type == "image"]
            shown = [picture(each, f"{at}.content") for each in seen]
            parts += shown if sees else map(unseen, shown)
        elif piece.type != "redacted_thinking":  # Nobody but its author can read it.
            parts.append(part_of(piece, at))
    return [*results, Message(said.role, tuple(parts))] if parts or not results else results


def part_of(piece: Piece, where: str) -> Part:
    match piece.type:
        case "text":
            return Text(piece.text or "")
        case "thinking":
            return Reasoning(piece.thinking or "")
        case "image":
            return picture(piece, where)
        case "tool_use":
            arguments = msgspec.json.encode(piece.input or {}).decode()
            return ToolCall(piece.id or "", piece.name or "", arguments)
        case "document" if piece.source and piece.source.type == "text":
            title = f"{piece.title}\n\n" if piece.title else ""
            return Text(f"{title}{piece.source.data or ''}")
        case _:
            raise unknown(piece, where, KNOWN)


def picture(piece: Piece, where: str) -> Image:
    source = piece.source
    if not source or source.type != "base64":
        raise refused(f"{where}.source: {FETCHES}", f"{where}.source", "unsupported_value")
    data = decoded(source.data or "", f"{where}.source.data")
    return Image(data, source.media_type or "image/png")


def pieces_of(content: str | list[Piece] | None) -> list[Piece]:
    return [Piece("text", text=content)] if isinstance(content, str) else content or []


def texts_of(content: str | list[Piece] | None, where: str) -> str:
    """The words of blocks that can be nothing else."""
    pieces = pieces_of(content)
    for n, piece in enumerate(pieces):
        if piece.type != "text":
            raise unknown(piece, f"{where}[{n}]", "text")
    return "\n\n".join(piece.text for piece in pieces if piece.text)


def unknown(piece: Piece, where: str, known: str) -> Problem:
    says = f"{where}.type: {piece.type!r} is no block that Spindle knows here. Known: {known}."
    return refused(says, f"{where}.type", "invalid_value")
