"""Where the Model page stands: its tab, what it hears, and what it is sent."""

from typing import Any

from extensions.models.actions import Search
from extensions.models.page import ICON, Page
from extensions.models.uploads import Uploads
from extensions.models.views import Views
from kernel.api import (
    PANELS,
    ROUTES,
    Changed,
    Client,
    Disconnected,
    Extension,
    Panel,
    Route,
    Router,
    Routes,
    SlotChanged,
)


def placed(ext: Extension[Any], views: Views) -> Page:
    """The page, with its tab in the rail and its routes."""
    page = Page(ext, views)
    uploads = Uploads(ext, page.arrived)

    @ext.on(Search)
    async def search(action: Search, client: Client) -> None:
        await page.search(client, action.words, action.more)

    @ext.on(Changed)
    async def changed(event: Changed) -> None:
        if event.point == PANELS.name:
            await page.panels_changed()

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        if event.slot == ext.slot().name and event.state in ("ready", "empty"):
            await page.tell_list()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        page.left(event.client)

    at = "/ext/models/uploads"
    routes = [
        Route(at, uploads.begin, methods=["POST"]),
        Route(f"{at}/{{id}}/{{number:int}}", uploads.piece, methods=["PUT"]),
    ]
    ext.add(ROUTES, Routes(Router(routes), "admin"))
    ext.add(PANELS, Panel("tab", "panel.html", page.context, 25, title="Models", icon=ICON))
    ext.spawn(ext.thread(uploads.clear), "clear uploads")
    return page
