"""A palette of everything that can be done, and the keyboard shortcuts: drawn when they are opened,
from what running extensions contribute to the regions `command` and `shortcut`."""

from typing import Any, Literal

from markupsafe import Markup

from kernel.api import PANELS, Action, Client, Extension, Panel


class Show(Action, frozen=True):
    """The palette was opened."""


class Keys(Action, frozen=True):
    """The list of shortcuts was opened."""


async def setup(ext: Extension[Any]) -> None:
    async def groups(
        region: Literal["command", "shortcut"], client: Client
    ) -> list[tuple[str, Markup]]:
        """What extensions contribute, under their titles; who has nothing to offer is left out."""
        panels = [panel for panel in ext.get(PANELS) if panel.region == region]
        titles = [panel.title for panel in sorted(panels, key=lambda panel: panel.order)]
        drawn = await ext.panels(region, client, client.subject)
        return [(title, html) for title, html in zip(titles, drawn, strict=True) if html.strip()]

    @ext.on(Show)
    async def show(action: Show, client: Client) -> None:
        found = await groups("command", client)
        await ext.push("_list.html", client, "list", groups=found)

    @ext.on(Keys)
    async def keys(action: Keys, client: Client) -> None:
        found = await groups("shortcut", client)
        await ext.push("_keys.html", client, "keys", groups=found)

    ext.add(PANELS, Panel("status", "status.html", order=90))
    ext.add(PANELS, Panel("command", "command.html", order=90, title="Help"))
    ext.add(PANELS, Panel("shortcut", "shortcut.html", order=-10, title="Everywhere"))
