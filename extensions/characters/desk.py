"""What a person can do with characters and personas; one method for each thing."""

from collections.abc import Callable, Mapping
from typing import Any

from kernel.api import Client, Extension, Refused

from .actions import KeepPersona
from .cards import Card
from .exchange import Exchange
from .folder import CHARX, bounded
from .forms import redrawn, taken
from .library import Library, Renamed
from .pages import Pages, stamp_of, stamp_of_persona
from .trash import Trash

CHANGED = (
    "This character was changed elsewhere since you opened it. Press Save again to write over "
    "that, or reload the page to see it."
)


class Desk:
    """Changes the library, and shows every page what became of it."""

    def __init__(
        self,
        ext: Extension[Any],
        library: Library,
        trash: Trash,
        pages: Pages,
        exchange: Exchange,
        changed: Callable[[], None],
    ) -> None:
        self._ext, self._library, self._trash = ext, library, trash
        self._pages, self._exchange, self._changed = pages, exchange, changed

    async def new(self, client: Client, name: str) -> None:
        if not name.strip():
            raise Refused("A character needs a name. Write one.")
        card = Card({"name": name.strip(), "description": "", "first_mes": ""})
        id = await self._library.change(self._library.folder.create, name, card)
        await self._go(client, id)

    async def paste(self, client: Client, text: str) -> None:
        await self._go(client, await self._library.change(self._exchange.pasted, text))

    async def save(self, client: Client, id: str, stamp: str, form: Mapping[str, Any]) -> None:
        folder = self._library.folder

        def write() -> bool | None:
            place = folder.place(id)
            card = folder.read(place)
            if stamp and stamp != stamp_of(card.data):
                return None
            new = taken(card, form)
            if "name" in form and not str(new.data.get("name") or "").strip():
                raise Refused("A character needs a name. Write one.")
            if new.data != card.data:
                folder.update(place, new)
            return redrawn(form, card, new)

        fresh = await self._library.change(write)
        if fresh is None:
            return await self._pages.tell_form(client, id, note=CHANGED, fresh=False, saved=False)
        await self._pages.tell_form(client, id, note="Saved.", fresh=fresh)
        self._changed()

    async def duplicate(self, client: Client, id: str) -> None:
        folder = self._library.folder

        def copy() -> str:
            place = folder.place(id)
            card = folder.read(place)
            picture = bounded(place.picture) if place.picture else b""
            if place.file.suffix.lower() != CHARX:
                return folder.create(id, card, picture, embed=place.file == place.picture)
            new = folder.create(id, card, bounded(place.file))
            if picture:
                folder.show(folder.place(new), picture)
            return new

        await self._go(client, await self._library.change(copy))

    async def rename(self, client: Client, id: str, to: str) -> None:
        if not to.strip():
            raise Refused("A file needs a name. Write one.")
        new = await self._library.change(self._library.rename, id, to)
        if new == id:
            return
        self._ext.emit(Renamed(id, new))
        if client.tab == "characters":
            await self._pages.move(client, new)
        self._changed()
        back = {"action": "characters.rename", "id": new, "to": id}
        self._pages.offer_undo(f"The file of “{id}” is called “{new}” now.", client, back)

    async def delete(self, client: Client, id: str) -> None:
        folder = self._library.folder
        deleted = await self._library.change(lambda: self._trash.put("character", folder.place(id)))
        if client.subject:
            await self._pages.move(client, "")
        self._changed()
        self._pages.offer_undo(f"“{id}” is in the trash.", client, _restored(deleted.token))

    async def restore(self, client: Client, token: str) -> None:
        deleted = await self._library.change(self._trash.restore, token)
        self._changed()
        self._ext.tell(f"“{deleted.id}” is back.", client)

    async def empty_trash(self) -> None:
        await self._library.change(self._trash.empty)
        self._changed()

    # --- personas -------------------------------------------------------------------------

    async def new_persona(self, client: Client, name: str, description: str) -> None:
        await self._library.change(self._library.people.create, name, description)
        self._pages.tell_next_persona(client)
        self._changed()

    async def keep_persona(self, action: KeepPersona, client: Client) -> None:
        people, id = self._library.people, action.id

        def write() -> bool:
            fresh = action.stamp in ("", stamp_of_persona(people.get(id)))
            if fresh:
                people.update(id, action.name, action.description)
            return fresh

        if not await self._library.change(write):
            return self._pages.tell_persona(client, await self._library.persona(id))
        self._changed()

    async def delete_persona(self, client: Client, id: str) -> None:
        folder = self._library.people.folder
        deleted = await self._library.change(lambda: self._trash.put("persona", folder.place(id)))
        self._changed()
        self._pages.offer_undo(f"“{id}” is in the trash.", client, _restored(deleted.token))

    async def choose_persona(self, id: str) -> None:
        if id:
            await self._ext.thread(self._library.people.get, id)
        await self._ext.thread(self._ext.configure, {"persona": id})
        self._changed()

    async def _go(self, client: Client, id: str) -> None:
        await self._pages.move(client, id)
        self._changed()


def _restored(token: str) -> dict[str, str]:
    return {"action": "characters.restore", "token": token}
