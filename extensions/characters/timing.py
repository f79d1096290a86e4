"""How long entries stay, rest and wait, counted in messages: sticky, cooldown and delay.

Nothing of it is kept. It follows from what was said: the turns before are gone through once more,
so that a regenerated reply, a branch and an edited message find what they should.
"""

from collections.abc import Collection, Sequence

from .records import Entry

TURNS = 100
"""Turns of before that are gone through, at least where there are as many, at most twice that."""
LONGEST = 1000
"""The same, where entries stay or rest for longer."""


class Clock:
    """Since when entries are told; `at` is how many messages there are."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._began: dict[int, int] = {}

    def begin(self, number: int, at: int) -> None:
        """An entry is told that was not before."""
        self._began[number] = at

    def stays(self, number: int, at: int) -> bool:
        """Whether it is told without being spoken of, for it was a while ago."""
        began = self._began.get(number)
        return began is not None and at - began <= self._entries[number].sticky

    def rests(self, number: int, at: int) -> bool:
        """Whether it is too early for one that does not stay: it was told a while ago, or there
        are too few messages yet."""
        entry, began = self._entries[number], self._began.get(number)
        if at < entry.delay:
            return True
        return began is not None and entry.sticky < at - began <= entry.sticky + entry.cooldown


def concerned(entries: Sequence[Entry], *, recursive: bool) -> Collection[int]:
    """The entries of whose past it depends what is told now: those that stay or rest, those of
    their groups, and all where one may bring another."""
    timed = {n for n, entry in enumerate(entries) if entry.sticky or entry.cooldown}
    if not timed or recursive:
        return range(len(entries)) if timed else ()
    groups = {group for n in timed for group in entries[n].groups}
    return [n for n, entry in enumerate(entries) if n in timed or groups & {*entry.groups}]


def before(entries: Sequence[Entry], spoken: Sequence[int], at: int) -> Sequence[int]:
    """How many messages there were at each turn that led to one, oldest first; `spoken` are the
    places of replies. Where there are very many the oldest are left out, by whole hundreds, so
    that the next turn begins with the same one."""
    turns = [place for place in spoken if 0 < place < at]
    most = max(TURNS, *(min(entry.sticky + entry.cooldown, LONGEST) for entry in entries))
    return turns[max(0, (len(turns) - most) // most * most) :]
