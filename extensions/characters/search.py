"""Looks for the keys of entries in what was said."""

import re
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from extensions.engine_kit.api import Pattern, Unsupported

from .macros import Macros
from .records import Book, Entry

SCAN_DEPTH = 4
"""Messages in which keys are looked for, where neither book nor entry says how many."""
LOOKED = 1.0
"""Seconds in which the keys of a book are looked at for those that are never found."""
SEARCHED = 50_000
"""Characters, the newest, in which patterns are looked for."""
JOINED = 20
"""Texts to be searched that are remembered."""
BEGINS = "\x01"
"""Stands before each message, so that a pattern may ask for one of somebody's own."""


class Said(NamedTuple):
    """What was said so far, as keys are looked for in it: "Name: words", oldest first."""

    lines: Sequence[str]
    spoken: Sequence[int] = ()
    """The places of the replies among them."""
    greeting: int = 0
    """Which of the greetings the conversation began with."""


class Search:
    """Finds keys in as many lines of what was said as it is told to look at."""

    def __init__(self, book: Book, said: Said, macros: Macros, until: float) -> None:
        self.book, self._said, self._macros, self._until = book, said, macros, until
        self._count = len(said.lines)
        self._joined: dict[tuple[int, int, bool], str] = {}
        self._exact: dict[int, bool] = {}
        self._folded = [line.casefold() for line in said.lines]
        self._tests: dict[tuple[object, ...], Callable[[str], bool]] = {}
        self._named: dict[str, str] = {}

    def why(self, entry: Entry, brought: str, turn: int, level: int) -> str:
        """Why an entry is told at this turn of recursion and its level, or "" if it is not."""
        replies = bisect_left(self._said.spoken, self._count)
        if not entry.enabled or replies < entry.after:
            return ""
        if entry.every > 1 and replies % entry.every:
            return ""
        if entry.greeting is not None and entry.greeting != self._said.greeting:
            return ""
        if entry.recursion_level and (not turn or entry.recursion_level > level):
            return ""
        if turn and not entry.by_recursion:
            return ""
        text = self._near(entry, brought)
        if any(self._is_in(key, text, entry) for key in entry.excludes):
            return ""
        if entry.constant:
            return "always"
        key = next((key for key in entry.keys if self._is_in(key, text, entry)), "")
        if not key or not self._beside(entry, text):
            return ""
        if entry.once and self._count > 1:
            before = self._text(entry, 0, self._count - 1, "")
            if any(self._is_in(key, before, entry) for key in entry.keys):
                return ""
        return f"“{key}”"

    def score(self, entry: Entry, brought: str) -> int:
        """How many of its keys are found, and of the secondary ones that count."""
        if self.late():
            return 0
        text = self._near(entry, brought)
        keys = sum(self._is_in(key, text, entry) for key in entry.keys)
        if entry.logic not in ("any", "all"):
            return keys
        return keys + sum(self._is_in(key, text, entry) for key in entry.secondary)

    def named(self, text: str) -> str:
        """A text with the names it speaks of; once, for each turn of before asks again."""
        if text not in self._named:
            self._named[text] = self._macros.names(text)
        return self._named[text]

    def late(self) -> bool:
        return time.monotonic() > self._until

    def look_at(self, count: int) -> None:
        """Look at so many of the lines, as if there were no more."""
        self._count = count

    def _near(self, entry: Entry, brought: str) -> str:
        """The text in which its keys are looked for."""
        depth = entry.scan_depth if entry.scan_depth is not None else self.book.scan_depth
        depth = SCAN_DEPTH if depth is None else depth
        first = 0 if entry.stays else max(0, self._count - depth)
        return self._text(entry, first, self._count, brought if entry.by_recursion else "")

    def _beside(self, entry: Entry, text: str) -> bool:
        """Whether the secondary keys agree."""
        if not entry.logic:
            return True
        each = [self._is_in(key, text, entry) for key in entry.secondary]
        match entry.logic:
            case "any":
                return any(each)
            case "all":
                return all(each)
            case "not any":
                return not any(each)
            case _:
                return not all(each)

    def _text(self, entry: Entry, first: int, last: int, brought: str) -> str:
        exact = entry.case_sensitive or entry.regex or self._has_pattern(entry)
        where = first, last, exact
        if where not in self._joined:
            if len(self._joined) > JOINED:
                self._joined.clear()
            lines = self._said.lines if exact else self._folded
            self._joined[where] = "".join(f"{BEGINS}{line}\n" for line in lines[first:last])
        return self._joined[where] + (brought if exact else brought.casefold())

    def _has_pattern(self, entry: Entry) -> bool:
        """Whether any of its keys is one; remembered by the entry, which lives as long."""
        if id(entry) not in self._exact:
            keys = (*entry.keys, *entry.secondary, *entry.excludes)
            self._exact[id(entry)] = any(_is_pattern(key) for key in keys)
        return self._exact[id(entry)]

    def _is_in(self, key: str, text: str, entry: Entry) -> bool:
        """Whether a key is in a text; `_text` made both alike, but where there is a pattern."""
        mixed = self._has_pattern(entry)
        known = key, entry.regex, entry.case_sensitive, entry.whole_words, mixed
        if known not in self._tests:
            self._tests[known] = self._test(key, entry, mixed)
        return self._tests[known](text)

    def _test(self, key: str, entry: Entry, mixed: bool) -> Callable[[str], bool]:
        if entry.regex or _is_pattern(key):
            try:
                pattern = Pattern(self._escaped(key), ignore=not entry.case_sensitive)
            except Unsupported:  # Then it is never found.
                return lambda text: False
            return lambda text: pattern.search(text[-SEARCHED:], self._until)
        key = self._macros.names(key)
        fold = not entry.case_sensitive
        key = key.casefold() if fold else key
        if entry.whole_words:
            word = re.compile(rf"(?<!\w){re.escape(key)}(?!\w)")
            test: Callable[[str], bool] = lambda text: bool(word.search(text))  # noqa: E731
        else:
            test = lambda text: key in text  # noqa: E731
        return (lambda text: test(text.casefold())) if fold and mixed else test

    def _escaped(self, key: str) -> str:
        """A pattern with the names that it speaks of; what is special in them is not."""
        if "{{" not in key and "<" not in key:
            return key
        plain = self._macros
        return Macros(*(re.sub(r"(\W)", r"\\\1", n) for n in (plain.user, plain.char))).names(key)


def never_found(entry: Entry, until: float) -> list[str]:
    """Its keys that are patterns of no kind that is known here, each with why; as many as are
    looked at before `time.monotonic()` passes `until`."""
    found: list[str] = []
    for key in (*entry.keys, *entry.secondary, *entry.excludes):
        if time.monotonic() > until:
            break
        if entry.regex or _is_pattern(key):
            try:
                Pattern(key)
            except Unsupported as why:
                found.append(f"{key[:60]} ({why})")
    return found


def _is_pattern(key: str) -> bool:
    return (
        len(key) > 2 and key.startswith("/") and bool(re.fullmatch(r"/.+/[a-z]*", key, re.DOTALL))
    )
