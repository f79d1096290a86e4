"""Shows what programs ask of the model while they do, and counts it for Prometheus."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from extensions.api_kit.api import APIS, PROGRAMS, Run
from kernel.api import (
    PANELS,
    ROUTES,
    Action,
    Client,
    Disconnected,
    Extension,
    Panel,
    Route,
    Router,
    Routes,
)

from .counts import Counts
from .metrics import Collector, text
from .rows import Rows

HERE = "settings/requests"
"""The path of the page that shows them."""
EVERY = 0.5
"""Seconds between two looks, as long as anything is under way."""


class Cancel(Action, frozen=True):
    """Stop a request, and no other."""

    id: str


async def setup(ext: Extension[Any]) -> None:
    programs = ext.one(PROGRAMS)
    runs, counts = programs.runs, Counts()
    rows = Rows(runs, lambda: {api.id: api.label for api in ext.get(APIS)})

    def ended(run: Run) -> None:
        counts.add(run)
        rows.ended(run)

    runs.watchers.append(ended)
    ext.defer(lambda: runs.watchers.remove(ended))

    async def metrics(request: Request) -> Response:
        """The counts, as Prometheus reads them."""
        collector = Collector(counts, runs, None if programs.resting() else programs.info())
        page, kind = await ext.thread(text, collector)
        return Response(page, headers={"content-type": kind})

    @ext.on(Cancel)
    async def cancel(action: Cancel, client: Client) -> None:
        if run := rows.find(action.id):  # Else it has just ended.
            run.cancel()

    pages = set[Client]()

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        if client:
            pages.add(client)
        return rows.now()

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        pages.discard(event.client)

    def show() -> None:
        looking = [page for page in pages if page.path.strip("/") == HERE and not page.lost]
        html = ext.render("_requests.html", oob=True, **rows.now()) if looking else ""
        for page in looking:
            ext.push_html(html, page, "requests")

    async def follow() -> None:
        """Show what goes on, and once more when all has ended."""
        while True:
            going_on = await runs.busy.wait()
            while going_on:
                await asyncio.sleep(EVERY)
                going_on = bool(runs.live)
                show()

    ext.add(PANELS, Panel("settings", "requests.html", context, title="Requests"))
    ext.add(ROUTES, Routes(Router([Route("/metrics", metrics)]), access="inference"))
    ext.spawn(follow(), "follow")
