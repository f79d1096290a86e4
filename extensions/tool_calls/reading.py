"""Reads words that come in pieces of any size: a parser is a generator that waits by `yield`.

Whatever is read is decided only when more words could not change it, so that the places where the
pieces end make no difference. Each character is looked at once.
"""

import re
import sys
from collections.abc import Generator, Sequence
from typing import NamedTuple

SPACE = re.compile(r"\s*")
DEEPEST = 100
"""Brackets within brackets."""


class NoCall(Exception):
    """What is read is no call of a tool that is offered: it stays text."""


class Found(NamedTuple):
    """A call: a name that is offered, and its arguments as a JSON object."""

    name: str
    arguments: str


Parser = Generator[Found | None, None, None]
"""Yields calls as they are complete, and None where it needs more words; raises NoCall."""


class Reader:
    """The words that a parser reads, and how far it came; also where it gave up."""

    def __init__(self, words: str = "", at: int = 0) -> None:
        self.words, self.at = words, at
        self.over = False
        """Nothing will follow."""

    def space(self) -> Generator[None]:
        """Pass what is blank."""
        while True:
            found = SPACE.match(self.words, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.words) or self.over:
                return
            yield

    def letter(self) -> Generator[None, None, str]:
        """The next character, which is not passed; empty at the end."""
        while self.at == len(self.words) and not self.over:
            yield
        return self.words[self.at : self.at + 1]

    def tag(self, *tags: str) -> Generator[None, None, str]:
        """Pass the longest of the tags that stands here; empty: none does."""
        longest = max(map(len, tags), default=0)
        while True:
            rest = self.words[self.at : self.at + longest]
            if not self.over and any(len(t) > len(rest) and t.startswith(rest) for t in tags):
                yield
                continue
            found = max((t for t in tags if rest.startswith(t)), key=len, default="")
            self.at += len(found)
            return found

    def need(self, *tags: str) -> Generator[None, None, str]:
        """The same, where one has to stand here."""
        found = yield from self.tag(*tags)
        if not found:
            raise NoCall
        return found

    def after_space(self, *tags: str) -> Generator[None, None, str]:
        """Pass blanks and one of the tags, or nothing."""
        begin = self.at
        yield from self.space()
        found = yield from self.tag(*tags)
        if not found:
            self.at = begin
        return found

    def until(self, tag: str, most: int = 0) -> Generator[None, None, str]:
        """The words up to a tag, at `most` so many, which is passed."""
        begin = look = self.at
        last = begin + most + len(tag) if most else sys.maxsize
        while (found := self.words.find(tag, look, last)) < 0:
            look = max(begin, len(self.words) - len(tag) + 1)
            if self.over or len(self.words) >= last:
                self.at = min(look, last)
                raise NoCall
            yield
        self.at = found + len(tag)
        return self.words[begin:found]

    def value(self, close: str, follow: Sequence[str]) -> Generator[None, None, str]:
        """The words up to a tag after which comes what has to: the words may hold it, too."""
        begin = self.at
        while True:
            yield from self.until(close)
            end, after = self.at - len(close), self.at
            if (yield from self.after_space(*follow)) or self.over:
                self.at = after
                return self.words[begin:end]

    def nested(
        self, brackets: str = "{}[]", quotes: Sequence[str] = ('"',)
    ) -> Generator[None, None, str]:
        """A value in brackets, those between quotes left alone; between quotes of one
        character anything may stand after a backslash."""
        opening = brackets[::2]
        if (yield from self.letter()) not in [*opening]:
            raise NoCall
        search = {"": re.compile("|".join(map(re.escape, (*quotes, *brackets))))}
        for quote in quotes:
            search[quote] = re.compile(("" if quote[1:] else r"\\|") + re.escape(quote))
        long = [quote for quote in quotes if quote[1:]]
        begin = look = self.at
        depth, quote = 0, ""
        while True:
            hold = long and (not quote or quote in long)
            end = len(self.words) - (partial(self.words, long) if hold else 0)
            found = search[quote].search(self.words, look, end)
            if not found or (found[0] == "\\" and found.end() == end):
                look = max(look, found.start() if found else end)
                if self.over:
                    self.at = look
                    raise NoCall
                yield
                continue
            look = found.end() + (found[0] == "\\")
            if found[0] in quotes:
                quote = "" if quote else found[0]
            elif not quote:
                depth += 1 if found[0] in opening else -1
            if depth > DEEPEST:
                self.at = look
                raise NoCall
            if not depth:
                self.at = look
                return self.words[begin:look]


def partial(words: str, tags: Sequence[str]) -> int:
    """How many characters at the end may be the beginning of a tag."""
    most = min(len(words), max(map(len, tags)) - 1)
    for length in range(most, 0, -1):
        if any(tag.startswith(words[-length:]) for tag in tags):
            return length
    return 0
