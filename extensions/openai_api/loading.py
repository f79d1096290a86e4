"""A request that names a model loads it, where the user wants that."""

import asyncio
from collections.abc import Callable

from extensions.api_kit.api import Fault, Problem, missing
from extensions.models.api import Models, shown
from kernel.api import LoadFailed, NoModel, Refused, Slot


class Loader:
    """Loads what requests name, one at a time."""

    def __init__(self, slot: Slot, models: Models, may: Callable[[], bool]) -> None:
        self._slot, self._models, self._may = slot, models, may
        self._one = asyncio.Lock()

    def loading(self) -> str:
        """The name of the model that is being loaded, if one is."""
        state = self._slot.state
        return state.name if state.state == "loading" else ""

    async def want(self, name: str) -> None:
        """Have this model loaded when the setting is on; raises Problem where that cannot be."""
        if not name or not self._may():
            return
        async with self._one:
            loaded, file = self._models.loaded(), self._models.find(name)
            info = self._slot.model.info if self._slot.model else None
            if info and name in (info.name, loaded and loaded.name, loaded and shown(loaded)):
                return
            if not file:
                says = f"There is no model {name}. GET /v1/models lists them."
                raise missing(says, "model", "model_not_found")
            try:
                await self._models.load(file.name)
            except (LoadFailed, NoModel, Refused) as error:
                raise Problem(Fault(str(error), "engine_error", "model", "load_failed")) from error
