"""What loads a model, and what is loaded: the protocols that loaders of extensions keep to."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from kernel.bus import Bus
from kernel.contract import Delta, Finish, ModelInfo, Report, Request
from kernel.generation import NoModel
from kernel.guard import Failed, called
from kernel.points import Point, Registry

PACE = 0.1
"""Seconds between two words of how far a step of a load is."""
IDLE = "none; --extensions or --safe-mode may be why"


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
    lines: tuple[str, ...] = ()
    """What the engine that failed printed last."""


class Generated(msgspec.Struct, frozen=True):
    """A generation ended."""

    slot: str
    finish: Finish
    seconds: float


class News:
    """What is told of a slot: each change at once, but of how far a step is only so much. Some
    engines say that in a burst, and whoever listens draws what it hears."""

    def __init__(self, bus: Bus) -> None:
        self._bus, self._last = bus, SlotChanged("", "")
        self._later: asyncio.TimerHandle | None = None

    def tell(self, state: SlotChanged) -> None:
        before, self._last = self._last, state
        if not state.note or msgspec.structs.replace(before, fraction=state.fraction) != state:
            self._now()
        elif not self._later:
            self._later = asyncio.get_running_loop().call_later(PACE, self._now)

    def _now(self) -> None:
        if self._later:
            self._later.cancel()
        self._later = None
        self._bus.emit(self._last)


class Telling:
    """The report that a loader is handed, for any of its threads."""

    def __init__(self, told: Report) -> None:
        self._told = told
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lines: Callable[[], Sequence[str]] = tuple
        """What its engine printed last, where the loader knows that."""

    def tail(self) -> tuple[str, ...]:
        """Those lines; the loader's own fault costs them alone."""
        try:
            return tuple(f"{line}" for line in self.lines())
        except Exception:
            return ()

    def __call__(self, fraction: float, note: str) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self.loop or not self.loop:
            self._told(fraction, note)
        else:  # Only the loop's own thread may wake who listens.
            self.loop.call_soon_threadsafe(self._told, fraction, note)


@runtime_checkable
class Loader(Protocol):
    """Knows one family of model files; the fields of `Options` become the load form."""

    id: str
    label: str
    Options: type[msgspec.Struct]

    def accepts(self, path: Path, /) -> bool: ...
    async def open(self, path: Path, options: Any, report: Report) -> Model: ...


LOADERS: Point[Loader] = Point("loaders", "Ways to load a model.", Loader)


class ToInstall(msgspec.Struct, frozen=True):
    """What the first load with a loader installs, to be told before it begins."""

    packages: tuple[str, ...]
    size: str = ""
    """Roughly what it takes on disk, as somebody measured it."""


@runtime_checkable
class Installs(Protocol):
    """A loader that installs its engine first; what was loaded before goes on meanwhile."""

    async def missing(self) -> ToInstall | None: ...
    async def install(self, report: Report) -> None: ...


async def opened(model: Any) -> Model:
    """What a loader opened; raises TypeError for what is no Model, and closes it."""
    if isinstance(getattr(model, "info", None), ModelInfo):
        return model
    with suppress(Exception):  # It may have a process all the same.
        await called(model.close)
    raise TypeError(f"expected a Model, got {type(model).__name__}")


async def closed(model: Model, seconds: float, failed: Callable[[Exception], None]) -> None:
    """End a model in so many seconds; what goes wrong is told."""
    try:
        async with asyncio.timeout(seconds):
            await called(model.close)
    except Exception as error:
        failed(error)


async def ended(task: "asyncio.Task[Any]") -> bool:
    """Wait for its end even when that is cancelled; tells whether it was."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


def shown(path: Path) -> str:
    """A model's name: of a file without its ending, of a folder with all its dots."""
    folder = os.path.isdir(path)  # Path.is_dir raises where a disk went away.
    return path.name if folder else path.stem


def loader_for(path: Path, wish: str, registry: Registry, failed: Failed) -> tuple[str, Loader]:
    """The loader with this id, or else the first that takes the file, after its extension's id."""
    entries = registry.entries(LOADERS)
    for entry in entries:
        try:
            if entry.value.id == wish if wish else entry.value.accepts(path):
                return entry.owner, entry.value
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            failed(entry.owner, f"loader {entry.value.id}", error)
    known = ", ".join(each.value.id if wish else each.value.label for each in entries) or IDLE
    if wish:
        raise NoModel(f"There is no loader {wish}; running: {known}. Choose one of these.")
    raise NoModel(f"No running loader takes this file (running: {known}). See Settings.")
