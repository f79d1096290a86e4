"""POST /v1/chat/completions: what is asked, as a wish for replies."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from extensions.api_kit.api import (
    EFFORTS,
    GIVEN_UP,
    MESSAGES,
    TOOLS,
    Asked,
    Call,
    Programs,
    Said,
    Want,
    Wish,
    converted,
    messages_of,
    read,
    refused,
)
from extensions.parameters.api import Parameters
from kernel.api import Meta, Mode

from .extras import Extras, called, greeted, told, with_preset
from .format import Str
from .standing import Standing

Many = Annotated[int, Meta(ge=1, le=16)]
Few = Annotated[int, Meta(ge=0, le=20)]
OPTIONS = {
    "enable_thinking": "enable_thinking",
    "reasoning_effort": "reasoning_effort",
    "preserve_thinking": "preserve_thinking",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""Fields that modes and modifiers are told of, and by what name."""


class StreamOptions(msgspec.Struct):
    """What a stream says besides."""

    include_usage: bool | None = None


class Chat(Extras, kw_only=True):
    """The body; sampling fields have the names of docs/parameters.md and OpenAI's."""

    messages: Annotated[list[Said], MESSAGES]
    model: Str = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Many | None = None
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Few | None = None
    functions: Any = None
    function_call: Any = None
    enable_thinking: bool | None = None
    reasoning_effort: Str = None
    preserve_thinking: bool | None = None
    continue_: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    """As llama.cpp and vLLM have it: `enable_thinking` is read from it."""


class Rest(NamedTuple):
    """What a body is understood with."""

    programs: Programs
    parameters: Parameters
    want: Want
    modes: Callable[[], Iterable[Mode]]
    standing: Standing


async def asked(rest: Rest, call: Call) -> tuple[Chat, Wish]:
    """The body, and the wish for one reply, for the model that it wants; raises Problem."""
    said: Mapping[str, Any] = read(call.body, dict[str, Any])
    body = converted(said, Chat)
    for name in ("functions", "function_call"):
        if getattr(body, name):
            raise refused(f"{name}: {GIVEN_UP.format(name)}", name, "unsupported_value")
    if body.top_logprobs is not None and not body.logprobs:
        says = "top_logprobs: It needs logprobs to be true."
        raise refused(says, "top_logprobs", "invalid_value")
    await rest.want(call, body.model or "")
    options = {**options_of(body), **told(body, rest.modes(), rest.standing)}
    sampling = rest.programs.sampling(said)
    messages = await rest.programs.shown(messages_of(body.messages))
    wish = Wish(
        messages=greeted(messages, options.pop("greeting", "")),
        mode=body.mode or "instruct",
        options=options,
        called=called(body),
        sampling=await with_preset(rest.parameters, body.preset, sampling),
        tools=tuple(body.tools or ()),
        continue_=continues(body),
        asked=Asked(
            grammar=body.constraint(),
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        ),
    )
    return body, wish


def options_of(body: Chat) -> dict[str, Any]:
    """What the mode is told."""
    kwargs = body.chat_template_kwargs or {}
    found = {OPTIONS[each]: getattr(body, each) for each in OPTIONS}
    found = {name: value for name, value in found.items() if value is not None}
    thinks = kwargs.get("enable_thinking")
    if isinstance(thinks, bool):
        found.setdefault("enable_thinking", thinks)
    effort = found.pop("reasoning_effort", None)
    return {**efforts(effort, "reasoning_effort"), **found}


def efforts(effort: Str, param: str) -> dict[str, Any]:
    """What a mode is told of how much to think; raises Problem."""
    if effort is None:
        return {}
    if effort in EFFORTS:
        return {"reasoning_effort": EFFORTS[effort]}
    if effort in ("none", "minimal"):
        return {"enable_thinking": False}
    says = f"{param}: Expected none, minimal, {', '.join(EFFORTS)}."
    raise refused(says, param, "invalid_value")


def continues(body: Chat) -> bool:
    """Whether the last message, the assistant's, is to be gone on with."""
    if body.continue_ and body.messages[-1].role != "assistant":
        says = "continue_: Only a last message of the assistant can be continued."
        raise refused(says, "continue_", "invalid_value")
    return bool(body.continue_)
