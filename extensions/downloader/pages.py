"""The section of the Model page that finds models: what each page looks at, and what it is told."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from markupsafe import Markup

from extensions.chat.api import Markdown
from extensions.models.api import MODELS
from kernel.api import Client, Extension, Refused

from . import views
from .addresses import Address, address_of
from .fitting import Room
from .hub import Hub
from .listing import Listing
from .looks import Look, Looks
from .machine import room
from .plan import Found
from .planning import Places
from .starters import stamp, starters

EVERY = 2.0
"""Seconds between two looks at the list of small models, while somebody sees it."""
MEASURED = 30.0
"""Seconds for which a look at the machine's memory counts."""
TAB, SECTION = "models", "downloader"
GUIDE = "guide/guide.gguf"
"""The model that is there from the first start."""


class Pages:
    """The pages that show the section."""

    looks: Looks

    def __init__(self, ext: Extension[Any], hub: Hub, listing: Listing) -> None:
        self._ext, self._hub, self._listing = ext, hub, listing
        self._places = Places(ext.models, ext.loras)
        self._open: set[Client] = set()
        self._asked: dict[str, dict[str, Any]] = {}
        """The last search of each page."""
        self._seen: object = None
        self._guided = False
        """Whether the guide was loaded when the list was drawn last."""
        self._room, self._measured = Room(0), -MEASURED

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
        return await self.starting(first=True)

    async def starting(self, *, first: bool = False) -> dict[str, Any]:
        """The context of _starters.html; `first`: on the list of models, while that is empty."""
        names = [file.name for models in self._ext.get(MODELS) for file in models.files]
        if first and any(not name.startswith("guide") for name in names):
            return {"wanted": False}
        there = await self._machine()
        context = await self._ext.thread(self._starting, there)
        self._guided = self._guide_is_loaded()
        guide = {"guide": GUIDE if GUIDE in names else "", "loaded": self._guided}
        return {**context, "wanted": True, **guide}

    def left(self, client: Client) -> None:
        self._open.discard(client)
        self._asked.pop(client.id, None)

    # --- what pages are told ------------------------------------------------------------

    async def go(self, client: Client, address: Address) -> None:
        """Show a page a repository, and make that its address."""
        at = views.at(address)
        html = await self._drawn(client, unquote(at))
        self._ext.go(client, f"/{TAB}/{SECTION}/{at}")
        self._ext.push_html(html, client, "view")

    async def show_results(
        self,
        client: Client,
        text: str,
        found: Sequence[Found] | None,
        trouble: str = "",
    ) -> None:
        """The answer to a search; none yet means that the hub is being asked."""
        there = await self._machine()
        self._asked[client.id] = {
            "text": text,
            "asking": bool(text) and found is None and not trouble,
            "found": [views.result(each, there) for each in found or ()],
            "trouble": trouble,
        }
        html = self._ext.render("_results.html", oob=True, search=self._asked[client.id])
        self._ext.push_html(html, client, "results")

    def searched(self, client: Client) -> str:
        """The words that a page searched for last."""
        return self._asked.get(client.id, {}).get("text", "")

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
        for subject in ("", SECTION):
            pages = [p for p in self._open if p.tab == TAB and p.subject == subject]
            if pages:
                context = await self.starting(first=not subject)
                html = self._ext.render("_starters.html", oob=True, **context)
                for page in pages:
                    self._ext.push_html(html, page, "starters")

    async def model_changed(self) -> None:
        """Another model is loaded, or none: the guide's row says so."""
        if self._guided != self._guide_is_loaded():
            await self.tell_starters()

    def tell_downloads(self) -> None:
        """What moves, for every page that shows it."""
        drawn: dict[str, str] = {}
        for client in self._open:
            if client.tab == TAB and client.subject.partition("/")[0] == SECTION:
                address = self._looks_at(client)
                repo = address.repo if address else ""
                if repo not in drawn:
                    told = self._listing.now(repo)
                    drawn[repo] = self._ext.render("_downloads.html", oob=True, **told)
                self._ext.push_html(drawn[repo], client, "downloads")

    async def files_changed(self) -> None:
        """A download began or ended: what is here already is another thing now."""
        await self.tell_starters()
        await self.look_again()

    async def look_again(self) -> None:
        """Draw each repository that somebody looks at; what is not known of it is asked."""
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
        search, installs = self._asked.get(client.id) if client else None, await self._ext.missing()
        context: dict[str, Any] = {
            "repository": None,
            "search": search or {"text": "", "asking": False, "found": [], "trouble": ""},
            "host": self._hub.endpoint.partition("://")[2],
            "installs": installs,
        }
        if not subject:
            return {**context, **await self.starting(), **self._listing.now("")}
        try:
            address = self._address(subject)
        except Refused as refusal:
            context["trouble"] = str(refusal)
            return {**context, **await self.starting(), **self._listing.now("")}
        look, there = self.looks.at(address), await self._machine()
        repository = await self._ext.thread(
            views.repository, look, there, self._places, self._hub.endpoint,
            self._listing.under_way(),
        )  # fmt: skip
        about = {"repository": repository, "card": await self._card(look)}
        return {**context, **about, **self._listing.now(address.repo)}

    async def _machine(self) -> Room:
        """The room there is, as measured a moment ago: asking a graphics card takes time."""
        now = asyncio.get_running_loop().time()
        if now - self._measured >= MEASURED:
            self._measured, self._room = now, await self._ext.thread(room)
        return self._room

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
        html = await self._drawn(client, client.subject.partition("/")[2])
        self._ext.push_html(html, client, "view")

    async def _drawn(self, client: Client, subject: str) -> str:
        return self._ext.render("_view.html", oob=True, **await self._view(client, subject))

    def _guide_is_loaded(self) -> bool:
        loaded = [models.loaded() for models in self._ext.get(MODELS)]
        return any(file and file.name == GUIDE for file in loaded)

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
        return address_of(subject, self._hub.endpoint)

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
