"""Points, and the registry: typed places where extensions contribute, in the user's order."""

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")
Disposer = Callable[[], None]
Rank = float
"""A place in the user's order."""
Rewrites = bool | Callable[[Any], bool]
"""Whether a modifier may replace what it already passed on, or in which turns."""


class Phase(IntEnum):
    """Coarse order within a point; inside a phase the order of settings.yaml decides."""

    EARLY = 0
    NORMAL = 1
    LATE = 2


@dataclass(frozen=True)
class Point(Generic[T]):
    """A named, typed place where extensions contribute values."""

    name: str
    doc: str = ""
    kind: Any = object
    """What a contribution must be an instance of; a mistake costs its maker the start."""
    once: str = ""
    """Why an extension contributes only one, where that is so."""

    def check(self, value: Any) -> None:
        """Raise TypeError when the value cannot be a contribution."""
        if not isinstance(value, self.kind):
            wanted = getattr(self.kind, "__name__", str(self.kind))
            raise TypeError(f"{self.name} takes a {wanted}, not a {type(value).__name__}")


@dataclass(frozen=True)
class Changed:
    """Something was contributed to `point`, or taken back; `ext.on(Changed(MODES))` hears of that
    point alone."""

    point: "str | Point[Any]"
    """Its name, whichever of the two was given."""
    idempotent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "point", getattr(self.point, "name", self.point))


@dataclass(frozen=True, order=True)
class Entry(Generic[T]):
    """One contribution, and who made it."""

    phase: Phase
    rank: Rank
    serial: int
    owner: str = field(compare=False)
    value: T = field(compare=False)
    rewrites: Rewrites = field(compare=False, default=False)
    leases: set[Any] = field(compare=False, default_factory=set[Any])
    """Replies this modifier works on; its extension's resources outlive them."""

    def may_rewrite(self, turn: Any) -> bool:
        return self.rewrites(turn) if callable(self.rewrites) else self.rewrites


class Registry:
    """What every extension has contributed, in the order it applies."""

    def __init__(self, changed: Callable[[Changed], None]) -> None:
        self._entries: dict[str, list[Entry[Any]]] = {}
        self._serial = itertools.count()
        self._changed = changed

    def add(
        self, point: Point[T], value: T, owner: str, *, phase: Phase, rank: Rank, rewrites: Rewrites
    ) -> tuple[Entry[T], Disposer]:
        """Contribute `value`; the returned disposer takes it back and may be called twice."""
        entries = self._entries.setdefault(point.name, [])
        entry = Entry(phase, rank, next(self._serial), owner, value, rewrites)
        bisect.insort(entries, entry)
        self._changed(Changed(point.name))

        def dispose() -> None:
            current = self._entries.get(point.name, [])
            kept = [e for e in current if e.serial != entry.serial]
            if len(kept) < len(current):
                self._entries[point.name] = kept
                self._changed(Changed(point.name))

        return entry, dispose

    def reorder(self, rank: Callable[[str], Rank]) -> None:
        """Sort again after the user's order changed; running replies keep the order they had."""
        for name, entries in self._entries.items():
            self._entries[name] = sorted(replace(e, rank=rank(e.owner)) for e in entries)
            self._changed(Changed(name))

    def entries(self, point: Point[T]) -> tuple[Entry[T], ...]:
        """A snapshot: a contribution withdrawn during a turn does not disturb that turn."""
        return tuple(self._entries.get(point.name, ()))

    def values(self, point: Point[T]) -> list[T]:
        return [entry.value for entry in self.entries(point)]

    def owned_by(self, owner: str) -> list[str]:
        """Names of the points `owner` contributes to, for tests."""
        return [n for n, entries in self._entries.items() for e in entries if e.owner == owner]
