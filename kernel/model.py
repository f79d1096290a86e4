"""The model slots: at most one model in each, and everyone reaches it through the kernel."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from kernel.bus import Bus
from kernel.checks import check
from kernel.contract import Finish, Refused, Request
from kernel.generation import TOLD, LoadFailed, NoModel, Replaced
from kernel.guard import Failed, called
from kernel.loaders import (
    Generated,
    Generation,
    Installs,
    Model,
    News,
    SlotChanged,
    Telling,
    closed,
    ended,
    loader_for,
    opened,
    shown,
)
from kernel.points import Registry
from kernel.records import told
from kernel.samplers import SAMPLERS, checked

log = logging.getLogger(__name__)
Wish = tuple[Path, str, dict[str, Any]]
Work = Callable[[], Awaitable[None]]
CLOSING = 10.0
"""Seconds that a model may take to end."""
ASKED: "ContextVar[Callable[[Generation, str], None] | None]" = ContextVar("asked", default=None)
"""Set where an extension answers a reply: it hears of the generation that the answer asks for."""
DEATHS, MINUTE = 4, 60
"""An engine that dies so often in so many seconds is started again only by hand."""
LASTING = 600
"""Seconds of life that prove an engine which came back, whatever it was asked for."""
EMPTY = "No model is loaded. Choose one in the status line at the bottom of the page."


class Slot:
    """Loads one model at a time; the newest wish wins; a dead engine is replaced once."""

    REPLACED = "The model is being replaced."

    def __init__(self, name: str, bus: Bus, registry: Registry, failed: Failed) -> None:
        self.name, self.owner = name, ""
        self.why = ""
        """Why the last model was taken away, for whoever was still reading from it."""
        self.model: Model | None = None
        self.state = SlotChanged(name, "empty")
        self.report = Telling(self._heard)
        """Its `lines` are those that the engine printed last, also after its end."""
        self.wake: Work | None = None
        """Brings back a model that was put to rest, where an extension does that."""
        self._bus, self._registry, self._failed = bus, registry, failed
        self._news = News(bus)
        self._work: asyncio.Task[Any] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._doing: Work | None = None
        self._wanted: Wish | None = None
        self._loaded: Wish | None = None
        self._next = ""
        """The extension that installs an engine while another model is still there."""
        self._lost = self._proven = False
        self._deaths: list[float] = []
        self._since = 0.0
        """When it became ready (monotonic)."""

    async def load(self, path: Path, loader: str = "", options: Mapping[str, Any] = {}) -> None:
        """Replace what is loaded; raises LoadFailed, also when a newer wish came meanwhile."""
        self._wanted = path, loader, dict(options)
        self._trust()
        await self._instead(self._replace)

    async def expect(self, path: Path) -> None:
        """Say that this will be loaded, whose loader is not there yet, until it or another is, or
        until this is cancelled: who asks waits meanwhile, as for a load."""
        if self.state.state != "empty" or (self._work and not self._work.done()):
            return
        before, self._wanted = self._wanted, (path, "", {})
        waiting = self._work = asyncio.create_task(asyncio.Event().wait())
        self._report(0, f"Loading {path.name}")
        try:
            await asyncio.wait({waiting})
        finally:
            waiting.cancel()
            if self._work is waiting:
                self._wanted = before
                self._stay("empty", "")

    async def reload(self) -> None:
        """Load again what was loaded last."""
        if not self._wanted:
            raise NoModel(EMPTY)
        self._trust()
        await self._instead(self._replace)

    def _trust(self) -> None:
        """A person chose: what went wrong before does not count."""
        self._proven, self._deaths = True, []

    async def unload(self, why: str = "") -> None:
        """Give all memory back; `why` is told to whoever still waits for a reply."""
        await self._instead(partial(self._empty, why))

    async def cancel(self, why: str = "") -> None:
        """Give up a load; a model that is still there, for only an engine is being made, stays."""
        if self.model and self._work:
            self._work.cancel()
            await self.wait()
        else:
            await self.unload(why)

    async def leave(self, owner: str, why: str) -> None:
        """Do without an extension that stops: what it runs or loads goes, to come back with it."""
        if owner == self.owner and self._next not in ("", owner):  # The load of another goes on.
            await self._drop(f"{why} It ran this model.", self.state.note or why)
            self.owner = self._next or self.owner
        elif owner == self.owner:
            await self._instead(partial(self._empty, f"{why} It ran this model.", why))
        elif owner == self._next:
            await self.cancel()

    async def recover(self) -> None:
        """Load again what went with its extension, if something that takes it is there."""
        if self._lost and self._wanted:
            with suppress(NoModel, LoadFailed):  # The state says so.
                loader_for(*self._wanted[:2], self._registry, self._failed)
                await self.reload()

    async def wait(self) -> None:
        """Until a load or unload that is under way has ended, however it ends."""
        if self._work:
            await asyncio.wait({self._work})

    async def settled(self) -> None:
        """Until nothing is being loaded, and a model that was put to rest is back."""
        if self.wake:
            await self.wake()
        while self.state.state == "loading":
            await self.wait()
            await asyncio.sleep(0)  # A newer wish may have replaced the one that ended.

    async def generate(self, request: Request) -> Generation:
        """Ask the model, after a load that is under way; raises NoModel or LoadFailed."""
        await self.settled()
        if not self.model:
            failed = self.state.state == "failed"
            raise LoadFailed(self.state.error) if failed else NoModel(self.state.error or EMPTY)
        generation = self.model.generate(checked(request, self.model.info, self.samplers()))
        if asked := ASKED.get():
            asked(generation, self.model.info.name)
        return generation

    def samplers(self) -> list[type[msgspec.Struct]]:
        """The parameters that the loader of the loaded model adds to `Sampling`."""
        loader = self.model.info.loader if self.model else ""
        return [each.kind for each in self._registry.values(SAMPLERS) if each.loader == loader]

    def ended(self, finish: Finish, seconds: float) -> None:
        """Remember that a generation ended; one without an error proves the engine."""
        self._proven = self._proven or finish.reason != "error"
        self._bus.emit(Generated(self.name, finish, seconds))

    async def _instead(self, work: Work) -> None:
        self._lost, self._doing = False, work
        task = self._work = asyncio.create_task(self._after(self._work, work))
        await asyncio.wait({task})
        if task.cancelled() and task is not self._work and self._doing == self._replace:
            raise Replaced
        if task.cancelled():
            raise LoadFailed("The loading was cancelled.")
        task.result()

    async def _after(self, before: "asyncio.Task[Any] | None", work: Work) -> None:
        if before and not before.done():
            before.cancel()
            await ended(before)  # Even when a newer wish cancels this one: never two at once.
        if self._work is asyncio.current_task():
            await work()
        else:
            raise asyncio.CancelledError

    async def _replace(self) -> None:
        """Load; what is refused gives its place back to what was there before."""
        before = self._loaded if self.model and self._loaded != self._wanted else None
        try:
            await self._load()
        except LoadFailed as error:
            if before and not self.model and isinstance(error.__cause__, TOLD):
                self._wanted = before
                with suppress(LoadFailed):
                    await self._load(said=f"{error} ")
            raise

    async def _load(self, pause: float = 0, said: str = "") -> None:
        assert self._wanted
        path, wish, options = self._wanted
        try:
            self._report(0, f"Loading {path.name}")
            self.report.lines, self.report.loop = tuple, asyncio.get_running_loop()
            await asyncio.sleep(pause)
            self._next, loader = loader_for(path, wish, self._registry, self._failed)
            good, errors = check(loader.Options, options)
            if errors:
                raise Refused("; ".join(f"{k}: {v}" for k, v in errors.items()))
            if isinstance(loader, Installs):
                self.owner = self.owner or self._next
                await called(loader.install, self.report)
            await self._drop(self.REPLACED, f"Loading {path.name}")
            self.owner = self._next
            options = loader.Options(**{k: v for k, v in good.items() if v is not msgspec.UNSET})
            model = await opened(await called(loader.open, path, options, self.report))
            model.died.add_done_callback(lambda died: self._on_death(model, died))
        except asyncio.CancelledError:
            if self._work is asyncio.current_task():
                self._stay("empty", "")
            raise
        except Exception as error:
            log.warning("%s did not load: %s", path.name, told(error))
            if self._next and not isinstance(error, TOLD):
                self._failed(self._next, "loader", error)
            why = str(error) if isinstance(error, TOLD) else told(error)
            self._stay("failed", f"{said}{LoadFailed.of(path.name, why)}")
            raise LoadFailed(self.state.error) from error
        finally:
            self._next = ""
        self.model, self.why, self._loaded, self._lost = model, "", self._wanted, False
        self._since = time.monotonic()
        self._set("ready", info=model.info, error=said and f"{said}{shown(path)} is loaded again.")

    def _stay(self, state: str, error: str) -> None:
        """After a load that came to nothing: with the model that is still there, or without."""
        if self.model:
            self._wanted = self._loaded
            self._set("ready", info=self.model.info, error=error)
        else:
            self.owner = ""
            self._set(state, error=error)

    def _report(self, fraction: float, note: str) -> None:
        info = self.model.info if self.model else None
        self._set("ready" if info else "loading", info=info, note=note, fraction=fraction)

    def _heard(self, fraction: float, note: str) -> None:
        if self._next:  # Else a thread goes on after its load was given up.
            self._report(fraction, note)

    def _on_death(self, model: Model, died: "asyncio.Future[str]") -> None:
        if model is not self.model or died is not model.died or died.cancelled():
            return
        self.model, why = None, died.result()
        log.error("The model %s is gone: %s", model.info.name, why)
        now = time.monotonic()
        if self._deaths and now - self._since > LASTING:
            self._proven = True
        self._deaths = [at for at in self._deaths if at > now - MINUTE] + [now]
        again = f"{len(self._deaths)} times in a minute" if self._proven else "again"
        if not self._proven or len(self._deaths) >= DEATHS:
            self._set("failed", error=f"The engine stopped {again}. {why} Load the model by hand.")
            return
        self._proven = False
        self._set("loading", note=f"The engine stopped. {why} Starting it again.", error=why)
        task = self._work = asyncio.create_task(self._after(self._work, partial(self._load, 0.2)))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _empty(self, why: str, lost: str = "") -> None:
        await self._drop(why)
        self._lost = bool(lost) and self._wanted is not None
        name = shown(self._wanted[0]) if self._wanted else ""
        self._set("empty", error=f"{lost} {name} is loaded again when it is back." if lost else "")

    async def _drop(self, why: str, note: str = "") -> None:
        model, owner, self.model, self.owner, self.why = self.model, self.owner, None, "", ""
        if note:  # From here on who asks waits for the next one.
            self._report(0, note)
        if model:
            self.why = why
            failed = partial(self._failed, owner, "loader: closing its model")
            self._ending = asyncio.create_task(closed(model, CLOSING, failed))
        if self._ending and await ended(self._ending):
            raise asyncio.CancelledError

    def _set(self, state: str, **fields: Any) -> None:
        name = shown(self._wanted[0]) if self._wanted and state != "empty" else ""
        lines = self.report.tail() if fields.get("error") and state != "ready" else ()
        self.state = SlotChanged(self.name, state, name, lines=lines, **fields)
        self._news.tell(self.state)
