"""The deltas of one choice of a reply, its calls in a channel of their own."""

import json
import secrets
import string
from collections import deque
from collections.abc import Iterable, Iterator

from kernel.api import Delta, Token

from .finding import Finder, Piece
from .reading import Found

BREAKS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "\x85\u2028\u2029"}
"""What JSON leaves as it is, and many a program takes for the end of a line."""
LETTERS = string.ascii_letters + string.digits


def new_id() -> str:
    return "call_" + "".join(secrets.choice(LETTERS) for _ in range(24))


def line(call: Found) -> str:
    """A call as it stands in the channel `tool`."""
    told = {"id": new_id(), "name": call.name, "arguments": call.arguments}
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
