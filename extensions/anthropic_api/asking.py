"""POST /v1/messages: what is asked, as a wish for a reply."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from extensions.api_kit.api import (
    EFFORTS,
    MESSAGES,
    TOOLS,
    Asked,
    Call,
    Programs,
    Want,
    Wish,
    converted,
    read,
    refused,
    sampling_of,
)
from kernel.api import Meta, Text, ToolCall

from .messages import Piece, Said, Str, messages_of

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
NO_SCHEMA = (
    "Spindle knows no tools of its own by this name. Describe what it takes in input_schema, and "
    "carry it out yourself."
)
UNANSWERED = (
    "messages: The last one calls tools. Send their results after it, as a user's message with "
    "blocks of type tool_result."
)


class Tool(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: Str = None
    input_schema: dict[str, Any] | None = None
    type: Str = None


class Choice(msgspec.Struct):
    """Whether one is to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: Str = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """Whether the model thinks first; how much it thinks is its own affair."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class Form(msgspec.Struct):
    """What a reply is to be."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class Output(msgspec.Struct):
    """More about the reply."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Form | None = None


class Question(msgspec.Struct, kw_only=True):
    """What has tokens: the body of /v1/messages/count_tokens."""

    messages: Annotated[list[Said], MESSAGES]
    model: Str = None
    system: str | list[Piece] | None = None
    tools: Annotated[list[Tool], TOOLS] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: Output | None = None


class Body(Question, kw_only=True):
    """The body; sampling fields may also have the names of docs/parameters.md."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    @property
    def silent(self) -> bool:
        """Whether thoughts are not to be shown."""
        return bool(self.thinking and self.thinking.display == "omitted")


T = TypeVar("T", bound=Question)


async def asked(programs: Programs, want: Want, call: Call, kind: type[T]) -> tuple[T, Wish]:
    """The body, and the wish for the reply, for the model that it wants; raises Problem."""
    said: Mapping[str, Any] = read(call.body, dict[str, Any])
    body: T = converted(said, kind)
    await want(call, body.model or "")
    messages = messages_of(body.system, body.messages)
    if not await programs.sees(messages):
        messages = messages_of(body.system, body.messages, sees=False)
    form = body.output_config and body.output_config.format
    last = messages[-1]
    begun = last.role == "assistant"
    if begun and any(isinstance(part, ToolCall) for part in last.parts):
        raise refused(UNANSWERED, "messages")
    if begun and not any(isinstance(part, Text) for part in last.parts):
        messages, begun = messages[:-1], False
    wish = Wish(
        messages=messages,
        options=options_of(body),
        sampling=sampling_of(said),
        tools=tuple(tool_of(tool, f"tools[{n}]") for n, tool in enumerate(body.tools or ())),
        continue_=begun,
        asked=Asked(grammar=msgspec.json.encode(form.schema).decode() if form else ""),
    )
    return body, wish


def options_of(body: Question) -> dict[str, Any]:
    """What modes and modifiers are told."""
    found: dict[str, Any] = {}
    if body.thinking:
        found["enable_thinking"] = body.thinking.type != "disabled"
    if body.output_config and body.output_config.effort:
        found["reasoning_effort"] = EFFORTS[body.output_config.effort]
    if choice := body.tool_choice:
        if choice.type == "tool" and not choice.name:
            says = "tool_choice.name: There is none. Name the tool that is to be called."
            raise refused(says, "tool_choice.name", "invalid_value")
        named = {"type": "function", "function": {"name": choice.name}}
        found["tool_choice"] = CHOICES.get(choice.type, named)
        if choice.disable_parallel_tool_use:
            found["parallel_tool_calls"] = False
    return found


def tool_of(tool: Tool, where: str) -> dict[str, Any]:
    """As OpenAI writes it, which modes and templates read."""
    if tool.input_schema is None:
        says = f"{where}.input_schema: {NO_SCHEMA}"
        raise refused(says, f"{where}.input_schema", "unsupported_value")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}
