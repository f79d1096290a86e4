"""What a loaded model can do with adapters, asked of its engine."""

import os
from collections.abc import Sequence
from pathlib import Path

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
    """Those of the list that it was loaded with, also where their files are gone since."""
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
    """By the names that the list has, or had while their files were there; what lies elsewhere has
    none."""
    names = {os.path.realpath(each.path): each.name for each in reversed(shelf.adapters)}
    root = Path(os.path.realpath(shelf.root))
    paths = [(Path(os.path.realpath(path)), weight) for path, weight in own]
    return tuple(
        (names.get(str(path)) or path.relative_to(root).as_posix().removesuffix(".gguf"), weight)
        for path, weight in paths
        if str(path) in names or (path.is_relative_to(root) and not path.exists())
    )
