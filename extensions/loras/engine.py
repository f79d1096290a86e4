"""What a loaded model can do with adapters, asked of its engine."""

import os
from collections.abc import Sequence

from kernel.api import Model, Refused, Struct, WorkerDied, WorkerError

from .files import Shelf
from .memory import Weighted

CALL = "adapters"
"""`call("adapters", paths=())` reads these now and answers `own`, pairs of those the model was
loaded with, and `more`: whether others can come while it is there."""


class Able(Struct, frozen=True):
    """What a model can do."""

    more: bool = False
    """Whether any adapter can come while it is loaded."""
    own: Weighted = ()
    """Those of the list that it was loaded with."""
    asked: bool = False
    """Whether its engine knows the call."""


async def able(model: Model, shelf: Shelf) -> Able:
    """Ask its engine; one that does not know the call is taken by what its model says."""
    try:
        said = await model.call(CALL)
        own = tuple((path, float(weight)) for path, weight in said["own"])
        return Able(bool(said["more"]), _named(own, shelf), True)
    except (WorkerError, WorkerDied, Refused, LookupError, TypeError, ValueError):
        return Able("lora" in model.info.capabilities)


async def read(model: Model, paths: Sequence[str]) -> None:
    """Have these read; raises Refused with what the engine says."""
    try:
        await model.call(CALL, paths=list(paths))
    except (WorkerError, WorkerDied) as error:
        raise Refused(str(error)) from error


def _named(own: Weighted, shelf: Shelf) -> Weighted:
    """By the names that the list has; what lies elsewhere has none."""
    names = {os.path.realpath(each.path): each.name for each in reversed(shelf.adapters)}
    paths = [(os.path.realpath(path), weight) for path, weight in own]
    return tuple((names[path], weight) for path, weight in paths if path in names)
