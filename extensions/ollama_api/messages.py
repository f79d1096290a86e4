"""Messages as Ollama writes them: words, pictures beside them, calls without ids."""

from typing import Annotated, Any, Literal

import msgspec

from extensions.api_kit.api import pictures_of, refused
from kernel.api import Message, Meta, Part, Reasoning, Text, ToolCall, ToolResult

Str = str | None
CALLS = Meta(max_length=100)
"""Of one message; each result is looked for among them, which holds up the replies of others."""
NO_CALL = (
    "{}: It answers a call, and none is open. Send the assistant's message with the call first."
)


class Named(msgspec.Struct):
    """The function of a call."""

    name: str
    arguments: dict[str, Any] | None = None


class Called(msgspec.Struct):
    """A call of an assistant's message."""

    function: Named
    id: Str = None


class Said(msgspec.Struct):
    """One message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Str = None
    images: list[str] | None = None
    thinking: Str = None
    tool_calls: Annotated[list[Called], CALLS] | None = None
    tool_name: Str = None
    name: Str = None
    tool_call_id: Str = None


def messages_of(said: list[Said]) -> tuple[Message, ...]:
    """What a model is told; raises Problem, which names the message.

    Calls without an id get one, and results find the call that they answer: by its id, by the
    name of its function, else the first that is open.
    """
    found: list[Message] = []
    open_: list[ToolCall] = []
    for n, each in enumerate(said):
        where = f"messages[{n}]"
        if each.role == "tool":
            call = answered(each, open_, where)
            open_.remove(call)
            found.append(Message("tool", (ToolResult(call.id, each.content or ""),), call.name))
            continue
        calls = [called(call, f"call_{n}_{k}") for k, call in enumerate(each.tool_calls or ())]
        open_ = calls or ([] if each.role == "assistant" else open_)
        thought = (Reasoning(each.thinking),) if each.thinking else ()
        words = (Text(each.content),) if each.content else ()
        seen = pictures_of(each.images, f"{where}.images")
        parts: tuple[Part, ...] = (*thought, *seen, *words, *calls)
        found.append(Message(each.role, parts, each.name or ""))
    return tuple(found)


def called(call: Called, id: str) -> ToolCall:
    arguments = msgspec.json.encode(call.function.arguments or {}).decode()
    return ToolCall(call.id or id, call.function.name, arguments)


def answered(result: Said, calls: list[ToolCall], where: str) -> ToolCall:
    """The call that this is the result of."""
    name = result.tool_name or result.name
    for call in calls:
        if result.tool_call_id == call.id or (not result.tool_call_id and name == call.name):
            return call
    if not calls:
        raise refused(NO_CALL.format(where), where, "invalid_value")
    return calls[0]
