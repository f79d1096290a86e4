"""Extensions that come, go, move or are mended while everything runs."""

import asyncio
from pathlib import Path

from kernel.api import Kernel, Record, SectionChanged, Status


class Finding:
    """Looks into the folders, and takes up what differs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._looking = kernel, asyncio.Lock()
        self._seen: tuple[tuple[Path, int], ...] = ()

    async def refresh(self) -> None:
        """Take up what is there now; what ran in another folder starts again from the new one."""
        async with self._looking:
            kernel = self._kernel
            serving = any(r.is_(Status.RUNNING) for r in kernel.records.values())  # or a command
            found = {r.id: r for r in await asyncio.to_thread(list, kernel.discovery.found())}
            ids = [id for id in {**kernel.records, **found} if _differs(kernel, id, found.get(id))]
            for id in ids:
                if id in kernel.records:
                    await kernel.stop(id, why=f"{kernel.name(id)} was removed or replaced.")
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
        self._seen = self._look()  # some thirty files, once
        while True:
            await asyncio.sleep(every)
            latest = await asyncio.to_thread(self._look)
            if latest != self._seen:
                await asyncio.sleep(every)  # A copy may be under way.
                self._seen = await asyncio.to_thread(self._look)
                await self.refresh()

    def _look(self) -> tuple[tuple[Path, int], ...]:
        seen: list[tuple[Path, int]] = []
        for _, folder in self._kernel.discovery.folders():
            try:
                seen.append((folder, (folder / "extension.toml").stat().st_mtime_ns))
            except OSError:
                continue  # It is going just now.
        return tuple(seen)


def _differs(kernel: Kernel, id: str, found: Record | None) -> bool:
    """Whether a record is another one now; a running one keeps its manifest until it stops."""
    known = kernel.records.get(id)
    if not known or not found or known.folder != found.folder:
        return True
    busy = known.is_(Status.RUNNING, Status.STARTING, Status.STOPPING, Status.STUCK)
    if known.manifest and found.manifest:
        return known.manifest != found.manifest and not busy
    return not busy and (known.manifest or known.reason) != (found.manifest or found.reason)
