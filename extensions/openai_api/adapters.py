"""The adapters (LoRA) that programs' requests use until the model changes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from extensions.api_kit.api import refused
from kernel.api import Draft, Extension, ModelInfo

from .standing import life

CONFIG = "adapter_config.json"
"""What is in the folder of an adapter for Transformers."""


class Adapters:
    """Those that are in use, by their names below loras/."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext, self._slot = ext, ext.slot()
        self._names, self._for = tuple[str, ...](), life(self._slot)

    @property
    def names(self) -> tuple[str, ...]:
        """Those for the model that is there."""
        return self._names if self._for is life(self._slot) else ()

    async def found(self) -> list[str]:
        """All that there are."""
        return await self._ext.thread(adapters_in, self._ext.loras)

    async def use(self, names: Sequence[str], info: ModelInfo) -> None:
        """Use these from now on, instead of others; raises Problem."""
        if names and "lora" not in info.capabilities:
            says = f"lora_names: {info.name} in {info.loader} takes no adapters. Load it with "
            raise refused(says + "another loader.", "lora_names", "unsupported_parameter")
        there = await self.found()
        for name in names:
            if name.removesuffix(".gguf") not in there:
                says = f"lora_names: There is no adapter {name}. There: {', '.join(there[:20])}."
                raise refused(says, "lora_names", "lora_not_found")
        self._names, self._for = (*dict.fromkeys(names),), life(self._slot)

    def drop(self) -> None:
        """Use none."""
        self._names = ()

    async def add(self, draft: Draft) -> Draft:
        """The `REQUEST` modifier: only what programs ask, and says nothing of adapters itself."""
        request = draft.request
        if not self.names or draft.turn.client or request.adapters or request.slot != "chat":
            return draft
        adapters = tuple((name, 1.0) for name in self.names)
        return structs.replace(draft, request=structs.replace(request, adapters=adapters))


def adapters_in(folder: Path) -> list[str]:
    """Files of GGUF without their ending, and folders of adapters; blocking."""
    files = [*folder.glob("*.gguf"), *folder.glob("*/*.gguf")]
    names = {path.relative_to(folder).as_posix().removesuffix(".gguf") for path in files}
    names |= {path.parent.name for path in folder.glob(f"*/{CONFIG}")}
    return sorted(name for name in names if not re.search(r"(^|/)\.", name))
