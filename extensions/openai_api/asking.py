"""POST /v1/responses: what is asked, as a wish for a reply."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from extensions.api_kit.api import (
    MESSAGES,
    TOOLS,
    Asked,
    Call,
    Wish,
    converted,
    refused,
)
from kernel.api import Message, Meta, Struct, Text

from .chat import Rest, efforts
from .extras import Extras, called, greeted, told, with_preset
from .format import ANY_OBJECT, Str
from .items import Item, choice_of, conversation, tools_of
from .kept import Kept

LIKELY = "message.output_text.logprobs"
"""What asks for how likely the tokens were."""


class Form(msgspec.Struct):
    """What a text is to be."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] | None = None
    name: Str = None
    strict: bool | None = None


class Texts(msgspec.Struct):
    """How texts are to be written."""

    format: Form | None = None
    verbosity: Str = None


class Thinking(msgspec.Struct):
    """How much the model is to think."""

    effort: Str = None
    summary: Str = None


class Create(Extras, kw_only=True):
    """The body; sampling fields have the names of docs/parameters.md and OpenAI's."""

    input: str | Annotated[list[Item], MESSAGES] | None = None
    model: Str = None
    instructions: Str = None
    stream: bool | None = None
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    previous_response_id: Str = None
    store: bool | None = None
    text: Texts | None = None
    reasoning: Thinking | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    enable_thinking: bool | None = None


class Ask(Struct, frozen=True):
    """A body, understood."""

    body: Create
    said: Mapping[str, Any]
    wish: Wish
    messages: tuple[Message, ...]
    """The whole conversation without the instructions, for who goes on with it."""


async def asked(
    rest: Rest, kept: Kept, call: Call, said: Mapping[str, Any], connection: object = None
) -> Ask:
    """The body, and the wish for its reply; raises Problem."""
    body: Create = converted(said, Create)
    refuse(body)
    await rest.want(call, body.model or "")
    before = body.previous_response_id
    past = kept.before(call.caller.owner, before, connection) if before else ()
    recall = partial(kept.item, call.caller.owner, connection)
    messages = (*past, *conversation(body.input or [], recall))
    if not messages:
        raise refused("input: There is none. Send a text, or items.", "input", "missing_input")
    options = {**options_of(body), **told(body, rest.modes(), rest.standing)}
    shown = await rest.programs.shown(messages)  # Who goes on may do so with another.
    whole = greeted(shown, options.pop("greeting", ""))
    if body.instructions:
        whole = (Message("system", (Text(body.instructions),)), *whole)
    likely = body.top_logprobs is not None or LIKELY in (body.include or ())
    sampling = rest.programs.sampling(said)
    wish = Wish(
        messages=whole,
        said_in="input",
        mode=body.mode or "instruct",
        options=options,
        called=called(body),
        sampling=await with_preset(rest.parameters, body.preset, sampling),
        tools=tools_of(body.tools or []),
        asked=Asked(
            grammar=grammar_of(body.text) or body.constraint(),
            logprobs=(body.top_logprobs or 0) if likely else None,
        ),
    )
    return Ask(body, said, wish, messages)


def refuse(body: Create) -> None:
    """What Spindle does not do, by its name."""
    if body.background:
        says = "background: A reply is written while its program waits. Leave it out."
        raise refused(says, "background", "unsupported_parameter")
    for name in ("conversation", "prompt"):
        if getattr(body, name):
            says = f"{name}: It lies on OpenAI's servers. Send input, or previous_response_id."
            raise refused(says, name, "unsupported_parameter")


def options_of(body: Create) -> dict[str, Any]:
    """What modes and modifiers are told beside."""
    found: dict[str, Any] = {}
    if body.enable_thinking is not None:
        found["enable_thinking"] = body.enable_thinking
    effort = body.reasoning.effort if body.reasoning else None
    found = {**found, **efforts(effort, "reasoning.effort")}
    if body.tool_choice is not None:
        found["tool_choice"] = choice_of(body.tool_choice)
    if body.truncation:
        found["truncation"] = body.truncation
    if body.parallel_tool_calls is not None:
        found["parallel_tool_calls"] = body.parallel_tool_calls
    return found


def grammar_of(text: Texts | None) -> str:
    """What a request's grammar is; raises Problem where a schema is missing."""
    form = text.format if text else None
    if not form or form.type == "text":
        return ""
    if form.type == "json_object":
        return ANY_OBJECT
    if form.schema is None:
        where = "text.format.schema"
        raise refused(f"{where}: There is none, and the type json_schema needs one.", where)
    return msgspec.json.encode(form.schema).decode()
