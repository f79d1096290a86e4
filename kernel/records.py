"""What the kernel knows of each extension, running or not."""

import asyncio
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kernel.manifest import Manifest
from kernel.sampling import Struct

if TYPE_CHECKING:
    from kernel.extension import Extension


class Status(StrEnum):
    """Where an extension is in its life. Only RUNNING contributes anything."""

    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    INCOMPATIBLE = "incompatible"
    STUCK = "stuck"


class NoSettings(Struct, frozen=True):
    """The settings of an extension that has none."""


@dataclass
class Record:
    """One extension the kernel knows of, running or not."""

    id: str
    folder: Path
    manifest: Manifest | None = None
    status: Status = Status.OFF
    reason: str = ""
    kind: type[msgspec.Struct] = NoSettings
    handle: "Extension[Any] | None" = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.manifest.name if self.manifest else self.id

    @property
    def needs(self) -> tuple[str, ...]:
        return self.manifest.requires.extensions if self.manifest else ()

    def is_(self, *statuses: Status) -> bool:
        """Whether its status is one of these just now."""
        return self.status in statuses


class StatusChanged(Struct, frozen=True):
    """An extension's status changed; `reason` is a sentence for its card."""

    id: str
    status: Status
    reason: str = ""


class Access(Struct, frozen=True):
    """How programs reach this server, for the Settings tab."""

    address: str = ""
    key: str = ""
    note: str = ""
    password: bool = False


class Appearance(Struct, frozen=True):
    """The look of the page."""

    theme: Annotated[
        Literal["system", "light", "dark"], Meta(description="Light, dark, or as the system is.")
    ] = "system"


class SectionChanged(Struct, frozen=True):
    """A section of settings.yaml changed: "appearance", "extensions.chat"; also "order", and ""
    when the file as a whole became unreadable or readable again."""

    name: str


class Started(Struct, frozen=True):
    """Every extension that the user wants has been started."""


def path_clash(manifest: Manifest, records: Iterable[Record]) -> str:
    """Who serves already what `manifest` claims, in words for its card; empty when nobody does."""
    for other in records:
        theirs = other.manifest.paths if other.manifest else ()
        taken = [path for path in theirs if path in manifest.paths]
        if taken and other.id != manifest.id and other.is_(Status.RUNNING):
            return f"{other.name} serves {', '.join(taken)} already. Switch that off first."
    return ""


def told(error: BaseException) -> str:
    """An exception as part of a sentence."""
    return f"{type(error).__name__}: {error}".rstrip(" .:")


def run_module(record: Record) -> ModuleType:
    """Import the extension's package from its folder."""
    name = f"extensions.{record.id}"
    spec = importlib.util.spec_from_file_location(
        name, record.folder / "__init__.py", submodule_search_locations=[str(record.folder)]
    )
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forget_modules(id: str) -> None:
    """Drop the extension's modules, so that the next start runs the files as they are now."""
    prefix = f"extensions.{id}"
    for name in [n for n in sys.modules if n == prefix or n.startswith(prefix + ".")]:
        del sys.modules[name]
