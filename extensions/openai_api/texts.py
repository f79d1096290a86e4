"""Continuations of texts as plain completions: whole, and as a stream of chunks."""

import time
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Programs, Run, json, make
from kernel.api import UNSET, Delta, Token

from . import answers
from .completions import Asks, Text
from .frames import Frames
from .legacy import Telling, joined


class Heard:
    """What one text has been so far, from its echo on."""

    def __init__(self, text: Text, top: int | None) -> None:
        self._pieces, self._likely = [text.echoed], list[answers.Likely]()
        self._telling = None if top is None else Telling(top)
        self.thought = ""
        self.before = answers.TextChoice(
            index=0, text=text.echoed, finish_reason=None, logprobs=self._tell(text.scores)
        )

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def likely(self) -> answers.Likely | None:
        return joined(self._likely) if self._telling else None

    def hear(self, delta: Delta) -> answers.Likely | None:
        """Take a piece in; how likely it was, where that is asked for."""
        if delta.channel != "text":
            self.thought += delta.text
            return None
        if delta.replace:
            self._pieces[1:] = []
        self._pieces.append(delta.text)
        return self._tell(delta.tokens) if delta.tokens else None

    def _tell(self, tokens: Sequence[Token]) -> answers.Likely | None:
        if not self._telling:
            return None
        told = self._telling.told(tokens)
        self._likely.append(told)
        return told


def heard_of(asks: Asks) -> list[Heard]:
    """One for each of the texts that are answered."""
    many = asks.body.n or 1
    return [Heard(text, asks.body.logprobs) for text in asks.texts for _ in range(many)]


async def whole(programs: Programs, call: Call, asks: Asks) -> Response:
    """One answer, when all have ended."""
    heard = heard_of(asks)

    async def hear(index: int, delta: Delta) -> None:
        heard[index].hear(delta)

    runs = await make(programs, call, asks.wishes, hear) if asks.wishes else []
    return json(
        answers.TextCompletion(
            id=new_id(call),
            created=int(time.time()),
            model=runs[0].model if runs else programs.answering(),
            choices=[
                answers.TextChoice(
                    index=index,
                    text=each.text,
                    finish_reason=reason(runs, index),
                    logprobs=each.likely,
                    reasoning=each.thought or UNSET,
                )
                for index, each in enumerate(heard)
            ],
            usage=await usage_of(programs, asks, runs),
            timings=answers.timings_of([run.finish for run in runs]),
        )
    )


async def streamed(programs: Programs, call: Call, asks: Asks) -> None:
    """Chunks as they come; what fails before the first has the status of its error."""
    options = asks.body.stream_options
    frame = answers.TextChunk(id=new_id(call), created=int(time.time()))
    frames = Frames(frame, bool(options and options.include_usage), programs.answering)
    heard = heard_of(asks)
    begun: set[int] = set()

    def before(index: int) -> bytes:
        """The echo, once."""
        if index in begun:
            return b""
        begun.add(index)
        first = heard[index].before
        return frames.event(piece(index, first.text, first.logprobs)) if asks.body.echo else b""

    async with call.stream() as out:

        async def hear(index: int, delta: Delta) -> None:
            likely = heard[index].hear(delta)
            words = piece(index, delta.text, likely, thought=delta.channel == "reasoning")
            await out.write(before(index) + frames.event(words))

        runs = await make(programs, call, asks.wishes, hear, hold=True) if asks.wishes else []
        ends = [
            before(index) + frames.event(piece(index, "", None, reason(runs, index)))
            for index in range(len(heard))
        ]
        used = await usage_of(programs, asks, runs)
        await out.write(b"".join((*ends, frames.last(runs, used))))


def piece(
    index: int,
    text: str,
    likely: answers.Likely | None,
    reason: answers.Reason | None = None,
    *,
    thought: bool = False,
) -> bytes:
    """A choice of one event; what the model thinks is no part of the text."""
    choice = answers.TextChoice(
        index=index,
        text="" if thought else text,
        finish_reason=reason,
        logprobs=likely,
        reasoning=text if thought else UNSET,
    )
    return msgspec.json.encode(choice)


def reason(runs: Sequence[Run], index: int) -> answers.Reason:
    return answers.reason_of(runs[index], False) if runs else "length"


async def usage_of(programs: Programs, asks: Asks, runs: Sequence[Run]) -> answers.Usage:
    """Of all texts: each prompt counts once, however many continuations it has."""
    many = asks.body.n or 1
    if runs:
        each = [runs[at : at + many] for at in range(0, len(runs), many)]
        return answers.together([answers.usage_of([r.finish for r in some]) for some in each])
    read = sum([await programs.length(text.prompt) for text in asks.texts])
    return answers.Usage(
        prompt_tokens=read,
        completion_tokens=0,
        total_tokens=read,
        prompt_tokens_details=answers.Cached(cached_tokens=0),
    )


def new_id(call: Call) -> str:
    return f"cmpl-{call.headers['x-request-id']}"
