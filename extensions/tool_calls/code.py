"""Whether a place in a text lies in code: between fences, or between backticks."""

import re

FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)", re.DOTALL)
TICKS = re.compile(r"`+")
LINE = 200
"""Characters of a line that are looked at for a fence."""


class Code:
    """Reads a text in pieces of any size; a paragraph's end closes open backticks."""

    def __init__(self) -> None:
        self._fence = ""
        self._span = self._run = 0
        """The backticks that are open, and those that were read last: more of them may follow."""
        self._head, self._blank = "", True
        """How the line begins, and whether there is nothing in it."""

    def read(self, words: str) -> None:
        *lines, last = words.split("\n")
        for line in lines:
            self._add(line)
            self._end()
        self._add(last)

    @property
    def inside(self) -> bool:
        """Whether what follows now is code."""
        if self._fence or opened(self._head):
            return True
        return not self._blank and bool(after(self._span, self._run))

    def _add(self, words: str) -> None:
        """Part of a line."""
        if not words:
            return
        self._head += words[: LINE - len(self._head)] if len(self._head) < LINE else ""
        self._blank = self._blank and words.isspace()
        at = 0
        for found in TICKS.finditer(words):
            if found.start() > at or not self._run:
                self._span, self._run = after(self._span, self._run), 0
            self._run += len(found[0])
            at = found.end()
        if at < len(words):
            self._span, self._run = after(self._span, self._run), 0

    def _end(self) -> None:
        """A line is complete."""
        span = after(self._span, self._run)
        if self._fence:
            found = FENCE.match(self._head)
            same = found and found[1].startswith(self._fence) and not found[2].strip()
            self._fence, span = "" if same else self._fence, 0
        elif fence := opened(self._head):
            self._fence, span = fence, 0
        self._span, self._run = 0 if self._blank else span, 0
        self._head, self._blank = "", True


def after(span: int, run: int) -> int:
    """The backticks that are open after a run of them."""
    return span if not run else run if not span else 0 if span == run else span


def opened(line: str) -> str:
    """The fence that a line opens, if it does."""
    found = FENCE.match(line)
    return found[1] if found and (found[1][0] == "~" or "`" not in found[2]) else ""
