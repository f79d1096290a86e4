"""What the Settings tab can be asked to do."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from kernel.api import Action


class Toggle(Action, frozen=True):
    """Switch an extension on or off."""

    id: str
    on: bool


class Configure(Action, frozen=True):
    """Change settings of an extension; `rest` are the fields of its form."""

    id: str
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Reset(Action, frozen=True):
    """Take one setting back to its default."""

    id: str
    field: str


class Move(Action, frozen=True):
    """Give an extension another place in the order."""

    id: str
    to: int


class Retry(Action, frozen=True):
    """Start an extension again that failed or was set aside."""

    id: str


class Appearance(Action, frozen=True):
    """Choose a theme for all pages."""

    theme: Literal["system", "light", "dark"]
