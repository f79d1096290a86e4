"""Replies as Kobold's programs read them: whole, and word by word."""

from typing import Literal

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import (
    Call,
    Fault,
    Problem,
    Programs,
    Run,
    Tongue,
    Wish,
    json,
    make,
    times,
)
from kernel.api import Delta

from .asked import Generate
from .under_way import Register

Reason = Literal["stop", "length"]


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


async def whole(
    programs: Programs, register: Register, call: Call, body: Generate, wish: Wish
) -> Response:
    """All texts, when they are complete; what was aborted is as far as it came."""
    wishes = times(wish, body.n or 1)
    entry = register.enter(call, body.genkey or "", wishes)

    async def hear(index: int, delta: Delta) -> None:
        entry.heard[index].hear(delta)

    try:
        runs = await make(programs, call, wishes, hear)
    except Problem as problem:
        if problem.fault.code != "cancelled":
            raise
        return json(Results([Result(text) for text in entry.texts]))
    finally:
        register.leave(entry)
    texts = zip(runs, entry.texts, strict=True)
    return json(Results([result(run, text + cut(run, body)) for run, text in texts]))


async def streamed(
    programs: Programs, register: Register, call: Call, body: Generate, wish: Wish
) -> None:
    """Words as they come; what fails before the first has the status of its error."""
    entry = register.enter(call, body.genkey or "", [wish])

    async def hear(index: int, delta: Delta) -> None:
        entry.heard[index].hear(delta)
        if delta.channel == "text" and delta.text:
            await out.write(event(Token(delta.text)))

    try:
        async with call.stream() as out:
            reason, more = "stop", ""
            try:
                [run] = await make(programs, call, [wish], hear, hold=True)
                reason, more = reason_of(run), cut(run, body)
            except Problem as problem:
                if problem.fault.code != "cancelled":
                    raise
            await out.write(event(Token(more, reason)))
    finally:
        register.leave(entry)


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
