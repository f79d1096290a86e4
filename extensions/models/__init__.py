"""The models below models/: their page, and the picker in the status line that loads one."""

from collections.abc import Mapping
from typing import Annotated, Any

from extensions.models.api import MODELS, Models
from extensions.models.desk import Desk
from extensions.models.files import ModelFile, find
from extensions.models.fit import Fits
from extensions.models.loading import Loading
from extensions.models.memory import Memory
from extensions.models.place import placed
from extensions.models.rest import Rest
from extensions.models.saved import Saved
from extensions.models.views import Views
from extensions.models.ways import Ways
from kernel.api import (
    LOADERS,
    PANELS,
    Changed,
    Client,
    Connected,
    Disconnected,
    Extension,
    Generated,
    Meta,
    Panel,
    SettingsChanged,
    SlotChanged,
    Started,
    Struct,
)

EVERY = 2
"""Seconds between two looks into the folder."""


class Settings(Struct, frozen=True):
    """The extension's settings."""

    at_start: Annotated[bool, Meta(description="Load the model used last when Spindle starts.")] = (
        True
    )
    autoload: Annotated[
        bool, Meta(description="A click on a model in the picker loads it, as is saved for it.")
    ] = False
    idle_minutes: Annotated[
        int,
        Meta(
            ge=0,
            le=10_080,
            description="Minutes without use until the model gives its memory back; 0 is never.",
        ),
    ] = 0
    wake: Annotated[
        bool, Meta(description="The next message, or a program's request, loads it again then.")
    ] = True


async def setup(ext: Extension[Settings]) -> None:
    slot, memory = ext.slot(), Memory(ext.data / "models.json")
    ways, rest = Ways(ext, memory, Saved(ext.models)), Rest(ext)
    loading = Loading(ext, memory, ways)
    views = Views(ext, ways, loading, rest)
    page = placed(ext, views)
    ways.best = page.best
    Desk(ext, ways, loading, views, rest)
    Fits(ext, views)
    await views.look()
    models = Models(ext, loading, views, page.catalogue, rest)
    if ext.starting:
        loading.expect()

    @ext.on(Started)
    async def started(event: Started) -> None:
        ext.spawn(loading.at_start(views.say), "load")

    @ext.on(Connected)
    async def connected(event: Connected) -> None:
        views.greet(event.client)

    @ext.on(SettingsChanged)
    async def settings_changed(event: SettingsChanged) -> None:
        views.push_pickers()

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        if event.slot == slot.name:
            rest.heard(event)
            views.progress.heard(event)
            views.generated = None if event.state != "ready" else views.generated
            views.push_status()
            views.push_pickers()
            if event.state == "ready":
                await views.loaded()
            if event.state in ("empty", "ready") and event.error:  # Else the status line says it.
                ext.tell(event.error, views.everyone)
            if event.state == "ready":
                await loading.came()

    @ext.on(Generated)
    async def generated(event: Generated) -> None:
        if event.slot == slot.name:
            rest.used()
            views.generated = event
            views.push_status()

    @ext.on(Changed)
    async def changed(event: Changed) -> None:
        if event.point == LOADERS.name:
            await views.look()
            views.push_pickers()
            await page.follow(changed=True)

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        views.forget(event.client)

    async def commands(client: Client | None, subject: str) -> Mapping[str, Any]:
        return {"slot": views.slot()}

    ext.add(MODELS, models)
    ext.add(PANELS, Panel("status", "status.html", views.context))
    ext.add(PANELS, Panel("command", "command.html", commands, order=10, title="Model"))
    ext.spawn(views.watch(EVERY, page.follow), "watch")
    ext.spawn(views.follow(), "follow")
    ext.spawn(rest.watch(), "rest")


__all__ = ["ModelFile", "Settings", "find", "setup"]
