"""POST /apply-template: the prompt that a conversation becomes."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import (
    MESSAGES,
    TOOLS,
    Call,
    Programs,
    Said,
    Wish,
    json,
    messages_of,
    refused,
)
from kernel.api import Audio, Image, Message


class Apply(msgspec.Struct):
    """A conversation."""

    messages: Annotated[list[Said], MESSAGES]
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None
    tool_choice: Any = None
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
        messages = await self._programs.shown(messages_of(body.messages))
        check(messages)
        choice = {"tool_choice": body.tool_choice} if body.tool_choice is not None else {}
        wish = Wish(
            messages=messages,
            options={**(body.chat_template_kwargs or {}), **choice},
            tools=tuple(body.tools or ()),
            continue_=messages[-1].role == "assistant",
        )
        request = await self._programs.request(call, wish)
        return json(Applied(await self._programs.prompt(request)))


def check(messages: Iterable[Message]) -> None:
    """Refuse what a prompt cannot show; raises Problem, which names the message."""
    for number, message in enumerate(messages):
        if any(isinstance(part, Image | Audio) for part in message.parts):
            at = f"messages[{number}].content"
            raise refused(f"{at}: Only texts can be shown in a prompt.", at, "unsupported_value")
