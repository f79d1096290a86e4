"""A reply as it grows: finished blocks of markdown are rendered once, only the open one again."""

import re
from html import escape
from typing import NamedTuple

from .markdown import Markdown


class Frame(NamedTuple):
    """What changed on the page since the last frame."""

    closed: str = ""
    """To append to the finished blocks, or with `anew` to put in their place."""
    open: str | None = None
    """To put in the place of the open block; None leaves it."""
    code: str = ""
    """To append to the open block of code."""
    anew: bool = False


class Fence(NamedTuple):
    """An open block of code on the page."""

    ends: re.Pattern[str]
    may_end: re.Pattern[str]
    """What an unfinished last line looks like that may become its end."""
    after: str
    """The HTML after its words."""


class Blocks:
    """Takes text, gives frames; in the end all frames amount to the whole text rendered at once.

    A block is finished when another one begins below it. Only whole lines decide that: "- a" and
    "---" are a list and a rule, but with one more letter the second line belongs to the list.
    """

    def __init__(self, markdown: Markdown, code_id: str = "") -> None:
        self.text = ""
        self.closed = ""
        """The finished blocks, as HTML."""
        self._markdown, self.code_id = markdown, code_id
        self._pieces: list[str] = []
        self._return = self._anew = False
        self._page: str | None = ""
        """The open block as the page has it; None: to be sent again whatever it is."""
        self._proof = 0
        """Up to where the text says that the finished blocks are finished."""
        self._begin(0)

    def _begin(self, cut: int) -> None:
        self._cut = self._read = cut
        """Where the open block begins; up to where lines have been looked at."""
        self._fence: Fence | None = None
        self._shown = cut
        """Up to where an open block of code is on the page."""
        self._open = ""

    def add(self, text: str) -> None:
        """Append text; nothing is done with it before the next frame."""
        self._pieces.append(text)

    def replace(self, text: str) -> None:
        """Put `text` in the place of all that was said."""
        kept = self.text[: self._cut]
        if text.startswith(self.text[: self._proof]):
            self._begin(self._cut)
        else:
            kept, self.closed, self._anew, self._proof = "", "", True, 0
            self._begin(0)
        self.text, self._pieces, self._return = kept, [text[len(kept) :]], False
        self._page = None

    @property
    def open(self) -> str:
        """The open block as it is on the page, as HTML."""
        return self._open + (self._fence.after if self._fence else "")

    @property
    def size(self) -> int:
        """Characters that the next frame has to read."""
        return len(self.text) - self._cut + sum(map(len, self._pieces))

    def frame(self) -> Frame:
        """Take in what was added; say what to change on the page."""
        done, fence = len(self.closed), self._fence
        self._take()
        self._advance()
        closed, anew = self.closed[0 if self._anew else done :], self._anew
        self._anew = False
        if not self._fence:
            before, self._page = self._page, self._markdown.draft(self.text[self._cut :])
            self._open = self._page
            return Frame(closed, None if self._open == before else self._open, "", anew)
        end = self._end_of_code()
        code = escape(self.text[self._shown : end], quote=False)
        self._open, self._shown, self._page = self._open + code, end, None
        if self._fence is fence:
            return Frame(closed, None, code, anew)
        return Frame(closed, self.open, "", anew)

    def finish(self) -> str:
        """The whole reply as HTML; a link's definition concerns the blocks above it, too."""
        self._take()
        if self._return:  # It was a whole one.
            self.add("\n")
            self._take()
        self._advance()
        if "]:" in self.text:
            return self._markdown.render(self.text)
        return self.closed + self._markdown.render(self.text[self._cut :])

    # --- inside ------------------------------------------------------------------------

    def _take(self) -> None:
        """Take in the pieces as markdown reads them: one kind of line end, no NUL."""
        text = "\r" * self._return + "".join(self._pieces)
        self._pieces = []
        self._return = text.endswith("\r")  # Half of a line end, perhaps.
        if "\r" in text:
            text = text[: len(text) - self._return].replace("\r\n", "\n").replace("\r", "\n")
        self.text += text.replace("\0", "\ufffd")

    def _advance(self) -> None:
        """Finish the blocks that whole lines say are finished."""
        while (end := self.text.rfind("\n", self._read) + 1) > self._read:
            if self._fence:
                found = self._fence.ends.search(self.text, self._read, end)
                self._read = found.end() if found else end
                if found:
                    self._close(self._read)
                continue
            lines = self.text[self._cut : end]
            self._read = end
            if not (blocks := self._markdown.blocks(lines)):
                continue
            last = blocks[-1]
            assert last.map
            self._close(self._cut + _offset(lines, last.map[0]))
            if last.type == "fence":
                self._open_code(last.markup, last.info)

    def _close(self, cut: int) -> None:
        if cut > self._cut:
            self.closed += self._markdown.render(self.text[self._cut : cut])
            read = max(cut, self._read)
            self._begin(cut)
            self._read, self._proof = read, cut
            for _ in range(2):  # A table takes two lines to begin, all else one.
                self._proof = self.text.find("\n", self._proof, read) + 1 or read

    def _open_code(self, markup: str, info: str) -> None:
        mark, enough = re.escape(markup[0]), f"{{{len(markup)},}}"
        words = f'<span id="{self.code_id}">\0</span>'
        self._open, after = self._markdown.code(info, words).split("\0")
        self._fence = Fence(
            re.compile(rf"^ {{0,3}}{mark}{enough}[ \t]*\n", re.MULTILINE),
            re.compile(rf" {{0,3}}{mark}*[ \t]*"),
            after,
        )
        self._read = self._shown = self.text.index("\n", self._cut) + 1

    def _end_of_code(self) -> int:
        """Up to where code may be shown: not what may become its closing line."""
        assert self._fence
        start = max(self.text.rfind("\n") + 1, self._shown)
        return start if self._fence.may_end.fullmatch(self.text, start) else len(self.text)


def _offset(text: str, line: int) -> int:
    position = 0
    for _ in range(line):
        position = text.index("\n", position) + 1
    return position
