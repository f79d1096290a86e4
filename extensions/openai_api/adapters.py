"""The adapters (LoRA) that programs see and apply: those of the extension loras."""

from collections.abc import Sequence

from extensions.api_kit.api import refused
from extensions.loras.api import Loras
from kernel.api import Refused


class Adapters:
    """What is applied counts for programs and pages alike, until the model changes."""

    def __init__(self, loras: Loras) -> None:
        self._loras = loras

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are applied to the model that is there."""
        return tuple(name for name, _ in self._loras.applied)

    async def found(self) -> list[str]:
        """All that can be used."""
        return [each.name for each in await self._loras.there() if not each.trouble]

    async def use(self, names: Sequence[str]) -> None:
        """Apply these from now on, instead of others; raises Problem."""
        known = await self.found()
        for name in names:
            if name not in known and name.removesuffix(".gguf") not in known:
                there = f"There: {', '.join(known[:20])}." if known else "Put one below loras/."
                says = f"lora_names: There is no adapter {name}. {there}"
                raise refused(says, "lora_names", "lora_not_found")
        try:
            await self._loras.apply([(name, 1.0) for name in names])
        except Refused as error:
            says = f"lora_names: {error}"
            raise refused(says, "lora_names", "unsupported_parameter") from error
