"""Replies as Ollama's lines: one after the other, or all in one."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Called, Heard, Programs, Run, Wish, calls_in, json
from kernel.api import Delta, Token

from .answers import (
    UNSET,
    ChatLine,
    Function,
    GenerateLine,
    Likely,
    Line,
    Logprob,
    Message,
    ToolCall,
    ended,
    now,
)
from .asking import Body
from .tongue import LINES

LEAST = -9999.0
"""JSON has no infinity."""
Form = Callable[..., Line]
"""Makes a line: of the words, thoughts and calls in it, and of the fields that all lines have."""


def chat_line(
    text: str = "", thinking: str = "", calls: Sequence[ToolCall] = (), **more: Any
) -> Line:
    """As /api/chat has it."""
    message = Message(content=text, thinking=thinking or UNSET, tool_calls=[*calls] or UNSET)
    return ChatLine(message=message, created_at=now(), **more)


def generate_line(
    text: str = "", thinking: str = "", calls: Sequence[ToolCall] = (), **more: Any
) -> Line:
    """As /api/generate has it, which knows no calls."""
    context = [] if more.get("done") else UNSET
    line = GenerateLine(response=text, thinking=thinking or UNSET, created_at=now(), **more)
    return msgspec.structs.replace(line, context=context)


async def answered(
    programs: Programs,
    call: Call,
    body: Body,
    wish: Wish,
    form: Form,
    spent: int,
    after: Callable[[], Awaitable[None]],
) -> Response | None:
    """The reply in the form of its address; `spent` are the nanoseconds of a load before it, and
    `after` is done before its last line."""
    began = time.monotonic_ns() - spent

    def last(run: Run) -> dict[str, Any]:
        return ended(run.finish, time.monotonic_ns() - began, spent)

    if body.streams:
        return await streamed(programs, call, wish, form, last, after)
    heard = Heard()
    async with programs.run(call, wish) as run:
        async for delta in run:
            heard.hear(delta)
        await programs.finished(run)
    await after()
    calls = [tool_call(n, each) for n, each in enumerate(calls_in(heard.text("tool")))]
    text, likely = heard.text(), likely_of(heard.tokens, wish)
    text = "" if calls and not text.strip() else text
    more = {"model": run.model, "logprobs": likely, **last(run)}
    return json(form(text, heard.text("reasoning"), calls, **more))


async def streamed(
    programs: Programs,
    call: Call,
    wish: Wish,
    form: Form,
    last: Callable[[Run], dict[str, Any]],
    after: Callable[[], Awaitable[None]],
) -> None:
    """Lines as they come; what fails before the first has the status of its error."""
    many = 0
    # A blank before the next line is all that JSON allows as a sign of life.
    async with call.stream(LINES, b" ") as out:
        async with programs.run(call, wish, hold=True) as run:
            async for delta in run:
                calls = calls_in(delta.text) if delta.channel == "tool" else []
                said = [tool_call(many + n, each) for n, each in enumerate(calls)]
                many += len(said)
                await out.write(line(piece(form, delta, said, wish, run)))
            await programs.finished(run)
        await after()
        await out.write(line(form(model=run.model, **last(run))))


def piece(form: Form, delta: Delta, calls: Sequence[ToolCall], wish: Wish, run: Run) -> Line:
    """The line of a piece of the reply."""
    match delta.channel:
        case "tool":
            return form(calls=calls, model=run.model)
        case "reasoning":
            return form(thinking=delta.text, model=run.model)
        case _:
            return form(delta.text, model=run.model, logprobs=likely_of(delta.tokens, wish))


def line(data: Line) -> bytes:
    return msgspec.json.encode(data) + b"\n"


def tool_call(index: int, called: Called) -> ToolCall:
    arguments = msgspec.Raw(called.arguments.encode())
    return ToolCall(
        id=called.id, function=Function(index=index, name=called.name, arguments=arguments)
    )


def likely_of(tokens: Sequence[Token], wish: Wish) -> Any:
    """How likely tokens were, where that was asked for."""
    top = wish.asked.logprobs
    if top is None:
        return UNSET
    return [
        Logprob(
            **likely(token.bytes, token.logprob),
            top_logprobs=[Likely(**likely(*each)) for each in token.top[:top]] if top else UNSET,
        )
        for token in tokens
    ]


def likely(data: bytes, logprob: float | None) -> dict[str, Any]:
    number = LEAST if logprob is None else max(logprob, LEAST)
    return {"token": data.decode(errors="replace"), "logprob": number, "bytes": [*data]}


CHAT, GENERATE = chat_line, generate_line
