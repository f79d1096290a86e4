"""What programs are told: the events of a reply, and the answer of one request."""

from collections.abc import Iterable
from typing import Literal

from extensions.api_kit.api import Called, Fault
from kernel.api import Finish, Struct, Timings, Token, Usage

Channel = Literal["text", "reasoning", "tool"]
Reason = Literal["stop", "length", "tool_calls", "cancelled"]


class Likely(Struct, frozen=True):
    """What might have stood in a token's place."""

    text: str
    logprob: float | None
    data: bytes = b""
    """Its bytes (base64), where they are no whole letters."""


class Piece(Struct, frozen=True):
    """A token that was said, and what else was likely."""

    id: int
    text: str
    logprob: float | None = None
    top: tuple[Likely, ...] = ()
    data: bytes = b""
    """Its bytes (base64), where they are no whole letters."""


class Started(Struct, frozen=True, tag_field="type", tag="started"):
    """The reply was accepted."""

    stream: str
    seq: int
    version: int


class Waiting(Struct, frozen=True, tag_field="type", tag="waiting"):
    """It waits: `position` is its place in the queue, 1 is the next. It has no number of its own:
    `seq` is the last event's."""

    stream: str
    seq: int
    position: int = 0


class Delta(Struct, frozen=True, tag_field="type", tag="delta"):
    """Text to append to what was said in this channel of this choice."""

    stream: str
    seq: int
    text: str
    channel: Channel = "text"
    choice: int = 0
    tokens: tuple[Piece, ...] = ()


class Replace(Struct, frozen=True, tag_field="type", tag="replace"):
    """Text instead of all that was said in this channel of this choice."""

    stream: str
    seq: int
    text: str
    channel: Channel = "text"
    choice: int = 0
    tokens: tuple[Piece, ...] = ()


class Tool(Struct, frozen=True, tag_field="type", tag="tool"):
    """A call of a tool, whole; `arguments` is JSON."""

    stream: str
    seq: int
    id: str
    name: str
    arguments: str
    choice: int = 0


class Ended(Struct, frozen=True):
    """How one of several choices ended."""

    choice: int
    reason: Reason
    cut_by: str = ""


class Done(Struct, frozen=True, tag_field="type", tag="done"):
    """The end of a reply."""

    stream: str
    seq: int
    reason: Reason
    model: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    cut_by: str = ""
    """The stop string that ended it."""
    choices: tuple[Ended, ...] = ()
    """Each one's end, where there are several; `reason` is the first one's."""


class Failed(Struct, frozen=True, tag_field="type", tag="error"):
    """The end of a reply that failed; or, with seq 0, why a frame was refused."""

    stream: str
    seq: int
    error: Fault
    retry_after: int = 0
    """Seconds after which it may go well."""


class Choice(Struct, frozen=True):
    """One of the replies that POST /api/reply answers with."""

    text: str
    reason: Reason
    reasoning: str = ""
    cut_by: str = ""
    tools: tuple[Called, ...] = ()
    tokens: tuple[Piece, ...] = ()


class Answer(Choice, frozen=True, kw_only=True):
    """What POST /api/reply answers without `stream`."""

    stream: str
    model: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    choices: tuple[Choice, ...] = ()
    """All of them, where there are several; the first stands above, too."""


def reason(finish: Finish, called: bool = False) -> Reason:
    """Why it ended, where it did not fail: what failed is told by `error`. `called` is whether it
    wants tools called, which an engine that only writes does not know."""
    assert finish.reason != "error"
    return "tool_calls" if called and finish.reason == "stop" else finish.reason


def pieces(tokens: Iterable[Token]) -> tuple[Piece, ...]:
    """Tokens as programs are told of them."""
    return tuple(
        Piece(
            each.id,
            text(each.bytes),
            each.logprob,
            tuple(Likely(text(data), logprob, odd(data)) for data, logprob in each.top),
            odd(each.bytes),
        )
        for each in tokens
    )


def text(data: bytes) -> str:
    """A part of a letter is shown as a sign that stands for it."""
    return data.decode(errors="replace")


def odd(data: bytes) -> bytes:
    """The bytes, where the text does not say them."""
    return b"" if text(data).encode() == data else data
