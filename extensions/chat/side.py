"""The list at the side, as each page has it: the newest, more of them, or what a search found."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import msgspec

from extensions.conversations.api import Conversation, Found, Listing, Store
from kernel.api import Client, Extension, Struct

from .views import Views

NEWEST = 20
"""Conversations that commands may name."""
LISTED = 100
"""Conversations in each part of the list, and how many more of them are shown at a time."""

Item = dict[str, Any]


class Group(Struct, frozen=True):
    """A part of the list: a folder, what is pinned, or what was changed in one span of time."""

    label: str
    items: tuple[Item, ...] = ()
    kind: Literal["date", "pinned", "incognito", "folder"] = "date"
    folder: str = ""
    """Its path, if it is one."""
    folded: bool = False
    count: int = 0
    depth: int = 0

    @property
    def head(self) -> "Group":
        """All of it but its items."""
        return msgspec.structs.replace(self, items=())


class Shown:
    """A list as a page has it."""

    def __init__(self, groups: Sequence[Group], more: bool) -> None:
        self.more, self.heads = more, [group.head for group in groups]
        self.parts = [{item["id"]: item for item in group.items} for group in groups]

    def changes(self, now: "Shown") -> dict[str, Any] | None:
        """What makes this list that one, if it is but single rows: the context of _rows.html."""
        if (self.heads, self.more) != (now.heads, now.more) or not any(now.parts):
            return None
        gone, first, changed = list[str](), list[tuple[int, Item]](), list[Item]()
        for place, (before, after) in enumerate(zip(self.parts, now.parts, strict=True), 1):
            if (step := _step(before, after)) is None:
                return None
            gone += step[0]
            first += [(place, step[1])] if step[1] else []
            changed += step[2]
        return {"gone": gone, "first": first, "changed": changed}


def _step(
    before: dict[str, Item], after: dict[str, Item]
) -> tuple[list[str], Item | None, list[Item]] | None:
    """Rows that go, the one that comes to the top, those that change where they stand."""
    gone = [id for id in before if id not in after]
    stay = [id for id in before if id in after]
    first = None
    if stay != [*after]:
        top, *rest = after
        gone += [top] if top in before else []
        stay = [id for id in stay if id != top]
        if stay != rest:
            return None
        first = after[top]
    return gone, first, [after[id] for id in stay if before[id] != after[id]]


class Side:
    """All conversations as they are listed, and what single pages want of them."""

    def __init__(self, ext: Extension[Any], store: Store, views: Views) -> None:
        self._ext, self._store, self._views = ext, store, views
        self._listing, self._newest = Listing(), list[Conversation]()
        self._limits = WeakKeyDictionary[Client, int]()
        self._asked = WeakKeyDictionary[Client, str]()
        self._found = WeakKeyDictionary[Client, Sequence[Found]]()
        self._shown = WeakKeyDictionary[Client, Shown]()
        """The list as each page has it."""

    async def load(self) -> None:
        """Read the list, as long as a page wants it."""
        limit = max(LISTED, *self._limits.values(), 0)
        listing = await self._store.shelf.listing(limit)
        secret = tuple(await self._store.secret.list())
        self._listing = msgspec.structs.replace(listing, secret=secret)
        self._newest = await self._store.list(NEWEST)

    def context(self, client: Client | None) -> dict[str, Any]:
        limit = self._limits.get(client, LISTED) if client else LISTED
        groups = self._groups(limit)
        more = self._listing.more or len(self._listing.rest) > limit
        if client and client.id:
            self._shown[client] = Shown(groups, more)
        return {
            "groups": groups,
            "more": more,
            "asked": self._asked.get(client, "") if client else "",
            "found": self._found.get(client, ()) if client else (),
        }

    def newest(self, many: int) -> Sequence[Conversation]:
        return self._newest[:many]

    async def tell(self, clients: Collection[Client]) -> None:
        """Bring the list to pages after something changed in it."""
        await self.load()
        for client in [client for client in clients if client in self._asked]:
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

    def _groups(self, limit: int) -> list[Group]:
        listing, item = self._listing, self._views.item
        groups = list[Group]()

        def add(label: str, kept: Iterable[Conversation], **more: Any) -> None:
            groups.append(Group(label, tuple(map(item, kept)), **more))

        if listing.secret:
            add("Incognito", listing.secret, kind="incognito")
        if listing.pinned:
            add("Pinned", listing.pinned, kind="pinned")
        for folder, held in listing.folders:
            label, depth = folder.name.rpartition("/")[2], folder.name.count("/")
            add(label, held[:limit], kind="folder", folder=folder.name, folded=folder.folded,
                count=folder.count, depth=depth)  # fmt: skip
        groups += [Group(label, tuple(items)) for label, items in
                   self._views.groups(listing.rest[:limit])]  # fmt: skip
        return groups

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
