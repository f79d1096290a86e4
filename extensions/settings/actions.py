"""What the Settings tab can be asked to do."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, cast

import msgspec

from kernel.api import Action


class Toggle(Action, frozen=True):
    """Switch an extension on or off."""

    id: str
    on: bool


class Configure(Action, frozen=True):
    """Change settings of an extension; `rest` are the fields of its form.

    `as_shown` (JSON) is what they held when it was drawn: only what differs was typed here, the
    rest may have been changed elsewhere since.
    """

    id: str
    as_shown: str = ""
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])

    def changed(self) -> dict[str, Any]:
        """The fields that the person changed."""
        shown: dict[str, str] = {}
        with suppress(msgspec.DecodeError, RecursionError):
            shown = msgspec.json.decode(self.as_shown, type=dict[str, str])
        return {k: v for k, v in self.rest.items() if _text(v) != shown.get(k)}


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


class Run(Action, frozen=True):
    """Start or stop an extension in safe mode; settings.yaml stays as it is."""

    id: str
    on: bool


class Appearance(Action, frozen=True):
    """Choose a theme for all pages."""

    theme: Literal["system", "light", "dark"]


def _text(value: Any) -> Any:
    """A field of a form as text; a switch that is on comes behind its hidden "false"."""
    last: Any = cast(list[Any], value)[-1] if isinstance(value, list) and value else value
    return last.replace("\r\n", "\n") if isinstance(last, str) else last
