"""What people do in the picker: choose, load, save how, unload."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from kernel.api import Client, Extension, LoadFailed, NoModel, Refused

from . import actions as a
from .loading import Loading
from .rest import Rest
from .views import Views
from .ways import Ways


class Desk:
    """Carries out the actions of pages."""

    def __init__(
        self,
        ext: Extension[Any],
        ways: Ways,
        loading: Loading,
        views: Views,
        rest: Rest,
    ) -> None:
        self._ext, self._ways, self._loading = ext, ways, loading
        self._choosing, self._views, self._rest = views.choosing, views, rest
        self._forgotten: list[tuple[str, Mapping[str, Any]]] = []
        self._wishes = WeakKeyDictionary[Client, object]()
        """What each page asked for last."""
        ext.on(a.Choose)(self.choose)
        ext.on(a.Load)(self.load)
        ext.on(a.Save)(self.save)
        ext.on(a.Forget)(self.forget)
        ext.on(a.Restore)(self.restore)
        ext.on(a.Unload)(self.unload)
        ext.on(a.Reload)(self.reload)
        ext.on(a.Cancel)(self.cancel)
        ext.on(a.AtStart)(self.at_start)
        ext.on(a.Autoload)(self.autoload)

    async def choose(self, action: a.Choose, client: Client) -> None:
        """Show how it would be loaded; or load it as is saved, where people want that."""
        wish = self._wishes[client] = object()
        await self._views.glance()
        await self._choosing.choose(client, action.file, action.loader)
        if self._wishes.get(client) is not wish:
            return
        self._views.push_picker(client)
        view = self._choosing.view(client, self._views.files)
        there = self._loading.last.name == action.file and self._ext.slot().state.state != "empty"
        if not self._ext.settings.autoload or action.loader or there or not view:
            return
        if not view["installs"] and view["loaders"]:  # What downloads something is asked first.
            self._views.say("")
            with suppress(LoadFailed, NoModel):
                await self._loading.load(action.file)

    async def load(self, action: a.Load, client: Client) -> None:
        wish = self._wishes[client] = object()
        way = await self._choosing.read(client, action.file, action.loader, action.rest)
        if not way:
            return self._views.push_picker(client)
        self._views.say("")
        try:
            await self._loading.load_so(action.file, *way)
        except (LoadFailed, NoModel):  # The slot says so; what was typed stays, to be changed.
            if self._wishes.get(client) is wish:  # Else the page shows another one by now.
                await self._choosing.choose(client, action.file, way[0].id, action.rest)
        self._views.push_picker(client)

    async def save(self, action: a.Save, client: Client) -> None:
        """Save how it is loaded, and say where."""
        way = await self._choosing.read(client, action.file, action.loader, action.rest)
        if way:
            await self._ext.thread(self._ways.keep, action.file, *way)
            self._loading.settled(action.file)
            self._ext.tell("Saved. It counts from the next load of this model on.", client)
        self._views.push_pickers()

    async def forget(self, action: a.Forget, client: Client) -> None:
        """Load it by default from now on, with a way back."""
        was = await self._ext.thread(self._ways.forget, action.file)
        if was is None:
            return
        self._loading.settled(action.file)
        self._forgotten.append((action.file, was))
        number = len(self._forgotten) - 1
        button = {"label": "Undo", "vals": {"action": "models.restore", "number": number}}
        text = "What was saved for this model is forgotten."
        html = self._ext.render(
            "_undo.html", id=f"models-forgotten-{number}", text=text, kind="note", button=button
        )
        self._ext.push_html(html, client)
        self._views.push_pickers()

    async def restore(self, action: a.Restore, client: Client) -> None:
        if not 0 <= action.number < len(self._forgotten):
            raise Refused("That is too long ago. Choose the options again.")
        file, was = self._forgotten[action.number]
        await self._ext.thread(self._ways.saved.keep, file, was)
        self._views.push_pickers()

    async def unload(self, action: a.Unload, client: Client) -> None:
        self._views.say("")
        self._rest.forget()
        with suppress(LoadFailed):  # A newer wish took its place.
            await self._ext.slot().unload("The model was unloaded.")

    async def reload(self, action: a.Reload, client: Client) -> None:
        with suppress(LoadFailed, NoModel):
            await self._ext.slot().reload()

    async def cancel(self, action: a.Cancel, client: Client) -> None:
        with suppress(LoadFailed, NoModel):  # The slot says so.
            await self._loading.cancel()

    async def at_start(self, action: a.AtStart, client: Client) -> None:
        await self._ext.thread(self._ext.configure, {"at_start": action.on})

    async def autoload(self, action: a.Autoload, client: Client) -> None:
        await self._ext.thread(self._ext.configure, {"autoload": action.on})
