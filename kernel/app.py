"""The ASGI application. What is served is looked up in the registry on every request, so that
enabling and disabling an extension needs no restart."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from markupsafe import Markup, escape
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from kernel.acting import ACTIONS, Action, Handler, wire_name
from kernel.assets import Assets, Static
from kernel.clients import Client, Everyone
from kernel.jobs import JobProgress
from kernel.manager import Kernel
from kernel.pages import PANELS, Panel, Then, drawn, ignored, in_region, placed
from kernel.points import Changed, Entry, Phase, Point
from kernel.records import Status, StatusChanged
from kernel.serving import OWN, nowhere, reads_html, served

log = logging.getLogger(__name__)
Access = Literal["public", "page", "files", "inference", "admin"]


@dataclass(frozen=True)
class Routes:
    """An ASGI application at /ext/<id> and at the paths that the manifest claims.

    Who may ask has no default: "public" is anybody, "page" the page and who has the key,
    "files" the same with bodies of 64 MB and not of 8,
    "inference" programs on this machine too, "admin" what installs, deletes or runs code.
    Its routes are whole paths; `pages` are those of the class "page" all the same, as what loads
    another model, and `refuses` makes what programs are told by the door of a status, a word to
    test for and a sentence.
    """

    app: ASGIApp
    access: Access
    pages: Collection[str] = ()
    refuses: Callable[[int, str, str], Response] | None = None

    def __post_init__(self) -> None:
        if self.access not in get_args(Access):
            raise ValueError(f"access is one of {', '.join(get_args(Access))}, not {self.access!r}")


ONE = "An extension has one Routes: put all into it, and what the page alone may ask into `pages`"
ROUTES: Point[Routes] = Point("routes", "Pages and APIs of extensions.", Routes, ONE)


class CancelJob(Action, frozen=True):
    """The cancel button of a job in the tray."""

    id: str


class ScriptFailed(Action, frozen=True):
    """An error in the script of an extension, as a page tells it."""

    id: str
    text: str
    line: int = 0


class Application:
    """Routes requests: static files, the page and its socket, extensions."""

    def __init__(self, kernel: Kernel, static: Path) -> None:
        self._kernel = kernel
        self._static = ExceptionMiddleware(Static(directory=static))
        self.assets = Assets(kernel.records, kernel.memory)
        kernel.hub.snapshot, kernel.hub.moved = self.snapshot, self.moved
        for kind, carry_out in ((CancelJob, self._cancel_job), (ScriptFailed, self._script_failed)):
            handler = Handler(wire_name("kernel", kind), kind, carry_out)
            add = kernel.registry.add
            add(ACTIONS, handler, "kernel", phase=Phase.NORMAL, rank=0, rewrites=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        first, _, rest = path.strip("/").partition("/")
        if scope["type"] == "websocket" and path == "/ws":
            principal = scope.get("spindle.principal")
            socket = WebSocket(scope, receive, send)
            return await self._kernel.hub.serve(socket, str(getattr(principal, "id", "")))
        if entry := self._routes(path):
            return await served(self._kernel, entry, scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if first == "static":
            return await self._static({**scope, "path": rest, "root_path": ""}, receive, send)
        if first == "ext" and (response := self.assets.answer(scope)):
            return await response(scope, receive, send)
        await (await self._page(scope))(scope, receive, send)

    def access(self, scope: Scope) -> Access:
        """Who may ask for this; a program that may ask at all hears where nothing is."""
        path: str = scope["path"]
        if path.startswith("/static/"):
            return "public"
        if entry := self._routes(path):
            return "page" if path in entry.value.pages else entry.value.access
        own = path.startswith(OWN) or self._tab(Client("", "", path)) or reads_html(scope)
        return "page" if own else "inference"

    def refused(self, scope: Scope, status: int, code: str, says: str) -> Response | None:
        """A no of the door in the words of the API that was asked, if it has its own."""
        entry = self._routes(scope["path"])
        if not entry or not entry.value.refuses:
            return None
        try:
            return entry.value.refuses(status, code, says)
        except Exception as error:
            self._kernel.guard.failed(entry.owner, "refuses", error)
            return None

    # --- the page ----------------------------------------------------------------------

    async def _page(self, scope: Scope) -> Response:
        client = Client("", "", scope["path"])
        if not (tab := self._tab(client)):
            return nowhere(self._kernel, scope, client.tab)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Nothing here takes that.", 405)
        return HTMLResponse(await self._shell(client, tab))

    async def _shell(self, client: Client, tab: Entry[Panel]) -> str:
        told = self._kernel.hub.told
        main = await self._panel(tab, client)
        status = await self._status(client)
        html = "".join((main, *(part["html"] for part in status)))
        scripts = self.assets.found(".js")
        return self._kernel.pages.render(
            "page.html",
            title=tab.value.title,
            theme=self._theme,
            path=client.path,
            safe=self._kernel.safe,
            tabs=self._in("tab"),
            current=self._tab(client),
            main=main,
            status=status,
            jobs=self._jobs(),
            told=told,
            scripts=[at for id, at, waits in scripts if waits is None or f"<{id}-" in html],
            **self._brought(),
        )

    async def snapshot(self, client: Client) -> None:
        """Send a page everything it shows; what was queued for it before is contained in that."""
        tab = self._tab(client)
        for entry in (*self._in("status"), *([tab] if tab else ())):
            client.outbox.drop(entry.owner)
        client.outbox.put("kernel", self._now_brought(), "assets")
        client.shows = tab.serial if tab else client.shows
        await self._around(client)
        if tab:
            await self._draw(tab, client)
        else:
            self._gone(client)
        client.outbox.put("kernel", "", "alive")  # A page on a slow wire waits for it in patience.

    async def moved(self, client: Client) -> None:
        """Tell a page that was sent elsewhere what its status line says there."""
        for entry in self._in("status"):
            await self._draw(entry, client)

    async def follow(self) -> None:
        """Tell every page what the bus says of panels and jobs, for ever."""
        queue, dispose = self._kernel.bus.open(object)
        try:
            while True:
                events = [await queue.get()]
                await asyncio.sleep(0.02)  # An extension contributes several panels at once.
                while not queue.empty():
                    events.append(queue.get_nowait())
                try:
                    await self._tell(events)
                except Exception:  # What comes next is told all the same.
                    log.exception("The pages could not be told of a change")
        finally:
            dispose()

    async def _tell(self, events: Sequence[object]) -> None:
        jobs = [event for event in events if isinstance(event, JobProgress)]
        if jobs:
            self._kernel.hub.push("kernel", self._tray(), Everyone(), "tray")
        for job in jobs:
            if job.state == "failed" and not job.awaited:
                self._kernel.hub.tell(f"{job.title} failed. {job.note}", Everyone())
        if self._kernel.hub.clients and StatusChanged in map(type, events):
            self._kernel.hub.push("kernel", self._now_brought(), Everyone(), "assets")
        if Changed(PANELS.name) in events:
            await self._panels_changed()

    async def _panels_changed(self) -> None:
        for client in list(self._kernel.hub.clients):
            await self._around(client)
            tab = self._tab(client)
            if tab and tab.serial != client.shows:
                await self.snapshot(client)
            if not tab:
                self._gone(client)

    async def _around(self, client: Client) -> None:
        """What stands around the tab: the theme, the rail and the status line with its jobs."""
        theme = '<span id="page-theme" hidden data-theme="{}" hx-swap-oob="true"></span>'
        client.outbox.put("kernel", theme.format(self._theme), "theme")
        tab, tabs = self._tab(client), self._in("tab")
        rail = self._kernel.pages.render("_rail.html", tabs=tabs, current=tab, oob=True)
        client.outbox.put("kernel", rail, "rail")
        news, path = self._kernel.hub.news.copy(), client.path
        parts = {"status": await self._status(client), "jobs": self._jobs()}
        footer = self._kernel.pages.render("_status.html", oob=True, **parts)
        client.outbox.put("kernel", footer, "status")
        for entry in self._in("status"):
            old = self._kernel.hub.news[entry.owner] != news[entry.owner]
            if old or client.path != path:  # It has news since, or the page is elsewhere.
                await self._draw(entry, client)

    def _gone(self, client: Client) -> None:
        """Say in the place of a tab that it is no more."""
        client.shows = -1
        text = escape(self._kernel.absent(client.tab))
        html = f'<main id="main" hx-swap-oob="innerHTML"><p class="empty">{text}</p></main>'
        client.outbox.put("kernel", html, "main")

    # --- parts -------------------------------------------------------------------------

    def _in(self, region: str) -> list[Entry[Panel]]:
        return in_region(self._kernel.registry, region)

    def _tab(self, client: Client) -> Entry[Panel] | None:
        tabs = self._in("tab")
        if not client.tab:
            return tabs[0] if tabs else None
        return next((tab for tab in tabs if tab.owner == client.tab), None)

    async def _panel(self, entry: Entry[Panel], client: Client, then: Then = ignored) -> Markup:
        return await drawn(self._kernel, entry, client, client.subject, then)

    async def _draw(self, entry: Entry[Panel], client: Client) -> None:
        path = client.path

        def put(html: Markup) -> None:
            if client.path == path:  # Else it was sent elsewhere meanwhile, and is told that.
                client.outbox.put(entry.owner, placed(entry, html), whole=True)

        await self._panel(entry, client, put)
        self._kernel.hub.missed(client)

    async def _status(self, client: Client) -> list[dict[str, Any]]:
        return [
            {"id": f"{e.owner}-{e.value.order}", "html": await self._panel(e, client)}
            for e in self._in("status")
        ]

    def _jobs(self) -> list[JobProgress]:
        return [job.progress for job in self._kernel.jobs.running.values()]

    @property
    def _theme(self) -> str:
        return self._kernel.theme.replace("system", "")

    def _tray(self) -> str:
        return self._kernel.pages.render("_tray.html", jobs=self._jobs(), oob=True)

    async def _cancel_job(self, action: CancelJob, client: Client) -> None:
        if job := self._kernel.jobs.running.get(action.id):
            job.cancel()

    async def _script_failed(self, action: ScriptFailed, client: Client) -> None:
        record = self._kernel.records.get(action.id)
        if record and record.is_(Status.RUNNING):
            text = f"{action.text[:300]} (line {action.line}). If the page does not work, start "
            text += "Spindle with --safe-mode"
            self._kernel.guard.failed(action.id, "its script in the page", RuntimeError(text))

    # --- what extensions serve -----------------------------------------------------------

    def _brought(self) -> dict[str, list[str]]:
        waiting = [f"{id}:{at}" for id, at, js in self.assets.found(".js") if js is not None]
        return {"styles": self.assets.styles(), "waiting": waiting}

    def _now_brought(self) -> str:
        return self._kernel.pages.render("_assets.html", oob=True, **self._brought())

    def _routes(self, path: str) -> Entry[Routes] | None:
        for entry in self._kernel.registry.entries(ROUTES):
            manifest = self._kernel.records[entry.owner].manifest
            mine = manifest and manifest.serves(path)
            if mine and not self.assets.file(path.removeprefix("/ext/")):
                return entry
        return None
