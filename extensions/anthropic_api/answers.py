"""What is answered: the structs of Anthropic's messages and of the events of a stream."""

from typing import Any, Literal

import msgspec

from kernel.api import Finish

Stop = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
UNSIGNED = "unsigned"
"""The signature of every thought: programs want one, and send it back; nothing is told by it."""


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """The base: every field is written, also an empty one."""


class TextBlock(Struct, frozen=True):
    """Words."""

    type: Literal["text"] = "text"
    text: str = ""


class ThinkingBlock(Struct, frozen=True):
    """What the model thought."""

    type: Literal["thinking"] = "thinking"
    thinking: str = ""
    signature: str = ""


class ToolUseBlock(Struct, frozen=True, kw_only=True):
    """A call that the model wants made."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: Any
    """An object."""


class Usage(Struct, frozen=True):
    """Tokens read and written; `input_tokens` are those that were not known already."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0


class Message(Struct, frozen=True, kw_only=True):
    """The answer of /v1/messages."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[Any] = []
    """Blocks of the three kinds above."""
    stop_reason: Stop | None = None
    stop_sequence: str | None = None
    usage: Usage = Usage()


class Ended(Struct, frozen=True):
    """Why a stream ends."""

    stop_reason: Stop
    stop_sequence: str | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of a stream; which fields it has depends on its type."""

    type: Literal[
        "message_start", "ping", "content_block_start", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    index: int | None = None
    message: Message | None = None
    content_block: Any = None
    delta: Any = None
    usage: Usage | None = None


class Counted(Struct, frozen=True):
    """The answer of /v1/messages/count_tokens."""

    input_tokens: int


def usage_of(finish: Finish) -> Usage:
    """As it is known at the end."""
    used = finish.usage
    return Usage(
        input_tokens=max(0, used.prompt - used.cached),
        cache_read_input_tokens=used.cached,
        output_tokens=used.completion,
    )


def ended(finish: Finish, called: bool, stops: list[str]) -> Ended:
    """Why it ended; `stops` are those that the program gave."""
    if called:
        return Ended(stop_reason="tool_use")
    if finish.reason == "length":
        return Ended(stop_reason="max_tokens")
    if finish.cut_by and finish.cut_by in stops:
        return Ended(stop_reason="stop_sequence", stop_sequence=finish.cut_by)
    return Ended(stop_reason="end_turn")
