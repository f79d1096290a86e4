"""Extensions that come, go, move or are mended while everything runs."""

import asyncio
import logging
import sys
import time
from pathlib import Path

from kernel.api import Kernel, Record, SectionChanged, Status

log = logging.getLogger(__name__)

SETTLED = 10
"""Seconds without a change after which a folder of packages is done: an installer works in it."""


class Finding:
    """Looks into the folders, and takes up what differs."""

    def __init__(self, kernel: Kernel, by: str = "") -> None:
        self._kernel, self._looking = kernel, asyncio.Lock()
        self._fixed = {by, *kernel.records[by].needs} if by else set[str]()
        """What does this itself: another one of it is taken up at the next start."""
        self._seen: tuple[tuple[Path, int], ...] = ()
        self._late = set[str]()
        """What is another one by now, and does not stop."""
        self._places: tuple[tuple[str, int], ...] = ()
        self._packaged: list[Path] = []

    async def refresh(self) -> None:
        """Take up what is there now; what ran in another folder starts again from the new one."""
        async with self._looking:
            kernel = self._kernel
            self._late.clear()
            serving = any(r.is_(Status.RUNNING) for r in kernel.records.values())  # or a command
            found = {r.id: r for r in await asyncio.to_thread(list, kernel.discovery.found())}
            ids = [id for id in {**kernel.records, **found} if _differs(kernel, id, found.get(id))]
            ids = [id for id in ids if id not in self._fixed]
            for id in [*ids]:
                if id in kernel.records:
                    why = f"{kernel.name(id)} was removed or replaced."
                    await kernel.stop(id, why=why)
                    while kernel.records[id].is_(Status.STARTING, Status.RUNNING):  # Meanwhile.
                        await kernel.stop(id, why=why)
                    if kernel.records[id].is_(Status.STUCK):  # Its modules would be the new one's.
                        ids.remove(id)
                        self._late.add(id)
                        continue
                    del kernel.records[id]
                if id in found:
                    kernel.records[id] = found[id]
            if ids:
                kernel.bus.emit(SectionChanged("order"))
            for id in ids:
                if serving and id in found and found[id].manifest and kernel.enabled(id):
                    await kernel.start(id)

    async def watch(self, every: float) -> None:
        """Refresh whenever a folder or a manifest is another one, for ever."""
        while True:
            await asyncio.sleep(every)
            try:
                await self._follow(every)
            except Exception:  # A disk may be away for a moment.
                log.exception("The folders of extensions could not be looked at")

    async def _follow(self, every: float) -> None:
        latest = await asyncio.to_thread(self._look)
        if latest != self._seen or self._came_to_an_end():
            await asyncio.sleep(every)  # A copy may be under way.
            self._seen = await asyncio.to_thread(self._look)
            await self.refresh()

    def _came_to_an_end(self) -> bool:
        """Whether one stopped at last that could not be taken up before."""
        records = (self._kernel.records.get(id) for id in self._late)
        return any(not record or not record.is_(Status.STUCK) for record in records)

    def _look(self) -> tuple[tuple[Path, int], ...]:
        seen: list[tuple[Path, int]] = []
        for _, folder in self._kernel.discovery.folders(self._packages()):
            try:
                at = (folder / "extension.toml").stat().st_mtime_ns
                seen.append((folder, at + (folder / "__init__.py").is_file()))
            except OSError:
                continue  # It is going just now.
        return tuple(seen)

    def _packages(self) -> list[Path]:
        """What Python packages bring; they are only asked again when one came or went."""
        places = tuple((place, _changed(place)) for place in sys.path)
        last = max((at for _, at in places), default=0)
        if places != self._places or abs(time.time() - last / 1e9) < SETTLED:
            self._packaged, self._places = self._kernel.discovery.packaged(), places
        return self._packaged


def _changed(place: str) -> int:
    """When something was last added to a folder or taken from it, in nanoseconds; 0: nowhere."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


def _differs(kernel: Kernel, id: str, found: Record | None) -> bool:
    """Whether a record is another one now; a running one keeps its manifest until it stops."""
    known = kernel.records.get(id)
    if not known or not found or known.folder != found.folder:
        return True
    busy = known.is_(Status.RUNNING, Status.STARTING, Status.STOPPING, Status.STUCK)
    if known.manifest and found.manifest:
        other = known.manifest != found.manifest or known.is_(Status.INCOMPATIBLE)
        return other and not busy
    return not busy and (known.manifest or known.reason) != (found.manifest or found.reason)
