"""extension.toml: everything the kernel must know before it imports a line of the extension."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kernel.remembered import Remembered
from kernel.sampling import built

API = 1
"""The version of `kernel.api` that this kernel offers."""

LARGEST, DOTS = 64 << 10, 200
"""Bytes of a manifest, and dots in a line of it."""
UNUSABLE = "extension.toml cannot be used: {}. See docs/reference.md."
FAULTS = (
    (r"Object missing required field `(.+)`", "the key {} is missing"),
    (r"Object contains unknown field `(.+)`", "there is no key {}"),
    (r"Expected `(.+)`, got `(.+)`", "it must be {}, not {}"),
    (r"Expected `str` matching regex", "it has signs that cannot stand there, or too few or many"),
)
KINDS = {
    "str": "text in quotes", "int": "a whole number", "float": "a number", "array": "a list",
    "object": "a table", "bool": "true or false",
}  # fmt: skip
"""What msgspec says of a value, and how that is said to who writes a manifest."""

RESERVED = ("ext", "kernel", "login", "logout", "static", "ws")
"""Names and first parts of addresses that are the kernel's own."""
Id = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,30}\Z")]
Prefix = Annotated[str, Meta(pattern=r"^(/[a-zA-Z0-9_.-]+)+\Z")]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the manifest; an unknown key is an error."""


class Requires(Table, frozen=True):
    """What must be there first."""

    extensions: tuple[Id, ...] = ()
    python: tuple[str, ...] = ()


class Variant(Table, frozen=True):
    """Another build of the worker's environment, for other hardware."""

    index: str = ""
    python: tuple[str, ...] = ()
    size: str = ""
    title: str = ""
    """What the extension's card calls it; without one it is not chosen there."""
    without: Literal["", "nvidia"] = ""
    """A card without which it is chosen by itself, on Linux: elsewhere it would save nothing."""


class WorkerTable(Table, frozen=True):
    """The environment that the extension's child processes run in."""

    environment: Annotated[str, Meta(pattern=r"^(?!wheels\Z)[a-z][a-z0-9_]{1,30}\Z")]
    python: tuple[str, ...] = ()
    variants: dict[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,30}\Z")], Variant] = {}
    variables: dict[str, str] = {}
    size: str = ""
    """Roughly what it takes on disk, as measured: "130 MB"."""
    title: str = ""
    """What the extension's card calls it, where its variants have titles."""


class Flag(Table, frozen=True):
    """A command line flag that the extension reads with `ext.flag(name)`."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]+\Z")]
    help: str
    type: str = "bool"
    metavar: str = ""
    default: Any = None
    alone: str | None = None
    """What it means without a value; without this it needs one."""


class Argument(Table, frozen=True):
    """A word that a command takes."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z_]+\Z")]
    help: str
    many: bool = False


class Command(Table, frozen=True):
    """A command, `python server.py <name> …`: `code` is called with the kernel and the words."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z-]+\Z")]
    help: str
    code: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\.py:[a-z][a-z0-9_]*\Z")]
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()


@built
class Manifest(Table, frozen=True):
    """What an extension says about itself, readable without running it."""

    id: Id
    name: str
    version: str
    summary: str
    api: int
    license: str = ""
    authors: tuple[str, ...] = ()
    paths: tuple[Prefix, ...] = ()
    permissions: tuple[str, ...] = ()
    requires: Requires = Requires()
    worker: WorkerTable | None = None
    flags: tuple[Flag, ...] = ()
    commands: tuple[Command, ...] = ()
    enabled: bool = True
    """Whether a user who said nothing has it on."""
    late: bool = False
    """Whether it may start after the first page, which shows nothing of it."""

    @classmethod
    def read(cls, folder: Path, memory: Remembered | None = None) -> "Manifest":
        """Read a folder's manifest; raises ValueError with a sentence for the user."""
        said = cls.said(folder, memory)
        try:
            manifest = msgspec.convert(said, cls)
        except msgspec.ValidationError as error:
            raise ValueError(UNUSABLE.format(_plainly(str(error)))) from None
        if manifest.id != folder.name:
            raise ValueError(
                f"The id {manifest.id!r} must equal the folder's name {folder.name!r}: rename one."
            )
        for name in (manifest.id, *(path.split("/")[1] for path in manifest.paths)):
            if name in RESERVED:
                raise ValueError(f"{name!r} is the server's own name and address. Take another.")
        return manifest

    @staticmethod
    def said(folder: Path, memory: Remembered | None = None) -> dict[str, Any]:
        """What a folder's manifest says, unchecked; raises ValueError as `read` does."""
        try:
            with (folder / "extension.toml").open("rb") as file:
                data = file.read(LARGEST + 1)
            if len(data) > LARGEST:
                raise ValueError(f"it is larger than {LARGEST >> 10} KB")
            text = data.decode()
            if max(line.count(".") for line in text.split("\n")) > DOTS:  # names cost their square
                raise ValueError(f"a line of it has more than {DOTS} dots")
            return (memory or Remembered()).made(tomllib.loads, text)
        except RecursionError:
            raise ValueError(UNUSABLE.format("it is nested too deeply")) from None
        except (OSError, ValueError) as error:
            raise ValueError(UNUSABLE.format(error)) from None

    def serves(self, path: str) -> bool:
        """Whether an address is its own, or is below one that it claims."""
        return any(f"{path}/".startswith(f"{own}/") for own in (f"/ext/{self.id}", *self.paths))

    def missing(self) -> list[str]:
        """Python requirements (`name==version`) that the server's environment does not meet."""
        return [wanted for wanted in self.requires.python if not _installed(wanted)]


def _plainly(error: str) -> str:
    said, _, where = error.partition(" - at `$.")
    for pattern, words in FAULTS:
        if found := re.match(pattern, said):
            said = words.format(*(KINDS.get(each, each) for each in found.groups()))
    return f"{where[:-1]}: {said}" if where else said


def _installed(requirement: str) -> bool:
    from importlib import metadata  # noqa: PLC0415 - 15 ms of a start; what comes with us asks not

    name, _, version = requirement.partition("==")
    try:
        return metadata.version(name.strip()) == version.strip() or not version
    except (metadata.PackageNotFoundError, ValueError):  # or it names none
        return False
