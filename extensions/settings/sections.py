"""Sections that other extensions bring to the Settings tab: panels in the region `settings`."""

from typing import Any

from markupsafe import Markup

from kernel.api import PANELS, Client, Everyone, Extension, Panel, Status

BUILT_IN = (
    ("extensions", "Extensions"),
    ("appearance", "Appearance"),
    ("access", "Keys and access"),
    ("about", "About"),
)


class Sections:
    """The sections that running extensions contribute, one for each extension."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext, self._kernel = ext, ext.admin
        self._known: dict[str, tuple[str, tuple[int, ...]]] = {}

    def now(self) -> list[tuple[str, str]]:
        """The address and the title of each, as the side lists them."""
        found = [*BUILT_IN, *((id, title) for id, (title, _) in self._found().items())]
        return [(f"/settings/{id}".removesuffix("/extensions"), title) for id, title in found]

    def tabs(self) -> list[tuple[str, str]]:
        """The address and the title of each tab."""
        panels = [e for e in self._kernel.registry.entries(PANELS) if e.value.region == "tab"]
        panels.sort(key=lambda entry: entry.value.order)
        return [(f"/{entry.owner}", entry.value.title) for entry in panels]

    async def html(self, client: Client | None, section: str, subject: str) -> Markup:
        """All panels of one extension; empty when it brings none, or does not run."""
        here = section in self._found()

        def mine(owner: str, panel: Panel) -> bool:
            return here and owner == section

        panels = await self._ext.panels("settings", client, subject, mine)
        return Markup("").join(panels)

    def missing(self, section: str) -> str:
        """Why there is no such section, in words."""
        if section in self._kernel.records:
            return f"{self._kernel.name(section)} has no settings here, or is switched off."
        return "There is no such section."

    async def follow(self) -> None:
        """Show on every page what came, went or is another one since the last time."""
        before, self._known = self._known, self._found()
        if before == self._known:
            return
        await self._ext.push(
            "_sections.html", Everyone(), "sections", oob=True, here="", sections=self.now()
        )
        changed = {id for id in before | self._known if before.get(id) != self._known.get(id)}
        for client in list(self._kernel.hub.clients):
            section, _, subject = client.subject.partition("/")
            if client.tab == self._ext.id and section in changed:
                html = await self.html(client, section, subject)
                template, missing = "_section.html", self.missing(section)
                await self._ext.push(
                    template, client, "section", oob=True, html=html, missing=missing
                )

    # --- inside ------------------------------------------------------------------------

    def _entries(self) -> list[Any]:
        """The panels of running extensions: one that is starting may not be drawn yet."""
        running = {id for id, each in self._kernel.records.items() if each.is_(Status.RUNNING)}
        found = [
            entry
            for entry in self._kernel.registry.entries(PANELS)
            if entry.value.region == "settings" and entry.owner in running
        ]
        found.sort(key=lambda entry: (entry.value.order, entry.serial))
        places: dict[str, tuple[int, str]] = {}
        for entry in found:  # An extension stands where its first panel belongs.
            places.setdefault(entry.owner, (entry.value.order, self._title(entry).casefold()))
        return sorted(found, key=lambda entry: places[entry.owner])

    def _title(self, entry: Any) -> str:
        return entry.value.title or self._kernel.name(entry.owner)

    def _found(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for entry in self._entries():
            title, serials = found.get(entry.owner, ("", ()))
            found[entry.owner] = title or self._title(entry), (*serials, entry.serial)
        return found
