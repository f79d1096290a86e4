"""The list at the side, as each page has it: the newest, more of them, or what a search found."""

from collections.abc import Sequence
from typing import Any

from extensions.conversations.api import Conversation, Found, Store
from kernel.api import Client, Extension

from .views import Views

LISTED = 100
"""Conversations in the list, and how many more of them are shown at a time."""


class Side:
    """All conversations as they are listed, and what single pages want of them."""

    def __init__(self, ext: Extension[Any], store: Store, views: Views) -> None:
        self._ext, self._store, self._views = ext, store, views
        self._listed: Sequence[Conversation] = ()
        self._limits: dict[Client, int] = {}
        self._asked: dict[Client, str] = {}
        self._found: dict[Client, Sequence[Found]] = {}

    async def load(self) -> None:
        """Read the list; one more than is shown says whether there are more."""
        self._listed = await self._store.list(max(LISTED, *self._limits.values(), 0) + 1)

    def context(self, client: Client | None) -> dict[str, Any]:
        limit = self._limits.get(client, LISTED) if client else LISTED
        return {
            "groups": self._views.groups(self._listed[:limit]),
            "more": len(self._listed) > limit,
            "asked": self._asked.get(client, "") if client else "",
            "found": self._found.get(client, ()) if client else (),
        }

    def newest(self, many: int) -> Sequence[Conversation]:
        return self._listed[:many]

    async def tell(self, clients: set[Client]) -> None:
        """Bring the list to pages after something changed in it."""
        await self.load()
        for client in clients & self._asked.keys():
            await self._look(client)
        for client in tuple(clients):
            self._tell(client)

    async def more(self, client: Client) -> None:
        self._limits[client] = self._limits.get(client, LISTED) + LISTED
        await self.load()
        self._tell(client)

    async def search(self, client: Client, text: str) -> None:
        """Show what holds these words in the list's place; without words the list again."""
        self._asked[client] = text.strip()
        await self._look(client)
        self._tell(client)

    def forget(self, client: Client) -> None:
        for wanted in (self._limits, self._asked, self._found):
            wanted.pop(client, None)

    # --- inside ------------------------------------------------------------------------

    async def _look(self, client: Client) -> None:
        text = self._asked.get(client, "")
        found = await self._store.search(text) if text else ()
        if self._asked.get(client) == text:  # Else a later search is under way.
            self._found[client] = found
            if not text:
                self._asked.pop(client)

    def _tell(self, client: Client) -> None:
        html = self._ext.render("_conversations.html", **self.context(client), oob=True)
        self._ext.push_html(html, client, "list")
