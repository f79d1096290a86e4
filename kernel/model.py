"""The model slots: at most one model in each, and everyone reaches it through the kernel."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import msgspec

from kernel.bus import Bus
from kernel.checks import check, unknown
from kernel.contract import Delta, Finish, ModelInfo, Refused, Report, Request
from kernel.generation import WorkerDied, WorkerError
from kernel.guard import called
from kernel.points import Point, Registry
from kernel.records import told
from kernel.settings import SettingsError

log = logging.getLogger(__name__)
Work = Callable[[], Awaitable[None]]


class Generation(Protocol):
    """A reply as the engine makes it: iterate over its deltas, then look at `finish`."""

    finish: Finish | None

    def __aiter__(self) -> "Generation": ...
    async def __anext__(self) -> Delta: ...
    def cancel(self) -> None: ...


class Model(Protocol):
    """A loaded model, wherever it runs."""

    info: ModelInfo
    died: "asyncio.Future[str]"
    """Resolved with a sentence when the model is gone by itself."""

    def generate(self, request: Request) -> Generation: ...
    async def call(self, name: str, **data: Any) -> Any: ...
    async def close(self) -> None: ...


@runtime_checkable
class Loader(Protocol):
    """Knows one family of model files; the fields of `Options` become the load form."""

    id: str
    label: str
    Options: type[msgspec.Struct]

    def accepts(self, path: Path, /) -> bool: ...
    async def open(self, path: Path, options: Any, report: Report) -> Model: ...


LOADERS: Point[Loader] = Point("loaders", "Ways to load a model.", Loader)


class Samplers(msgspec.Struct, frozen=True):
    """Sampling parameters of one loader: the fields of `kind` become form fields wherever
    parameters are shown, and travel in `Sampling.extra` as plain data."""

    loader: str
    """The id of the loader; its models name "extra" in `ModelInfo.samplers`."""
    kind: type[msgspec.Struct]

    def __post_init__(self) -> None:
        if not hasattr(cast(Any, self.kind), "__struct_fields__"):
            raise TypeError("the kind of Samplers is a Struct class")


SAMPLERS: Point[Samplers] = Point("samplers", "Sampling parameters that a loader adds.", Samplers)


class SlotChanged(msgspec.Struct, frozen=True):
    """A slot's state: empty, loading, ready or failed; `error` is a sentence for the user."""

    slot: str
    state: str
    name: str = ""
    """The file or folder it is about."""
    info: ModelInfo | None = None
    note: str = ""
    fraction: float = 0.0
    error: str = ""


class Generated(msgspec.Struct, frozen=True):
    """A generation ended."""

    slot: str
    finish: Finish
    seconds: float


class NoModel(LookupError):
    """Nothing is loaded, or no running loader accepts the file."""


class LoadFailed(RuntimeError):
    """The model could not be loaded; the message is a sentence for the user."""


TOLD = (Refused, SettingsError, NoModel, LoadFailed, WorkerError, WorkerDied, OSError)
"""Errors that are sentences for a person: whoever raises them did nothing wrong."""
CLOSING = 10.0
"""Seconds that a model may take to end."""
EMPTY = "No model is loaded. Choose one in the status line at the bottom of the page."


class Slot:
    """Loads one model at a time; the newest wish wins; a dead engine is replaced once."""

    def __init__(
        self,
        name: str,
        bus: Bus,
        registry: Registry,
        failed: Callable[[str, str, BaseException], None] = lambda owner, point, error: None,
    ) -> None:
        self.name, self.owner = name, ""
        self.why = ""
        """Why the last model was taken away, for whoever was still reading from it."""
        self.model: Model | None = None
        self.state = SlotChanged(name, "empty")
        self._bus, self._registry, self._failed = bus, registry, failed
        self._work: asyncio.Task[None] | None = None
        self._wanted: tuple[Path, str, dict[str, Any]] | None = None
        self._proven = False

    async def load(self, path: Path, loader: str = "", options: Mapping[str, Any] = {}) -> None:
        """Replace what is loaded; raises LoadFailed, also when a newer wish came meanwhile."""
        self._wanted, self._proven = (path, loader, dict(options)), True
        await self._instead(self._load)

    async def reload(self) -> None:
        """Load again what was loaded last."""
        if not self._wanted:
            raise NoModel(EMPTY)
        self._proven = True
        await self._instead(self._load)

    async def unload(self, why: str = "") -> None:
        """Give all memory back; `why` is told to whoever still waits for a reply."""
        await self._instead(partial(self._empty, why))

    async def wait(self) -> None:
        """Until a load or unload that is under way has ended, however it ends."""
        if self._work:
            await asyncio.wait({self._work})

    async def settled(self) -> None:
        """Until nothing is being loaded."""
        while self.state.state == "loading":
            await self.wait()
            await asyncio.sleep(0)  # A newer wish may have replaced the one that ended.

    async def generate(self, request: Request) -> Generation:
        """Ask the model, after a load that is under way; raises NoModel or LoadFailed."""
        await self.settled()
        if not self.model and self.state.state == "failed":
            raise LoadFailed(self.state.error)
        if not self.model:
            raise NoModel(EMPTY)
        return self.model.generate(self._checked(request))

    def samplers(self) -> list[type[msgspec.Struct]]:
        """The parameters that the loader of the loaded model adds to `Sampling`."""
        loader = self.model.info.loader if self.model else ""
        return [each.kind for each in self._registry.values(SAMPLERS) if each.loader == loader]

    def _checked(self, request: Request) -> Request:
        """The request with its loader's own parameters as plain data; raises Refused."""
        if not (asked := request.sampling.extra):
            return request
        rest, plain, problems = dict(asked), dict[str, Any](), list[str]()
        for kind in self.samplers():
            mine = {name: rest.pop(name) for name in kind.__struct_fields__ if name in rest}
            good, bad = check(kind, mine)
            good = {name: value for name, value in good.items() if value is not msgspec.UNSET}
            plain |= msgspec.to_builtins(good)
            problems += bad.values()
        names = [name for kind in self.samplers() for name in kind.__struct_fields__]
        problems += [unknown(name, names, "sampling parameter") for name in rest]
        if problems:
            raise Refused(" ".join(problems))
        sampling = msgspec.structs.replace(request.sampling, extra=plain)
        return msgspec.structs.replace(request, sampling=sampling)

    def ended(self, finish: Finish, seconds: float) -> None:
        """Remember that a generation ended; one without an error proves the engine."""
        self._proven = self._proven or finish.reason != "error"
        self._bus.emit(Generated(self.name, finish, seconds))

    async def close(self) -> None:
        await self.unload("Spindle is stopping.")

    async def _instead(self, work: Work) -> None:
        task = self._work = asyncio.create_task(self._after(self._work, work))
        await asyncio.wait({task})
        if task.cancelled():
            raise LoadFailed("Another choice replaced this one.")
        task.result()

    async def _after(self, before: "asyncio.Task[None] | None", work: Work) -> None:
        if before and not before.done():
            before.cancel()
            waiting = asyncio.ensure_future(asyncio.wait({before}))
            while not waiting.done():  # Even when a newer wish cancels this one: never two at once.
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(waiting)
        if self._work is asyncio.current_task():
            await work()
        else:
            raise asyncio.CancelledError

    async def _load(self, pause: float = 0) -> None:
        assert self._wanted
        path, wish, options = self._wanted
        await self._drop("The model is being replaced.")
        self._set("loading", note=f"Loading {path.name}")
        try:
            await asyncio.sleep(pause)
            owner, loader = self._loader(path, wish)
            good, errors = check(loader.Options, options)
            if errors:
                raise LoadFailed("; ".join(f"{k}: {v}" for k, v in errors.items()))
            self.owner = owner
            options = {k: v for k, v in good.items() if v is not msgspec.UNSET}
            options = loader.Options(**options)
            model = await called(loader.open, path, options, self._report)
            if not isinstance(getattr(cast(Any, model), "info", None), ModelInfo):
                raise TypeError(f"expected a Model, got {type(model).__name__}")
            model.died.add_done_callback(lambda died: self._on_death(model, died))
        except asyncio.CancelledError:
            if self._work is asyncio.current_task():
                self._set("empty")
            raise
        except Exception as error:
            log.warning("%s did not load: %s", path.name, told(error))
            if self.owner and not isinstance(error, TOLD):
                self._failed(self.owner, "loader", error)
            why = str(error) if isinstance(error, TOLD) else told(error)
            self._set("failed", error=f"{path.name} did not load. {why}")
            raise LoadFailed(self.state.error) from error
        self.model, self.why = model, ""
        self._set("ready", info=model.info)

    def _loader(self, path: Path, wish: str) -> tuple[str, Loader]:
        entries = self._registry.entries(LOADERS)
        for entry in entries:
            try:
                if entry.value.id == wish if wish else entry.value.accepts(path):
                    return entry.owner, entry.value
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                self._failed(entry.owner, f"loader {entry.value.id}", error)
        known = ", ".join(entry.value.label for entry in entries) or "none"
        raise NoModel(f"No running loader takes this file (running: {known}). See Settings.")

    def _report(self, fraction: float, note: str) -> None:
        self._set("loading", note=note, fraction=fraction)

    def _on_death(self, model: Model, died: "asyncio.Future[str]") -> None:
        if model is not self.model or died.cancelled():
            return
        self.model, why = None, died.result()
        log.error("The model %s is gone: %s", model.info.name, why)
        if not self._proven:
            self._set("failed", error=f"The engine stopped again. {why} Load the model by hand.")
            return
        self._proven = False
        self._set("loading", note=f"The engine stopped. {why} Starting it again.", error=why)
        again = self._after(self._work, partial(self._load, 0.2))
        task = self._work = asyncio.create_task(again)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _empty(self, why: str) -> None:
        await self._drop(why)
        self._set("empty")

    async def _drop(self, why: str) -> None:
        model, owner, self.model, self.owner, self.why = self.model, self.owner, None, "", ""
        if model:
            self.why = why
            try:
                async with asyncio.timeout(CLOSING):
                    await called(model.close)
            except Exception as error:
                self._failed(owner, "loader: closing its model", error)

    def _set(self, state: str, **fields: Any) -> None:
        name = self._wanted[0].stem if self._wanted and state != "empty" else ""
        self.state = SlotChanged(self.name, state, name, **fields)
        self._bus.emit(self.state)
