"""Whether a place in a text lies in code: between fences, or between backticks."""

import re

FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)", re.DOTALL)
TICKS = re.compile(r"`+")
LINE = 2000
"""Characters of a line that are looked at."""


class Code:
    """Reads a text in pieces of any size; a paragraph's end closes open backticks."""

    def __init__(self) -> None:
        self._fence = ""
        self._span = 0
        self._line = ""

    def read(self, words: str) -> None:
        if "\n" not in words:
            self._line += words
            return
        *lines, last = words.split("\n")
        for line in lines:
            self._end(self._line + line)
            self._line = ""
        self._line = last

    @property
    def inside(self) -> bool:
        """Whether what follows now is code."""
        line = self._line[-LINE:]
        if self._fence or opened(line):
            return True
        return bool(line.strip()) and bool(self._spanned(line))

    def _end(self, line: str) -> None:
        """A line is complete."""
        if self._fence:
            found = FENCE.match(line)
            same = found and found[1].startswith(self._fence) and not found[2].strip()
            self._fence = "" if same else self._fence
        elif fence := opened(line):
            self._fence, self._span = fence, 0
        else:
            self._span = self._spanned(line[-LINE:]) if line.strip() else 0

    def _spanned(self, line: str) -> int:
        """The backticks that are open at the end of a line."""
        span = self._span
        for found in TICKS.finditer(line):
            if not span:
                span = len(found[0])
            elif span == len(found[0]):
                span = 0
        return span


def opened(line: str) -> str:
    """The fence that a line opens, if it does."""
    found = FENCE.match(line)
    return found[1] if found and (found[1][0] == "~" or "`" not in found[2]) else ""
