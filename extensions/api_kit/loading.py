"""A request that names a model loads it, where the user wants that."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from kernel.api import LoadFailed, NoModel, Refused, Replaced, WorkerError

from .calls import Call
from .holding import Holding
from .problems import Fault, Problem, no_such_model, refused

Want = Callable[[Call, str], Awaitable[None]]
"""Have the model of this name loaded for a request, where that is wanted; raises Problem."""


class Shelf(Protocol):
    """What is asked of the models that there are: the service of the extension models has it."""

    async def find(self, name: str) -> Any: ...

    def is_loaded(self, name: str) -> bool: ...

    async def load(self, name: str) -> None: ...

    async def unload(self) -> None: ...


async def load(models: Shelf, name: str) -> None:
    """Load the model that programs call so; raises Problem."""
    file = await models.find(name)
    if not file:
        raise no_such_model(name)
    try:
        await models.load(file.name)
    except (LoadFailed, NoModel, Refused) as error:
        raise not_loaded(error, "model") from error


def not_loaded(error: Exception, param: str | None = None) -> Problem:
    """The problem of a load: 400 where the engine refused it, 409 where somebody chose another
    model meanwhile, 500 where it failed."""
    if isinstance(error, Replaced):
        return Problem(Fault(str(error), "conflict_error", param, "load_replaced"))
    why = error.__cause__ if isinstance(error, LoadFailed) else error
    if isinstance(why, Refused) or (isinstance(why, WorkerError) and why.refused is not None):
        return refused(str(error), param, "load_failed")
    return Problem(Fault(str(error), "engine_error", param, "load_failed"))


class Loader:
    """Loads what requests name, when the replies to those before have been written."""

    def __init__(self, holding: Holding, models: Shelf, may: Callable[[], bool]) -> None:
        self._holding, self._models, self._may = holding, models, may

    async def want(self, call: Call, name: str) -> None:
        """Have this model loaded when the setting is on, and kept until the replies to this request
        are written; raises Problem where that cannot be."""
        if not name or not self._may():
            return
        there = partial(self._models.is_loaded, name)
        if not there() and not await self._models.find(name):
            raise no_such_model(name)  # Nobody waits for what never comes.
        await self._holding.want(call, there, partial(load, self._models, name))
