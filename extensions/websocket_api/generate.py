"""POST /api/reply: one reply as one answer, or as lines of JSON; it ends with its connection."""

import asyncio
import secrets
from contextlib import suppress

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from extensions.api_kit.api import Fault, Problem, caller_of, left, nothing, stopped

from . import protocol
from .connection import STALL
from .problems import later
from .stream import Stream
from .streams import Streams
from .telling import Ended

QUIET = 15.0
"""Seconds without an event until a program is told that it still has to wait."""


class News:
    """Wakes the one who reads."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self, _: Stream) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()


class Generate:
    """The ASGI application of the route."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        news = News()
        try:
            asked = await body(scope, receive)
            id = asked.id or secrets.token_urlsafe(12)
            how = {"id": id, "linger": 0, "hold": asked.stream, "whole": not asked.stream}
            stream = self._streams.start(caller_of(scope), asked, news, **how)
        except Problem as problem:
            return await refusal(problem.fault, later(problem))(scope, receive, send)
        answer = (lines if asked.stream else whole)(stream, news, scope, send)
        work = [asyncio.create_task(answer), asyncio.create_task(left(receive))]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as cancelled:
            stream.stopped = stopped(scope, cancelled)
            await self._streams.farewell([stream])
            await asyncio.wait(work[:1], timeout=1)
        finally:
            stream.leave(news)
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._streams.forget(stream)
        for task in work:
            if not task.cancelled() and (error := task.exception()):
                raise error
        if work[0].cancelled():
            raise ClientDisconnect


async def body(scope: Scope, receive: Receive) -> protocol.Generate:
    """What was asked; raises Problem."""
    try:
        data = await Request(scope, receive).body()
    except HTTPException as error:
        says = f"{error.detail} Send a shorter conversation."
        raise Problem(Fault(says, "too_large_error", None, "body_too_large")) from None
    return protocol.read(data, protocol.Generate)


async def whole(stream: Stream, news: News, scope: Scope, send: Send) -> None:
    """One answer when the reply has ended."""
    while not (end := stream.finish):
        await news.wait()
    if isinstance(end, protocol.Failed):
        said = stream.heard[0].text() if stream.heard else ""
        response = refusal(end.error, end.retry_after, said)
    else:
        data = msgspec.json.encode(answer_of(stream, end))
        response = Response(data, media_type="application/json")
    await response(scope, nothing, send)


def answer_of(stream: Stream, end: protocol.Done) -> protocol.Answer:
    """All that was said."""
    ends = end.choices or (Ended(0, end.reason, end.cut_by),)
    choices = tuple(stream.choice(each) for each in ends)
    first = {name: getattr(choices[0], name) for name in choices[0].__struct_fields__}
    several = choices if len(choices) > 1 else ()
    return protocol.Answer(
        **first,
        stream=stream.id,
        model=end.model,
        usage=end.usage,
        timings=end.timings,
        choices=several,
    )


def refusal(fault: Fault, seconds: int, text: str = "") -> Response:
    """An error with its status; `text` is what was said before it."""
    response = fault.response(text)
    if seconds:
        response.headers["retry-after"] = str(seconds)
    return response


async def lines(stream: Stream, news: News, scope: Scope, send: Send) -> None:
    """A line for each event; a reply that fails before its first word has the error's status."""
    at, begun = 0, False
    with suppress(TimeoutError):  # Who takes nothing is let go.
        while not stream.finish or at < len(stream.events):
            events = await batch(stream, news, at)
            at = len(stream.events)
            if not begun:
                if isinstance(stream.finish, protocol.Failed) and stream.finish.seq == 2:
                    said = stream.finish
                    return await refusal(said.error, said.retry_after)(scope, nothing, send)
                begun = True
                await send(opening(stream))
            async with asyncio.timeout(STALL):
                body = b"".join(event + b"\n" for event in events)
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def opening(stream: Stream) -> dict[str, object]:
    """The headers: also whether text is held because a modifier may still replace it."""
    headers = [(b"content-type", b"application/x-ndjson")]
    headers += [(b"spindle-text", b"held")] if stream.held else []
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def batch(stream: Stream, news: News, at: int) -> list[bytes]:
    """The events after `at`, as soon as there are some; a sign of life when there are none."""
    try:
        async with asyncio.timeout(QUIET):
            while at == len(stream.events) or not stream.begun:
                await news.wait()
        return stream.events[at:]
    except TimeoutError:
        waiting = protocol.Waiting(stream.id, len(stream.events), stream.position)
        return [*stream.events[at:], msgspec.json.encode(waiting)]
