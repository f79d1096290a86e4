"""The deltas of a reply, its calls in a channel of their own."""

import json
import secrets
import string
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator

from msgspec import structs

from kernel.api import Delta, Token, Turn

from .choosing import choice_of, offered
from .finding import Finder, Piece
from .reading import Found
from .values import Tools

BREAKS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "\x85\u2028\u2029"}
"""What JSON leaves as it is, and many a program takes for the end of a line."""
LETTERS = string.ascii_letters + string.digits


def line(call: Found) -> str:
    """A call as it stands in the channel `tool`."""
    id = "call_" + "".join(secrets.choice(LETTERS) for _ in range(24))
    told = {"id": id, "name": call.name, "arguments": call.arguments}
    return json.dumps(told, ensure_ascii=False).translate(BREAKS) + "\n"


class Stream:
    """One choice of a reply: text in, text and calls out."""

    def __init__(self, choice: int, finder: Finder, *, most: int = 0) -> None:
        self._choice, self._finder, self._most = choice, finder, most
        self._calls = 0
        self._tokens: deque[tuple[int, Token]] = deque()
        """Tokens, and up to where they reach in what was heard."""
        self._heard = self._given = 0

    def hear(self, delta: Delta) -> Iterator[Delta]:
        if not delta.text and not self._tokens:
            yield delta
            return
        pieces = self._finder.feed(delta.text)
        self._count(delta)
        if len(pieces) == 1 and pieces[0].text and pieces[0].words == delta.text:
            self._given = self._heard
            self._tokens.clear()
            yield delta  # As nearly always: all of it, with its tokens and marks.
        else:
            yield from self._deltas(pieces)

    def end(self) -> Iterator[Delta]:
        yield from self._deltas(self._finder.end())

    # --- inside ------------------------------------------------------------------------

    def _count(self, delta: Delta) -> None:
        """A token is given on with the last letter of its own."""
        at, end = self._heard, self._heard + len(delta.text)
        for token in delta.tokens:
            at += len(token.bytes.decode(errors="ignore"))
            self._tokens.append((min(at, end), token))
        self._heard = end

    def _deltas(self, pieces: Iterable[Piece]) -> Iterator[Delta]:
        for piece in pieces:
            self._given += len(piece.words)
            tokens = self._passed()
            if piece.text:
                yield Delta(piece.words, choice=self._choice, tokens=tokens)
            elif piece.call and (not self._most or self._calls < self._most):
                self._calls += 1
                yield Delta(line(piece.call), "tool", choice=self._choice, tokens=tokens)

    def _passed(self) -> tuple[Token, ...]:
        tokens: list[Token] = []
        while self._tokens and self._tokens[0][0] <= self._given:
            tokens.append(self._tokens.popleft()[1])
        return tuple(tokens)


def apart(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    """The modifier: calls leave the text for the channel `tool`."""
    tools = Tools(offered(turn))
    return called(deltas, turn, tools) if tools.offered else deltas


async def called(deltas: AsyncIterator[Delta], turn: Turn, tools: Tools) -> AsyncIterator[Delta]:
    """The text, and the calls of these tools."""
    forced = choice_of(turn).forced
    most = 1 if turn.options.get("parallel_tool_calls") is False else 0
    begun = "" if forced else turn.begun or str(turn.options.get("start_reply_with", ""))
    streams: dict[int, Stream] = {}
    mistaken: dict[int, bool] = {}
    """Whether the call stands in a thought: a grammar made it so where the template began one."""
    async for delta in deltas:
        if forced and delta.channel == "reasoning" and delta.text:
            mistaken.setdefault(delta.choice, delta.text.lstrip().startswith("{"))
            if mistaken[delta.choice]:
                delta = structs.replace(delta, channel="text")
        if delta.channel != "text":
            yield delta
            continue
        stream = streams.get(delta.choice)
        if delta.replace:
            for channel in ("text", "tool") if stream else ():
                yield Delta("", channel, replace=True, choice=delta.choice)
            stream = None
        if not stream:
            stream = streams[delta.choice] = Stream(delta.choice, Finder(tools, begun), most=most)
        for each in stream.hear(delta):
            yield each
    for stream in streams.values():
        for each in stream.end():
            yield each
