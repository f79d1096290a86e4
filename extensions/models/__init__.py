"""The models below models/: their page, and the picker in the status line that loads one."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

from extensions.models.actions import AtStart, Cancel, Choose, Load, Reload, Search, Unload
from extensions.models.api import MODELS, Models
from extensions.models.files import ModelFile, find
from extensions.models.loading import Loading
from extensions.models.memory import Memory
from extensions.models.page import ICON, Page
from extensions.models.views import Views
from kernel.api import (
    LOADERS,
    PANELS,
    UNSET,
    Changed,
    Client,
    Connected,
    Disconnected,
    Extension,
    Generated,
    LoadFailed,
    Meta,
    NoModel,
    Panel,
    Refused,
    SettingsChanged,
    SlotChanged,
    Started,
    Struct,
    check,
)

EVERY = 2
"""Seconds between two looks into the folder."""


class Settings(Struct, frozen=True):
    """The extension's settings."""

    at_start: Annotated[bool, Meta(description="Load the model used last when Spindle starts.")] = (
        True
    )


async def setup(ext: Extension[Settings]) -> None:
    slot = ext.slot()
    memory = Memory(ext.data / "models.json")
    loading, views = Loading(ext, memory), Views(ext, memory)
    page = Page(ext, views)
    await views.look()

    @ext.on(Started)
    async def started(event: Started) -> None:
        ext.spawn(loading.at_start(views.say), "load")

    @ext.on(Connected)
    async def connected(event: Connected) -> None:
        views.greet(event.client)

    @ext.on(Choose)
    async def choose(action: Choose, client: Client) -> None:
        await views.look()
        await views.choose(client, action.file, action.loader)
        views.push_picker(client)

    @ext.on(Load)
    async def on_load(action: Load, client: Client) -> None:
        model = views.file(action.file)
        loader = views.loader(model, action.loader) if model else None
        if not loader:
            raise Refused(f"Nothing that is switched on loads {action.file}. See Settings.")
        good, errors = check(loader.Options, action.rest)
        await views.choose(client, action.file, loader.id, errors)
        if errors:
            return views.push_picker(client)
        default = loader.Options()
        options = {k: v for k, v in good.items() if v is not UNSET and v != getattr(default, k)}
        views.say("")
        with suppress(LoadFailed, NoModel):  # The slot says so, in picker and status line.
            await loading.load(action.file, loader.id, options)

    @ext.on(Unload)
    async def unload(action: Unload, client: Client) -> None:
        views.say("")
        await slot.unload("The model was unloaded.")

    @ext.on(Reload)
    async def reload(action: Reload, client: Client) -> None:
        with suppress(LoadFailed, NoModel):
            await slot.reload()

    @ext.on(Cancel)
    async def cancel(action: Cancel, client: Client) -> None:
        await slot.cancel("The loading was cancelled.")

    @ext.on(Search)
    async def search(action: Search, client: Client) -> None:
        await page.search(client, action.words, action.more)

    @ext.on(AtStart)
    async def at_start(action: AtStart, client: Client) -> None:
        ext.configure({"at_start": action.on})

    @ext.on(SettingsChanged)
    async def settings_changed(event: SettingsChanged) -> None:
        views.push_pickers()

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        if event.slot == slot.name:
            views.generated = None if event.state != "ready" else views.generated
            views.push_status()
            views.push_pickers()
            if event.state == "ready":
                await views.loaded()
            if event.state in ("empty", "ready") and event.error:  # Else the status line says it.
                ext.tell(event.error, views.everyone)

    @ext.on(Generated)
    async def generated(event: Generated) -> None:
        if event.slot == slot.name:
            views.generated = event
            views.push_status()

    @ext.on(Changed)
    async def changed(event: Changed) -> None:
        if event.point == LOADERS.name:
            await views.look()
            views.push_pickers()
            await page.follow(changed=True)
        if event.point == PANELS.name:
            await page.panels_changed()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        views.forget(event.client)
        page.left(event.client)

    async def commands(client: Client | None, subject: str) -> Mapping[str, Any]:
        return {"slot": views.slot()}

    ext.add(MODELS, Models(ext, loading, views, page.catalogue))
    ext.add(PANELS, Panel("status", "status.html", views.context))
    ext.add(PANELS, Panel("command", "command.html", commands, order=10, title="Model"))
    ext.add(PANELS, Panel("tab", "panel.html", page.context, 25, title="Models", icon=ICON))
    ext.spawn(views.watch(EVERY, page.follow), "watch")


__all__ = ["ModelFile", "Settings", "find", "setup"]
