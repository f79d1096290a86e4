"""A model that nobody used for a while gives its memory back, and returns when it is asked."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from kernel.api import Extension, LoadFailed, NoModel, SlotChanged

EVERY = 5.0
"""Seconds between two looks at whether it is used."""
RESTED = "{} was unloaded after {} without use. The next message loads it again."


class Rest:
    """Looks after the chat slot."""

    def __init__(self, ext: Extension[Any], clock: Callable[[], float] = time.monotonic) -> None:
        self.of = ""
        """The name of the model that rests; empty while none does."""
        self._ext, self._slot, self._clock = ext, ext.slot(), clock
        self._used, self._uses = clock(), 0
        self._waking: asyncio.Task[None] | None = None
        ext.defer(self.forget)

    @property
    def minutes(self) -> int:
        """After how many it is unloaded; 0: never. What the command line says goes before."""
        said = self._ext.flag("idle-timeout")
        return self._ext.settings.idle_minutes if said is None else max(0, said)

    def used(self) -> None:
        """It was asked for something."""
        self._used = self._clock()

    def heard(self, event: SlotChanged) -> None:
        """The slot changed: another model ends the rest of this one."""
        self.used()
        if event.state != "empty" and not self._waking:
            self.forget()

    async def watch(self) -> None:
        """Look after it, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except LoadFailed:
                continue  # Something was loaded at that moment: it is used.

    async def look(self) -> None:
        """Unload it where it was not used for so long."""
        model, before = self._slot.model, self._uses
        self._uses = getattr(model, "uses", 0)
        asked = self._uses != before  # Also questions, as of likelihoods: no reply tells of them.
        if not model or asked or getattr(model, "busy", False) or self._slot.state.note:
            self.used()
        elif self.minutes and self._clock() - self._used >= self.minutes * 60:
            await self._rest(model.info.name)

    async def wake(self) -> None:
        """Load it again, once, however many ask; what goes wrong the slot tells."""
        if not self._waking:
            self._waking = self._ext.spawn(self._wake(), "wake")
        await asyncio.wait({self._waking})

    def forget(self) -> None:
        """Nothing rests any more: it was unloaded by hand, or another one came."""
        self.of = ""
        if self._slot.wake == self.wake:
            self._slot.wake = None

    # --- inside ------------------------------------------------------------------------

    async def _rest(self, name: str) -> None:
        minutes = self.minutes
        said = f"{minutes} minute{'' if minutes == 1 else 's'}"
        self._ext.log.info(RESTED.format(name, said))
        self.of = name
        self._slot.wake = self.wake if self._ext.settings.wake else None
        try:
            await self._slot.unload(f"{name} was unloaded, for nobody used it.")
        except LoadFailed:
            self.forget()  # Another model was chosen in that moment.
            raise

    async def _wake(self) -> None:
        try:
            await self._slot.reload()
        except (LoadFailed, NoModel) as error:
            self._ext.log.warning("%s", error)
        finally:
            self._waking = None
            self.forget()
