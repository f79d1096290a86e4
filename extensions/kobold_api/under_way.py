"""Replies under way by the words that Kobold's programs name them with, their `genkey`."""

from collections.abc import Sequence

from extensions.api_kit.api import Call, Heard, Programs, Wish

KEPT = 100
"""Callers whose last text is kept for `check`."""


class UnderWay:
    """One request while it is carried out."""

    def __init__(self, owner: str, key: str, wishes: Sequence[Wish]) -> None:
        self.owner, self.key, self.wishes = owner, key, wishes
        self.heard = [Heard() for _ in wishes]

    @property
    def texts(self) -> list[str]:
        """What was written so far."""
        return [each.text() for each in self.heard]


class Register:
    """Who asked for which; a caller reaches its own alone."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._live: dict[UnderWay, None] = {}
        self._last: dict[tuple[str, str], list[str]] = {}

    def enter(self, call: Call, key: str, wishes: Sequence[Wish]) -> UnderWay:
        """It begins."""
        entry = UnderWay(call.caller.owner, key, wishes)
        self._live[entry] = None
        return entry

    def leave(self, entry: UnderWay) -> None:
        """It ended; its words can still be asked for, until the next of its caller."""
        del self._live[entry]
        self._last.pop((entry.owner, entry.key), None)
        self._last[entry.owner, entry.key] = entry.texts
        while len(self._last) > KEPT:
            del self._last[next(iter(self._last))]

    def texts(self, owner: str, key: str) -> list[str]:
        """What was written so far, or last."""
        for entry in reversed(self._live):
            if (entry.owner, entry.key) == (owner, key):
                return entry.texts
        return self._last.get((owner, key), [""])

    def abort(self, owner: str, key: str) -> int:
        """Stop what this caller asked for under this key; answers how many replies that were."""
        wishes = [
            id(wish)
            for entry in self._live
            if (entry.owner, entry.key) == (owner, key)
            for wish in entry.wishes
        ]
        runs = [run for run in self._programs.runs.live if id(run.wish) in wishes]
        for run in runs:
            run.cancel()
        return len(runs)
