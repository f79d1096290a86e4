"""Tells the calls in a reply from its words, in pieces of any size."""

import re
from typing import NamedTuple

from extensions.engine_kit.api import PAIRS

from .bare import whole
from .code import Code
from .families import FAMILIES
from .reading import Found, NoCall, Parser, Reader, partial
from .values import Tools

MARKS = (*FAMILIES, *PAIRS)
"""What a reply is searched for: a thought that is still in the text holds no calls."""
FOUND = re.compile("|".join(map(re.escape, MARKS)))
BEGINNINGS = frozenset(mark[:length] for mark in MARKS for length in range(1, len(mark)))
LONGEST = max(map(len, MARKS))
PATIENCE = 5_000_000
"""Characters that were held back in vain, after which no more calls are looked for."""


class Piece(NamedTuple):
    """Some of the words: text, a call, or what belongs to neither (the space around a call)."""

    words: str
    call: Found | None = None
    text: bool = False


class Finder:
    """Takes words in pieces of any size and gives them back in order, each as what it is.

    `begun` is what the reply goes on with. Text that holds no call comes back as it is, and at
    once but for what may be the beginning of a call.
    """

    def __init__(self, tools: Tools, begun: str = "") -> None:
        self._tools, self._code = tools, Code()
        self._held = self._space = ""
        """Not given back: what may be a mark; blanks before the first words, or after a call."""
        self._thought = ""
        """How the thought ends that is still in the text."""
        self._fresh, self._spoke, self._called = True, bool(begun.strip()), False
        self._vain = self._taken = 0
        self._reader = Reader()
        self._mark, self._parser = "", None if self._spoke else whole(self._reader, tools)
        self._code.read(begun)

    def feed(self, words: str) -> list[Piece]:
        if words and self._plain and "<" not in words and "[" not in words:
            self._code.read(words)
            return [Piece(words, text=True)]  # As nearly always.
        pieces: list[Piece] = []
        if self._parser:
            self._reader.words += words
        else:
            self._held += words
        self._take(pieces, last=False)
        return pieces

    def end(self) -> list[Piece]:
        """What was held back, now that nothing follows."""
        pieces: list[Piece] = []
        self._reader.over = True
        self._take(pieces, last=True)
        if self._space:
            pieces.append(Piece(self._space, text=not self._called))
            self._space = ""
        return pieces

    @property
    def _plain(self) -> bool:
        return not (self._parser or self._held or self._thought or self._fresh)

    # --- inside ------------------------------------------------------------------------

    def _take(self, pieces: list[Piece], *, last: bool) -> None:
        going = True
        while going:
            if self._parser:
                going = self._read(self._parser, pieces)
            elif self._thought:
                going = self._think(pieces, last)
            else:
                going = self._look(pieces, last)

    def _look(self, pieces: list[Piece], last: bool) -> bool:
        """Give back words up to a mark; whether there may be more to do."""
        held = self._held
        found = FOUND.search(held) if self._vain < PATIENCE else None
        if not found:
            end = len(held) if last else certain(held)
            self._say(pieces, held[:end])
            self._held = held[end:]
            return False
        self._say(pieces, held[: found.start()])
        mark, self._held = found[0], held[found.end() :]
        if self._code.inside:
            self._say(pieces, mark)
        elif mark in PAIRS:
            self._say(pieces, mark)
            self._thought = PAIRS[mark]
        else:
            self._reader = Reader(mark + self._held, len(mark))
            self._reader.over = last
            self._parser = FAMILIES[mark](self._reader, self._tools)
            self._mark, self._taken = mark, 0
            self._held = ""
        return True

    def _think(self, pieces: list[Piece], last: bool) -> bool:
        held, at = self._held, self._held.find(self._thought)
        end = at + len(self._thought) if at >= 0 else len(held)
        if at < 0 and not last:
            end -= partial(held, (self._thought,))
        self._say(pieces, held[:end])
        self._held = held[end:]
        self._thought = self._thought if at < 0 else ""
        return at >= 0

    def _read(self, parser: Parser, pieces: list[Piece]) -> bool:
        """Go on with what may be a call; whether it is decided."""
        reader = self._reader
        try:
            for found in parser:
                if not found:
                    return False
                self._call(pieces, reader.words[self._taken : reader.at], found)
                self._taken = reader.at
            if reader.at > self._taken:
                pieces.append(Piece(reader.words[self._taken : reader.at]))
            self._held = reader.words[reader.at :]
        except NoCall:
            rest = reader.words[self._taken :]
            self._vain += len(rest)
            mark = "" if self._taken else self._mark
            self._say(pieces, mark)
            self._held = rest[len(mark) :]
        self._parser = None
        return True

    def _call(self, pieces: list[Piece], words: str, found: Found) -> None:
        if self._space:
            pieces.append(Piece(self._space))
        pieces.append(Piece(words, found))
        self._space, self._fresh, self._called = "", True, True

    def _say(self, pieces: list[Piece], words: str) -> None:
        if not words:
            return
        self._code.read(words)
        if self._fresh:
            words = self._space + words
            if words.isspace():
                self._space = words
                return
            self._space, self._fresh = "", False
            kept = words if self._spoke or not self._called else words.lstrip()
            if len(kept) < len(words):
                pieces.append(Piece(words[: len(words) - len(kept)]))
            words = kept
        self._spoke = True
        pieces.append(Piece(words, text=True))


def certain(words: str) -> int:
    """Up to where they cannot be the beginning of a mark; none holds that of another."""
    tail = max(0, len(words) - LONGEST)
    begin = max(words.rfind("<", tail), words.rfind("[", tail))
    return begin if begin >= 0 and words[begin:] in BEGINNINGS else len(words)
