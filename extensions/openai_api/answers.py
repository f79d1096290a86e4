"""What is answered: the structs of OpenAI's chat completions."""

from typing import Any, Literal

import msgspec

from extensions.api_kit.api import Run
from kernel.api import Finish

Reason = Literal["stop", "length", "tool_calls"]


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """The base: every field is written, also an empty one, as OpenAI does."""


class Top(Struct, frozen=True):
    """A token that might have come."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Top, frozen=True):
    """A token that came."""

    top_logprobs: list[Top]


class Logprobs(Struct, frozen=True):
    """How likely the tokens were."""

    content: list[TokenLogprob]
    refusal: None = None


class Function(Struct, frozen=True):
    """What is to be called; `arguments` is JSON."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True):
    """A call that the model wants made."""

    id: str
    function: Function
    type: Literal["function"] = "function"


class Message(Struct, frozen=True):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class Choice(Struct, frozen=True):
    """One of the replies."""

    index: int
    message: Message
    finish_reason: Reason
    logprobs: Logprobs | None = None


class Cached(Struct, frozen=True):
    """Tokens of the prompt that were known already."""

    cached_tokens: int


class Usage(Struct, frozen=True):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Cached


class Timings(Struct, frozen=True):
    """How fast it was, by llama.cpp's names, which Open WebUI shows."""

    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float
    cache_n: int


class Completion(Struct, frozen=True):
    """The answer of /v1/chat/completions."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    timings: Timings
    object: Literal["chat.completion"] = "chat.completion"


class Frame(Struct, frozen=True):
    """An event of a stream."""

    id: str
    created: int
    model: str = ""
    choices: list[dict[str, Any]] = []
    object: str = ""


class Chunk(Frame, frozen=True):
    """An event of a stream of chat completions."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


class Likely(Struct, frozen=True):
    """How likely the tokens were, in the form of plain completions."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Where each token begins in the text, in characters."""


class TextChoice(Struct, frozen=True):
    """One of the texts."""

    index: int
    text: str
    finish_reason: Reason | None
    logprobs: Likely | None = None
    reasoning: str | msgspec.UnsetType = msgspec.UNSET
    """What the model thought, where that was told apart from the text."""


class TextCompletion(Struct, frozen=True):
    """The answer of /v1/completions."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    timings: Timings
    object: Literal["text_completion"] = "text_completion"


class TextChunk(Frame, frozen=True):
    """An event of its stream; an end of one text has its reason, and the others null."""

    object: Literal["text_completion"] = "text_completion"


def usage_of(finishes: list[Finish]) -> Usage:
    """Of all choices together; their prompt is one."""
    prompt = max((each.usage.prompt for each in finishes), default=0)
    cached = max((each.usage.cached for each in finishes), default=0)
    written = sum(each.usage.completion for each in finishes)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        prompt_tokens_details=Cached(cached_tokens=cached),
    )


def together(usages: list[Usage]) -> Usage:
    """Of several prompts."""
    prompt = sum(each.prompt_tokens for each in usages)
    written = sum(each.completion_tokens for each in usages)
    cached = sum(each.prompt_tokens_details.cached_tokens for each in usages)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        prompt_tokens_details=Cached(cached_tokens=cached),
    )


def timings_of(finishes: list[Finish]) -> Timings:
    """The seconds of an engine for the first reply, as milliseconds and rates."""
    finish = finishes[0] if finishes else Finish("stop")
    usage, spent = finish.usage, finish.timings
    read = max(0, usage.prompt - usage.cached)
    return Timings(
        prompt_n=read,
        prompt_ms=round(spent.prompt * 1000, 3),
        prompt_per_second=round(read / spent.prompt, 2) if spent.prompt else 0.0,
        predicted_n=usage.completion,
        predicted_ms=round(spent.completion * 1000, 3),
        predicted_per_second=round(usage.completion / spent.completion, 2)
        if spent.completion
        else 0.0,
        cache_n=usage.cached,
    )


def reason_of(run: Run, called: bool) -> Reason:
    """Why a choice ended, as OpenAI has it."""
    if called:
        return "tool_calls"
    return "length" if run.finish.reason == "length" else "stop"
