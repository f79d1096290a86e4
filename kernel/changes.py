"""What the user changes: written to settings.yaml, and carried out while everything runs."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kernel.checks import SettingsError
from kernel.records import Record, SectionChanged, SettingsChanged, Status

if TYPE_CHECKING:
    from kernel.manager import Kernel

log = logging.getLogger(__name__)


class Changes:
    """Carries out changes of settings, by the page or in an editor."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._writing = asyncio.Lock()

    async def apply(self, changed: set[str]) -> None:
        """Carry out what changed in settings.yaml, by the page or in an editor."""
        if "order" in changed:
            self._kernel.registry.reorder(self._kernel.settings.rank)
        for name in sorted(changed, key=lambda name: "." in name):  # restarts may take a while
            section, _, id = name.partition(".")
            if section == "extensions" and (record := self._kernel.records.get(id)):
                await self._apply(record)
            self._kernel.bus.emit(SectionChanged(name))

    async def follow(self, changed: set[str]) -> None:
        """The same for an editor, whose next change is not held up by what this one starts."""
        self._kernel.later(self._followed(changed))

    async def _followed(self, changed: set[str]) -> None:
        try:
            await self.apply(changed)
        except Exception:
            log.exception("A change of the settings could not be carried out")

    async def toggle(self, id: str, on: bool) -> None:
        """Switch an extension on or off, in the user's file and now."""
        kernel = self._kernel

        def write() -> None:
            kernel.settings.update({"enabled": on}, "extensions", id)
            if kernel.only is not None and not on:  # It lasts as long as this server.
                kernel.only = kernel.only - {id}
            elif kernel.only is not None and not kernel.safe:  # In safe mode it is but a wish.
                kernel.only = kernel.only | {id}
            kernel.without -= {id}

        await self._change({f"extensions.{id}"}, write)

    async def run(self, id: str, on: bool) -> None:
        """Start or stop one in safe mode, with what it needs; the user's file stays as it is."""
        kernel = self._kernel
        if kernel.only is not None:
            kernel.only = kernel.only | kernel.with_needs([id]) if on else kernel.only - {id}
        await (kernel.start(id) if on else kernel.stop(id))

    async def configure(self, id: str, values: Mapping[str, Any]) -> dict[str, str]:
        """Change settings of an extension; answers a sentence for each field that is no good."""
        try:
            update = partial(self._kernel.settings.update, values, "extensions", id)
            await self._change({f"extensions.{id}"}, update)
        except SettingsError as error:
            return dict(error.errors)
        return {}

    async def section(self, name: str, values: Mapping[str, Any]) -> None:
        """Change a section that is no extension's."""
        await self._change({name}, partial(self._kernel.settings.update, values, name))

    async def reorder(self, ids: Sequence[str]) -> None:
        """Give the extensions another order."""
        await self._change({"order"}, partial(self._kernel.settings.reorder, ids))

    async def _change(self, names: set[str], write: Callable[[], None]) -> None:
        """Write and apply what the page changed; whoever asked may be gone before it is done."""

        async def change() -> None:
            async with self._writing:
                await asyncio.to_thread(write)
                news = await asyncio.to_thread(self._kernel.settings.reload)
            await self.apply(news | names)

        await asyncio.shield(self._kernel.later(change()))

    async def _apply(self, record: Record) -> None:
        if not self._kernel.enabled(record.id):
            await self._kernel.stop(record.id)
        # Also one that was switched on again while what needs it was leaving.
        if self._kernel.enabled(record.id) and not record.is_(Status.RUNNING, Status.QUARANTINED):
            await self._kernel.start(record.id)
        if record.handle:  # Also one whose start was under way, which may have read the old ones.
            new = self._kernel.settings.extension(record.id, record.kind)
            if new == record.handle.settings:
                return
            if record.handle.live_settings:
                record.handle.settings = new
                self._kernel.bus.emit(SettingsChanged(record.id))
            else:
                await self._kernel.restart(record.id)
