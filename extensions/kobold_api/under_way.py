"""Replies under way by the words that Kobold's programs name them with, their `genkey`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from extensions.api_kit.api import Call, Heard, Programs, Wait, Wish

KEPT = 100
"""Callers whose last text is kept for `check`."""
ABORTED = "It was cancelled before it began."


class UnderWay:
    """One request while it is carried out."""

    def __init__(self, owner: str, key: str, count: int) -> None:
        self.owner, self.key = owner, key
        self.wishes: Sequence[Wish] = ()
        """None as long as a model is waited for, by which the body is judged."""
        self.wait = Wait(ABORTED)
        """For that."""
        self.heard = [Heard() for _ in range(count)]

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

    @contextmanager
    def entered(self, call: Call, key: str, count: int) -> Iterator[UnderWay]:
        """It is carried out; its words can be asked for until the next of its caller begins."""
        entry = UnderWay(call.caller.owner, key, count)
        self._live[entry] = None
        begun = True
        try:
            yield entry
        except BaseException:  # One that is refused, or left, before a word begins nothing.
            begun = any(entry.texts)
            raise
        finally:
            del self._live[entry]
            if begun:
                self._remember(entry)

    def texts(self, owner: str, key: str) -> list[str]:
        """What was written so far, or last."""
        for entry in reversed(self._live):
            if (entry.owner, entry.key) == (owner, key):
                return entry.texts
        return self._last.get((owner, key), [""])

    def abort(self, owner: str, key: str) -> int:
        """Stop what this caller asked for under this key; answers how many replies that were."""
        mine = [entry for entry in self._live if (entry.owner, entry.key) == (owner, key)]
        early = [entry for entry in mine if not entry.wishes]
        for entry in early:
            entry.wait.stop()
        wishes = [id(wish) for entry in mine for wish in entry.wishes]
        runs = [run for run in self._programs.runs.live if id(run.wish) in wishes]
        for run in runs:
            run.cancel()
        return len(early) + len(runs)

    # --- inside ------------------------------------------------------------------------

    def _remember(self, entry: UnderWay) -> None:
        self._last.pop((entry.owner, entry.key), None)
        self._last[entry.owner, entry.key] = entry.texts
        while len(self._last) > KEPT:
            del self._last[next(iter(self._last))]
