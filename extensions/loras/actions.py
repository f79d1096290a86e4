"""What pages, and programs that may do everything, can ask of adapters."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kernel.api import Action

WEIGHT, USE = "weight ", "use "
"""What the names of the form's fields begin with; the adapter's own follows."""


class Apply(Action, frozen=True):
    """Apply these adapters, and no others; `rest` are the fields of the page's form."""

    adapters: Annotated[tuple[tuple[str, float], ...], Meta(max_length=1000)] = ()
    reload: bool = False
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])

    def wish(self) -> list[tuple[str, float]]:
        """The adapters, however they were named; raises ValueError for a weight that is none."""
        named = [key.removeprefix(USE) for key in self.rest if key.startswith(USE)]
        weights = {name: str(self.rest.get(WEIGHT + name) or "1") for name in named}
        return [*self.adapters, *((name, float(text)) for name, text in weights.items())]


class Remove(Action, frozen=True):
    """Apply none."""


class Look(Action, frozen=True):
    """List the folder anew."""
