"""Which extension causes the trouble: half of them off, one question, and again."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil, log2
from pathlib import Path

import msgspec
from msgspec.structs import replace

from kernel.api import LOADERS, MODES, PANELS, Kernel, Refused, Status, Struct, built, write

AWAY = "It is off for a moment, while the one that causes the trouble is looked for."


@built
class Search(Struct, frozen=True):
    """What is known so far: with `order[:low]` on all is well, with `order[:high]` on it is wrong.

    At first `low` is -1: even with none of them on it may be wrong, and then none is the culprit.
    In `order` whatever an extension needs comes before it, so that the beginning of it, which is
    on at a step, lacks nothing.
    """

    order: tuple[str, ...]
    low: int
    high: int
    only: tuple[str, ...] | None
    """What might run before the search, where that was a choice for this start of the server."""
    step: int = 1
    carriers: int = 0
    """How many at the beginning of `order` carry a conversation."""
    untold: bool = False
    """Ended because without the carriers nobody could tell."""

    @property
    def on(self) -> tuple[str, ...]:
        """What runs at this step."""
        return self.order[: (self.low + self.high) // 2]

    @property
    def steps(self) -> int:
        """How many questions it takes at most."""
        return ceil(log2(len(self.order) + 1))

    @property
    def culprit(self) -> str:
        """The one that is left, or ""."""
        return self.order[self.low] if self.low >= 0 and self.high - self.low == 1 else ""

    @property
    def none(self) -> bool:
        """Whether it was wrong with all of them off."""
        return self.high == 0

    @property
    def ended(self) -> bool:
        return bool(self.culprit or self.none or self.untold)

    @property
    def left(self) -> tuple[str, ...]:
        """Those among which the culprit still may be."""
        return self.order[max(0, self.low) : self.high]

    @property
    def missed(self) -> tuple[str, ...]:
        """What carries a conversation and is off at this step."""
        return self.order[len(self.on) : self.carriers]

    def answered(self, wrong: bool | None) -> "Search":
        """What is known after the question whether it is still wrong; None: it cannot be tried."""
        middle = len(self.on)
        if wrong is None:
            return replace(self, untold=True)
        low, high = (self.low, middle) if wrong else (middle, self.high)
        return replace(self, low=low, high=high, step=self.step + 1)


def begun(kernel: Kernel, ids: Sequence[str], only: tuple[str, ...] | None) -> Search:
    """A search among these; raises Refused when none of them could be switched off."""
    order, carriers = ordered(kernel, ids), carrying(kernel)
    if not order:
        raise Refused("No extension is on that could be switched off for a test.")
    count = sum(id in carriers for id in order)
    return Search(order, -1, len(order), only, carriers=count)


class Bisect:
    """Carries a search out; what it knows is kept in a file, so that nothing is lost by a crash."""

    def __init__(self, kernel: Kernel, file: Path, changed: Callable[[], None]) -> None:
        self._kernel, self._file, self._changed = kernel, file, changed
        self._lock = asyncio.Lock()
        self.switching = False
        """Whether the step is still being made: nobody can answer its question yet."""
        self.search: Search | None = None
        with suppress(OSError, msgspec.DecodeError):
            self.search = msgspec.json.decode(file.read_bytes(), type=Search)

    async def begin(self) -> None:
        """Begin with all that runs, but for what the way back leads through."""
        async with self._lock:
            if self.search:
                return
            only = self._kernel.only
            chosen = None if only is None else tuple(sorted(only))
            await self._go_on(begun(self._kernel, running(self._kernel), chosen))

    async def answer(self, step: int, wrong: bool | None) -> None:
        """Take the answer to the question of a step; one that came twice counts once, and one that
        came before the step was made not at all."""
        if self.switching:
            return
        async with self._lock:
            if self.search and self.search.step == step and not self.search.ended:
                await self._go_on(self.search.answered(wrong))

    async def finish(self, off: bool) -> None:
        """Put everything back; the culprit stays off if that is wanted, by the user's file then."""
        async with self._lock:
            search, self.search = self.search, None
            if not search:
                return
            await asyncio.to_thread(self._file.unlink, missing_ok=True)
            self._kernel.only = None if search.only is None else set(search.only)
            if off and search.culprit:
                await self._kernel.changes.toggle(search.culprit, on=False)
            self._changed()
            await self._start(search.order)
            self._changed()

    async def resume(self) -> None:
        """Go on after a start of the server, at the step where it ended."""
        async with self._lock:
            if self.search:
                only = self._kernel.only
                chosen = None if only is None else tuple(sorted(only))
                await self._go_on(replace(self.search, only=chosen))

    async def _go_on(self, search: Search) -> None:
        await asyncio.to_thread(write, self._file, msgspec.json.encode(search))
        self.search = search
        kernel, on = self._kernel, set(search.on)
        if search.ended:
            on = set(search.order) - {search.culprit}
        ids = set(search.order)
        kernel.only = {
            id for id in kernel.records if id not in ids and self._might(search, id)
        } | on
        self.switching = True
        self._changed()
        try:
            for id in reversed(search.order):
                if id not in on and id in kernel.records:
                    await kernel.stop(id, reason=AWAY, why=AWAY)
            await self._start([id for id in search.order if id in on])
        finally:
            self.switching = False
            self._changed()

    def _might(self, search: Search, id: str) -> bool:
        """Whether an extension that takes no part might run before the search."""
        record = self._kernel.records[id]
        if search.only is not None:
            return id in search.only
        manifest = record.manifest
        enabled = self._kernel.settings.enabled
        return enabled(id, default=bool(manifest and manifest.enabled))

    async def _start(self, ids: Sequence[str]) -> None:
        for id in ids:
            if id in self._kernel.records and self._kernel.enabled(id):
                await self._kernel.start(id)


def running(kernel: Kernel) -> list[str]:
    """What runs, in the user's order."""
    return [id for id in kernel.ordered() if kernel.records[id].is_(Status.RUNNING)]


def ordered(kernel: Kernel, ids: Sequence[str]) -> tuple[str, ...]:
    """Which of these take part: needs first, and early what carries a conversation, for without
    that nobody could tell whether it is still wrong."""
    carriers = carrying(kernel)
    essential = kernel.with_needs(id for id in kernel.records if _may(kernel, id, "kernel:admin"))
    left = [id for id in ids if id not in essential]
    left.sort(key=lambda id: id not in carriers)
    order: list[str] = []
    while left:
        ready = (id for id in left if not set(kernel.records[id].needs) & set(left))
        order.append(id := next(ready, left[0]))
        left.remove(id)
    return tuple(order)


def carrying(kernel: Kernel) -> set[str]:
    """What carries a conversation: its tab and its kinds, what loads a model, and all they need."""
    registry = kernel.registry
    entries = [*registry.entries(LOADERS), *registry.entries(MODES)]
    entries += [entry for entry in registry.entries(PANELS) if entry.value.region == "tab"]
    models = [id for id in kernel.records if _may(kernel, id, "files:read models")]
    return kernel.with_needs([*(entry.owner for entry in entries), *models])


def _may(kernel: Kernel, id: str, what: str) -> bool:
    manifest = kernel.records[id].manifest
    return bool(manifest and what in manifest.permissions)
