"""What the picker can be asked to do."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from kernel.api import Action, Meta


class Search(Action, frozen=True):
    """Show the models with these words on the Model page, or more of them."""

    words: Annotated[str, Meta(max_length=200)] = ""
    more: bool = False


class Choose(Action, frozen=True):
    """Look at a model and how it would be loaded."""

    file: str
    loader: str = ""


class Load(Action, frozen=True):
    """Load a model; `rest` are the loader's options as the form has them."""

    file: str
    loader: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Save(Action, frozen=True):
    """Save how it is loaded, and load nothing."""

    file: str
    loader: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Forget(Action, frozen=True):
    """Load it by default from now on."""

    file: str


class Restore(Action, frozen=True):
    """Save again what was forgotten."""

    number: int


class Unload(Action, frozen=True):
    """Give the memory back."""


class Reload(Action, frozen=True):
    """Load the same model again."""


class Cancel(Action, frozen=True):
    """Stop a load that is under way."""


class AtStart(Action, frozen=True):
    """The switch beside the loaded model."""

    on: bool


class Autoload(Action, frozen=True):
    """The switch above the list."""

    on: bool
