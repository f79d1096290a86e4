"""Find extensions, start and stop them, and remember why one is not running."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from kernel.bus import Bus
from kernel.changes import Changes
from kernel.clients import Hub
from kernel.contract import Report
from kernel.discovery import Discovery
from kernel.guard import Failure, Guard
from kernel.jobs import Jobs
from kernel.manifest import Manifest
from kernel.model import CLOSING, Slot
from kernel.pages import Pages
from kernel.points import Registry
from kernel.records import LEADS, Access, Appearance, Record, Status, StatusChanged, told
from kernel.remembered import Remembered
from kernel.settings import SettingsFile
from kernel.switching import LEAVING, Switching
from kernel.worker import Worker
from kernel.workers import Engines, Workers

log = logging.getLogger(__name__)
T = TypeVar("T")
STOPPING = "Spindle is stopping."
THREADS = 64
"""For blocking code of extensions; the kernel's own is not held up where all of them hang."""


def variants(manifest: Manifest) -> tuple[str, ...]:
    """The builds of its engine's environment; "" is the one without a name."""
    return ("", *(manifest.worker.variants if manifest.worker else ()))


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
        self.hub = Hub(self)
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
        self.threads = ThreadPoolExecutor(THREADS, "extension-pool")
        self.slots: dict[str, Slot] = {}
        self._doomed: set[asyncio.Task[Any]] = set()
        self._switching, self.changes = Switching(self), Changes(self)

    def slot(self, name: str = "chat") -> Slot:
        return self.slots.setdefault(name, Slot(name, self.bus, self.registry, self.guard.failed))

    @property
    def safe(self) -> bool:
        """Safe mode: Settings alone runs, and what a person starts by hand."""
        return bool(self.flag("kernel", "safe_mode"))

    def flag(self, id: str, name: str) -> Any:
        return self.flags.get(id, {}).get(name, self.flags.get("kernel", {}).get(name))

    def name(self, id: str) -> str:
        """What people call an extension."""
        return self.records[id].name if id in self.records else repr(id[:99])

    def absent(self, id: str, name: str = "") -> str:
        """Why an extension answers nothing just now, in a sentence, or nothing of that name."""
        status = self.records[id].status if id in self.records else Status.OFF
        why = "is switched off. Switch it on in Settings."
        if status is Status.RUNNING:
            why = f"has no {name or 'such page'}. Check how it is written, and who handles it."
        elif status is Status.STARTING:
            why = "is still starting. Try again in a moment."
        elif status is not Status.OFF and self.enabled(id):
            why = "does not run. Its card in Settings says why."
        elif id in self.records and self.enabled(id) and self.records[id].reason:
            why = f"does not run. {self.records[id].reason}"  # It waits for another.
        return f"{self.name(id)} {why}"

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
        manifest = self.records[id].manifest if id in self.records else None
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

    # --- life of one extension ---------------------------------------------------------

    async def start(self, id: str, needed_by: tuple[str, ...] = ()) -> bool:
        """Start an extension, what it needs and what waited for it; says whether it runs then.

        Whoever asks may be gone before it is done.
        """
        return await asyncio.shield(self.later(self._switching.start(id, bool(needed_by))))

    async def stop(
        self, id: str, then: Status = Status.OFF, reason: str = "", why: str = ""
    ) -> None:
        """Stop an extension, and first those that need it; what it carries can tell `why`."""
        await asyncio.shield(self.later(self._switching.stop(id, then, reason, why)))

    async def restart(self, id: str) -> bool:
        """Stop and start an extension, and those that need it with it."""
        await self.stop(id, why=f"{self.name(id)} is starting again with other settings.")
        return self.enabled(id) and await self.start(id)

    async def close(self) -> None:
        self.only = set()  # Nothing starts any more.
        await asyncio.gather(*map(self._switching.give_up, self.records.values()))
        for slot in self.slots.values():
            await asyncio.wait({asyncio.create_task(slot.unload(STOPPING))}, timeout=CLOSING + 1)
        for id in reversed(self.ordered()):
            await self.stop(id, why=STOPPING)
        if self._doomed:
            await asyncio.wait(self._doomed, timeout=LEAVING)
        self.threads.shutdown(wait=False)

    async def start_worker(
        self, record: Record, code: str, report: Report | None, env: Mapping[str, str]
    ) -> Worker:
        """A child process in the extension's environment, which is built first if need be."""
        assert record.manifest
        return await self.workers.start(record, code, self.variant(record.manifest), report, env)

    def variant(self, manifest: Manifest) -> str:
        """Which build of its engine's environment an extension has: one of this manifest."""
        best = self.best_variant(manifest)
        chosen = self.settings.variant(manifest.id, best)
        return chosen if chosen in variants(manifest) else best

    def best_variant(self, manifest: Manifest) -> str:
        """The one that it has where nobody chose: the extension's own choice, or the machine's."""
        record = self.records.get(manifest.id)
        own = record.handle.default_variant if record and record.handle else None
        return own if own in variants(manifest) else self.workers.suited(manifest)

    # --- inside ------------------------------------------------------------------------

    def _templates_of(self, id: str) -> Path | None:
        record = self.records.get(id)
        alive = record and record.status in (Status.STARTING, Status.RUNNING, Status.STOPPING)
        return record.folder / "templates" if record and alive else None

    def note(self, id: str, point: str, error: BaseException) -> None:
        self.trouble[id] = [*self.trouble.get(id, [])[-4:], f"{point}: {told(error)}"]

    def _on_failure(self, failure: Failure) -> None:
        self.note(failure.owner, failure.point, failure.error)
        if failure.point != f"listener {Failure.__name__}":  # One that fails at this would hear it.
            self.bus.emit(failure)
        record = self.records.get(failure.owner)
        if failure.fatal and record and record.id != LEADS:
            reason = f"It failed three times within a minute, last in {failure.point}: "
            reason += f"{told(failure.error)}. Mend it, then try again."
            why = f"{record.name} failed three times within a minute and was set aside."
            self.later(self.stop(failure.owner, Status.QUARANTINED, reason, why))

    def later(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it in a task of the kernel's own, whose end its close awaits."""
        task = asyncio.create_task(work)
        self._doomed.add(task)
        task.add_done_callback(self._doomed.discard)
        return task

    def becomes(self, record: Record, status: Status, reason: str = "") -> None:
        """Note and tell where an extension is in its life; `reason` is a sentence for its card."""
        log.info("Extension %s: %s. %s", record.id, status, reason)
        record.status, record.reason = status, reason
        self.bus.emit(StatusChanged(record.id, status, reason))
