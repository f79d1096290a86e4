"""The open pages of one tab of free text, and what they are told."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kernel.api import Client, Extension, Refused

from .actions import View
from .asking import Asking
from .library import OUTPUT, TEXT, Library
from .sheet import Change, Sheet
from .views import Looks, Views

QUIET = 0.5
"""Seconds after a change until what is made of the whole text is made anew."""
COMMANDS = 10
"""Texts that the palette of commands has."""
KEPT = 10
"""Pages that went away and whose sub-tab is known."""
LISTED = 500
"""Texts in the list at the side."""


class Pages:
    """Who looks at which text, and at what of it."""

    def __init__(self, ext: Extension[Any], library: Library, views: Views, *, two: bool) -> None:
        self.two = two
        """Whether there is a box for what comes out."""
        self.looks: dict[Client, Looks] = {}
        self._left: dict[tuple[str, str], View] = {}
        """The sub-tabs of pages that went away, by whose they were and of which text."""
        self._ext, self._library, self.views = ext, library, views
        self._asking = Asking(ext)
        self._counts: dict[str, str] = {}
        self._redrawing: dict[str, asyncio.Task[None]] = {}
        self._looks, self._told = itertools.count(1), dict[object, int]()
        """Looks at what is made of a text, and the latest that was told: of a name its count, of a
        page its sub-tab."""
        self._notices = 0
        ext.defer(library.listen(self.heard))
        library.listed.append(self.listed)
        ext.defer(lambda: library.listed.remove(self.listed))

    # --- one page ----------------------------------------------------------------------

    async def panel(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of the tab."""
        newest = "" if subject else await self._library.newest()
        there = {entry.name for entry in await self._library.list()}
        name = subject if subject in there or self._library.known(subject) else newest
        problem, sheets = "", list[Sheet]()
        try:
            boxes = (TEXT, OUTPUT) if self.two else (TEXT,)
            sheets = [await self._library.sheet(name, box) for box in boxes] if name else []
        except Refused as refusal:
            problem = str(refusal)
        looks = Looks()
        if client and client.id:
            client.subject = name or subject
            if client not in self.looks:  # A page that comes back shows what it showed.
                looks.view = self._left.pop((client.principal, client.subject), looks.view)
            looks = self.looks.setdefault(client, looks)
            if sheets:
                self.redraw(name)
        problem = problem or ("" if name else f"There is no text “{subject}”.")
        deleted = await self._ext.thread(self._library.trash.list)
        view = await self.views.context(name, self._shown(sheets), looks)
        entries = self._library.entries
        return {  # What is read from here on is true when it is drawn.
            **view,
            **self.state(name),
            "two": self.two,
            "problem": problem,
            "path": f"/{self._ext.id}/{quote(name)}",
            "boxes": [self.views.box(sheet) for sheet in sheets],
            "names": [entry.name for entry in entries[:LISTED]],
            "more": max(0, len(entries) - LISTED),
            "deleted": deleted,
        }

    async def commands(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of command.html."""
        here = client.subject if client and client.tab == self._ext.id else ""
        names = [entry.name for entry in await self._library.list()]
        return {"names": [name for name in names if name != here][:COMMANDS]}

    def left(self, client: Client) -> None:
        if looks := self.looks.pop(client, None):
            self._left[client.principal, client.subject] = looks.view
            self._left = dict([*self._left.items()][-KEPT:])
        self._told.pop(client, None)

    async def move(self, client: Client, name: str) -> None:
        """Show a page another text, and make that its address."""
        if client not in self.looks:
            return self._tell_where(client, name)
        await self.draw(client, name)

    async def draw(self, client: Client, name: str) -> None:
        """All of the tab anew, with this text, whatever the page showed before."""
        html = self._library.render("_panel.html", **await self.panel(client, name))
        self._ext.go(client, f"/{self._ext.id}/{quote(name)}")
        self._ext.push_html(f'<main id="main" hx-swap-oob="innerMorph">{html}</main>', client)

    def offer_undo(self, text: str, client: Client, vals: Mapping[str, str]) -> None:
        """Say that something was deleted, beside a button that brings it back."""
        self._notice(client, text, {"label": "Undo", "vals": vals, "leaves": True})

    def _tell_where(self, client: Client, name: str) -> None:
        """A page that shows something else is told where the text is."""
        self._notice(client, f"It is the text “{name}” in {self._ext.id.capitalize()} now.", None)

    def _notice(self, client: Client, text: str, button: Mapping[str, Any] | None) -> None:
        self._notices += 1
        id = f"{self._ext.id}-{self._notices}"
        html = self._library.render("_notice.html", id=id, text=text, kind="note", button=button)
        self._ext.push_html(html, client)

    # --- all pages of a text -----------------------------------------------------------

    def of(self, name: str) -> list[Client]:
        return [c for c in self.looks if c.subject == name and c.tab == self._ext.id]

    def heard(self, sheet: Sheet, change: Change | None) -> None:
        """A text changed, or what is done with it."""
        clients = self.of(sheet.name)
        if not clients or (sheet.box == OUTPUT and not self.two):
            return
        if not change:
            html = self._library.render("_state.html", **self.state(sheet.name), oob=True)
            for client in clients:
                self._ext.push_html(html, client, "state")
            return
        told = self._library.render("_change.html", sheet=sheet, change=change.splice)
        for client in clients:
            if client.id != change.author:
                self._ext.push_html(told, client)
            elif change.fitted:
                self.tell_whole(sheet, client)
            else:
                done = self._library.render("_done.html", sheet=sheet)
                self._ext.push_html(done, client)
        self.redraw(sheet.name)

    def tell(self, name: str, sentence: str) -> None:
        """Say something to all who look at a text."""
        for client in self.of(name):
            self._ext.tell(sentence, client)

    def tell_whole(self, sheet: Sheet, client: Client, refused: str = "") -> None:
        box = self.views.box(sheet)
        html = self._library.render("_text.html", box=box, refused=refused, oob=True)
        self._ext.push_html(html, client, f"whole {sheet.box}", whole=True)

    def tell_stuck(self, sheet: Sheet, client: Client, id: str) -> None:
        """Tell a page that its change is refused: else it waits for it, and sends nothing more."""
        html = self._library.render("_stuck.html", sheet=sheet, id=id)
        self._ext.push_html(html, client)

    def listed(self, old: str, new: str) -> None:
        """A text came, went or got another name."""
        self._ext.spawn(self._listed(old, new), "list")

    async def _listed(self, old: str, new: str) -> None:
        for client in self.of(old) if old else ():
            await self.draw(client, new or await self._library.newest())
        await self._tell_list()

    def state(self, name: str) -> dict[str, Any]:
        """The context of _state.html."""
        sheets = [self._library.known(name, box) for box in (TEXT, OUTPUT)[: 1 + self.two]]
        open = [sheet for sheet in sheets if sheet]
        failed = next((sheet for sheet in open if sheet.error), None)
        own = failed and (failed.box == OUTPUT) == self.two  # Another tab may write the text.
        return {
            "tab": self._ext.id,
            "two": self.two,
            "name": name,
            "busy": any(sheet.busy for sheet in open),
            "undoable": any(sheet.undoable for sheet in open),
            "error": failed.error if failed else "",
            "again": failed.again if failed and own else "generate",
            "unsaved": next((sheet.unsaved for sheet in open if sheet.unsaved), ""),
            "count": self._counts.get(name, ""),
        }

    # --- what is made of the whole text ------------------------------------------------

    def redraw(self, name: str) -> None:
        """Count the tokens and draw the sub-tabs anew, once the text is quiet or half a second
        later."""
        if name not in self._redrawing:
            self._redrawing[name] = self._ext.spawn(self._redraw(name), f"redraw {name}")

    async def show(self, client: Client, name: str) -> None:
        """Draw the sub-tab that a page looks at."""
        sheet = self._shown(self._open(name))
        if client in self.looks and client.subject == name:
            looks, look = self.looks[client], next(self._looks)
            context = await self.views.context(name, sheet, looks)
            if client not in self.looks or client.subject != name or self._late(client, look):
                return
            html = self._library.render("_view.html", tab=self._ext.id, oob=True, **context)
            self._ext.push_html(html, client, "view")

    async def _redraw(self, name: str) -> None:
        await asyncio.sleep(QUIET)
        self._redrawing.pop(name, None)
        if not (sheet := self._library.known(name)) or not self.of(name):
            return
        look = next(self._looks)
        count = await self._asking.count(sheet.text)
        if self._late(name, look):
            return
        if self._counts.get(name) != count:
            self._counts = {k: v for k, v in self._counts.items() if self.of(k)} | {name: count}
            self._told = {k: v for k, v in self._told.items() if k in {*self._counts, *self.looks}}
            html = self._library.render("_count.html", count=count, oob=True)
            for client in self.of(name):
                self._ext.push_html(html, client, "count")
        for client in self.of(name):
            if (looks := self.looks.get(client)) and looks.view in ("markdown", "html"):
                await self.show(client, name)

    def _late(self, at: object, look: int) -> bool:
        """Whether who looked later was sooner."""
        told = self._told.get(at, 0)
        self._told[at] = max(told, look)
        return told > look

    def model_changed(self) -> None:
        for name in {client.subject for client in self.looks}:
            self.redraw(name)

    async def _tell_list(self) -> None:
        entries = await self._library.list()
        deleted = await self._ext.thread(self._library.trash.list)
        for client in [*self.looks]:
            if client.tab == self._ext.id:
                names = [entry.name for entry in entries[:LISTED]]
                more = max(0, len(entries) - LISTED)
                html = self._library.render(
                    "_list.html", tab=self._ext.id, names=names, more=more, deleted=deleted,
                    name=client.subject, oob=True,
                )  # fmt: skip
                self._ext.push_html(html, client, "list")

    def _open(self, name: str) -> list[Sheet]:
        found = [self._library.known(name, box) for box in (TEXT, OUTPUT)[: 1 + self.two]]
        return [sheet for sheet in found if sheet]

    def _shown(self, sheets: list[Sheet]) -> Sheet | None:
        """Which text the sub-tabs are about: what came out, where there is such a box."""
        return sheets[-1] if sheets else None
