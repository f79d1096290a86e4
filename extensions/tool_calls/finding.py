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
PATIENCE = 1_000_000
"""Characters that were looked at in vain, after which no more calls are looked for."""


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
        self._reader, self._given = Reader(), 0
        """The words that are not given back yet, and what there is of others before them."""
        self._space = ""
        """Blanks before the first words, or after a call: it is not known whose they are."""
        self._thought = ""
        """How the thought ends that is still in the text."""
        self._fresh, self._spoke, self._called = True, bool(begun.strip()), False
        self._mark, self._parser = "", None if self._spoke else whole(self._reader, tools)
        self._taken, self._vain = False, 0
        """Whether the parser has told a call; how much was looked at that was none."""
        self._code.read(begun)

    def feed(self, words: str) -> list[Piece]:
        if words and self._plain and "<" not in words and "[" not in words:
            self._code.read(words)
            return [Piece(words, text=True)]  # As nearly always.
        pieces: list[Piece] = []
        self._reader.words += words
        self._take(pieces)
        return pieces

    def end(self) -> list[Piece]:
        """What was held back, now that nothing follows."""
        pieces: list[Piece] = []
        self._reader.over = True
        self._take(pieces)
        if self._space:
            pieces.append(Piece(self._space, text=not self._called))
            self._space = ""
        return pieces

    # --- inside ------------------------------------------------------------------------

    @property
    def _plain(self) -> bool:
        return not (self._parser or self._reader.words or self._thought or self._fresh)

    def _take(self, pieces: list[Piece]) -> None:
        going = True
        while going:
            if self._parser:
                going = self._read(self._parser, pieces)
            elif self._thought:
                going = self._think(pieces)
            else:
                going = self._look(pieces)
        if not self._parser:
            self._reader.words, self._given = self._reader.words[self._given :], 0

    def _give(self, pieces: list[Piece], end: int) -> None:
        """Give back text up to there."""
        self._say(pieces, self._reader.words[self._given : end])
        self._given = end

    def _look(self, pieces: list[Piece]) -> bool:
        """Give back words up to a mark; whether there may be more to do."""
        reader, words = self._reader, self._reader.words
        found = FOUND.search(words, self._given) if self._vain < PATIENCE else None
        if not found:
            self._give(pieces, len(words) if reader.over else certain(words, self._given))
            return False
        self._give(pieces, found.start())
        mark, reader.at = found[0], found.end()
        if self._code.inside:
            self._give(pieces, found.end())
        elif mark in PAIRS:
            self._give(pieces, found.end())
            self._thought = PAIRS[mark]
        else:
            self._parser = FAMILIES[mark](reader, self._tools)
            self._mark, self._taken = mark, False
        return True

    def _think(self, pieces: list[Piece]) -> bool:
        words, at = self._reader.words, self._reader.words.find(self._thought, self._given)
        if at >= 0:
            self._give(pieces, at + len(self._thought))
            self._thought = ""
            return True
        hold = 0 if self._reader.over else partial(words, (self._thought,))
        self._give(pieces, max(self._given, len(words) - hold))
        return False

    def _read(self, parser: Parser, pieces: list[Piece]) -> bool:
        """Go on with what may be a call; whether it is decided."""
        reader = self._reader
        try:
            for found in parser:
                if not found:
                    return False
                self._call(pieces, reader.words[self._given : reader.at], found)
                self._given, self._taken = reader.at, True
            if reader.at > self._given:
                pieces.append(Piece(reader.words[self._given : reader.at]))
                self._given = reader.at
        except NoCall:
            self._vain += max(0, reader.at - self._given)
            if not self._taken:
                self._give(pieces, self._given + len(self._mark))
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


def certain(words: str, given: int) -> int:
    """Up to where they cannot be the beginning of a mark; none holds that of another."""
    tail = max(given, len(words) - LONGEST)
    begin = max(words.rfind("<", tail), words.rfind("[", tail))
    return begin if begin >= 0 and words[begin:] in BEGINNINGS else len(words)
