"""Which extension causes the trouble: half of them off, one question, and again."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil, log2
from pathlib import Path

import msgspec

from kernel.api import LOADERS, MODES, PANELS, Kernel, Refused, Status, Struct, write

AWAY = "It is off for a moment, while the one that causes the trouble is looked for."


class Search(Struct, frozen=True):
    """What is known so far: the culprit is in `order[low:high]`.

    In `order` whatever an extension needs comes before it, so that the beginning of it, which is
    on at a step, lacks nothing.
    """

    order: tuple[str, ...]
    low: int
    high: int
    only: tuple[str, ...] | None
    """What might run before the search, where that was a choice for this start of the server."""
    step: int = 1

    @property
    def on(self) -> tuple[str, ...]:
        """What runs at this step; once the culprit is known, all but it and what needs it."""
        return self.order[: (self.low + self.high) // 2]

    @property
    def steps(self) -> int:
        """How many questions it takes at most."""
        return ceil(log2(len(self.order)))

    @property
    def culprit(self) -> str:
        """The one that is left, or ""."""
        return self.order[self.low] if self.high - self.low == 1 else ""

    def answered(self, wrong: bool) -> "Search":
        """What is known after the question whether it is still wrong."""
        middle = len(self.on)
        low, high = (self.low, middle) if wrong else (middle, self.high)
        return Search(self.order, low, high, self.only, self.step + 1)


class Bisect:
    """Carries a search out; what it knows is kept in a file, so that nothing is lost by a crash."""

    def __init__(self, kernel: Kernel, file: Path, changed: Callable[[], None]) -> None:
        self._kernel, self._file, self._changed = kernel, file, changed
        self._lock = asyncio.Lock()
        self.search: Search | None = None
        with suppress(OSError, msgspec.DecodeError):
            self.search = msgspec.json.decode(file.read_bytes(), type=Search)

    async def begin(self) -> None:
        """Begin with all that runs, but for what the way back leads through."""
        async with self._lock:
            if self.search:
                return
            order = ordered(self._kernel, running(self._kernel))
            if not order:
                raise Refused("No extension is on that could be switched off for a test.")
            only = self._kernel.only
            search = Search(order, 0, len(order), None if only is None else tuple(sorted(only)))
            await self._go_on(search)

    async def answer(self, step: int, wrong: bool) -> None:
        """Take the answer to the question of a step; one that came twice counts once."""
        async with self._lock:
            if self.search and self.search.step == step and not self.search.culprit:
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
                await self._go_on(msgspec.structs.replace(self.search, only=chosen))

    async def _go_on(self, search: Search) -> None:
        self.search = search
        await asyncio.to_thread(write, self._file, msgspec.json.encode(search))
        kernel, on = self._kernel, set(search.on)
        if search.culprit:
            on = set(search.order) - {search.culprit}
        ids = set(search.order)
        kernel.only = {id for id in kernel.records if id not in ids and self._may(search, id)} | on
        self._changed()
        for id in reversed(search.order):
            if id not in on and id in kernel.records:
                await kernel.stop(id, reason=AWAY, why=AWAY)
        await self._start([id for id in search.order if id in on])
        self._changed()

    def _may(self, search: Search, id: str) -> bool:
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
    registry = kernel.registry
    entries = [*registry.entries(LOADERS), *registry.entries(MODES)]
    entries += [entry for entry in registry.entries(PANELS) if entry.value.region == "tab"]
    carriers = _with_needs(kernel, [entry.owner for entry in entries])
    essential = _with_needs(kernel, [id for id in kernel.records if _leads(kernel, id)])
    left = [id for id in ids if id not in essential]
    left.sort(key=lambda id: id not in carriers)
    order: list[str] = []
    while left:
        ready = (id for id in left if not set(kernel.records[id].needs) & set(left))
        order.append(id := next(ready, left[0]))
        left.remove(id)
    return tuple(order)


def _with_needs(kernel: Kernel, ids: list[str]) -> set[str]:
    """These, and all that they need."""
    found, todo = set[str](), list(ids)
    while todo:
        if (id := todo.pop()) in kernel.records and id not in found:
            found.add(id)
            todo += kernel.records[id].needs
    return found


def _leads(kernel: Kernel, id: str) -> bool:
    """Whether it leads to the others: it may switch them."""
    manifest = kernel.records[id].manifest
    return bool(manifest and "kernel:admin" in manifest.permissions)
