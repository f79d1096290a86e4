"""What a page may ask the characters for."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from kernel.api import Action, Meta

Name = Annotated[str, Meta(max_length=200)]


class New(Action, frozen=True):
    """Make a character of that name."""

    name: Name


class Paste(Action, frozen=True):
    """Make a character of JSON or YAML."""

    text: str


class Save(Action, frozen=True):
    """Keep a form; `stamp` is what the file was when the form was drawn."""

    id: str
    stamp: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Duplicate(Action, frozen=True):
    """Make another character of the same file."""

    id: str


class Rename(Action, frozen=True):
    """Give a character's file another name, which is its id."""

    id: str
    to: Name


class Delete(Action, frozen=True):
    """Put a character into the trash."""

    id: str


class Restore(Action, frozen=True):
    """Bring back what lies in the trash under that token."""

    token: str


class EmptyTrash(Action, frozen=True):
    """Delete for good what lies in the trash."""


class NewWorld(Action, frozen=True):
    """Make a lorebook of its own."""

    name: Name


class SaveWorld(Action, frozen=True):
    """Keep the form of a lorebook of its own; `stamp` as in `Save`."""

    id: str
    stamp: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class DeleteWorld(Action, frozen=True):
    """Put a lorebook of its own into the trash."""

    id: str


class RenameWorld(Action, frozen=True):
    """Give the file of a lorebook of its own another name, which is its id."""

    id: str
    to: Name


class TellEverywhere(Action, frozen=True):
    """Tell a lorebook in every conversation, or no longer."""

    id: str
    on: bool


class SetFree(Action, frozen=True):
    """Make the lorebook of a character one of its own; what is in the form is kept first."""

    id: str
    stamp: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class TakeIn(Action, frozen=True):
    """Put a lorebook of its own into that of a character; what is in the form is kept first."""

    id: str
    world: str
    stamp: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class NewPersona(Action, frozen=True):
    """Make a persona."""

    name: Name
    description: str = ""


class KeepPersona(Action, frozen=True):
    """Change a persona; `stamp` as in `Save`."""

    id: str
    name: Name
    description: str = ""
    stamp: str = ""


class DeletePersona(Action, frozen=True):
    """Put a persona into the trash."""

    id: str


class ChoosePersona(Action, frozen=True):
    """Make a persona the default one; none without an id."""

    id: str = ""
