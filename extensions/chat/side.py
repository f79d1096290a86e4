"""The list at the side, as each page has it: the newest, more of them, or what a search found."""

from collections.abc import Sequence
from typing import Any

from extensions.conversations.api import Conversation, Found, Store
from kernel.api import Client, Extension

from .views import Views

Groups = list[tuple[str, list[dict[str, Any]]]]
LISTED = 100
"""Conversations in the list, and how many more of them are shown at a time."""


class Shown:
    """A list as a page has it."""

    def __init__(self, groups: Groups, more: bool) -> None:
        self.more, self.labels = more, [label for label, _ in groups]
        self.places = {item["id"]: label for label, items in groups for item in items}
        self.items = {item["id"]: item for _, items in groups for item in items}

    def changes(self, now: "Shown") -> dict[str, Any] | None:
        """What makes this list that one, if it is but single rows: the context of _rows.html."""
        if (self.labels, self.more) != (now.labels, now.more) or not now.items:
            return None
        gone = [id for id in self.items if id not in now.items]
        stay, first, *rest = [id for id in self.items if id in now.items], *now.items
        moved = stay != [first, *rest]
        if moved:
            gone += [first] if first in self.items else []
            stay = [id for id in stay if id != first]
            if stay != rest:
                return None
        if any(self.places[id] != now.places[id] for id in stay):
            return None
        changed = [now.items[id] for id in stay if self.items[id] != now.items[id]]
        return {"gone": gone, "first": now.items[first] if moved else None, "changed": changed}


class Side:
    """All conversations as they are listed, and what single pages want of them."""

    def __init__(self, ext: Extension[Any], store: Store, views: Views) -> None:
        self._ext, self._store, self._views = ext, store, views
        self._listed: Sequence[Conversation] = ()
        self._limits: dict[Client, int] = {}
        self._asked: dict[Client, str] = {}
        self._found: dict[Client, Sequence[Found]] = {}
        self._shown: dict[Client, Shown] = {}
        """The list as each page has it."""

    async def load(self) -> None:
        """Read the list; one more than is shown says whether there are more."""
        self._listed = await self._store.list(max(LISTED, *self._limits.values(), 0) + 1)

    def context(self, client: Client | None) -> dict[str, Any]:
        limit = self._limits.get(client, LISTED) if client else LISTED
        groups, more = self._views.groups(self._listed[:limit]), len(self._listed) > limit
        if client and client.id:
            self._shown[client] = Shown(groups, more)
        return {
            "groups": groups,
            "more": more,
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
            self._tell(client, whole=False)

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
        for wanted in (self._limits, self._asked, self._found, self._shown):
            wanted.pop(client, None)

    # --- inside ------------------------------------------------------------------------

    async def _look(self, client: Client) -> None:
        text = self._asked.get(client, "")
        found = await self._store.search(text) if text else ()
        if self._asked.get(client) == text:  # Else a later search is under way.
            self._found[client] = found
            if not text:
                self._asked.pop(client)

    def _tell(self, client: Client, *, whole: bool = True) -> None:
        before, context = self._shown.get(client), self.context(client)
        if before and not whole and client not in self._asked:
            now = self._shown[client]
            if (changes := before.changes(now)) is not None:
                if any(changes.values()):
                    self._ext.push_html(self._ext.render("_rows.html", **changes), client)
                return
        html = self._ext.render("_conversations.html", **context, oob=True)
        self._ext.push_html(html, client, "list")
