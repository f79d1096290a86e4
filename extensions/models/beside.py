"""What other extensions save with a model: rows of their own in the form of how it is loaded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from kernel.api import Field, Point, Refused

from .asking import answered
from .files import ModelFile

log = logging.getLogger(__name__)
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
Rows = Sequence[tuple[Beside, Sequence[Field]]]


async def rows(every: Iterable[Beside], model: ModelFile) -> Rows:
    """The rows of each, below a heading of their own."""
    asked = [*every]
    found = await asyncio.gather(*(_fields(one, model) for one in asked))
    return [*zip(asked, found, strict=True)]


async def keep(rows: Rows, model: ModelFile, typed: Mapping[str, Any]) -> None:
    """Save what was typed into these rows; raises Refused."""
    for one, fields in rows:
        names = {field.name for field in fields}
        if mine := {name: value for name, value in typed.items() if name in names}:
            await _save(one, model, mine)


async def _save(one: Beside, model: ModelFile, values: Mapping[str, Any]) -> None:
    try:
        await one.save(model, values)
    except Refused:
        raise
    except Exception as error:
        log.exception("What comes with %s could not be saved", model.name)
        why = f"{', '.join(values)} could not be saved with {model.name}: {error}"
        raise Refused(f"{why}. The log says more.") from error


async def _fields(one: Beside, model: ModelFile) -> Sequence[Field]:
    async def grouped() -> Sequence[Field]:
        return [structs.replace(field, group=GROUP) for field in await one.fields(model)]

    return await answered(grouped, otherwise=())
