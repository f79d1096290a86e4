"""What other extensions save with a model: rows of their own in the form of how it is loaded."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from kernel.api import Field, Point

from .files import ModelFile

GROUP = "What comes with it"


class Beside:
    """The rows of an extension, and what saves what was typed there."""

    def __init__(
        self,
        fields: Callable[[ModelFile], Awaitable[Sequence[Field]]],
        save: Callable[[ModelFile, Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        self.fields, self.save = fields, save


BESIDE: Point[Beside] = Point("beside_models", "What else is saved with a model.", Beside)


async def rows(every: Iterable[Beside], model: ModelFile) -> list[Field]:
    """All rows, below a heading of their own."""
    return [
        structs.replace(field, group=GROUP) for one in every for field in await one.fields(model)
    ]


async def keep(every: Iterable[Beside], model: ModelFile, typed: Mapping[str, Any]) -> None:
    """Save what was typed into these rows; raises Refused."""
    for one in every:
        names = {field.name for field in await one.fields(model)}
        if mine := {name: value for name, value in typed.items() if name in names}:
            await one.save(model, mine)
