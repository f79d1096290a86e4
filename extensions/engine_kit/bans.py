"""Strings that a reply must not contain: it goes back to where one began.

Text that may be the beginning of a banned string is held back. A complete one is taken back, the
token it began with is banned at that place, and the reply goes on from there.
"""

import re
from collections.abc import Sequence

from kernel.contract import Token

MOST_TRIES = 64
"""Tokens that are banned at one place; then what comes is let through."""
TRIES = 256, 4
"""Of a whole reply, and for each token of it more."""


class Held:
    """A token that nobody has seen yet."""

    def __init__(self, token: int, piece: bytes, described: tuple[Token, ...]) -> None:
        self.token, self.piece, self.described = token, piece, described


class Bans:
    """The banned strings of one reply; letters A to Z count in either case."""

    def __init__(self, strings: Sequence[str]) -> None:
        banned = {each.encode("utf-8", "replace").lower() for each in strings if each}
        self._find = re.compile(b"|".join(map(re.escape, sorted(banned)))).search
        self._beginnings = frozenset(each[:size] for each in banned for size in range(1, len(each)))
        self._longest = max(map(len, banned), default=1)
        self._held: list[Held] = []
        self._given = self._tries = 0
        """The tokens that were let go, and how often something was taken back."""
        self._not_at: dict[int, set[int]] = {}
        """The tokens that are banned, by their place in the reply."""

    def feed(self, token: int, piece: bytes, described: tuple[Token, ...] = ()) -> int:
        """Take in the next token; how many are to be taken back, this one among them."""
        self._held.append(Held(token, piece, described))
        found = self._find(self._text())
        if not found:
            return 0
        first = self._at(found.start())
        place = self._given + first
        not_here = self._not_at.setdefault(place, set())
        begins = self._held[first].token
        most = TRIES[0] + TRIES[1] * self._given
        if begins in not_here or len(not_here) >= MOST_TRIES or self._tries >= most:
            return 0
        not_here.add(begins)
        self._tries += 1
        self._not_at = {at: tokens for at, tokens in self._not_at.items() if at <= place}
        count = len(self._held) - first
        del self._held[first:]
        return count

    @property
    def not_next(self) -> frozenset[int]:
        """The tokens that may not come next."""
        return frozenset(self._not_at.get(self._given + len(self._held), ()))

    def release(self, *, all: bool = False) -> list[Held]:
        """What can be shown: it is not the beginning of a banned string, or that is let through."""
        text = self._text()
        hold = 0
        if not all and not self._find(text):
            sizes = range(min(self._longest - 1, len(text)), 0, -1)
            hold = next((size for size in sizes if text[-size:] in self._beginnings), 0)
        keep = self._at(len(text) - hold) if hold else len(self._held)
        ready, self._held = self._held[:keep], self._held[keep:]
        self._given += len(ready)
        return ready

    def _text(self) -> bytes:
        return b"".join(each.piece for each in self._held).lower()

    def _at(self, offset: int) -> int:
        """The token of a byte."""
        end = 0
        for number, each in enumerate(self._held):
            end += len(each.piece)
            if offset < end:
                return number
        return len(self._held)
