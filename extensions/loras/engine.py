"""What a loaded model can do with adapters, asked of its engine."""

from collections.abc import Sequence
from pathlib import Path

from kernel.api import Model, Refused, Struct, WorkerDied, WorkerError

from .memory import Weighted

CALL = "adapters"
"""`call("adapters", paths=())` reads these now and answers `own`, pairs of those the model was
loaded with, and `more`: whether others can come while it is there."""


class Able(Struct, frozen=True):
    """What a model can do."""

    more: bool = False
    """Whether any adapter can come while it is loaded."""
    own: Weighted = ()
    """Those below loras/ that it was loaded with."""
    asked: bool = False
    """Whether its engine knows the call."""


async def able(model: Model, loras: Path) -> Able:
    """Ask its engine; one that does not know the call is taken by what its model says."""
    try:
        said = await model.call(CALL)
        own = tuple((path, float(weight)) for path, weight in said["own"])
        return Able(bool(said["more"]), _named(own, loras), True)
    except (WorkerError, WorkerDied, Refused, LookupError, TypeError, ValueError):
        return Able("lora" in model.info.capabilities)


async def read(model: Model, paths: Sequence[str]) -> None:
    """Have these read; raises Refused with what the engine says."""
    try:
        await model.call(CALL, paths=list(paths))
    except (WorkerError, WorkerDied) as error:
        raise Refused(str(error)) from error


def _named(own: Weighted, loras: Path) -> Weighted:
    """By their names below loras/; what lies elsewhere has none."""
    root = loras.resolve()
    paths = [(Path(path).resolve(), weight) for path, weight in own]
    return tuple(
        (path.relative_to(root).as_posix().removesuffix(".gguf"), weight)
        for path, weight in paths
        if path.is_relative_to(root)
    )
