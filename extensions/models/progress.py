"""How far a load is, in stages, and what the engine printed meanwhile or before it crashed."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from kernel.api import Slot, SlotChanged

SHOWN = 40
"""Lines of the engine that a page gets."""
NUMBERS = re.compile(r"[0-9][0-9,.:%]*( ?(KB|MB|GB|s|min|left|of))*")


class Stage:
    """One step of a load: its words, and when it began and ended."""

    def __init__(self, note: str, began: float) -> None:
        self.note, self.began = note, began
        self.ended: float | None = None


class Progress:
    """Hears of the slot; a note that differs in more than its numbers, or than what stands behind
    a colon, is another stage."""

    def __init__(self, slot: Slot, clock: Callable[[], float] = time.monotonic) -> None:
        self._slot, self._clock = slot, clock
        self.going = asyncio.Event()
        """Set as long as something is loaded, or unloaded."""
        self._stages: list[Stage] = []
        self._crash: tuple[str, ...] = ()

    def heard(self, event: SlotChanged) -> None:
        """Take in what changed."""
        now, going = self._clock(), event.state == "loading" or bool(event.note)
        if event.lines:
            self._crash = _shown(event.lines)
        elif not event.error and (event.state == "empty" or (event.state == "ready" and not going)):
            self._crash = ()
        if not going:
            self._stages = []
            self.going.clear()
            return
        self.going.set()
        note = event.note.partition("\n")[0] or "Loading"
        if not self._stages or _words(note) != _words(self._stages[-1].note):
            if self._stages:
                self._stages[-1].ended = now
            self._stages.append(Stage(note, now))
        self._stages[-1].note = note

    def stages(self) -> list[dict[str, Any]]:
        """The steps so far, the last one under way: {note, seconds or none}."""
        return [
            {"note": each.note, "seconds": each.ended and each.ended - each.began}
            for each in self._stages
        ]

    def log(self) -> Sequence[str]:
        """What the engine printed last, while it loads."""
        return _shown(self._slot.report.lines()) if self._stages else ()

    def crash(self) -> Sequence[str]:
        """The same of the engine that died or could not load, for as long as that is told."""
        return self._crash


def _shown(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line[:500] for line in lines[-SHOWN:])


def _words(note: str) -> str:
    """What makes a stage: what is done, not of what or how much of it."""
    return NUMBERS.sub("", note.partition(": ")[0])
