"""The Model page: the list of models, what is known of one, and what other extensions add."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from extensions.models.views import Views, size_in_words
from kernel.api import LOADERS, Client, Extension, Panel

ICON = "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9"
FIRST = ""
"""The section with the list."""
FILE = "file"
"""The section of one model, in addresses."""


class Page:
    """What pages show at /models, and what they are told when it changes."""

    def __init__(self, ext: Extension[Any], views: Views) -> None:
        self._ext, self._views = ext, views
        self._open: set[Client] = set()
        self._known: list[tuple[str, str]] = []

    async def context(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of panel.html."""
        if client and client.id:
            self._open.add(client)
            await self._views.glance()
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
        self._open.discard(client)

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
                section, _, rest = client.subject.partition("/")
                context = await self._section(client, section, rest)
                html = self._ext.render("_section.html", oob=True, section=section, **context)
                self._ext.push_html(html, client, "section")

    async def tell_list(self) -> None:
        """The list, on every page that shows it."""
        pages = [page for page in self._open if page.tab == self._ext.id and not page.subject]
        if pages:
            html = self._ext.render("_list.html", oob=True, **self._list())
            for page in pages:
                self._ext.push_html(html, page, "list")

    # --- inside -------------------------------------------------------------------------

    async def _section(self, client: Client | None, section: str, rest: str) -> dict[str, Any]:
        """The context of _section.html."""
        if section == FIRST:
            return {**self._list(), **await self._beside(client)}
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

    def _list(self) -> dict[str, Any]:
        labels = {loader.id: loader.label for loader in self._ext.get(LOADERS)}
        return {
            "models": [
                {
                    "name": model.name,
                    "address": f"/models/{FILE}/{quote(model.name)}",
                    "size": size_in_words(model.size),
                    "loader": next((labels[id] for id in model.loaders if id in labels), ""),
                }
                for model in self._views.files
            ],
            "folder": str(self._ext.models),
        }

    async def _file(self, client: Client | None, name: str) -> dict[str, Any]:
        model = self._views.file(name) or self._views.file(unquote(name))
        if not model:
            return {"model": None}
        panels = await self._ext.panels("model_file", client, model.name)
        return {
            "model": {"name": model.name, "size": size_in_words(model.size)},
            "panels": panels,
        }
