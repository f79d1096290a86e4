"""Load a model by its name below models/, now or when Spindle starts."""

from collections.abc import Mapping
from typing import Any

import msgspec

from extensions.models.memory import Choice, Memory
from kernel.api import Everyone, Extension, LoadFailed, NoModel, Refused, safe_path

GUIDE = "guide/guide.gguf"
"""What a first start loads."""


class Loading:
    """Loads into the chat slot, and remembers what was loaded and how."""

    def __init__(self, ext: Extension[Any], memory: Memory) -> None:
        self._ext, self._memory = ext, memory

    async def load(self, name: str, loader: str, options: Mapping[str, Any]) -> None:
        """Raises Refused when there is no such model, LoadFailed when it does not load."""
        try:
            path = safe_path(self._ext.models, *name.split("/"), follow=True)
        except ValueError as error:
            raise Refused(f"{error} Choose a model in the picker.") from None
        if not path.exists():
            raise Refused(f"{name} is not below {self._ext.models}. Choose another model.")
        await self._ext.slot().load(path, loader, options)
        choice = Choice(loader, msgspec.to_builtins(dict(options)))
        await self._ext.thread(self._memory.loaded, name, choice)

    async def at_start(self) -> None:
        """The model that `--model` names, or the one used last, or the guide."""
        wish = self._ext.flag("model")
        name = wish or (self._memory.last or GUIDE if self._ext.settings.at_start else "")
        if not name:
            return
        choice = self._memory.choice(name)
        try:
            await self.load(name, self._ext.flag("loader") or choice.loader, choice.options)
        except LoadFailed as error:  # The slot shows it.
            self._ext.log.warning("%s", error)
        except (NoModel, Refused) as error:
            self._ext.log.warning("%s", error)
            self._ext.tell(str(error), Everyone(), "error")
