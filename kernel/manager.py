"""Find extensions, start and stop them, and remember why one is not running."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kernel.bus import Bus
from kernel.changes import Changes
from kernel.clients import Client, Hub
from kernel.contract import Report
from kernel.discovery import Discovery
from kernel.guard import Failure, Guard
from kernel.jobs import Jobs
from kernel.life import live
from kernel.manifest import API
from kernel.model import LoadFailed, Slot
from kernel.pages import Pages, Panel, drawn
from kernel.points import Entry, Registry
from kernel.records import (
    Access,
    Appearance,
    Record,
    Status,
    StatusChanged,
    path_clash,
    told,
)
from kernel.remembered import Remembered
from kernel.settings import SettingsFile
from kernel.worker import Worker
from kernel.workers import Engines, Workers

log = logging.getLogger(__name__)
STUCK = "Its setup cannot be stopped. Restart Spindle without it: python server.py --without {}"


class Kernel:
    """The bus, the registry, the slots, the settings, and the extensions that use them."""

    def __init__(
        self,
        settings: SettingsFile,
        folders: list[Path],
        data: Path,
        *,
        environments: Path | None = None,
        models: Path | None = None,
        loras: Path | None = None,
        characters: Path | None = None,
        templates: Path | None = None,
        flags: dict[str, dict[str, Any]] | None = None,
        strict: bool = False,
        memory: Remembered | None = None,
    ) -> None:
        self.memory = memory or Remembered()
        self.settings, self.data, self.flags = settings, data, flags or {}
        self.models, self.loras = models or data / "models", loras or data / "loras"
        self.characters = characters or data / "characters"
        self.bus = Bus()
        self.registry = Registry(self.bus.emit)
        self.guard = Guard(self._on_failure, strict=strict)
        self.hub = Hub(self.registry, self.bus.emit, self.guard.failed)
        self.hub.actions.name, self.hub.actions.starting = self.name, self._starts
        self.jobs = Jobs(self.bus, data / "jobs")
        self.discovery = Discovery(folders, data / "installed", self.memory)
        self.workers = Workers(environments or data / "environments", self.discovery, self.jobs)
        self.workers.settings = lambda: settings.section("model", Engines)
        self.records: dict[str, Record] = {}
        self.pages = Pages(templates, self._templates_of)
        self.trouble: dict[str, list[str]] = {}
        """What went wrong in each extension of late, for its card."""
        self.access = Access()
        self.only: set[str] | None = None
        """The extensions that may run (safe mode, `--extensions`); None: as the settings say."""
        self.without: set[str] = set()
        """Extensions left out until they are switched on in Settings (`--without`)."""
        self.starting = False
        """Until all that the user wants were started for the first time."""
        self.patience = 30.0
        """Seconds that a `setup` may take."""
        self._slots: dict[str, Slot] = {}
        self._doomed: set[asyncio.Task[Any]] = set()
        self.changes = Changes(self)

    def slot(self, name: str = "chat") -> Slot:
        return self._slots.setdefault(name, Slot(name, self.bus, self.registry, self.guard.failed))

    @property
    def safe(self) -> bool:
        """Safe mode: Settings alone runs, and what a person starts by hand."""
        return bool(self.flag("kernel", "safe_mode"))

    def flag(self, id: str, name: str) -> Any:
        return self.flags.get(id, {}).get(name, self.flags.get("kernel", {}).get(name))

    def name(self, id: str) -> str:
        """What people call an extension."""
        return self.records[id].name if id in self.records else repr(id[:99])

    @property
    def theme(self) -> str:
        return self.settings.section("appearance", Appearance).theme

    def discover(self) -> None:
        """Look for extensions; none is imported."""
        self.records |= {record.id: record for record in self.discovery.found()}

    def enabled(self, id: str) -> bool:
        """Whether it is to run."""
        if id in self.without:
            return False
        return self.wished(id) if self.only is None else id in self.only

    def wished(self, id: str) -> bool:
        """Whether the user's file wants it on, whatever may run just now."""
        manifest = self.records[id].manifest
        return self.settings.enabled(id, default=bool(manifest and manifest.enabled))

    def ordered(self) -> list[str]:
        """Every extension, in the order of the user's file."""
        return sorted(self.records, key=lambda id: (self.settings.rank(id), id))

    def with_needs(self, ids: Iterable[str]) -> set[str]:
        """These, and all that they need."""
        chosen = list(ids)
        for id in chosen:
            needs = self.records[id].needs if id in self.records else ()
            chosen += [need for need in needs if need not in chosen]
        return set(chosen)

    async def draw(self, entry: Entry[Panel], client: Client | None, subject: str) -> Markup:
        """A panel as HTML; one that fails or hangs costs its own place, with a sentence in it."""
        return await drawn(self, entry, client, subject)

    # --- life of one extension ---------------------------------------------------------

    async def start(self, id: str, needed_by: tuple[str, ...] = ()) -> bool:
        """Start an extension, what it needs and what waited for it; says whether it runs then."""
        if id in needed_by:
            return False
        record = self.records[id]
        async with record.lock:
            if record.is_(Status.RUNNING, Status.STUCK):
                return record.is_(Status.RUNNING)
            record.read()
            if reason := await self._unfit(record, (*needed_by, id)):
                self.becomes(record, Status.INCOMPATIBLE, reason)
                return False
            self.guard.forgive(id)
            self.trouble.pop(id, None)
            record.since = time.time_ns()
            self.becomes(record, Status.STARTING)
            record.stop.clear()
            started = asyncio.get_running_loop().create_future()
            record.task = asyncio.create_task(live(self, record, started), name=f"extension:{id}")
            await asyncio.wait({started}, timeout=self.patience + 1)
            if started.done():
                started.result()  # Raises what its setup raised, with --strict.
            else:
                self.becomes(record, Status.STUCK, STUCK.format(id))
        for slot in self._slots.values() if record.is_(Status.RUNNING) else ():
            self._later(slot.recover())
        if needed_by or not any(map(self._waits, self.records.values())):
            return record.is_(Status.RUNNING)
        for other in map(self.records.__getitem__, self.ordered()):
            if self._waits(other):
                await self.start(other.id)
        return record.is_(Status.RUNNING)

    async def stop(
        self, id: str, then: Status = Status.OFF, reason: str = "", why: str = ""
    ) -> None:
        """Stop an extension, and first those that need it; what it carries can tell `why`."""
        record = self.records[id]
        why = why or f"{record.name} was switched off."
        needy = [other for other in self.records.values() if id in other.needs]
        while other := next((r for r in needy if r.is_(Status.STARTING, Status.RUNNING)), None):
            needs = f"It needs {record.name}, and starts again when that does."
            await self.stop(other.id, reason=needs, why=why)
        async with record.lock:
            if not record.is_(Status.RUNNING) or not record.task:
                record.stop.set()
                if record.manifest and not record.is_(Status.STUCK) and then is Status.OFF:
                    self.becomes(record, then, reason)
                return
            self.becomes(record, Status.STOPPING)
            if record.handle:
                record.handle.why = why
            await self._leave_slots(id, why)
            record.stop.set()
            _, late = await asyncio.wait({record.task}, timeout=5)
            await self._leave_slots(id, why)  # What was wished for meanwhile.
            if late:
                self.becomes(record, Status.STUCK, "It did not stop in time. Restart the server.")
            elif record.is_(Status.STOPPING):
                last = self.trouble.get(id, [""])[-1]
                if not reason and last.startswith("stop: "):
                    reason = f"It is off, but failed at its {last}. To be safe, restart Spindle."
                self.becomes(record, then, reason)

    async def _leave_slots(self, id: str, why: str) -> None:
        for slot in self._slots.values():
            with suppress(LoadFailed):  # A newer wish took its place already.
                await slot.leave(id, why)

    async def restart(self, id: str) -> bool:
        """Stop and start an extension, and those that need it with it."""
        await self.stop(id, why=f"{self.name(id)} is starting again with other settings.")
        return self.enabled(id) and await self.start(id)

    async def close(self) -> None:
        self.only = set()  # Nothing starts any more.
        for slot in self._slots.values():
            await slot.close()
        for id in reversed(self.ordered()):
            await self.stop(id, why="Spindle is stopping.")
        await asyncio.gather(*self._doomed, return_exceptions=True)
        await self.changes.close()

    async def start_worker(
        self, record: Record, code: str, report: Report | None, env: Mapping[str, str]
    ) -> Worker:
        """A child process in the extension's environment, which is built first if need be."""
        assert record.manifest
        variant = record.handle.variant if record.handle else self.settings.variant(record.id)
        start = self.workers.start
        return await start(record.manifest, record.folder, code, variant, report, env)

    # --- inside ------------------------------------------------------------------------

    def _templates_of(self, id: str) -> Path | None:
        record = self.records.get(id)
        alive = record and record.status in (Status.STARTING, Status.RUNNING, Status.STOPPING)
        return record.folder / "templates" if record and alive else None

    async def _unfit(self, record: Record, chain: tuple[str, ...]) -> str:
        """Why it cannot run, in words for its card; empty when it can."""
        if not (manifest := record.manifest):
            return record.reason
        if manifest.api != API:
            return f"It was made for API {manifest.api}; this is API {API}. Look for an update."
        if missing := manifest.missing():
            return f"It needs {', '.join(missing)}. Run: python server.py install {record.id}"
        if clash := path_clash(manifest, self.records.values()):
            return clash
        for need in manifest.requires.extensions:
            if need in chain:
                return f"It needs itself: {' → '.join((*chain, need))}."
            if need not in self.records:
                return f"It needs the extension {need!r}, which is not there. Install that first."
            if not self.enabled(need):
                return f"It needs {self.name(need)}, which is switched off. Switch that on first."
            if not await self.start(need, chain):
                return f"It needs {self.name(need)}, which does not run. Its card says why."
        return ""

    def _waits(self, record: Record) -> bool:
        """Whether it is to run, and does not, though all that it needs runs and shall go on to."""
        if not record.needs or not record.is_(Status.OFF, Status.INCOMPATIBLE):
            return False
        running = all(n and n.is_(Status.RUNNING) for n in map(self.records.get, record.needs))
        return running and all(map(self.enabled, (record.id, *record.needs)))

    def _starts(self, id: str) -> bool:
        """Whether an extension is just now being started."""
        return id in self.records and self.records[id].is_(Status.STARTING)

    def note(self, id: str, point: str, error: BaseException) -> None:
        self.trouble[id] = [*self.trouble.get(id, [])[-4:], f"{point}: {told(error)}"]

    def _on_failure(self, failure: Failure) -> None:
        self.note(failure.owner, failure.point, failure.error)
        if failure.point != f"listener {Failure.__name__}":  # One that fails at this would hear it.
            self.bus.emit(failure)
        record = self.records.get(failure.owner)
        manifest = record and record.manifest
        # Who leads to all the others stays, whatever fails.
        if failure.fatal and record and manifest and "kernel:admin" not in manifest.permissions:
            reason = f"It failed three times within a minute, last in {failure.point}: "
            reason += f"{told(failure.error)}. Mend it, then try again."
            why = f"{record.name} failed three times within a minute and was set aside."
            self._later(self.stop(failure.owner, Status.QUARANTINED, reason, why))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._doomed.add(task)
        task.add_done_callback(self._doomed.discard)

    def becomes(self, record: Record, status: Status, reason: str = "") -> None:
        """Note and tell where an extension is in its life; `reason` is a sentence for its card."""
        log.info("Extension %s: %s. %s", record.id, status, reason)
        record.status, record.reason = status, reason
        self.bus.emit(StatusChanged(record.id, status, reason))
