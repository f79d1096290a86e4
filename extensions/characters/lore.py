"""Which entries of a lorebook are told: keys in what was said last, recursion, chance and room."""

import random
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .groups import one_of_each
from .macros import Macros
from .records import Book, Count, Entry, Lore
from .search import SEARCHED, Said, Search
from .timing import Clock, before, concerned

BUDGET = 1024
"""Tokens of all entries, where nobody says how many."""
ROUNDS = 5
"""So many times at most may the words of entries bring others."""
PATIENCE = 2.0
"""Seconds; what was not looked for by then is left out."""


class Found(NamedTuple):
    """What is told, in its order, and the names of what had no room."""

    lore: tuple[tuple[Entry, Lore], ...] = ()
    left_out: tuple[str, ...] = ()


def found_in(
    book: Book,
    said: Said,
    macros: Macros,
    seed: int | str,
    place: str = "",
    continuing: bool = False,
) -> list[tuple[Entry, str]]:
    """The entries that are to be told, each with why; in no order. Takes its time: use a thread.

    `seed` decides chances, but those of entries that stay or rest depend on the conversation's
    `place` alone, so that each turn of before can be gone through again. `continuing`: the last
    line is the beginning of what is to be said.
    """
    begun = time.monotonic()
    search, clock = Search(book, said, macros, begun + PATIENCE), Clock(book.entries)
    timed = concerned(book.entries, recursive=book.recursive)
    at = len(said.lines) - (1 if continuing and said.lines else 0)
    for count in before(book.entries, said.spoken, at) if timed else ():
        if time.monotonic() > begun + PATIENCE / 2:
            break
        search.look_at(count)
        _told(search, clock, timed, count, Chance("", timed, f"{place} {count}"))
    search.look_at(len(said.lines))
    chance = Chance(seed, timed, f"{place} {at}")
    found = _told(search, clock, range(len(book.entries)), at, chance)
    return [(book.entries[number], why) for number, why in found.items()]


class Chance(NamedTuple):
    """What dice say at one turn."""

    seed: int | str
    timed: Collection[int]
    place: str

    def of(self, number: int, what: str) -> random.Random:
        return random.Random(f"{what} {self.place if number in self.timed else self.seed} {number}")


def _told(
    search: Search, clock: Clock, numbers: Collection[int], at: int, chance: Chance
) -> dict[int, str]:
    """What is told at one turn, by numbers, each with why; the clock is told too."""
    entries = search.book.entries
    found: dict[int, str] = {}
    brought, tried = "", set[int]()
    levels = sorted({entries[n].recursion_level for n in numbers if entries[n].enabled} - {0})
    level = levels.pop(0) if levels else 0
    for turn in range(ROUNDS + len(levels) + 1 if search.book.recursive else 1):
        new: dict[int, str] = {}
        for number in numbers:
            if number in found or number in tried or search.late():
                continue
            if entries[number].enabled and clock.stays(number, at):
                new[number] = "it stays"
            elif not clock.rests(number, at) and (
                why := search.why(entries[number], brought, turn, level)
            ):
                new[number] = why
        staying = {number for number in new if clock.stays(number, at)}
        left = one_of_each(
            new,
            entries,
            found,
            staying,
            lambda n: search.score(entries[n], brought),  # noqa: B023, called at once
            lambda group, first: chance.of(first, group),
        )
        tried.update(new.keys() - left.keys())
        for number in left.keys() - staying:
            likely, dice = entries[number].probability, chance.of(number, "lore")
            if likely < 100 and dice.random() * 100 >= likely:
                tried.add(number)
                del left[number]
            elif entries[number].sticky or entries[number].cooldown:
                clock.begin(number, at)
        found |= left
        more = [search.named(entries[n].content) for n in left if entries[n].brings]
        if search.late() or not (more or levels):
            break
        if not more:  # What waits for a later turn of recursion has its own.
            level = levels.pop(0)
        brought = "\n".join([brought, *more])[-SEARCHED:]
    return found


async def fitted(
    book: Book,
    found: Sequence[tuple[Entry, str]],
    macros: Macros,
    count: Count,
    budget: int | None,
) -> Found:
    """What of it has room, in the order in which it stands: in its own pool, and in the `budget`
    of all; a pool of 0 has no limit."""
    rooms = book.rooms or (BUDGET if book.budget is None else book.budget,)
    weighed: list[tuple[Entry, Lore]] = []
    for entry, why in sorted(found, key=lambda each: each[0].order):
        text = macros.expand(entry.content).strip()
        tokens = await count(text) if text else 0
        lore = Lore(entry.id, entry.name or ", ".join(entry.keys), text, entry.place, tokens, why)
        weighed.append((entry, lore))
    kept: set[int] = set()
    left_out: list[str] = []
    used, all_used = [0] * len(rooms), 0
    for place in sorted(range(len(weighed)), key=lambda n: _weight(weighed[n][0])):
        entry, lore = weighed[place]
        if not lore.text:
            continue
        room = rooms[entry.pool]
        if entry.free:
            kept.add(place)
            continue
        over = budget is not None and all_used + lore.tokens > budget
        if over or (room and used[entry.pool] + lore.tokens > room):
            left_out.append(lore.name)
            continue
        used[entry.pool] += lore.tokens
        all_used += lore.tokens
        kept.add(place)
    return Found(tuple(each for n, each in enumerate(weighed) if n in kept), tuple(left_out))


def _weight(entry: Entry) -> tuple[bool, bool, float, float]:
    """What comes first where there is little room."""
    return entry.optional, not entry.constant, -entry.priority, -entry.order
