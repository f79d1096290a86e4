"""Messages as OpenAI writes them, and as most programs do."""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Literal

import msgspec
from msgspec import structs

from kernel.api import Audio, Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult

from .problems import refused
from .reading import decoded

DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII)
FETCHES = (
    "Spindle does not fetch pictures from the network. Send it as a data URL: "
    "data:image/png;base64,…"
)
UNSEEN = Text("[a picture that this model cannot see]")
"""What a model without eyes is told of a picture that a tool shows: a person may be asked to take
one back, an agent cannot."""
GIVEN_UP = "{} is of an API that OpenAI gave up. Use tools and tool_choice instead."
Str = str | None


class Named(msgspec.Struct):
    """The function of a tool call."""

    name: str
    arguments: str | dict[str, Any] = ""


class SaidCall(msgspec.Struct):
    """A tool call of an assistant's message."""

    function: Named
    id: str = ""
    type: str = "function"


class Address(msgspec.Struct):
    """Where a picture is."""

    url: str
    detail: Str = None


class Sound(msgspec.Struct):
    """Sound, as `input_audio` holds it."""

    data: str
    format: str = "wav"


class Piece(msgspec.Struct):
    """A part of a message's content."""

    type: str
    text: Str = None
    image_url: Address | str | None = None
    input_audio: Sound | None = None
    refusal: Str = None


class Said(msgspec.Struct):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Piece] | None = None
    name: Str = None
    tool_calls: list[SaidCall] | None = None
    tool_call_id: Str = None
    reasoning_content: Str = None
    function_call: Any = None


def messages_of(said: list[Said], param: str = "messages") -> tuple[Message, ...]:
    """Each of them, for `after_results`; raises Problem, which names the message."""
    if not said:
        raise refused(f"{param}: There is none. Send at least one.", param, "empty_array")
    return tuple(message_of(each, f"{param}[{n}]") for n, each in enumerate(said))


def after_results(messages: Iterable[Message], *, sees: bool) -> tuple[Message, ...]:
    """What results of tools hold beside words follows the last of them as a message of the user's:
    templates have no other place for it. UNSEEN stands for pictures where the model sees none."""
    found: list[Message] = []
    for role, group in groupby(messages, lambda each: each.role):
        neighbours = [*group]
        if role == "tool":
            found += [structs.replace(each, parts=each.parts[:1]) for each in neighbours]
            shown = [part for each in neighbours for part in each.parts[1:]]
            shown = shown if sees else [unseen(part) for part in shown]
            neighbours = [Message("user", tuple(shown))] if shown else []
        found += neighbours
    return tuple(found)


def unseen(part: Part) -> Part:
    """What a tool showed, for a model that sees no pictures."""
    return UNSEEN if isinstance(part, Image) else part


def message_of(said: Said, where: str) -> Message:
    """One of them; `where` is what errors call it. A tool's holds its result, and what else there
    is beside words, for `after_results`."""
    if said.role == "function" or said.function_call:
        what = "The role function" if said.role == "function" else "function_call"
        raise refused(GIVEN_UP.format(what), f"{where}.role", "unsupported_value")
    if said.role == "tool":
        parts = parts_of(said, where)
        text = "".join(part.text for part in parts if isinstance(part, Text))
        others = (part for part in parts if not isinstance(part, Text))
        result = ToolResult(said.tool_call_id or "", text)
        return Message("tool", (result, *others), said.name or "")
    role: Role = "system" if said.role == "developer" else said.role
    thought = (Reasoning(said.reasoning_content),) if said.reasoning_content else ()
    return Message(role, (*thought, *parts_of(said, where), *calls_of(said)), said.name or "")


def parts_of(said: Said, where: str) -> tuple[Part, ...]:
    if isinstance(said.content, str):
        return (Text(said.content),) if said.content else ()
    pieces = enumerate(said.content or ())
    return tuple(part_of(piece, f"{where}.content[{n}]") for n, piece in pieces)


def part_of(piece: Piece, where: str) -> Part:
    match piece:
        case Piece(type="text" | "input_text" | "output_text"):
            return Text(piece.text or "")
        case Piece(type="refusal"):
            return Text(piece.refusal or "")
        case Piece(type="image_url" | "input_image", image_url=Address(url) | str(url)):
            kind, data = data_of(url, f"{where}.image_url")
            return Image(data, kind)
        case Piece(type="input_audio", input_audio=Sound(data, format)):
            return Audio(decoded(data, f"{where}.input_audio.data"), f"audio/{format}")
        case _:
            says = f"{where}.type: {piece.type!r} is no part that Spindle knows, or it is empty. "
            says += "Known: text, image_url, input_audio."
            raise refused(says, f"{where}.type", "invalid_value")


def calls_of(said: Said) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(
            each.id,
            each.function.name,
            each.function.arguments
            if isinstance(each.function.arguments, str)
            else msgspec.json.encode(each.function.arguments).decode(),
        )
        for each in said.tool_calls or ()
    )


def data_of(url: str, where: str) -> tuple[str, bytes]:
    """The media type and the bytes of a data URL."""
    found = DATA.match(url)
    if not found:
        raise refused(f"{where}: {FETCHES}", where, "unsupported_value")
    return found[1], decoded(url[found.end() :], where)
