"""What loads a model, and what is loaded: the protocols that loaders of extensions keep to."""

import asyncio
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from kernel.contract import Delta, Finish, ModelInfo, Report, Request
from kernel.points import Point


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
