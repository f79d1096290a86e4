"""What pages, and programs that may do everything, can ask of adapters."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kernel.api import Action, Struct, check

WEIGHT, USE = "weight ", "use "
"""What the names of the form's fields begin with; the adapter's own follows."""


class Typed(Struct, frozen=True):
    """A weight as the form has it; left empty it is 1."""

    weight: float = 1.0


class Apply(Action, frozen=True):
    """Apply these adapters, and no others; `rest` are the fields of the page's form."""

    adapters: Annotated[tuple[tuple[str, float], ...], Meta(max_length=1000)] = ()
    reload: bool = False
    rest: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])

    def wish(self) -> list[tuple[str, float]]:
        """The adapters, however they were named; raises ValueError for a weight that is none."""
        named = [key.removeprefix(USE) for key in self.rest if key.startswith(USE)]
        return [*self.adapters, *((name, self._typed(name)) for name in named)]

    def _typed(self, name: str) -> float:
        good, bad = check(Typed, {"weight": self.rest.get(WEIGHT + name, "")})
        if bad:
            raise ValueError
        return good.get("weight", 1.0)


class Remove(Action, frozen=True):
    """Apply none."""


class Look(Action, frozen=True):
    """List the folder anew."""
