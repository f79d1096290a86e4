"""Where a prompt is placed, so that nothing that is remembered already is read again.

The longest common beginning counts over all sequences: idle ones, which are taken over or copied;
those that are reading or writing, which are copied, as that costs nothing; and those that were
moved out to ordinary memory.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.outside import Away, Outside
from extensions.llama_cpp.native.row import Adapters, Row

WORTH = 32
"""Tokens; for fewer, nobody waits and nothing is copied out."""
OWN = 128
"""Tokens that one which shares its beginning with somebody may have beyond it, and stay."""
TILE, BACK = 16, 3
"""So many tokens are read sooner than up to three fewer (a billion weights in q4_0, two threads: 13
to 16 in 149, 162, 181 and 137 ms, 63 in 550 and 64 in 510), so that known ones are read again."""
MOVING = 0.05
"""Seconds that replies may wait while idle sequences are moved out."""


def common(a: Any, b: Any) -> int:
    """The length of the common beginning of two arrays of tokens."""
    length = min(len(a), len(b))
    if not length:
        return 0
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length


@dataclass
class Place:
    """A sequence, and what it remembers while nobody uses it."""

    sequence: int
    tokens: Any = field(default_factory=lambda: np.zeros(0, np.int32))
    adapters: Adapters = ()
    used: float = 0.0
    secret: bool = False
    """What it remembers may not be saved."""


@dataclass(frozen=True)
class Later:
    """What of a prompt stands further on somewhere: `length` tokens, `begin` behind the `known`."""

    held: Place | Away
    known: int
    begin: int
    length: int


class Prefixes:
    """The places of a context: who has which, and what the others still remember."""

    def __init__(
        self, context: Context, *, running: int, memory: int, shifts: bool = False
    ) -> None:
        self._context, self._running = context, running
        self._shifts = shifts and context.shiftable
        """Whether what follows a part that was cut out of a prompt counts as known."""
        self._idle = [Place(number) for number in range(context.sequences)]
        self._busy: dict[int, Place] = {}
        self._outside = Outside(memory)
        self.untidy = False
        """Whether there may be something for `tidy` to do."""

    def place(self, row: Row, rows: Iterable[Row]) -> bool:
        """Give a row its place; False while it has to wait for one, or for what another reads."""
        if len(self._busy) >= self._running or not self._idle:
            return False
        others = [other for other in rows if other.adapters == row.adapters]
        idle = max(self._idle, key=lambda place: (self._known(place, row), -place.used))
        best = self._known(idle, row)
        source: Row | None = None
        for other in others:
            shared = common(other.tokens, row.tokens)
            worth = 0 if row.whole else shared - max(best, other.past)
            if other.reading and shared > other.past and worth > WORTH:
                return False  # It reads right now what this one would read again.
            if (usable := self._usable(min(shared, other.past), other.past, row)) > best:
                source, best = other, usable
        later = self._later(row, best) if self._shifting(row) else None
        if away := self._best_away(row, later.known + later.length if later else best):
            place = self._empty(keep=None)
            known = self._bring(away, place, row)
        elif later:
            place, known = self._moved(later, row)
        elif source:
            place, known = self._empty(keep=None), best
            self._context.copy(source.sequence, place.sequence, known)
        elif best and len(idle.tokens) - best > WORTH and len(self._idle) > 1 and self._cuttable:
            place, known = self._empty(keep=idle), best
            self._context.copy(idle.sequence, place.sequence, known)  # What it knows more stays.
        else:
            place, known = (idle, best) if best else (self._empty(keep=None), 0)
        if place is idle and known + WORTH >= len(idle.tokens):
            self._outside.drop(idle.tokens, idle.adapters)  # It goes on, and will know more.
        back = (known - len(row.tokens)) % TILE
        if self._cuttable and back <= min(BACK, known):
            known -= back
        if not self._context.forget(place.sequence, known):
            known = 0
        self._idle.remove(place)
        place.tokens, place.adapters = row.tokens[:known], row.adapters
        self._busy[place.sequence] = place
        row.admitted(place.sequence, known)
        self.untidy = True
        return True

    def release(self, row: Row) -> None:
        """A row leaves its place, which goes on remembering what it read and wrote."""
        place = self._busy.pop(row.sequence)
        place.tokens, place.used = row.remembered(row.past), time.monotonic()
        place.secret = row.secret
        self._idle.append(place)
        self.untidy = True

    def tidy(self, rows: Sequence[Row]) -> None:
        """Move idle sequences out that would slow down those that run.

        Each step looks at all cells up to the last one that is used, whoever's they are
        (benchmarks/README.md, "idle"), and even a short one may have the last. What is shared with
        one that runs costs nothing more.
        """
        begun, hurried = time.monotonic(), any(not row.reading for row in rows)
        for place in sorted(self._idle, key=lambda place: place.used):
            shared = max(common(place.tokens, row.tokens) for row in rows)
            own = len(place.tokens) - shared
            if own > (OWN if shared > WORTH else 0) and self._fits(place):
                self._move_out(place)
                if hurried and time.monotonic() - begun > MOVING:
                    return
        self.untidy = False

    def rest(self) -> bool:
        """Copy out what one idle sequence remembers, so that nobody has to wait for that who comes
        when it has to go; whether there was one. The last one used is the likeliest to go on.
        """
        idle = sorted(self._idle, key=lambda place: place.used)
        for place in idle[:-1] if not self._busy else ():
            if len(place.tokens) > WORTH and not self._is_outside(place) and self._fits(place):
                self._copy_out(place)
                return True
        return False

    def make_room(self) -> bool:
        """Forget what the longest unused idle sequence remembers; False when there is none."""
        held = [place for place in self._idle if len(place.tokens)]
        if not held:
            return False
        self._move_out(min(held, key=lambda place: place.used))
        return True

    def forget_all(self) -> None:
        """Forget whatever idle sequences remember."""
        for place in self._idle:
            self._context.forget(place.sequence)
            place.tokens = place.tokens[:0]

    def remembered(self) -> list[tuple[Any, Adapters, bytes | memoryview]]:
        """All that idle sequences know and may be saved, the longest unused first."""
        idle = sorted(self._idle, key=lambda place: place.used)
        inside = [
            (place.tokens, place.adapters, self._context.state(place.sequence))
            for place in idle
            if len(place.tokens) > WORTH and not place.secret and not self._is_outside(place)
        ]
        away = [a for a in self._outside if not a.secret]
        return [(a.tokens, a.adapters, a.state) for a in away] + inside

    def remember(self, tokens: Sequence[int], adapters: Adapters, state: bytes) -> None:
        """Know again what was saved."""
        self._outside.keep(Away(np.array(tokens, np.int32), adapters, state))

    # --- what of it is known ---

    @property
    def _cuttable(self) -> bool:
        return self._context.model.cuttable

    def _shifting(self, row: Row) -> bool:
        return self._shifts and self._cuttable and not row.whole

    def _known(self, place: Place | Away, row: Row) -> int:
        if place.adapters != row.adapters:
            return 0
        return self._usable(common(place.tokens, row.tokens), len(place.tokens), row)

    def _usable(self, shared: int, held: int, row: Row) -> int:
        """How much of what is shared saves reading: the last token is read for its logits."""
        if row.whole:
            return 0
        if self._cuttable:
            return min(shared, len(row.tokens) - 1)
        return shared if shared == held and shared < len(row.tokens) else 0

    def _later(self, row: Row, best: int) -> Later | None:
        """Where a long chat, which lost its oldest messages, was read, if that is worth more."""
        found: Later | None = None
        for held in (*self._idle, *self._outside):
            known = self._known(held, row)
            old, new = held.tokens[known:], row.tokens[known:-1]
            if held.adapters != row.adapters or min(len(old), len(new)) < WORTH:
                continue
            windows = np.lib.stride_tricks.sliding_window_view(old, WORTH)
            begins = np.flatnonzero((windows == new[:WORTH]).all(axis=1))
            if not len(begins):
                continue
            begin = int(begins[0])
            length = common(old[begin:], new)
            if known + length - best > WORTH:
                found, best = Later(held, known, begin, length), known + length
        return found

    def _moved(self, later: Later, row: Row) -> tuple[Place, int]:
        """Move what is known to where the prompt has it, instead of reading it again; answers how
        much that is. It was read after more, so this is not quite the same (StreamingLLM,
        2309.17453)."""
        held, known, end = later.held, later.known, later.known + later.begin
        if isinstance(held, Away):
            place = self._empty(keep=None)
            self._bring(held, place, row)
            if self._context.length(place.sequence) < end + later.length:
                return place, 0
        else:
            place = held
            if self._fits(place):  # What it knew stays known, outside.
                self._copy_out(place)
        self._context.forget(place.sequence, end + later.length)
        place.tokens = place.tokens[:0]  # so that it is not asked to make room for itself
        moved = self._context.cut_out(place.sequence, known, end, self.make_room)
        return place, known + later.length if moved else 0

    # --- places and what lies outside ---

    def _empty(self, keep: Place | None) -> Place:
        """A place that remembers nothing, or the one that is missed least."""
        place = min(
            (each for each in self._idle if each is not keep),
            key=lambda each: (len(each.tokens) > 0, each.used),
        )
        self._move_out(place)
        return place

    def _move_out(self, place: Place) -> None:
        if len(place.tokens) > WORTH:
            self._copy_out(place)
        self._context.forget(place.sequence)
        place.tokens = place.tokens[:0]

    def _copy_out(self, place: Place) -> None:
        if self._outside.most and not self._is_outside(place):
            try:
                state = self._context.state(place.sequence)
            except MemoryError:  # What is not kept is read again, which no reply should end for.
                return
            self._outside.keep(Away(place.tokens, place.adapters, state, place.secret))

    def _is_outside(self, place: Place) -> bool:
        """Whether all that it remembers lies outside too; one that may be saved where it may."""
        away = self._outside.find(place.tokens, place.adapters)
        return away is not None and away.secret <= place.secret

    def _fits(self, place: Place) -> bool:
        """Whether moving it out costs nothing that others remember."""
        if self._is_outside(place):
            return True
        return self._cuttable and self._outside.fits(self._context.size(place.sequence))

    def _best_away(self, row: Row, best: int) -> Away | None:
        found: Away | None = None
        for away in self._outside:
            at = best + WORTH  # It is of use only where this token is among those that are shared.
            if away.adapters != row.adapters or min(len(away.tokens), len(row.tokens)) <= at:
                continue
            if away.tokens[at] != row.tokens[at]:
                continue
            shared = common(away.tokens, row.tokens)
            usable = self._usable(shared, len(away.tokens), row)
            if usable - best > WORTH:
                found, best = away, usable
        return found

    def _bring(self, away: Away, place: Place, row: Row) -> int:
        """Let a place remember it; making that place may have pushed it out of the memory."""
        if common(away.tokens, row.tokens) + WORTH >= len(away.tokens):
            # else it is still worth having for the one whose it is
            self._outside.drop(away.tokens, away.adapters)
        while not self._context.restore(place.sequence, away.state):
            if not self.make_room():
                return 0
        shared = common(away.tokens, row.tokens)
        return self._usable(shared, len(away.tokens), row)
