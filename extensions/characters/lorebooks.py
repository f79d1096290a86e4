"""What a person can do with lorebooks of their own, and what the page shows of them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from kernel.api import Client, Extension, Refused

from . import rows
from .books import entry_of
from .cards import Card
from .conversion import to_book, to_world
from .exchange import TOLD
from .folder import Place
from .forms import taken
from .library import Library
from .pages import Pages, stamp_of
from .reading import worlds_of
from .rows import Form
from .trash import Trash
from .trees import Tree
from .worlds import LORE, WorldRenamed

CHANGED = (
    "This lorebook was changed elsewhere since you opened it. Press Save again to write over that, "
    "or reload the page to see it."
)


class Lorebooks:
    """Changes the worlds, and shows every page what became of them."""

    def __init__(
        self,
        ext: Extension[Any],
        library: Library,
        trash: Trash,
        pages: Pages,
        changed: Callable[[], None],
    ) -> None:
        self._ext, self._library, self._trash = ext, library, trash
        self._pages, self._changed = pages, changed
        self._worlds = library.worlds
        self._telling = asyncio.Lock()

    async def new(self, client: Client, name: str) -> None:
        if not name.strip():
            raise Refused("A lorebook needs a name. Write one.")
        id = await self._library.change(self._worlds.create, name, {"entries": {}})
        await self._go(client, LORE + id)

    async def save(self, client: Client, id: str, stamp: str, form: Form) -> None:
        def write() -> bool | None:
            if stamp and stamp != stamp_of(self._worlds.tree(id)):
                return None
            before = len(rows.entries(self._worlds.tree(id)))
            self._worlds.update(id, lambda world: rows.taken(world, form))
            return rows.redrawn(form, before, len(rows.entries(self._worlds.tree(id))))

        fresh = await self._library.change(write)
        if fresh is None:
            return await self._pages.tell_world(client, id, note=CHANGED, fresh=False, saved=False)
        await self._pages.tell_world(client, id, note="Saved.", fresh=fresh)
        self._changed()

    async def delete(self, client: Client, id: str) -> None:
        place = self._worlds.place
        deleted = await self._library.change(lambda: self._trash.put("lorebook", place(id)))
        if client.subject:
            await self._pages.move(client, "")
        self._changed()
        back = {"action": "characters.restore", "token": deleted.token}
        self._pages.offer_undo(f"“{id}” is in the trash.", client, back)

    async def rename(self, client: Client, id: str, to: str) -> None:
        """Give a lorebook another name, and to all that name it: characters, settings and,
        by `WorldRenamed`, conversations."""
        if not to.strip():
            raise Refused("A lorebook needs a name. Write one.")

        having = [each.id for each in await self._library.all() if id in each.worlds]
        folder, left = self._library.folder, list[str]()

        def work() -> str:
            new = self._worlds.folder.rename(self._worlds.place(id), to)
            for each in having if new != id else ():
                try:
                    place = folder.place(each)
                    card = folder.read(place)
                    folder.update(place, Card(_with_renamed(card.data, id, new), card.beside))
                except (Refused, OSError) as error:  # All others have it by its new name.
                    left.append(f"“{each}” could not be told of the lorebook's new name: {error}")
            return new

        new = await self._library.change(work)
        if new == id:
            return
        for sentence in left[:TOLD]:
            self._ext.tell(sentence, client, "error")
        await self._tell(lambda told: [new if name == id else name for name in told])
        self._ext.emit(WorldRenamed(id, new))
        if client.tab == "characters":
            await self._pages.move(client, LORE + new)
        self._changed()
        back = {"action": "characters.rename_world", "id": new, "to": id}
        self._pages.offer_undo(f"“{id}” is called “{new}” now.", client, back)

    async def everywhere(self, client: Client, id: str, on: bool) -> None:
        """Tell a lorebook in every conversation, or no longer."""
        await self._ext.thread(self._worlds.place, id)
        await self._tell(lambda told: [*(n for n in told if n != id), *([id] if on else [])])
        self._pages.tell_everywhere(client, id)
        self._changed()

    async def _tell(self, change: Callable[[Sequence[str]], list[str]]) -> None:
        """Change which are told everywhere; of two changes at once none is lost."""
        async with self._telling:
            told = self._ext.settings.worlds
            if (now := change(told)) != [*told]:
                await self._ext.thread(self._ext.configure, {"worlds": now})

    async def set_free(self, client: Client, id: str, stamp: str, form: Form) -> None:
        """Make the lorebook of a character one of its own, which goes with the character."""

        def work() -> str:
            folder = self._library.folder
            place, card = self._open(id, stamp, form)
            book = rows.tree(card.data.get("character_book"))
            if not rows.entries(book):
                raise Refused("This character has no lorebook. Write an entry and save it first.")
            called = str(book.get("name") or "")
            name = self._worlds.create(called or f"{id} lore", to_world(book))
            data = {k: v for k, v in card.data.items() if k != "character_book"}
            others = _without(data, called)  # Where it was a copy of one, this is told instead.
            folder.update(place, Card(_with_worlds(data, [name, *others]), card.beside))
            return name

        name = await self._library.change(work)
        await self._pages.tell_form(client, id, note=f"Its lore is the lorebook “{name}” now.")
        self._changed()

    async def take_in(self, client: Client, id: str, world: str, stamp: str, form: Form) -> None:
        """Put the entries of a lorebook into that of a character, as its own."""

        def work() -> None:
            folder = self._library.folder
            place, card = self._open(id, stamp, form)
            given = to_book(self._worlds.tree(world))
            own = rows.tree(card.data.get("character_book"))
            data, linked = card.data, world in worlds_of(card.data.get("extensions"))
            book = {"name": world, **given, **own}
            if linked and own.get("name") == world:
                book["entries"] = _beside_copy(rows.entries(given), rows.entries(own))
            else:
                book["entries"] = [*rows.entries(own), *rows.entries(given)]
            if linked:
                data = _with_worlds(data, _without(data, world))
            folder.update(place, Card({**data, "character_book": book}, card.beside))

        await self._library.change(work)
        await self._pages.tell_form(client, id, note=f"“{world}” is in its own lorebook now.")
        self._changed()

    def _open(self, id: str, stamp: str, form: Form) -> tuple[Place, Card]:
        """A character with what was written into its form; raises Refused."""
        place = self._library.folder.place(id)
        card = self._library.folder.read(place)
        if stamp and stamp != stamp_of(card.data):
            raise Refused("This character was changed elsewhere. Reload the page to see it.")
        return place, taken(card, form)

    async def _go(self, client: Client, subject: str) -> None:
        await self._pages.move(client, subject)
        self._changed()


def _beside_copy(given: Sequence[Tree], own: Sequence[Tree]) -> list[Tree]:
    """The entries of a lorebook, then those that a card's copy of it has otherwise: these are
    switched off, as they were not told."""
    there = [_core(entry) for entry in given]
    return [*given, *({**each, "enabled": False} for each in own if _core(each) not in there)]


def _core(entry: Tree) -> tuple[tuple[str, ...], str]:
    """What makes two entries the same: their keys and what they tell."""
    read = entry_of(entry, 0, plain=True)
    return read.keys, read.content


def _with_renamed(data: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """A card's data in which a lorebook that goes with it has another name."""
    more = deepcopy(rows.tree(data.get("extensions")))
    said = more.get("world")
    names = said if isinstance(said, list) else [said]
    renamed = [new if name == old else name for name in names]
    made = {**data, "extensions": {**more, "world": renamed if said is names else renamed[0]}}
    book = rows.tree(data.get("character_book"))
    if book.get("name") == old:  # It goes on being the copy of that one.
        made["character_book"] = {**book, "name": new}
    return made


def _without(data: Mapping[str, Any], world: str) -> list[str]:
    """The lorebooks that go with a card, but for that one."""
    return [name for name in worlds_of(data.get("extensions")) if name != world]


def _with_worlds(data: Mapping[str, Any], worlds: Sequence[str]) -> dict[str, Any]:
    """A card's data, with these lorebooks that go with it."""
    more = deepcopy(rows.tree(data.get("extensions")))
    more.pop("world", None)
    if worlds:
        more["world"] = worlds[0] if len(worlds) == 1 else [*worlds]
    return {**data, "extensions": more}
