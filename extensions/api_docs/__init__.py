"""Describes every route for programs: as a page, and as an OpenAPI document."""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from extensions.api_kit.api import APIS, json
from kernel.api import PANELS, ROUTES, Extension, Panel, Route, Router, Routes

from .document import document, operations
from .reading import sections


async def setup(ext: Extension[Any]) -> None:
    def made() -> dict[str, Any]:
        return document(operations(ext.get(APIS), ext.get(ROUTES)))

    async def tell(request: Request) -> Response:
        """The OpenAPI document."""
        return json(await ext.thread(made))

    async def show(request: Request) -> Response:
        """Every route, for people to read."""
        told = await ext.thread(lambda: sections(made()))
        return HTMLResponse(ext.render("docs.html", sections=told))

    routes = [Route("/openapi.json", tell), Route("/docs", show)]
    ext.add(ROUTES, Routes(Router(routes), access="inference"))
    ext.add(PANELS, Panel("settings", "apis.html", title="APIs"))
