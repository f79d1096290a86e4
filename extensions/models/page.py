"""The Model page: the list of models, what is known of one, and what other extensions add."""

from collections.abc import Mapping
from typing import Any

from extensions.models.catalogue import Catalogue
from extensions.models.files import ModelFile
from extensions.models.rows import Rows
from extensions.models.views import Views
from kernel.api import Client, Extension, Panel

ICON = "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9"
FIRST = ""
"""The section with the list."""
FILE = "file"
"""The section of one model, in addresses."""
MOST = 100
"""Rows that are shown at once; a button shows as many more."""


class Looking:
    """What one page looks for, and how much it wants to see."""

    def __init__(self, words: str = "", most: int = MOST) -> None:
        self.words, self.most = words, most
        self.there: bool | None = None
        """Whether the model that it shows was there; None where it shows no single one."""


class Page:
    """What pages show at /models, and what they are told when it changes."""

    def __init__(self, ext: Extension[Any], views: Views) -> None:
        self._ext, self._views = ext, views
        self.catalogue = Catalogue(ext, self.read)
        self.rows = Rows(ext, self.catalogue)
        self._open: dict[Client, Looking] = {}
        self._known: list[tuple[str, str]] = []
        self._begun = False
        views.beside, views.trouble_of = self.tell_load, self.rows.trouble

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of panel.html."""
        if client and client.id:
            self._open.setdefault(client, Looking())
            await self.follow(await self._views.glance())
        self._known = self.sections()
        section, _, rest = subject.partition("/")
        return {
            "section": section,
            "here": f"/models/{section}".rstrip("/"),
            "sections": self._known,
            **await self._section(client, section, rest),
        }

    def sections(self) -> list[tuple[str, str]]:
        """The address and the title of each."""
        titled: dict[str, str] = {}
        for owner, panel in self._ext.parts("models"):
            if panel.title:
                titled.setdefault(owner, panel.title)
        others = [(f"/models/{owner}", title) for owner, title in titled.items()]
        return [("/models", "On this machine"), *others]

    def left(self, client: Client) -> None:
        self._open.pop(client, None)

    async def follow(self, changed: bool) -> None:
        """Read what is new, while any page is open; `changed` says that the list is another
        one."""
        if changed or not self._begun or self.catalogue.due:
            self._begun = True
            await self.catalogue.refresh(self._views.all)
        if changed:
            await self.tell_list()

    def best(self, name: str) -> list[str]:
        """The loaders that a model is for by its files, best first."""
        model = self._views.file(name)
        known = self.catalogue.of(model) if model else None
        return [each.loader for each in self.rows.takers(model, known)] if model else []

    async def read(self) -> None:
        """More is known of some models: lists and forms show it."""
        await self.tell_list()
        self._views.push_pickers()

    async def arrived(self) -> None:
        """A model came by the page itself: it is shown at once."""
        await self._views.glance()
        self._views.push_pickers()
        await self.follow(changed=True)

    async def search(self, client: Client, words: str, more: bool) -> None:
        """Show a page the models with these words, or more of them."""
        looking = self._open.setdefault(client, Looking())
        most = looking.most + MOST if more and words == looking.words else MOST
        self._open[client] = Looking(words, most)
        await self._ext.thread(self.rows.read, self._views.all)
        self._tell(client)

    # --- what pages are told -------------------------------------------------------------

    async def panels_changed(self) -> None:
        """An extension brought something for this page, or took it away."""
        before, self._known = self._known, self.sections()
        if before != self._known:
            context = {"here": "", "sections": self._known}
            html = self._ext.render("_sections.html", oob=True, **context)
            for client in self._open:
                self._ext.push_html(html, client, "sections")
        for client in tuple(self._open):
            if client.tab == self._ext.id:
                await self._tell_section(client)

    async def tell_list(self) -> None:
        """The list, on every page that shows it, and what is known of the model of another."""
        for client, looking in tuple(self._open.items()):
            model = self._shown(client)
            if client.tab == self._ext.id and not client.subject:
                self._tell(client)
            elif looking.there not in (None, bool(model)):
                await self._tell_section(client)
            elif model:
                html = self._ext.render("_facts.html", oob=True, model=self.rows.whole(model))
                self._ext.push_html(html, client, "facts")

    def tell_load(self, client: Client) -> None:
        """How the model that a page shows is loaded, where that changed."""
        if client in self._open and (model := self._shown(client)):
            context = self._loading(client, model)
            self._ext.push_html(self._ext.render("_here.html", oob=True, **context), client, "here")

    # --- inside -------------------------------------------------------------------------

    async def _tell_section(self, client: Client) -> None:
        subject = client.subject
        section, _, rest = subject.partition("/")
        context = await self._section(client, section, rest)
        if client.subject != subject:  # It shows another one by now.
            return
        html = self._ext.render("_section.html", oob=True, section=section, **context)
        self._ext.push_html(html, client, "section")

    async def _section(self, client: Client | None, section: str, rest: str) -> dict[str, Any]:
        """The context of _section.html."""
        if section == FIRST:
            return {**await self._beside(client), **self._list(client)}
        if section == FILE:
            return await self._file(client, rest)
        panels = await self._ext.panels(
            "models", client, rest, lambda owner, panel: owner == section and bool(panel.title)
        )
        return {"panels": panels}

    async def _beside(self, client: Client | None) -> dict[str, Any]:
        """What stands around the list: panels without a title."""

        async def drawn(before: bool) -> list[Any]:
            def wanted(owner: str, panel: Panel) -> bool:
                return not panel.title and (panel.order < 0) == before

            return await self._ext.panels("models", client, "", wanted)

        return {"before": await drawn(True), "after": await drawn(False)}

    def _tell(self, client: Client) -> None:
        html = self._ext.render("_list.html", oob=True, **self._list(client))
        self._ext.push_html(html, client, "list")

    def _list(self, client: Client | None) -> dict[str, Any]:
        """The context of _list.html; only the rows that are shown are made."""
        looking = self._open.get(client, Looking()) if client else Looking()
        words = looking.words.lower().split()
        found = [each for each in self._views.all if not self.rows.hidden(each)]
        fit = found
        if words:
            fit = [each for each in found if all(word in self.rows.says(each) for word in words)]
        rows = [self.rows.row(each) for each in fit[: looking.most]]
        return {
            "good": [row for row in rows if not row["trouble"]],
            "bad": [row for row in rows if row["trouble"]],
            "count": len(found),
            "left": len(fit) - len(rows),
            "words": looking.words,
            "reading": self.catalogue.unread,
            "folder": str(self._ext.models),
            "loras": str(self._ext.loras),
        }

    async def _file(self, client: Client | None, name: str) -> dict[str, Any]:
        model = self._named(name)
        if client in self._open:
            self._open[client].there = bool(model)
        if not model:
            return {"model": None}
        if not self.catalogue.of(model):  # A panel waits for nothing that may take seconds.
            self._ext.spawn(self._describe(model), "describe")
        if client and client.id and model.loaders:
            await self._views.choosing.show(client, model.name)
        panels = await self._ext.panels("model_file", client, model.name)
        if self._named(name) != model:  # It went meanwhile, or is another one.
            return await self._file(client, name)
        return {"model": self.rows.whole(model), "panels": panels, **self._loading(client, model)}

    async def _describe(self, model: ModelFile) -> None:
        await self.catalogue.describe(model)
        await self.read()

    def _loading(self, client: Client | None, model: ModelFile) -> dict[str, Any]:
        """The context of _here.html."""
        shown = self._views.picker(client)
        chosen = shown["chosen"]
        fits = chosen and chosen["name"] == model.name and not self.rows.trouble(model)
        slot = shown["slot"]
        if self._views.loading.culprit != model.name:  # Its failure is told on its own page.
            slot = {**slot, "error": ""}
        return {**shown, "slot": slot, "chosen": chosen if fits else None}

    def _shown(self, client: Client) -> ModelFile | None:
        """The model that a page shows."""
        section, _, name = client.subject.partition("/")
        return self._named(name) if client.tab == self._ext.id and section == FILE else None

    def _named(self, name: str) -> ModelFile | None:
        return next((model for model in self._views.all if model.name == name), None)
