"""POST /api/chat and /api/generate: what is asked, as a wish for a reply."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import structs

from extensions.api_kit.api import (
    MESSAGES,
    TOOLS,
    Asked,
    Call,
    Programs,
    Wish,
    filled,
    pictures_of,
    refused,
    sampling_of,
)
from kernel.api import Message, Meta, Part, Sampling, Text

from .messages import Said, Str, messages_of

Few = Annotated[int, Meta(ge=0, le=20)]
Format = Literal["", "json"] | dict[str, Any]
DURATION = re.compile(r"-?(\d+(\.\d*)?|(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+)", re.ASCII)
ANY_OBJECT = '{"type": "object"}'
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "max": "high"}
PENALTIES = ("repeat_penalty", "presence_penalty", "frequency_penalty", "repeat_last_n")
NO_TEMPLATE = (
    "template: Spindle reads no templates in Ollama's language. Send the whole text as the prompt "
    "with raw, or choose a template in Spindle's page."
)
NO_CONTEXT = "context: Spindle keeps no conversations for programs. Send all of it to /api/chat."


class Body(msgspec.Struct, kw_only=True):
    """What chat and generate share; the fields of `options` may have any name of
    docs/parameters.md, too."""

    model: Str = None
    stream: bool | None = None
    options: dict[str, Any] | None = None
    format: Format | None = None
    keep_alive: float | str | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Few | None = None

    @property
    def streams(self) -> bool:
        return self.stream is not False

    @property
    def unloads(self) -> bool:
        """Whether the model is not wanted any longer."""
        kept = self.keep_alive
        return kept is not None and not any(each in "123456789" for each in str(kept))


class Chat(Body, kw_only=True):
    """The body of /api/chat."""

    messages: Annotated[list[Said], MESSAGES] | None = None
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None


class Generate(Body, kw_only=True):
    """The body of /api/generate."""

    prompt: Str = None
    suffix: Str = None
    system: Str = None
    template: Str = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


T = TypeVar("T", bound=Body)


def read_body(call: Call, kind: type[T]) -> T:
    """The body; raises Problem."""
    body = call.read(kind)
    kept = body.keep_alive
    if isinstance(kept, str) and not DURATION.fullmatch(kept):
        says = "keep_alive: Expected seconds, or a time such as 5m or 1h30m."
        raise refused(says, "keep_alive", "invalid_value")
    return body


def chat(body: Chat) -> Wish:
    """The wish of /api/chat; a last message of the assistant is gone on with."""
    messages = messages_of(body.messages or [])
    last = messages[-1]
    return Wish(
        messages=messages,
        options=options_of(body),
        sampling=sampling(body),
        tools=tuple(tool_of(tool, f"tools[{n}]") for n, tool in enumerate(body.tools or ())),
        continue_=last.role == "assistant" and all(isinstance(p, Text) for p in last.parts),
        asked=asked(body),
    )


def generate(body: Generate) -> Wish:
    """The wish of /api/generate: one question, or a text to go on with."""
    if body.template:
        raise refused(NO_TEMPLATE, "template", "unsupported_value")
    if body.context:
        raise refused(NO_CONTEXT, "context", "unsupported_value")
    seen = pictures_of(body.images, "images")
    if body.suffix and seen:
        says = "images: A text that is filled in has no pictures. Leave out suffix."
        raise refused(says, "images", "unsupported_value")
    wish = Wish(sampling=sampling(body), asked=asked(body))
    if body.raw or body.suffix:
        with_them = structs.replace(wish.asked, images=seen)
        return structs.replace(wish, prompt=body.prompt or "", asked=with_them)
    parts: tuple[Part, ...] = (*seen, *((Text(body.prompt),) if body.prompt else ()))
    first = (Message("system", (Text(body.system),)),) if body.system else ()
    messages = (*first, Message("user", parts))
    return structs.replace(wish, messages=messages, options=options_of(body))


async def with_suffix(programs: Programs, body: Generate, wish: Wish) -> Wish:
    """The wish for what stands between prompt and suffix; raises Problem where no model can."""
    if not body.suffix:
        return wish
    prompt = await filled(programs, body.prompt or "", body.suffix)
    return structs.replace(wish, prompt=prompt)


def tool_of(tool: dict[str, Any], where: str) -> dict[str, Any]:
    """A function that may be called; raises Problem where it has no name."""
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        says = f"{where}.function.name: There is none. A tool is a function with a name."
        raise refused(says, f"{where}.function.name", "invalid_value")
    return tool


def sampling(body: Body) -> Sampling:
    """As `options` say it. A context of another length than the loaded one changes nothing: what
    is too long for that is refused."""
    options: Mapping[str, Any] = body.options or {}
    if options.get("repeat_last_n") == 0:  # There it means that nothing is looked back at.
        options = {name: value for name, value in options.items() if name not in PENALTIES}
    return sampling_of(options, truncation_length=None)


def asked(body: Body) -> Asked:
    form = body.format
    grammar = ANY_OBJECT if form == "json" else msgspec.json.encode(form).decode() if form else ""
    return Asked(grammar=grammar, logprobs=(body.top_logprobs or 0) if body.logprobs else None)


def options_of(body: Body) -> dict[str, Any]:
    """What modes and modifiers are told."""
    if body.think is None:
        return {}
    if isinstance(body.think, bool):
        return {"enable_thinking": body.think}
    if body.think not in EFFORTS:
        says = f"think: Expected true, false, {', '.join(EFFORTS)}."
        raise refused(says, "think", "invalid_value")
    return {"enable_thinking": True, "reasoning_effort": EFFORTS[body.think]}
