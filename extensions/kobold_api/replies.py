"""Replies as Kobold's programs read them: whole, and word by word."""

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import (
    CANCELLED,
    Call,
    Fault,
    Problem,
    Programs,
    Run,
    Tongue,
    json,
    make,
    times,
)
from kernel.api import Delta

from .asked import Generate, Known, body_of, wish_of
from .under_way import Register

Reason = Literal["stop", "length"]
Knowing = Callable[[], Awaitable[Known]]
"""Waits for a model that is loading."""


class Result(msgspec.Struct, frozen=True):
    """One text."""

    text: str
    finish_reason: Reason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Results(msgspec.Struct, frozen=True):
    """The answer of /api/v1/generate."""

    results: list[Result]


class Token(msgspec.Struct, frozen=True):
    """An event of a stream."""

    token: str
    finish_reason: Reason | None = None


class Kobold(Tongue):
    """Errors as KoboldCpp tells them, beside OpenAI's way; busy is 503 here."""

    def response(self, fault: Fault) -> Response:
        says = {"msg": fault.message, "type": fault.type}
        status = 503 if fault.status == 429 else fault.status
        return json({"detail": says, "error": fault}, status, fault.headers)

    def event(self, fault: Fault) -> bytes:
        return b"event: message\n" + fault.event()


async def whole(programs: Programs, register: Register, call: Call, known: Knowing) -> Response:
    """All texts, when they are complete; what was aborted is as far as it came."""
    said, body = body_of(call)
    count = body.n or 1
    with register.entered(call, body.genkey or "", count) as entry:

        async def hear(index: int, delta: Delta) -> None:
            entry.heard[index].hear(delta)

        try:
            with entry.wait:
                wish = await wish_of(said, body, await known())
            entry.wishes = times(wish, count)
            runs = await make(programs, call, entry.wishes, hear)
        except Problem as problem:
            if problem.fault.code != CANCELLED:
                raise
            return json(Results([Result(text) for text in entry.texts]))
    texts = zip(runs, entry.texts, strict=True)
    return json(Results([result(run, text + cut(run, body)) for run, text in texts]))


async def streamed(programs: Programs, register: Register, call: Call, known: Knowing) -> None:
    """Words as they come; what fails before the first has the status of its error."""
    said, body = body_of(call)
    with register.entered(call, body.genkey or "", 1) as entry:

        async def hear(index: int, delta: Delta) -> None:
            entry.heard[index].hear(delta)
            if delta.channel == "text" and delta.text:
                await out.write(event(Token(delta.text)))

        async with call.stream() as out:
            reason, more = "stop", ""
            try:
                with entry.wait:
                    wish = await wish_of(said, body, await known())
                entry.wishes = [wish]
                [run] = await make(programs, call, entry.wishes, hear, hold=True)
                reason, more = reason_of(run), cut(run, body)
            except Problem as problem:
                if problem.fault.code != CANCELLED:
                    raise
            await out.write(event(Token(more, reason)))


def event(token: Token) -> bytes:
    return b"event: message\ndata: " + msgspec.json.encode(token) + b"\n\n"


def result(run: Run, text: str) -> Result:
    usage = run.finish.usage
    return Result(text, reason_of(run), usage.prompt, usage.completion)


def reason_of(run: Run) -> Reason:
    return "length" if run.finish.reason == "length" else "stop"


def cut(run: Run, body: Generate) -> str:
    """The stopping text, where the program does not want it trimmed."""
    return run.finish.cut_by if body.trim_stop is False else ""
