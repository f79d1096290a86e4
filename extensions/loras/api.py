"""What other extensions may know of adapters, and do with them."""

from collections.abc import Sequence

from extensions.loras.applied import Applied
from extensions.loras.files import Adapter
from extensions.loras.memory import Weighted
from extensions.loras.views import Views
from kernel.api import Point

__all__ = ["LORAS", "Adapter", "Loras"]


class Loras:
    """The adapters below loras/, and those that are applied to the chat slot's model."""

    def __init__(self, applied: Applied, views: Views) -> None:
        self._applied, self._views = applied, views

    @property
    def applied(self) -> Weighted:
        """Their names below loras/, each with its weight: every request that names none uses
        them."""
        return self._applied.now

    async def there(self) -> Sequence[Adapter]:
        """All that there are, those with trouble too, as the folder is now."""
        return await self._views.there()

    async def apply(self, adapters: Sequence[tuple[str, float]], *, reload: bool = False) -> None:
        """Apply these and no others; `reload` allows to load the model again for it. Raises Refused
        where one is missing or does not fit, and LoadFailed."""
        try:
            await self._applied.apply(adapters, reload=reload)
        finally:
            await self._views.push()


LORAS: Point[Loras] = Point("loras", "The adapters below loras/, and which are applied.")
"""Contributed by the extension loras."""
