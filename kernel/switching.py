"""Starting and stopping one extension, with what it needs and what needs it."""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kernel.life import live
from kernel.model import LoadFailed
from kernel.needs import failed_over, unfit, waits
from kernel.records import Record, Status

if TYPE_CHECKING:
    from kernel.manager import Kernel

LEAVING = 5.0
"""Seconds that an extension may take to stop."""
LATE = "It did not stop in time. Restart the server."
STUCK = "Its setup cannot be stopped. Restart Spindle without it: python server.py --without {}"


class Switching:
    """An extension's lock is held from the first look at what it needs until it runs or does not,
    and while it stops."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel

    async def start(self, id: str, needed: bool) -> bool:
        """Start it, first what it needs and then, unless it is `needed` itself, what waited for it;
        says whether it runs then."""
        kernel, record = self._kernel, self._kernel.records[id]
        async with record.lock:
            if kernel.records.get(id) is not record:  # Removed, or another one has its place.
                return id in kernel.records and await kernel.start(id)
            record.again = record.is_(Status.STUCK)
            if record.is_(Status.RUNNING, Status.STUCK):
                return record.is_(Status.RUNNING)
            record.read()
            record.stop.clear()
            if not (reason := unfit(record, kernel.records)):
                kernel.becomes(record, Status.STARTING)
                reason = await self._lacks(record)
            if reason or record.stop.is_set():
                kernel.becomes(record, Status.INCOMPATIBLE if reason else Status.OFF, reason)
                return False
            await self._live(record)
        for slot in kernel.slots.values() if record.is_(Status.RUNNING) else ():
            kernel.later(slot.recover())
        for other in () if needed else map(kernel.records.get, kernel.ordered()):
            if (
                other
                and (waits(other, kernel.records) or failed_over(other, record))
                and all(map(kernel.enabled, (other.id, *other.needs)))
            ):
                await kernel.start(other.id)
        return record.is_(Status.RUNNING)

    async def _lacks(self, record: Record) -> str:
        """Start what it needs; answers what does not run, in words for its card."""
        for need in record.needs:
            name = self._kernel.name(need)
            if not self._kernel.enabled(need):
                return f"It needs {name}, which is switched off. Switch that on first."
            if not await self._kernel.start(need, (record.id,)):
                return f"It needs {name}, which does not run. Its card says why."
        return ""

    async def _live(self, record: Record) -> None:
        """Begin its life; returns when its setup has ended or was given up."""
        kernel, started = self._kernel, asyncio.get_running_loop().create_future()
        kernel.guard.forgive(record.id)
        kernel.trouble.pop(record.id, None)
        record.since = time.time_ns()
        name = f"extension:{record.id}"
        task = record.task = asyncio.create_task(live(kernel, record, started), name=name)
        first, limit = asyncio.FIRST_COMPLETED, kernel.patience + 1
        await asyncio.wait({started, task}, timeout=limit, return_when=first)
        if started.done():
            started.result()  # Raises what its setup raised, with --strict.
        elif task.done():  # It was given up before its first step, and so never said anything.
            kernel.becomes(record, Status.OFF)
        else:
            kernel.becomes(record, Status.STUCK, STUCK.format(record.id))

    async def stop(self, id: str, then: Status, reason: str, why: str) -> None:
        """Stop it, and first those that need it."""
        record = self._kernel.records[id]
        why = why or f"{record.name} was switched off."
        given_up = await self.give_up(record)
        while not record.is_(Status.STUCK):
            if needy := self._needy(id):
                needs = f"It needs {record.name}, and starts again when that does."
                await self.stop(needy.id, Status.OFF, needs, why)
                continue
            async with record.lock:
                if self._needy(id) or record.is_(Status.STUCK):  # Meanwhile.
                    continue
                if record.is_(Status.RUNNING) and record.task:
                    return await self._leave(record, record.task, then, reason, why)
                record.stop.set()
                if record.manifest and (given_up or then is Status.OFF):
                    self._kernel.becomes(record, then, reason)
                return
        record.stop.set()  # It may yet end by itself.

    async def give_up(self, record: Record) -> bool:
        """End a start that is under way; says whether one was."""
        if not record.is_(Status.STARTING):
            return False
        again = record.stop.is_set()
        record.stop.set()
        if record.task and not record.task.done():
            if not again:  # A second time would cut its leaving short.
                record.task.cancel()
            if (await asyncio.wait({record.task}, timeout=LEAVING))[1]:
                self._kernel.becomes(record, Status.STUCK, STUCK.format(record.id))
        elif not record.lock.locked():  # Its turn has not come yet.
            self._kernel.becomes(record, Status.OFF)
        return True

    async def _leave(
        self, record: Record, task: asyncio.Task[None], then: Status, reason: str, why: str
    ) -> None:
        kernel = self._kernel
        kernel.becomes(record, Status.STOPPING)
        if record.handle:
            record.handle.why = why
        await self._leave_slots(record.id, why)
        record.stop.set()
        _, late = await asyncio.wait({task}, timeout=LEAVING)
        await self._leave_slots(record.id, why)  # What was wished for meanwhile.
        if late:
            kernel.becomes(record, Status.STUCK, LATE)
        elif record.is_(Status.STOPPING):
            last = kernel.trouble.get(record.id, [""])[-1]
            if not reason and last.startswith("stop: "):
                reason = f"It is off, but failed at its {last}. To be safe, restart Spindle."
            kernel.becomes(record, then, reason)

    async def _leave_slots(self, id: str, why: str) -> None:
        for slot in self._kernel.slots.values():
            with suppress(LoadFailed):  # A newer wish took its place already.
                await slot.leave(id, why)

    def _needy(self, id: str) -> Record | None:
        """One that needs it, and runs or starts."""
        needy = (other for other in self._kernel.records.values() if id in other.needs)
        return next((r for r in needy if r.is_(Status.STARTING, Status.RUNNING)), None)
