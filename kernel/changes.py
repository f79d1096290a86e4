"""What the user changes: written to settings.yaml, and carried out while everything runs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernel.extension import SettingsChanged
from kernel.records import Record, SectionChanged, Status
from kernel.settings import SettingsError

if TYPE_CHECKING:
    from kernel.manager import Kernel


class Changes:
    """Carries out changes of settings, by the page or in an editor."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._tasks: set[asyncio.Task[None]] = set()

    async def apply(self, changed: set[str]) -> None:
        """Carry out what changed in settings.yaml, by the page or in an editor."""
        if "order" in changed:
            self._kernel.registry.reorder(self._kernel.settings.rank)
        for name in changed:
            self._kernel.bus.emit(SectionChanged(name))
        for id in [name.partition(".")[2] for name in changed if name.startswith("extensions.")]:
            if record := self._kernel.records.get(id):
                await self._apply(record)

    async def toggle(self, id: str, on: bool) -> None:
        """Switch an extension on or off, in the user's file and now."""
        if self._kernel.only is not None:  # Safe mode and --extensions last as long as this server.
            self._kernel.only = self._kernel.only | {id} if on else self._kernel.only - {id}
        self._kernel.settings.update({"enabled": on}, "extensions", id)
        await self._now({f"extensions.{id}"})

    async def configure(self, id: str, values: Mapping[str, Any]) -> dict[str, str]:
        """Change settings of an extension; answers a sentence for each field that is no good."""
        try:
            self._kernel.settings.update(values, "extensions", id)
        except SettingsError as error:
            return dict(error.errors)
        await self._now({f"extensions.{id}"})
        return {}

    async def section(self, name: str, values: Mapping[str, Any]) -> None:
        """Change a section that is no extension's."""
        self._kernel.settings.update(values, name)
        await self._now({name})

    async def reorder(self, ids: Sequence[str]) -> None:
        """Give the extensions another order."""
        self._kernel.settings.reorder(ids)
        await self._now({"order"})

    async def _now(self, names: set[str]) -> None:
        """Apply at once what the page changed; whoever asked may be gone before it is done."""
        task = asyncio.create_task(self.apply(self._kernel.settings.reload() | names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _apply(self, record: Record) -> None:
        running = record.status is Status.RUNNING
        if running != self._kernel.enabled(record.id):
            await (self._kernel.stop(record.id) if running else self._kernel.start(record.id))
        elif running and record.handle:
            new = self._kernel.settings.extension(record.id, record.kind)
            if new == record.handle.settings:
                return
            if record.handle.live_settings:
                record.handle.settings = new
                self._kernel.bus.emit(SettingsChanged(record.id))
            else:
                await self._kernel.restart(record.id)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
