"""Which engine runs GGUF files: building the native one, and changing between the two."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from extensions.llama_cpp import building
from extensions.llama_cpp.compiling import Report, before_load
from kernel.api import (
    Action,
    Client,
    Everyone,
    Extension,
    Job,
    JobProgress,
    LoadFailed,
    NoModel,
    Refused,
    Replaced,
)

SLOTS = ("chat", "embedding")


class Build(Action, frozen=True):
    """Build the native engine and use it."""

    variant: str = "native"


class Use(Action, frozen=True):
    """Use an engine that is there, from now on; "" is the prebuilt one."""

    variant: str = ""


class Stop(Action, frozen=True):
    """Build no further."""


class Choosing:
    """The engine in use, those that are built, and the one that is being built."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._job: Job | None = None
        self._title, self._fraction, self._note = "", 0.0, ""
        self._failure, self._log, self._stopped = "", "", False
        self._built: frozenset[str] = frozenset()
        self.told: Callable[[bool], None] = lambda built: None
        """Hears whether a native engine is there, and that another one may be in use."""

    async def look(self) -> None:
        """See again which environments are there."""
        found = [
            each.variant
            for each in building.BACKENDS
            if await self._ext.missing(each.variant) is None
        ]
        self._built = frozenset(found)
        self._ext.default_variant = await self._ext.thread(
            building.best, self._ext.environments, found
        )
        self._tell()

    def build(self, variant: str, client: Client) -> None:
        """Begin; what is loaded answers until the new engine is there. Raises Refused."""
        if not client.near and not self._ext.flag("allow_remote_install"):
            raise Refused(
                "Building runs programs on the server's machine, so it begins only in a browser "
                "there. Open the page there, or start Spindle with --allow-remote-install."
            )
        if self._job:
            raise Refused("An engine is being built already. Wait for it, or cancel it.")
        try:
            chosen = building.backend(variant)
        except building.NotBuilt as error:
            raise Refused(str(error)) from None
        self._title, self._failure, self._log = chosen.title, "", ""
        self._stopped = False
        self._job = self._ext.job(f"Building llama.cpp for {chosen.title}", self._work(variant))
        self.push()

    def stop(self) -> None:
        if self._job:
            self._job.cancel()

    async def use(self, variant: str) -> None:
        """Change the engine, and load again what is loaded; raises Refused where that fails."""
        before = self._ext.variant
        await self.look()
        if variant and variant not in self._built:
            raise Refused("That engine is not built. Build it first.")
        await self._set(variant)
        for name in SLOTS:
            slot = self._ext.slot(name)
            if not slot.model or slot.owner != self._ext.id:
                continue
            try:
                await slot.reload()
            except Replaced:  # By another model, which came with this engine.
                continue
            except (LoadFailed, NoModel) as error:
                await self._set(before)
                if not slot.model:
                    await slot.reload()
                raise Refused(f"{error} The engine from before is in use again.") from error

    async def _set(self, variant: str) -> None:
        values = {"variant": variant}  # "" too: never chosen means what is built
        await self._ext.thread(self._ext.configure, values)
        self._tell()
        self.push()

    def _tell(self) -> None:
        self.told(bool(self._built) or bool(self._ext.variant))

    async def install(self, report: Report) -> None:
        """Before a load: build the wheel of an engine that was chosen and is not there."""
        await self.look()
        variant = self._ext.variant
        if variant and await self._ext.missing(variant) is not None:
            with self._told():
                await before_load(self._ext, variant, report)

    def heard(self, progress: JobProgress) -> None:
        """How far the job is."""
        if self._job and progress.id == self._job.progress.id and progress.state == "running":
            self._fraction, self._note = progress.fraction or 0.0, progress.note
            self.push()

    # --- the job ---

    def _work(self, variant: str) -> Callable[[Job], Awaitable[None]]:
        async def work(job: Job) -> None:
            whole = False
            try:
                with self._told():
                    await self._ext.thread(
                        building.unheard, self._ext.environments, variant, job.report, job.cancelled
                    )
                whole = True
                await self._ext.install(job.report, variant)
                await self.use(variant)
            except asyncio.CancelledError:
                self._stopped = not whole
                raise
            except Exception as error:
                self._failure = str(error)
                raise
            finally:
                self._job, self._fraction, self._note = None, 0.0, ""
                self.push()

        return work

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except building.NotBuilt as error:
            self._log = error.log
            raise Refused(str(error)) from None

    # --- the page ---

    def push(self) -> None:
        html = self._ext.render("_engine.html", oob=True, **self.context())
        self._ext.push_html(html, Everyone(), "llama_cpp-engine")

    def context(self) -> Mapping[str, Any]:
        return {
            "variant": self._ext.variant,
            "backends": building.BACKENDS,
            "built": self._built,
            "building": self._title if self._job else "",
            "fraction": self._fraction,
            "note": self._note,
            "failure": self._failure,
            "log": self._log,
            "stopped": building.CANCELLED if self._stopped else "",
        }

    async def section(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        await self.look()
        return self.context()
