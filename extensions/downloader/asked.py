"""What the page may ask for when it looks for models."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from kernel.api import Action, Meta

Line = Annotated[str, Meta(max_length=2000)]


class Search(Action, frozen=True):
    """Look for models, or at the one whose name or address was pasted."""

    text: Line


class LookAgain(Action, frozen=True):
    """Ask the hub anew about what an address of the page shows."""

    address: Line


class ShowCard(Action, frozen=True):
    """Read what the owner of a model wrote about it."""

    address: Line


class Fetch(Action, frozen=True):
    """Fetch a model in one of its forms."""

    address: Line
    choice: Line
    eyes: bool = False
    """Take along what it sees images with."""


class FetchFiles(Action, frozen=True):
    """Fetch single files; `rest` has their names, as `file-3`."""

    address: Line
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class FetchStarter(Action, frozen=True):
    """Fetch a model of the list of small ones."""

    repo: Line
    file: Line


class OwnList(Action, frozen=True):
    """Have a list of small models that one may edit."""


class Pause(Action, frozen=True):
    """Let a download rest; what is there stays."""

    id: Line


class Resume(Action, frozen=True):
    """Let it go on; also one that failed or was cancelled: what is right is not fetched again."""

    id: Line


class Cancel(Action, frozen=True):
    """End a download; what is there stays until it is taken out of the list."""

    id: Line


class Forget(Action, frozen=True):
    """Take a download out of the list, with what was begun; a model that is whole stays."""

    id: Line
