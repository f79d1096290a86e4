"""Which entries of a lorebook are told: keys in what was said last, recursion, chance and room."""

import random
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from .macros import Macros
from .patterns import Pattern, Unsupported
from .records import Book, Count, Entry, Lore

SCAN_DEPTH = 4
"""Messages in which keys are looked for, where neither book nor entry says how many."""
BUDGET = 1024
"""Tokens of all entries, where nobody says how many."""
ROUNDS = 5
"""So many times at most may the words of entries bring others."""
PATIENCE = 2.0
"""Seconds; what was not looked for by then is left out."""
SEARCHED = 50_000
"""Characters, the newest, in which patterns are looked for."""


class Found(NamedTuple):
    """What is told, in its order, and the names of what had no room."""

    lore: tuple[tuple[Entry, Lore], ...] = ()
    left_out: tuple[str, ...] = ()


class Said(NamedTuple):
    """What was said so far, as keys are looked for in it: "Name: words", oldest first."""

    lines: Sequence[str]
    replies: int = 0
    greeting: int = 0
    """Which of the greetings the conversation began with."""


def found_in(book: Book, said: Said, macros: Macros, seed: int | str) -> list[tuple[Entry, str]]:
    """The entries that are to be told, each with why; in no order. Takes its time: use a thread."""
    until = time.monotonic() + PATIENCE
    search = Search(book, said, macros, until)
    found: dict[int, str] = {}
    brought, tried = "", set[int]()
    for turn in range(ROUNDS + 1 if book.recursive else 1):
        new: list[Entry] = []
        for number, entry in enumerate(book.entries):
            if number in found or number in tried or time.monotonic() > until:
                continue
            if not (why := search.why(entry, brought, turn)):
                continue
            if entry.probability < 100 and not _happens(entry, number, seed):
                tried.add(number)
                continue
            found[number] = why
            new.append(entry)
        more = [macros.names(entry.content) for entry in new if entry.brings]
        if not more:
            break
        brought = "\n".join([brought, *more])[-SEARCHED:]
    return [(book.entries[number], why) for number, why in found.items()]


async def fitted(
    book: Book,
    found: Sequence[tuple[Entry, str]],
    macros: Macros,
    count: Count,
    budget: int | None,
) -> Found:
    """What of it has room, in the order in which it stands; 0 is no limit."""
    room = book.budget if book.budget is not None else BUDGET
    if budget is not None:
        room = min(room, budget) if room else budget
    weighed: list[tuple[Entry, Lore]] = []
    for entry, why in sorted(found, key=lambda each: each[0].order):
        text = macros.expand(entry.content).strip()
        tokens = await count(text) if text else 0
        lore = Lore(entry.id, entry.name or ", ".join(entry.keys), text, entry.place, tokens, why)
        weighed.append((entry, lore))
    kept: set[int] = set()
    left_out: list[str] = []
    used = 0
    for place in sorted(range(len(weighed)), key=lambda n: _weight(weighed[n][0])):
        entry, lore = weighed[place]
        if not lore.text:
            continue
        if room and used + lore.tokens > room:
            left_out.append(lore.name)
            continue
        used += lore.tokens
        kept.add(place)
    return Found(tuple(each for n, each in enumerate(weighed) if n in kept), tuple(left_out))


def _weight(entry: Entry) -> tuple[bool, bool, float, float]:
    """What comes first where there is little room."""
    return entry.optional, not entry.constant, -entry.priority, -entry.order


def _happens(entry: Entry, number: int, seed: int | str) -> bool:
    dice = random.Random(f"lore {seed} {number} {entry.id}")
    return dice.random() * 100 < entry.probability


class Search:
    """Looks for the keys of entries in what was said."""

    def __init__(self, book: Book, said: Said, macros: Macros, until: float) -> None:
        self._book, self._said, self._macros, self._until = book, said, macros, until
        self._folded = [line.casefold() for line in said.lines]
        self._patterns: dict[tuple[str, bool], Pattern | None] = {}

    def why(self, entry: Entry, brought: str, turn: int) -> str:
        """Why an entry is told now, or "" if it is not."""
        said = self._said
        if not entry.enabled or said.replies < entry.after:
            return ""
        if entry.every > 1 and said.replies % entry.every:
            return ""
        if entry.greeting is not None and entry.greeting != said.greeting:
            return ""
        if entry.only_by_recursion and not turn:
            return ""
        if turn and not entry.by_recursion:
            return ""
        depth = entry.scan_depth if entry.scan_depth is not None else self._book.scan_depth
        depth = SCAN_DEPTH if depth is None else depth
        lines = len(said.lines)
        first = 0 if entry.stays else max(0, lines - depth)
        text = self._text(entry, first, lines, brought if entry.by_recursion else "")
        if any(self._is_in(key, text, entry) for key in entry.excludes):
            return ""
        if entry.constant:
            return "always"
        key = next((key for key in entry.keys if self._is_in(key, text, entry)), "")
        if not key or not self._beside(entry, text):
            return ""
        if entry.once and lines > 1:
            before = self._text(entry, 0, lines - 1, "")
            if any(self._is_in(key, before, entry) for key in entry.keys):
                return ""
        return f"“{key}”"

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
        lines = self._said.lines if exact else self._folded
        return "\n".join([*lines[first:last], brought if exact else brought.casefold()])

    def _has_pattern(self, entry: Entry) -> bool:
        return any(_is_pattern(key) for key in (*entry.keys, *entry.secondary, *entry.excludes))

    def _is_in(self, key: str, text: str, entry: Entry) -> bool:
        """Whether a key is in a text; `_text` made both alike, but where there is a pattern."""
        if entry.regex or _is_pattern(key):
            pattern = self._pattern(key, not entry.case_sensitive)
            return bool(pattern and pattern.search(text[-SEARCHED:], self._until))
        key = self._macros.names(key)
        if not entry.case_sensitive:
            key, text = key.casefold(), text.casefold() if self._has_pattern(entry) else text
        if not entry.whole_words:
            return key in text
        return bool(re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text))

    def _pattern(self, key: str, ignore: bool) -> Pattern | None:
        known = key, ignore
        if known not in self._patterns:
            try:
                self._patterns[known] = Pattern(key, ignore=ignore)
            except Unsupported:  # Then it is never found.
                self._patterns[known] = None
        return self._patterns[known]


def _is_pattern(key: str) -> bool:
    return (
        len(key) > 2 and key.startswith("/") and bool(re.fullmatch(r"/.+/[a-z]*", key, re.DOTALL))
    )
