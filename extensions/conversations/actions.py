"""What a page may ask for about the order of conversations, their file and their copies."""

from kernel.api import Action


class BackUp(Action, frozen=True):
    """Make a backup now."""


class Look(Action, frozen=True):
    """Show what is in a backup."""

    backup: str


class Restore(Action, frozen=True):
    """Put a backup in the place of the present conversations."""

    backup: str


class Recover(Action, frozen=True):
    """Put a damaged file aside and open what can be read of it."""


class Accept(Action, frozen=True):
    """Go on with what was recovered."""


# --- one conversation -------------------------------------------------------------------


class Sheet(Action, frozen=True):
    """What can be done with a conversation, in a dialog."""

    conversation: str


class Arrange(Action, frozen=True):
    """The form in that dialog; a new folder goes before the chosen one."""

    conversation: str
    title: str = ""
    folder: str = ""
    new_folder: str = ""
    tags: str = ""


class Pin(Action, frozen=True):
    """Keep a conversation at the top, or no more."""

    conversation: str
    on: bool = True


class File(Action, frozen=True):
    """Put a conversation into a folder; without one: into none."""

    conversation: str
    folder: str = ""


class GiveTitle(Action, frozen=True):
    """Have the model find a title."""

    conversation: str


# --- folders ----------------------------------------------------------------------------


class NewFolder(Action, frozen=True):
    """Make a folder with a name that is free; it can be given another."""


class MakeFolder(Action, frozen=True):
    """A new folder; `/` in its name makes folders in folders."""

    name: str


class RenameFolder(Action, frozen=True):
    """Another name for a folder, or another place."""

    folder: str
    name: str


class RemoveFolder(Action, frozen=True):
    """Delete a folder; its conversations stay."""

    folder: str


class Refile(Action, frozen=True):
    """Take that back."""

    removal: str


class Fold(Action, frozen=True):
    """Show what is in a folder, or its name alone."""

    folder: str
    on: bool = True


# --- the trash, and what comes in -------------------------------------------------------


class BringBack(Action, frozen=True):
    """Restore a deleted conversation."""

    conversation: str


class Erase(Action, frozen=True):
    """Delete one for good; without one all that are in the trash."""

    conversation: str = ""


class Take(Action, frozen=True):
    """Import the files that were sent under this name."""

    batch: str
