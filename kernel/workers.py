"""Starting child processes: the environment first, built by a job that the page shows."""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from kernel.contract import ModelInfo, Refused, Report, Request
from kernel.discovery import Discovery
from kernel.environments import Environment, build, lock_for, python_of, ready, remove
from kernel.jobs import Job, Jobs
from kernel.loaders import Generation, Telling, ToInstall
from kernel.manifest import Manifest, Variant
from kernel.platform_ import has_nvidia
from kernel.records import Record
from kernel.sampling import Struct
from kernel.worker import Limits, Worker

if TYPE_CHECKING:
    from kernel.extension import Extension

log = logging.getLogger("workers")

GRAVE = {"error": logging.ERROR, "warning": logging.WARNING}

HANGS = "Seconds without a word until an engine counts as hung; ten times that for a prompt."


class Engines(Struct, frozen=True):
    """The section `model` of the settings."""

    silence: Annotated[float, Meta(ge=5, le=86400, description=HANGS)] = 60.0


class Workers:
    """Builds each environment once and starts workers in it."""

    def __init__(self, root: Path, discovery: Discovery, jobs: Jobs) -> None:
        self.root = root
        self.settings: Callable[[], Engines] = Engines
        self._discovery, self._jobs = discovery, jobs
        self._locks: dict[str, asyncio.Lock] = {}

    def environment(
        self, manifest: Manifest, variant: str = "", folder: Path | None = None
    ) -> Environment:
        """What an extension's workers need, also of one in this `folder` that takes the place of
        what is here of it; raises ValueError when it has none."""
        if not (table := manifest.worker):
            raise ValueError(f"{manifest.id} has no [worker] table in its extension.toml")
        if variant and variant not in table.variants:
            raise Refused(f"{manifest.name} has no variant {variant!r}. Choose one in Settings.")
        chosen = table.variants.get(variant, Variant())
        name = f"{table.environment}-{variant}" if variant else table.environment
        places = self._discovery.trusted()
        if folder:
            places = [*(each for each in places if each.name != manifest.id), folder]
        lock = lock_for(table.environment, places)
        return Environment(name, (*table.python, *chosen.python), lock, chosen.index)

    def suited(self, manifest: Manifest) -> str:
        """The variant for this machine's hardware, but not beside the other one."""
        table = manifest.worker if sys.platform == "linux" else None
        without = [n for n, each in table.variants.items() if each.without] if table else []
        if not table or not without or has_nvidia():
            return ""
        variant = without[0]
        names = (table.environment, f"{table.environment}-{variant}")
        whole, part = ((self.root / name / "stamp").exists() for name in names)
        return "" if whole and not part else variant

    def missing(self, manifest: Manifest, variant: str) -> ToInstall | None:
        """What is still to be installed, or None; blocking."""
        env, table = self.environment(manifest, variant), manifest.worker
        if ready(env, self.root) or not table:
            return None
        chosen = table.variants.get(variant, Variant())
        return ToInstall(env.requirements, chosen.size or table.size)

    async def prepare(
        self, manifest: Manifest, variant: str, report: Report | None, folder: Path | None = None
    ) -> Path:
        """The interpreter of the extension's environment, after building it if need be."""
        env = self.environment(manifest, variant, folder)
        async with self._locks.setdefault(env.name, asyncio.Lock()):
            if await asyncio.to_thread(ready, env, self.root):
                return python_of(self.root / env.name)

            def blocking(job: Job) -> Path:
                def said(fraction: float, note: str) -> None:
                    job.report(fraction, note)
                    if report:
                        report(fraction / 2, f"Installing {manifest.name}: {note}")

                return build(env, self.root, said, job.cancelled)

            async def work(job: Job) -> Path:
                return await asyncio.to_thread(blocking, job)

            job = self._jobs.start(manifest.id, f"Installing {manifest.name}", work, awaited=True)
            try:
                return await asyncio.shield(job.done)
            except asyncio.CancelledError:
                job.cancel()
                raise

    async def remove(self, name: str) -> None:
        """Delete an environment that nobody uses; raises EnvironmentFailed."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            await asyncio.to_thread(remove, name, self.root)

    async def start(
        self, record: Record, code: str, variant: str, report: Report | None, env: Mapping[str, str]
    ) -> Worker:
        """A child process that runs `code`, a `"<file>.py:<Class>"` of the extension."""
        manifest = record.manifest
        assert manifest
        python = await self.prepare(manifest, variant, report)
        engine_log = logging.getLogger(f"extensions.{manifest.id}.worker")
        variables = {**(manifest.worker.variables if manifest.worker else {}), **env}
        silence = self.settings().silence
        limits = Limits(silence=silence, reading=silence * 10)
        heard = partial(hear, engine_log)
        return await Worker.start(python, str(record.folder / code), variables, heard, limits)


def hear(log: logging.Logger, line: str) -> None:
    """Log an engine's line, as gravely as it says itself at its beginning."""
    log.log(GRAVE.get(line.partition(":")[0], logging.DEBUG), "%s", line)


class WorkerModel:
    """A model in a child process."""

    def __init__(self, worker: Worker, info: ModelInfo) -> None:
        self.worker, self.info, self.died = worker, info, worker.died
        self.uses = 0
        """How often it was asked for anything: replies and calls."""

    @property
    def busy(self) -> bool:
        """Whether it writes or works: then it is no time to unload it."""
        return self.worker.busy

    def generate(self, request: Request) -> Generation:
        self.uses += 1
        return self.worker.generate(request)

    async def call(self, name: str, **data: Any) -> Any:
        self.uses += 1
        return await self.worker.call(name, **data)

    async def close(self) -> None:
        await self.worker.close()


class WorkerLoader:
    """A loader whose engine runs in a child process of its extension: all that most need."""

    def __init__(
        self,
        ext: "Extension[Any]",
        *,
        id: str,
        label: str,
        engine: str,
        Options: type[Any],
        accepts: Callable[[Path], bool],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.id, self.label, self.Options, self.accepts = id, label, Options, accepts
        self.note = self.about = ""
        """A sentence for whoever is about to load, and the address of the loader's settings."""
        self.samplers: tuple[str, ...] = ()
        """The fields of `Sampling` that its models honour, told before one is loaded."""
        self.given: Mapping[str, Any] = {}
        """The options that the command line says, which go before those saved for a model."""
        self._ext, self._engine, self._env = ext, engine, env or {}

    async def missing(self) -> ToInstall | None:
        return await self._ext.missing()

    async def install(self, report: Report) -> None:
        await self._ext.install(report)

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        """Start the worker and load; a cancelled or failed load leaves no process behind."""
        worker = await self._ext.worker(self._engine, report, self._env)
        if isinstance(report, Telling):
            report.lines = lambda: worker.log_tail
        try:
            # All of them: another class with other defaults may read them there.
            given = msgspec.to_builtins(msgspec.structs.asdict(options))
            info = await worker.load(path, given, report)
        except BaseException:
            await asyncio.shield(worker.close(grace=0))
            raise
        return WorkerModel(worker, info)
