"""Replies as chat completions: whole, and as a stream of chunks."""

import time
from collections import defaultdict
from collections.abc import Callable

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import (
    Call,
    Called,
    CallPart,
    Calls,
    Heard,
    Programs,
    Run,
    Wish,
    calls_in,
    growing,
    json,
    make,
    times,
)
from kernel.api import UNSET, Delta

from . import answers
from .chat import Chat
from .frames import Frames
from .logprobs import told

SAYS = {"text": b'"content"', "reasoning": b'"reasoning_content"'}


async def whole(programs: Programs, call: Call, body: Chat, wish: Wish) -> Response:
    """One answer, when all replies have ended."""
    heard = [Heard() for _ in range(body.n or 1)]

    async def hear(index: int, delta: Delta) -> None:
        heard[index].hear(delta)

    runs = await make(programs, call, times(wish, len(heard)), hear)
    top = wish.asked.logprobs
    return json(
        answers.Completion(
            id=new_id(call),
            created=int(time.time()),
            model=runs[0].model or body.model or "",
            choices=[choice(n, *each, top) for n, each in enumerate(zip(runs, heard, strict=True))],
            usage=answers.usage_of([run.finish for run in runs]),
            timings=answers.timings_of([run.finish for run in runs]),
        )
    )


def choice(index: int, run: Run, heard: Heard, top: int | None) -> answers.Choice:
    """One reply; what it called stands beside its words, which then may be none."""
    called = [tool_call(each) for each in calls_in(heard.text("tool"))]
    text = heard.text()
    return answers.Choice(
        index=index,
        message=answers.Message(
            role="assistant",
            content=None if called and not text.strip() else text,
            reasoning_content=heard.text("reasoning") or UNSET,
            tool_calls=called or UNSET,
        ),
        finish_reason=answers.reason_of(run, bool(called)),
        logprobs=None if top is None else answers.Logprobs(content=told(heard.tokens, top)),
    )


def tool_call(each: Called) -> answers.ToolCall:
    function = answers.Function(name=each.name, arguments=each.arguments)
    return answers.ToolCall(id=each.id, function=function)


def new_id(call: Call) -> str:
    return f"chatcmpl-{call.id}"


class Chunks(Frames):
    """The events of a stream of chat completions."""

    def __init__(self, call: Call, usage: bool, named: Callable[[], str]) -> None:
        super().__init__(answers.Chunk(id=new_id(call), created=int(time.time())), usage, named)
        self._called: dict[int, int] = defaultdict(int)
        self._calls: dict[int, Calls] = defaultdict(Calls)

    def first(self, index: int) -> bytes:
        return self._delta(index, b'{"role":"assistant","content":""}')

    def said(self, index: int, delta: Delta, top: int | None) -> bytes:
        """A piece of a reply."""
        if delta.channel == "tool":
            parts = self._calls[index].hear(delta.text)
            return b"".join(self._call(index, part) for part in parts)
        words = b"{" + SAYS[delta.channel] + b":" + msgspec.json.encode(delta.text) + b"}"
        if top is None or delta.channel != "text":
            return self._delta(index, words)
        likely = answers.Logprobs(content=told(delta.tokens, top))
        return self._delta(index, words, msgspec.json.encode(likely))

    def end(self, index: int, run: Run) -> bytes:
        whole = self._called[index] and not self._calls[index].open
        reason = answers.reason_of(run, bool(whole))
        return self._delta(index, b"{}", reason=b'"' + reason.encode() + b'"')

    def _call(self, index: int, part: CallPart) -> bytes:
        """Some of a call: only the first of it says which."""
        if part.id:
            call = msgspec.to_builtins(tool_call(Called(part.id, part.name, part.arguments)))
            self._called[index] += 1
        elif part.arguments:
            call = {"function": {"arguments": part.arguments}}
        else:
            return b""
        calls = [{"index": self._called[index] - 1, **call}]
        return self._delta(index, msgspec.json.encode({"tool_calls": calls}))

    def _delta(
        self, index: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null"
    ) -> bytes:
        return self.event(
            b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}'
            % (index, delta, logprobs, reason)
        )


async def streamed(programs: Programs, call: Call, body: Chat, wish: Wish) -> None:
    """Chunks as they come, after one for each choice that says whose it is: OpenAI's own library
    wants them in order. What fails before the first has the status of its error."""
    usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = Chunks(call, usage, lambda: programs.answering() or body.model or "")
    top, many = wish.asked.logprobs, body.n or 1
    begun = False

    def before() -> bytes:
        """Whose the choices are, once."""
        nonlocal begun
        first, begun = not begun, True
        return b"".join(map(chunks.first, range(many))) if first else b""

    async with call.stream() as out:

        async def hear(index: int, delta: Delta) -> None:
            if data := before() + chunks.said(index, delta, top):
                await out.write(data)

        runs = await make(programs, call, times(growing(wish), many), hear, hold=True)
        used = answers.usage_of([run.finish for run in runs])
        ends = [chunks.end(index, run) for index, run in enumerate(runs)]
        await out.write(b"".join((before(), *ends, chunks.last(runs, used))))
