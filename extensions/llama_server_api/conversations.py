"""POST /apply-template: the prompt that a conversation becomes."""

from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import MESSAGES, TOOLS, Call, Programs, Wish, json, refused
from kernel.api import Message, Role, Text


class Piece(msgspec.Struct):
    """A part of a message's content."""

    type: str
    text: str | None = None


class Said(msgspec.Struct):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Piece] | None = None


class Apply(msgspec.Struct):
    """A conversation."""

    messages: Annotated[list[Said], MESSAGES]
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class Applied(msgspec.Struct, frozen=True):
    """Its prompt."""

    prompt: str


class Templates:
    """The same prompt that /v1/chat/completions gives the model."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def apply(self, call: Call) -> Response:
        body = call.read(Apply)
        if not body.messages:
            says = "messages: There is none. Send at least one."
            raise refused(says, "messages", "empty_array")
        wish = Wish(
            messages=tuple(message(said, f"messages[{n}]") for n, said in enumerate(body.messages)),
            options=body.chat_template_kwargs or {},
            tools=tuple(body.tools or ()),
            continue_=body.messages[-1].role == "assistant",
        )
        request = await self._programs.request(call, wish)
        return json(Applied(await self._programs.prompt(request)))


def message(said: Said, where: str) -> Message:
    """As Spindle has it; raises Problem for what is no text."""
    role: Role = "system" if said.role == "developer" else said.role
    pieces = [Piece("text", said.content)] if isinstance(said.content, str) else said.content or []
    for number, piece in enumerate(pieces):
        if piece.text is None:
            at = f"{where}.content[{number}]"
            raise refused(f"{at}: Only texts can be shown in a prompt.", at, "unsupported_value")
    return Message(role, tuple(Text(piece.text) for piece in pieces if piece.text))
