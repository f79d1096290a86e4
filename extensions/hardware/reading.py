"""What the machine has and how much of it is in use. All of it blocks."""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from extensions.engine_kit.api import Card, Memory, Used, all_memory, cards, free_memory, held, used
from kernel.api import Struct

IDLE = (3, 4)
"""Columns of /proc/stat: idle, and waiting for a disk."""
GUESTS = 8
"""The columns from here on are counted in the others already."""


class Running(Struct, frozen=True):
    """A loaded model: the slot it is in, its name, and its process."""

    slot: str
    name: str
    pid: int


class Process(Struct, frozen=True):
    """What a model's process takes: of the memory, and in bytes of graphics cards."""

    model: Running
    memory: Used
    cards: int = 0


class Ticks(Struct, frozen=True):
    """How long the processor was busy, and how long it was there, in whatever unit."""

    busy: int = 0
    all: int = 0


class Reading(Struct, frozen=True):
    """One look; `busy` is in percent, None where nothing says it or it is the first look."""

    name: str
    cores: int
    busy: int | None
    memory: Memory
    cards: tuple[Card, ...]
    processes: tuple[Process, ...]


class Reader:
    """Looks at the machine; how busy it is, is told since the look before."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._name, self._ticks = processor(root), Ticks()

    def look(self, running: Sequence[Running]) -> Reading:
        before, self._ticks = self._ticks, ticks(self._root)
        found = tuple(cards(self._root))
        return Reading(
            self._name,
            cores(),
            share(before, self._ticks),
            Memory("", free_memory(self._root), all_memory(self._root)),
            found,
            tuple(
                Process(each, now, held(each.pid) if found else 0)
                for each in running
                if (now := used(each.pid, self._root))
            ),
        )


def processor(root: Path) -> str:
    """Its name, as the system has it."""
    with suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "Hardware") and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "Processor"


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ticks(root: Path) -> Ticks:
    with suppress(OSError, ValueError, IndexError):
        first = (root / "proc/stat").read_text("ascii", "replace").split("\n", 1)[0]
        numbers = [*map(int, first.split()[1:])][:GUESTS]
        idle = sum(numbers[column] for column in IDLE)
        return Ticks(sum(numbers) - idle, sum(numbers))
    return Ticks()


def share(before: Ticks, now: Ticks) -> int | None:
    """Percent of the time between two looks."""
    passed = now.all - before.all
    if not before.all or passed <= 0:
        return None
    return max(0, min(100, round(100 * (now.busy - before.busy) / passed)))
