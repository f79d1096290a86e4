"""Tools, calls and results in words, for templates that have no place for them."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from msgspec import structs

from kernel.api import Message, Text, ToolCall, ToolResult

NOTE = """\
You can call these tools, each described by a JSON object:
<tools>
{}
</tools>
To call one, write a block like this, for each call one of its own, and nothing after the last:
<tool_call>
{{"name": "NAME OF THE TOOL", "arguments": {{"NAME OF A PARAMETER": "ITS VALUE"}}}}
</tool_call>
What a call gives comes to you between <tool_response> and </tool_response>. Call only what you \
need."""
TOOLS = re.compile(r"\btools\b")


def knows_tools(template: str) -> bool:
    """Whether a chat template tells the model of tools."""
    return bool(TOOLS.search(template))


def knows_calls(template: str) -> bool:
    """Whether it has a place for calls that were made, and what they gave."""
    return "tool_calls" in template


def told(messages: tuple[Message, ...], tools: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages with a note of the tools, in the system message where there is one."""
    functions = (json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    note = Text(NOTE.format("\n".join(functions)))
    if messages and messages[0].role == "system":
        first = messages[0]
        parts = (*first.parts, *([Text("\n\n")] if first.text else []), note)
        return (structs.replace(first, parts=parts), *messages[1:])
    return (Message("system", (note,)), *messages)


def in_words(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Calls as the model would write them, and their results as words of the user's."""
    said: list[Message] = []
    for is_tool, group in groupby(messages, lambda message: message.role == "tool"):
        if is_tool:
            parts = (p for each in group for p in each.parts if isinstance(p, ToolResult))
            words = "\n".join(f"<tool_response>\n{p.content}\n</tool_response>" for p in parts)
            said.append(Message("user", (Text(words),)))
        else:
            said += [called(message) for message in group]
    return tuple(said)


def called(message: Message) -> Message:
    """A message whose calls are words."""
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if not calls:
        return message
    others = [part for part in message.parts if not isinstance(part, ToolCall)]
    gap = [Text("\n")] if message.text else []
    words = "\n".join(map(block, calls))
    return structs.replace(message, parts=(*others, *gap, Text(words)))


def block(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    told = f'{{"name": {name}, "arguments": {call.arguments.strip() or "{}"}}}'
    return f"<tool_call>\n{told}\n</tool_call>"
