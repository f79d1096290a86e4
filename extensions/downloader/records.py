"""The downloads that were asked for: kept in a file each, so that a restart forgets none."""

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from kernel.api import Refused, Struct, built, write

from .news import News
from .plan import Plan
from .trouble import size_of

State = Literal["waiting", "running", "paused", "failed", "cancelled", "done"]
WINDOW = 8.0
"""Seconds over which the speed is measured."""


@built
class Kept(Struct, frozen=True):
    """What is stored of a download."""

    plan: Plan
    endpoint: str = ""
    """A mirror, where it is not the one of the settings."""
    state: State = "waiting"
    why: str = ""
    """What went wrong, and what to do: a sentence."""
    failed: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """By path, why a file was given up."""
    have: int = 0
    """Bytes that were there when this was written."""


class Entry:
    """A download as it is now."""

    def __init__(self, id: str, kept: Kept) -> None:
        self.id, self.kept = id, kept
        self.news = News(kept.have, kept.plan.size, 0, len(kept.plan.items), failed=kept.failed)
        self.speed = 0.0
        """Bytes a second, over the last few seconds."""
        self._seen: deque[tuple[float, int]] = deque()

    @property
    def plan(self) -> Plan:
        return self.kept.plan

    @property
    def state(self) -> State:
        return self.kept.state

    @property
    def name(self) -> str:
        """For people: a file's name where it is one file, else the repository's."""
        only = self.plan.items[0].path if len(self.plan.items) == 1 else ""
        return only or self.plan.repo or self.plan.folder

    @property
    def fraction(self) -> float:
        return self.news.have / self.news.total if self.news.total else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until it is done, at this speed."""
        return (self.news.total - self.news.have) / self.speed if self.speed > 0 else None

    @property
    def note(self) -> str:
        """How far it is, in a line."""
        news = self.news
        if self.state == "paused":
            return self.kept.why or f"Paused at {size_of(news.have)} of {size_of(news.total)}"
        if self.state == "waiting":
            return "Waits for its turn"
        if news.rests:
            return news.rests
        speed = f", {size_of(self.speed)}/s" if self.speed else ""
        left = f", {duration(self.left)} left" if self.left else ""
        aside = f". {news.aside}" if news.aside else ""
        return f"{size_of(news.have)} of {size_of(news.total)}{speed}{left}{aside}"

    def hear(self, news: News, now: float) -> None:
        """Take news, and measure by what came over the network, not by what was there before."""
        self.news = news
        if news.rests:
            return self.still()
        self._seen.append((now, news.fetched))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        (then, before), span = self._seen[0], now - self._seen[0][0]
        self.speed = (news.fetched - before) / span if then < now and span >= 0.5 else self.speed

    def still(self) -> None:
        """Nothing moves any more."""
        self.speed = 0.0
        self._seen.clear()


class Records:
    """All downloads, in the order in which they were asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.entries: dict[str, Entry] = {}

    def load(self) -> None:
        """Read what was kept; a file that cannot be read is left where it is. Blocking."""
        for file in sorted(self._folder.glob("*.json"), key=lambda file: _number(file.stem)):
            with suppress(OSError, ValueError):
                kept = msgspec.json.decode(file.read_bytes(), type=Kept)
                self.entries[file.stem] = Entry(file.stem, kept)

    def add(self, kept: Kept) -> Entry:
        """Keep a new one; raises Refused where it cannot be written down. Blocking."""
        numbers = (str(number) for number in itertools.count(int(time.time() * 10)))
        entry = Entry(next(number for number in numbers if number not in self.entries), kept)
        try:
            self.keep(entry)
        except OSError as error:
            raise Refused(
                f"{entry.name} was not begun: its record could not be written "
                f"({error.strerror}). Free some space or check the data folder, then try again."
            ) from error
        self.entries[entry.id] = entry
        return entry

    def keep(self, entry: Entry) -> None:
        """Write it down; one that is done needs no file any more. Blocking."""
        file = self._folder / f"{entry.id}.json"
        if entry.state == "done":
            return file.unlink(missing_ok=True)
        write(file, msgspec.json.encode(entry.kept))

    def drop(self, entry: Entry) -> None:
        """Forget it. Blocking."""
        self.entries.pop(entry.id, None)
        (self._folder / f"{entry.id}.json").unlink(missing_ok=True)

    def of(self, plan: Plan) -> Iterator[Entry]:
        """Those that write where a plan would."""
        for entry in self.entries.values():
            same = (entry.plan.root, entry.plan.folder) == (plan.root, plan.folder)
            if same and entry.plan.paths & plan.paths:
                yield entry


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def duration(seconds: float | None) -> str:
    """Seconds for people, roundly."""
    seconds = seconds or 0.0
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
