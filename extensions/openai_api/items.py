"""What is asked of /v1/responses, item by item, as the messages of a conversation."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import msgspec

from extensions.api_kit.api import Piece, Said, message_of, refused
from kernel.api import Message, Part, Reasoning, ToolCall

from .format import Str


class Thought(msgspec.Struct):
    """A text of a reasoning item."""

    text: str = ""
    type: str = ""


class Item(msgspec.Struct, kw_only=True):
    """One item of the input: a message, a call, its result, what the model thought, or the id of
    an item of a response that is remembered."""

    type: str = "message"
    role: Str = None
    content: str | list[Piece] | None = None
    call_id: Str = None
    name: Str = None
    arguments: Str = None
    output: str | list[Piece] | None = None
    summary: list[Thought] | None = None
    id: Str = None
    status: Str = None


ROLES = ("system", "developer", "user", "assistant")
HOSTED = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp")
"""How the types of tools begin that OpenAI's servers carry out; others the client does."""
Recall = Callable[[str, str], Part]
"""What the item of this id says; raises Problem, which names the field."""


def conversation(given: str | list[Item], recall: Recall) -> tuple[Message, ...]:
    """The messages; what the assistant thought, said and called after one another is one of them.
    A tool's holds what it showed, for `after_results`. Raises Problem, which names the item."""
    if isinstance(given, str):
        given = [Item(role="user", content=given)]
    check_references(given)
    messages = (message(item, f"input[{n}]", recall) for n, item in enumerate(given))
    found: list[Message] = []
    for role, group in groupby(messages, lambda each: each.role):
        neighbours = [*group]
        found += [joined(neighbours)] if role == "assistant" else neighbours
    return tuple(found)


def check_references(items: list[Item]) -> None:
    """Refuse an item that is named again; raises Problem. All that are kept have a limit together,
    and one of them named often has none."""
    named = set[Str]()
    for n, item in enumerate(items):
        if item.type == "item_reference" and item.id in named:
            says = f"input[{n}].id: {item.id} is named twice. Name each item once."
            raise refused(says, f"input[{n}].id", "invalid_value")
        if item.type == "item_reference":
            named.add(item.id)


def joined(said: list[Message]) -> Message:
    """Several messages of the assistant's as one."""
    return Message("assistant", tuple(part for each in said for part in each.parts), said[0].name)


def message(item: Item, where: str, recall: Recall) -> Message:
    """One item as a message; raises Problem."""
    match item:
        case Item(type="message", role=str(role)) if role in ROLES:
            return message_of(Said(role=role, content=item.content), where)
        case Item(type="message"):
            says = f"{where}.role: Expected one of {', '.join(ROLES)}."
            raise refused(says, f"{where}.role", "invalid_value")
        case Item(type="function_call", name=str(name), call_id=str(id)):
            return Message("assistant", (ToolCall(id, name, item.arguments or "{}"),))
        case Item(type="function_call_output", call_id=str(id)):
            said = Said(role="tool", content=item.output, tool_call_id=id, name=item.name)
            return message_of(said, where)
        case Item(type="reasoning"):
            return Message("assistant", thought(item))
        case Item(type="item_reference", id=str(id)):
            return Message("assistant", (recall(id, f"{where}.id"),))
        case Item(type="function_call" | "function_call_output"):
            says = f"{where}: It needs call_id, and a call a name."
            raise refused(says, where, "invalid_value")
        case _:
            says = f"{where}.type: {item.type!r} is no item that Spindle knows. Known: message, "
            says += "function_call, function_call_output, reasoning, item_reference."
            raise refused(says, f"{where}.type", "unsupported_value")


def thought(item: Item) -> tuple[Part, ...]:
    """What it says of the model's thoughts, themselves or in short."""
    whole = "".join(piece.text or "" for piece in item.content or () if isinstance(piece, Piece))
    short = "\n\n".join(each.text for each in item.summary or ())
    return (Reasoning(whole or short),) if whole or short else ()


def tools_of(tools: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Functions as chat completions have them; raises Problem for other kinds of tools."""
    found: list[dict[str, Any]] = []
    for n, tool in enumerate(tools):
        if (kind := tool.get("type")) != "function":
            why = "runs on OpenAI's servers" if str(kind).startswith(HOSTED) else "is no function"
            says = f"tools[{n}].type: {kind!r} {why}. Models here call functions alone: leave it "
            says += "out, or offer a function in its place."
            raise refused(says, f"tools[{n}].type", "unsupported_value")
        named = {key: value for key, value in tool.items() if key != "type"}
        found.append({"type": "function", "function": tool.get("function") or named})
    return tuple(found)


def choice_of(choice: Any) -> Any:
    """`tool_choice` as chat completions have it."""
    if isinstance(choice, dict) and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice
