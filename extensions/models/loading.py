"""Load a model by its name below models/, now or when Spindle starts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from extensions.models.memory import Choice, Memory
from kernel.api import Extension, LoadFailed, NoModel, Refused, safe_path

GUIDE = "guide/guide.gguf"
"""What a first start loads."""


class Loading:
    """Loads into the chat slot, and remembers what was loaded and how."""

    def __init__(self, ext: Extension[Any], memory: Memory) -> None:
        self._ext, self._memory = ext, memory

    def path(self, name: str) -> Path:
        """Raises Refused when there is no such model."""
        try:
            path = safe_path(self._ext.models, *name.split("/"), follow=True)
        except ValueError as error:
            raise Refused(f"{error} Choose a model in the picker.") from None
        if not path.exists():
            raise Refused(f"{name} is not below {self._ext.models}. Choose another model.")
        return path

    async def load(
        self, name: str, loader: str, options: Mapping[str, Any], *, remember: bool = True
    ) -> None:
        """Raises Refused when there is no such model, LoadFailed when it does not load."""
        await self._ext.slot().load(self.path(name), loader, options)
        if remember:
            choice = Choice(loader, msgspec.to_builtins(dict(options)))
            await self._ext.thread(self._memory.loaded, name, choice)

    async def at_start(self, say: Callable[[str], None]) -> None:
        """The model that `--model` names, or the one used last, or the guide; `say` is told when
        that is not there. What is only missed for now is not forgotten: the guide stands in."""
        wish, last = self._ext.flag("model"), self._memory.last
        if not wish and not self._ext.settings.at_start:
            return
        name, instead = wish or last or GUIDE, False
        try:
            self.path(name)
        except Refused as error:
            if not (wish or last):  # There is no guide, and nobody asked for it.
                return
            self._ext.log.warning("%s", error)
            instead = not wish and name != GUIDE and (self._ext.models / GUIDE).exists()
            say(f"{error} The guide stands in." if instead else str(error))
            if not instead:
                return
            name = GUIDE
        choice = self._memory.choice(name)
        loader = self._ext.flag("loader") or choice.loader
        try:
            await self.load(name, loader, choice.options, remember=not instead)
        except (LoadFailed, NoModel) as error:  # The slot shows it.
            self._ext.log.warning("%s", error)
