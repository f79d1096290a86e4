"""What the kernel knows of each extension, running or not."""

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta

from kernel.files import stamp
from kernel.manifest import Manifest
from kernel.remembered import Remembered
from kernel.sampling import Struct
from kernel.security import Security

if TYPE_CHECKING:
    from kernel.extension import Extension

LEADS = "settings"
"""The extension that leads to all the others: on in safe mode too, and never set aside."""


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

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"it has no setting {name!r}: they are a class named Settings")


@dataclass
class Record:
    """One extension the kernel knows of, running or not."""

    id: str
    folder: Path
    manifest: Manifest | None = None
    status: Status = Status.OFF
    reason: str = ""
    kind: type[msgspec.Struct] = msgspec.Struct
    handle: "Extension[Any] | None" = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    again: bool = False
    """It is to start as soon as it has stopped, which takes it long."""
    stamp: object = None
    """Of the manifest's file when it was read."""
    memory: Remembered = field(default_factory=Remembered)
    since: int = 0
    """When it last began to start, in nanoseconds, as files have it."""

    def read(self) -> None:
        """Read the manifest, if its file is another one by now; one that is no good says so."""
        if (now := stamp(self.folder / "extension.toml")) and now == self.stamp:
            return
        self.stamp = now
        try:
            self.manifest, self.reason = Manifest.read(self.folder, self.memory), ""
        except ValueError as error:
            self.manifest, self.reason = None, str(error)
            self.status = Status.INCOMPATIBLE

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
    """How programs reach this server, for Settings; the door, for who makes keys; more ports."""

    address: str = ""
    elsewhere: tuple[str, ...] = ()
    """The same by the names that other machines may use."""
    key: str = ""
    note: str = ""
    """Who needs the key, where that is not as usual."""
    password: bool = False
    door: Security | None = None
    also: Callable[[int], AbstractAsyncContextManager[None]] | None = None


class Appearance(Struct, frozen=True):
    """The look of the page."""

    theme: Annotated[
        Literal["system", "light", "dark"], Meta(description="Light, dark, or as the system is.")
    ] = "system"


class SettingsChanged(Struct, frozen=True):
    """The extension's own settings changed; who listens is not restarted."""

    id: str


class SectionChanged(Struct, frozen=True):
    """A section of settings.yaml changed: "appearance", "extensions.chat"; also "order", and ""
    when the file as a whole became unreadable or readable again."""

    name: str


class Started(Struct, frozen=True):
    """Every extension that the user wants has been started."""


def placed(error: BaseException, function: object) -> None:
    """Keep with an error where the function is that it came from."""
    vars(error).setdefault("told_at", where(function))


def where(function: object) -> str:
    """Where an extension's function is written, for an error that has no frame of it; or ""."""
    code: Any = getattr(function, "__code__", None)
    own = code and f"{getattr(function, '__module__', '')}".startswith("extensions.")
    return f" ({Path(code.co_filename).name}, line {code.co_firstlineno})" if own else ""


def told(error: BaseException) -> str:
    """An exception as part of a sentence."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # It is an extension's class, and may fail even at this.
        text = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename and "__init__" not in error.filename:
        file = Path(error.filename)  # It may be another's that it imports.
        text = text.replace(f"({file.name}, ", f"({file.parent.name}/{file.name}, ")
    text = text if len(text) <= 500 else text[:500] + "…"
    steps = [(f.f_globals.get("__name__"), f, line) for f, line in walk_tb(error.__traceback__)]
    # Where in an extension or its template, said as Python says a SyntaxError's.
    own = [(f, n) for name, f, n in steps if re.match(r"extensions\.|.+\.html$", str(name))]
    at = f" ({Path(own[-1][0].f_code.co_filename).name}, line {own[-1][1]})" if own else ""
    at = at or f"{getattr(error, 'told_at', '')}"
    return text.encode(errors="replace").decode().rstrip(" .:") + at
