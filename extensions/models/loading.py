"""Load a model by its name below models/, now or when Spindle starts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from extensions.models.files import takes
from extensions.models.memory import Choice, Memory
from kernel.api import LOADERS, Extension, Installs, LoadFailed, NoModel, Refused, safe_path

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

    async def again(self, name: str, changes: Mapping[str, Any]) -> None:
        """Load a model as it was loaded last, with some options changed; raises as `load`."""
        last = self._memory.choice(name)
        await self.load(name, last.loader, {**last.options, **changes})

    async def at_start(self, say: Callable[[str], None]) -> None:
        """The model that `--model` names, or the one used last, or the guide; `say` is told when
        that cannot be. What is only missed for now is not forgotten: the guide stands in."""
        wish, last = self._ext.flag("model"), self._memory.last
        if not wish and not self._ext.settings.at_start:
            return
        name = wish or last or GUIDE
        instead = False
        if trouble := await self._trouble(name):
            if not (wish or last or (self._ext.models / GUIDE).exists()):
                return  # There is no guide, and nobody asked for it.
            instead = not wish and name != GUIDE and not await self._trouble(GUIDE)
            self._ext.log.warning("%s", trouble)
            say(f"{trouble} The guide stands in." if instead else trouble)
            if not instead:
                return
            name = GUIDE
        try:
            options = self._memory.choice(name).options
            await self.load(name, self._loader(name), options, remember=not instead)
        except (LoadFailed, NoModel) as error:  # The slot shows it.
            self._ext.log.warning("%s", error)

    def _loader(self, name: str) -> str:
        return self._ext.flag("loader") or self._memory.choice(name).loader

    async def _trouble(self, name: str) -> str:
        """Why a start does not load this: it is gone, or its engine would come without a question.
        Two have that answered: who names a model, and the very first start."""
        try:
            path = self.path(name)
        except Refused as error:
            return str(error)
        if not (needs := await self._needs(path, self._loader(name))):
            return ""
        needs = f"{name} needs {needs}, which is not installed."
        if name == self._ext.flag("model"):
            self._ext.log.warning("%s It is downloaded now, for --model asks for it.", needs)
            return ""
        first = name == GUIDE and not self._memory.last and not self._ext.flag("loader")
        return "" if first else f"{needs} Choose it in the picker to install it."

    async def _needs(self, path: Path, wish: str) -> str:
        """The engine that a load would install first, and its size; empty when it is there."""
        for loader in self._ext.get(LOADERS):
            if loader.id == wish if wish else takes(loader, path):
                try:
                    what = await loader.missing() if isinstance(loader, Installs) else None
                except Exception as error:  # The load meets it again, and tells it.
                    self._ext.log.debug("%s cannot say what it installs: %s", loader.id, error)
                    return ""
                size = f" (on disk {what.size})" if what and what.size else ""
                return f"{loader.label}{size}" if what else ""
        return ""
