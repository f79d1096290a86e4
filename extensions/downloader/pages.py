"""The section of the Model page that finds models: what each page looks at, and what it is told."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from markupsafe import Markup

from extensions.chat.api import Markdown
from kernel.api import Client, Extension, Refused

from . import views
from .addresses import Address, address_of
from .fitting import Room
from .hub import Hub
from .looks import Look, Looks
from .machine import room
from .plan import Found
from .planning import Places
from .starters import stamp, starters

EVERY = 2.0
"""Seconds between two looks at the list of small models, while somebody sees it."""
TAB, SECTION = "models", "downloader"


class Pages:
    """The pages that show the section."""

    looks: Looks

    def __init__(self, ext: Extension[Any], hub: Hub) -> None:
        self._ext, self._hub = ext, hub
        self._places = Places(ext.models, ext.loras)
        self._open: set[Client] = set()
        self._asked: dict[str, dict[str, Any]] = {}
        """The last search of each page."""
        self._seen: object = None

        def code(language: str, html: str) -> str:
            return ext.render("_code.html", language=language, html=Markup(html)).strip()

        self._markdown = Markdown(code)

    # --- what is drawn ------------------------------------------------------------------

    async def panel(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of section.html: the search, or one repository."""
        if client and client.id:
            self._open.add(client)
        return await self._view(client, subject)

    async def first(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of first.html: the list, where there is no model but the guide."""
        if client and client.id:
            self._open.add(client)
        return await self.starting()

    async def starting(self) -> dict[str, Any]:
        """The context of _starters.html."""
        there = await self._ext.thread(room)
        return await self._ext.thread(self._starting, there)

    def left(self, client: Client) -> None:
        self._open.discard(client)
        self._asked.pop(client.id, None)

    # --- what pages are told ------------------------------------------------------------

    async def go(self, client: Client, address: Address) -> None:
        """Show a page a repository, and make that its address."""
        client.tab, client.subject = TAB, f"{SECTION}/{views.at(address)}"
        client.path = f"/{TAB}/{client.subject}"
        await self._draw(client)
        go = f'<span id="page-go" hidden data-path="{client.path}" hx-swap-oob="outerHTML"></span>'
        self._ext.push_html(go, client)

    async def show_results(
        self,
        client: Client,
        text: str,
        found: Sequence[Found] | None,
        trouble: str = "",
    ) -> None:
        """The answer to a search; none yet means that the hub is being asked."""
        there = await self._ext.thread(room)
        self._asked[client.id] = {
            "text": text,
            "asking": bool(text) and found is None and not trouble,
            "found": [views.result(each, there) for each in found or ()],
            "trouble": trouble,
        }
        html = self._ext.render("_results.html", oob=True, search=self._asked[client.id])
        self._ext.push_html(html, client, "results")

    async def tell(self, address: Address) -> None:
        """Something about a repository is new: for every page that looks at it."""
        for client in tuple(self._open):
            if self._looks_at(client) == address:
                await self._draw(client)

    async def tell_card(self, client: Client, look: Look) -> None:
        """The card, for who asked."""
        html = self._ext.render("_card.html", oob=True, card=await self._card(look))
        self._ext.push_html(html, client, "card")

    async def tell_starters(self) -> None:
        """The list of small models, for every page that shows it."""
        if pages := [page for page in self._open if self._shows_starters(page)]:
            html = self._ext.render("_starters.html", oob=True, **await self.starting())
            for page in pages:
                self._ext.push_html(html, page, "starters")

    async def files_changed(self) -> None:
        """A download ended: what is here already is another thing now."""
        await self.tell_starters()
        for client in tuple(self._open):
            if self._looks_at(client):
                await self._draw(client)

    async def watch(self) -> None:
        """Look for what was changed in the list, while somebody is looking."""
        while True:
            await asyncio.sleep(EVERY)
            if any(self._shows_starters(page) for page in self._open):
                now = await self._ext.thread(stamp, self._ext.models)
                if now != self._seen:
                    self._seen = now
                    await self.tell_starters()

    # --- inside -------------------------------------------------------------------------

    async def _view(self, client: Client | None, subject: str) -> dict[str, Any]:
        """The context of _view.html."""
        search = self._asked.get(client.id) if client else None
        context: dict[str, Any] = {
            "repository": None,
            "search": search or {"text": "", "asking": False, "found": [], "trouble": ""},
            "host": self._hub.endpoint.partition("://")[2],
        }
        if not subject:
            return context | await self.starting()
        try:
            address = self._address(subject)
        except Refused as refusal:
            return context | {"trouble": str(refusal)} | await self.starting()
        look, there = self.looks.at(address), await self._ext.thread(room)
        repository = await self._ext.thread(
            views.repository, look, there, self._places, self._hub.endpoint
        )
        return context | {"repository": repository, "card": await self._card(look)}

    async def _card(self, look: Look) -> dict[str, Any]:
        card = look.card
        html = await self._ext.thread(self._markdown.render, card.text) if card else ""
        return {
            "address": views.at(look.address),
            "html": Markup(html),
            "none": look.no_card,
            "licence": card.licence if card else "",
            "base": list(card.base[:5]) if card else [],
            "languages": list(card.languages) if card else [],
            "cut": card.cut if card else False,
        }

    async def _draw(self, client: Client) -> None:
        subject = client.subject.partition("/")[2]
        html = self._ext.render("_view.html", oob=True, **await self._view(client, subject))
        self._ext.push_html(html, client, "view")

    def _starting(self, there: Room) -> dict[str, Any]:
        found = starters(self._ext.models)
        rows = [views.starter(each, there, self._places) for each in found.models]
        return {
            "starters": rows,
            "memory": views.size(there.all),
            "written": found.written,
            "troubles": found.troubles,
            "file": found.file,
            "own": found.own,
        }

    def _address(self, subject: str) -> Address:
        return address_of(unquote(subject), self._hub.endpoint)

    def _looks_at(self, client: Client) -> Address | None:
        section, _, rest = client.subject.partition("/")
        if client.tab != TAB or section != SECTION or not rest:
            return None
        try:
            return self._address(rest)
        except Refused:
            return None

    def _shows_starters(self, client: Client) -> bool:
        return client.tab == TAB and client.subject in ("", SECTION)
