"""The adapters (LoRA) below loras/: listed, checked, and applied to the loaded model."""

from contextlib import suppress
from typing import Any

from extensions.models.api import MODELS, watching
from kernel.api import (
    PANELS,
    REQUEST,
    Client,
    Disconnected,
    Draft,
    Extension,
    LoadFailed,
    NoModel,
    Panel,
    Phase,
    Refused,
    SlotChanged,
)

from .actions import Apply, Look, Remove
from .api import LORAS, Loras
from .applied import Applied
from .files import Shelf
from .views import Views

EVERY = 2
"""Seconds between two looks into the folder while a page is open."""


async def setup(ext: Extension[Any]) -> None:
    slot, shelf = ext.slot(), Shelf(ext.loras)
    applied = Applied(ext, shelf, ext.one(MODELS))
    views = Views(ext, shelf, applied)
    loras = Loras(applied, views)

    @ext.on(REQUEST, phase=Phase.EARLY)
    async def add(draft: Draft) -> Draft:
        if await applied.drop_gone():
            await views.push()
        return await applied.add(draft)

    async def met() -> None:
        """Follow the model that is there now."""
        await applied.meet()
        await views.look()
        await applied.drop_gone()
        await views.push()

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        came = event.state != "loading" and not event.note  # Else it only goes on.
        if event.slot == slot.name and came:
            ext.spawn(met(), "met")  # As long as an engine reads: nothing here has so long.

    @ext.on(Apply)
    async def apply(action: Apply, client: Client) -> None:
        try:
            wish = action.wish()
        except ValueError:
            raise Refused("A weight must be a number, as in 0.5. Correct it.") from None
        with suppress(LoadFailed, NoModel):  # The slot says so.
            await loras.apply(wish, reload=action.reload)

    @ext.on(Remove)
    async def remove(action: Remove, client: Client) -> None:
        await loras.apply(())

    @ext.on(Look)
    async def look(action: Look, client: Client) -> None:
        await met()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        views.pages.discard(event.client.id)

    async def look_again() -> None:
        """Let an adapter that comes into the folder, or goes, be seen while there are pages."""
        if not views.pages:
            return
        changed = await views.look()
        if await applied.drop_gone() or changed:
            await views.push()

    ext.add(LORAS, loras)
    ext.add(PANELS, Panel("models", "panel.html", views.context, title="Adapters"))
    ext.add(PANELS, Panel("status", "status.html", views.status, order=5))
    ext.spawn(watching(ext, ext.loras, EVERY, look_again), "watch")
    if slot.model:
        ext.spawn(met(), "met")
