"""What is answered: the lines of Ollama's chat and generate."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from kernel.api import Finish


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """The base: a field that is not set is not written."""


class Function(Struct, frozen=True, kw_only=True):
    """What is to be called; `arguments` is an object."""

    index: int
    name: str
    arguments: Any


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model wants made."""

    id: str
    function: Function


class Message(Struct, frozen=True, kw_only=True):
    """A piece of what the model said, or all of it."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Likely(Struct, frozen=True, kw_only=True):
    """A token that might have come."""

    token: str
    logprob: float
    bytes: list[int]


class Logprob(Likely, frozen=True, kw_only=True):
    """A token that came."""

    top_logprobs: list[Likely] | UnsetType = UNSET


class Line(Struct, frozen=True, kw_only=True):
    """What all lines have; the last one tells how it went. Durations are nanoseconds."""

    model: str
    created_at: str
    done: bool = False
    done_reason: Literal["stop", "length", "load", "unload"] | UnsetType = UNSET
    logprobs: list[Logprob] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class ChatLine(Line, frozen=True, kw_only=True):
    """A line of /api/chat, or all of its answer."""

    message: Message


class GenerateLine(Line, frozen=True, kw_only=True):
    """A line of /api/generate, or all of its answer."""

    response: str
    thinking: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET
    """Always empty: a conversation goes on with /api/chat."""


def now() -> str:
    """The time, as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def ended(finish: Finish, total: int, load: int) -> dict[str, Any]:
    """What the last line says; `total` and `load` are nanoseconds."""
    return {
        "done": True,
        "done_reason": "length" if finish.reason == "length" else "stop",
        "total_duration": total,
        "load_duration": load,
        "prompt_eval_count": finish.usage.prompt,
        "prompt_eval_duration": round(finish.timings.prompt * 1e9),
        "eval_count": finish.usage.completion,
        "eval_duration": round(finish.timings.completion * 1e9),
    }
