"""A reply's words told apart: what is thought, and what is answered."""

import re
from typing import Literal, NamedTuple

from .tags import PAIRS, UNOPENED, Kind, Tags

Meaning = Literal["text", "reasoning", "", "unopened"]


class Piece(NamedTuple):
    """Some of the words and what they are: answer, thought, or tags and space of neither.

    `unopened` is the end of a thought that nothing began: all before it was one.
    """

    kind: Meaning
    words: str


HINT = re.compile("|".join(map(re.escape, (*PAIRS, *UNOPENED, "<|channel|>"))))
"""What words have that hold any thought at all."""


class Splitter:
    """Takes words in pieces of any size and gives them back in order, each as what it is.

    `begun` is what the reply goes on with. A reply without a thought comes back as it is; the
    space around a thought belongs to neither side.
    """

    def __init__(self, begun: str = "") -> None:
        self._tags = Tags()
        self._space = ""
        """Held back: space before the first words of an answer, or at the end of a thought."""
        self._fresh = self._answered = self._thought = False
        if begun:
            self.feed(begun)
            self._tags.forget()
            self._space = ""

    @property
    def thinking(self) -> bool:
        """Whether a thought is being written."""
        return bool(self._tags.ends)

    def passes(self, words: str) -> bool:
        """Whether these words go on with an answer; then they count as taken."""
        return self._answered and not self._space and self._tags.passes(words)

    def feed(self, words: str) -> list[Piece]:
        held = self._fresh or self._space or words[-1:].isspace()
        if words and not held and self._tags.goes_on(words):
            return [Piece("reasoning", words)]  # As nearly always in a thought.
        return self._pieces(self._tags.feed(words))

    def end(self) -> list[Piece]:
        """What was held back, now that nothing follows."""
        pieces = self._pieces(self._tags.end())
        if self._space:
            kind: Meaning = "reasoning" if self.thinking else "" if self._thought else "text"
            pieces.append(Piece(kind, self._space))
            self._space = ""
        return pieces

    # --- inside ------------------------------------------------------------------------

    def _pieces(self, heard: list[tuple[Kind, str]]) -> list[Piece]:
        pieces: list[Piece] = []
        for kind, words in heard:
            if kind == "thought":
                self._think(pieces, words)
            elif kind == "answer":
                self._answer(pieces, words)
            else:
                self._turn(pieces, kind, words)
        return pieces

    def _think(self, pieces: list[Piece], words: str) -> None:
        if self._fresh:
            kept = words.lstrip()
            self._drop(pieces, words[: len(words) - len(kept)])
            words = kept
        if words:
            self._fresh = False
            words = self._space + words
            kept = words.rstrip()
            self._space = words[len(kept) :]
            if kept:
                pieces.append(Piece("reasoning", kept))

    def _answer(self, pieces: list[Piece], words: str) -> None:
        if not self._answered:
            words = self._space + words
            kept = words.lstrip()
            if not kept:
                self._space = words
                return
            self._space, self._answered = "", True
            if self._thought:
                self._drop(pieces, words[: len(words) - len(kept)])
                words = kept
        pieces.append(Piece("text", words))

    def _turn(self, pieces: list[Piece], kind: Kind, tag: str) -> None:
        self._drop(pieces, self._space)
        self._space = ""
        if kind == "unopened":
            self._answered, self._thought = False, True
            pieces.append(Piece("unopened", tag))
            return
        self._fresh = kind == "begins"
        self._thought = self._thought or self._fresh
        self._drop(pieces, tag)

    def _drop(self, pieces: list[Piece], words: str) -> None:
        if words:
            pieces.append(Piece("", words))


def split(words: str) -> list[Piece]:
    """The thoughts and answers of a whole text in order, without what is of neither."""
    if not HINT.search(words):
        return [Piece("text", words)] if words else []
    splitter = Splitter()
    found: list[Piece] = []
    parted = False
    for piece in (*splitter.feed(words), *splitter.end()):
        if piece.kind == "unopened":
            found = [Piece("reasoning", "".join(each.words for each in found).strip())]
        elif piece.kind and found and found[-1].kind == piece.kind and not parted:
            found[-1] = Piece(piece.kind, found[-1].words + piece.words)
        elif piece.kind:
            found.append(piece)
        parted = not piece.kind or piece.kind == "unopened"
    return found
