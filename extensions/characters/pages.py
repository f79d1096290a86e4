"""The tab: what a page shows of the library, and what it is told when that changes."""

import asyncio
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from html import unescape
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import structs

from kernel.api import Client, Extension, Refused

from . import rows
from .forms import shown
from .library import Library, LibraryChanged
from .macros import Macros
from .records import Character, Persona
from .trash import Trash
from .worlds import LORE

EVERY = 2.0
"""Seconds between two looks into the folder, while a page shows it."""
PATIENCE = 0.5
"""Seconds that a page waits for the folder to be read."""
COMMANDS = 30
"""Characters among the commands."""
TAGS = 24
"""Tags to choose from, the most used."""
SHORT = 160
"""Characters of a description in the gallery."""
LOOKED = 10_000
"""Characters of a text in which a beginning without tags is looked for."""
TAGS_OF_HTML = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)"
    r"|</?(?!(?:user|bot|char|group|charifnotgroup)>)[a-z][^<>]*(?:>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
"""But old macros, which look the same."""


class Pages:
    """The pages that show the tab."""

    def __init__(self, ext: Extension[Any], library: Library, trash: Trash) -> None:
        self._ext, self._library, self._trash = ext, library, trash
        self.open: set[Client] = set()
        self._seen: object = None
        self._notices = itertools.count(1)
        self._look: asyncio.Task[Any] | None = None
        """The folder is being read, or was."""
        self._again = False

    async def panel(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of panel.html: the gallery, or one character."""
        if client and client.id:
            self.open.add(client)
            if self._seen is None:
                self._seen = await self._ext.thread(self.stamps)
        if subject.startswith(LORE):
            try:
                return {"world": await self._ext.thread(self._world, subject[len(LORE) :])}
            except Refused as refusal:
                return {"character": None, "trouble": str(refusal), **await self._gallery()}
        if subject:
            try:
                return {"character": await self._ext.thread(self._one, subject)}
            except Refused as refusal:
                return {"character": None, "trouble": str(refusal), **await self._gallery()}
        return {"character": None, "trouble": "", **await self._gallery()}

    async def commands(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The context of command.html."""
        known, _, _ = await self._read()
        return {"characters": [(each.id, each.name) for each in known[:COMMANDS]]}

    def left(self, client: Client) -> None:
        self.open.discard(client)

    # --- what pages are told -------------------------------------------------------------

    async def tell_gallery(self) -> None:
        """The gallery, personas and trash, on every page that shows them."""
        pages = [page for page in self.open if page.tab == "characters" and not page.subject]
        if not pages:
            return
        context = await self._gallery()
        html = "".join(
            self._ext.render(f"_{part}.html", oob=True, **context)
            for part in ("gallery", "worlds", "personas", "trash")
        )
        for page in pages:
            self._ext.push_html(html, page, "gallery")

    async def move(self, client: Client, id: str) -> None:
        """Show a page a character (no id: the gallery), and make that its address."""
        html = self._ext.render("panel.html", **await self.panel(client, id))
        self._ext.go(client, f"/characters/{quote(id, safe='')}".rstrip("/"))
        self._ext.push_html(f'<main id="main" hx-swap-oob="innerHTML">{html}</main>', client)

    async def tell_form(
        self, client: Client, id: str, *, note: str = "", fresh: bool = True, saved: bool = True
    ) -> None:
        """The form of one character as it is now, or with `fresh` off only what file it is of."""
        character = await self._ext.thread(self._one, id)
        context = {"character": character, "note": note, "unsaved": not saved}
        part = "_editor.html" if fresh else "_stamp.html"
        self._ext.push_html(self._ext.render(part, oob=True, **context), client)

    async def tell_world(
        self, client: Client, id: str, *, note: str = "", fresh: bool = True, saved: bool = True
    ) -> None:
        """The form of one lorebook as it is now, or with `fresh` off only what file it is of."""
        world = await self._ext.thread(self._world, id)
        part = "_world.html" if fresh else "_stamp.html"
        context = {"world": world, "character": world, "note": note, "unsaved": not saved}
        self._ext.push_html(self._ext.render(part, oob=True, **context), client)

    async def tell_face(self, id: str) -> None:
        """The picture of one character, on every page with its editor; what is typed stays."""
        pages = [page for page in self.open if page.tab == "characters" and page.subject == id]
        if pages:
            character = await self._library.get(id)
            html = self._ext.render("_face.html", character=character, oob=True)
            for page in pages:
                self._ext.push_html(html, page)

    def tell_persona(self, client: Client, persona: Persona) -> None:
        """That a persona's file was changed since its form was drawn; what is typed stays."""
        stamp = stamp_of_persona(persona)
        html = self._ext.render("_persona_stamp.html", id=persona.id, stamp=stamp, changed=True)
        self._ext.push_html(html, client)

    def tell_next_persona(self, client: Client) -> None:
        """The form for a persona, empty: the one that was typed into it is there."""
        self._ext.push_html(self._ext.render("_persona_new.html", again=True), client)

    def tell_everywhere(self, client: Client, id: str) -> None:
        """The switch of a lorebook that is told everywhere; what is typed below it stays."""
        world = {"id": id, "everywhere": id in self._library.everywhere}
        self._ext.push_html(self._ext.render("_everywhere.html", world=world, oob=True), client)

    def offer_undo(self, text: str, client: Client, vals: Mapping[str, str]) -> None:
        """Say what was done, beside a button that takes it back."""
        button = {"label": "Undo", "vals": vals}
        notice = f"characters-{next(self._notices)}"
        html = self._ext.render("_undo.html", id=notice, text=text, kind="note", button=button)
        self._ext.push_html(html, client)

    async def watch(self) -> None:
        """Look for what was changed in an editor, while somebody is looking."""
        while True:
            await asyncio.sleep(EVERY)
            if self.open:
                now = await self._ext.thread(self.stamps)
                if now != self._seen:
                    await self.tell_gallery()
                self._seen = now

    def stamps(self) -> object:
        """Another value after each change of a file."""
        return [
            self._stamp_of(folder)
            for folder in (
                self._library.folder,
                self._library.people.folder,
                self._library.worlds.folder,
            )
        ]

    # --- inside -------------------------------------------------------------------------

    def _stamp_of(self, folder: Any) -> list[object]:
        found: list[object] = []
        for place in folder.places().values():
            try:
                found.append(place.stamp())
            except OSError:  # It went this moment.
                found.append(place.id)
        return found

    def _one(self, id: str) -> dict[str, Any]:
        """What the editor shows of a character."""
        folder = self._library.folder
        place = folder.place(id)
        card = folder.read(place)
        return {
            "id": id,
            "address": quote(id, safe=""),
            "file": place.file.name,
            "kind": place.file.suffix.lower().lstrip("."),
            "stamp": stamp_of(card.data),
            "picture": self._library.picture(place),
            "drawn": not place.picture,
            "worlds": self._library.worlds.names(),
            **shown(card),
        }

    def _world(self, id: str) -> dict[str, Any]:
        """What the editor shows of a lorebook."""
        worlds = self._library.worlds
        place, tree = worlds.place(id), worlds.tree(id)
        known = [each for each in self._library.read_so_far() if isinstance(each, Character)]
        return {
            "id": id,
            "address": quote(id, safe=""),
            "file": place.file.name,
            "stamp": stamp_of(tree),
            "everywhere": id in self._ext.settings.worlds,
            "of": [(quote(each.id, safe=""), each.name) for each in known if id in each.worlds],
            **rows.shown(tree),
        }

    def _worlds(self) -> list[dict[str, Any]]:
        """What the list shows of all lorebooks."""
        worlds = self._library.worlds
        books = worlds.books(names := worlds.names())
        return [
            {
                "id": name,
                "address": quote(LORE + name, safe=""),
                "entries": len(books[name].entries) if name in books else None,
                "everywhere": name in self._ext.settings.worlds,
            }
            for name in names
        ]

    async def _read(self) -> tuple[list[Character], list[str], bool]:
        """Characters, sentences about files that are none, and whether there are more to read: a
        large folder takes longer, the first time, than a page should wait."""
        look = self._look
        self._again = self._again or (look is not None and not look.done())
        if not look or look.done():
            self._look = look = self._ext.spawn(self._library.all(), "look")
            look.add_done_callback(self._looked)
        await asyncio.wait({look}, timeout=PATIENCE)
        self._again = self._again or not look.done()
        found = self._library.read_so_far()
        characters = [each for each in found if isinstance(each, Character)]
        troubles = [str(each) for each in found if not isinstance(each, Character)]
        return characters, troubles, not look.done()

    def _looked(self, look: "asyncio.Task[Any]") -> None:
        """Show what a page did not wait for, or what changed while the folder was read."""
        if self._again and not look.cancelled():
            self._again = False
            self._ext.emit(LibraryChanged())

    async def _gallery(self) -> dict[str, Any]:
        characters, troubles, reading = await self._read()
        tags = Counter(tag for each in characters for tag in dict.fromkeys(each.tags))
        settings, persona = self._ext.settings, await self._library.persona()
        return {
            "characters": [
                {
                    "id": each.id,
                    "address": quote(each.id, safe=""),
                    "name": each.name,
                    "picture": each.picture,
                    "letter": each.name[:1].upper(),
                    "about": brief(each.creator_notes or each.description, each, persona),
                    "tags": each.tags[:12],
                    "creator": each.creator,
                }
                for each in characters
            ],
            "tags": [tag for tag, _ in tags.most_common(TAGS)],
            "troubles": troubles,
            "reading": reading,
            "folder": str(self._library.folder.root),
            "worlds": await self._ext.thread(self._worlds),
            "personas": [
                {**structs.asdict(each), "stamp": stamp_of_persona(each)}
                for each in await self._library.personas()
            ],
            "persona": settings.persona,
            "deleted": [
                {**each._asdict(), "at": f"{datetime.fromtimestamp(each.at):%Y-%m-%d %H:%M}"}
                for each in await self._ext.thread(self._trash.all)
            ],
        }


def brief(text: str, character: Character, persona: Persona) -> str:
    """The beginning of a text on one line, as it is said of the two."""
    text = unescape(TAGS_OF_HTML.sub(" ", text[:LOOKED]))[: SHORT * 4]
    user = persona.name if persona.id else character.user_name or persona.name
    with suppress(Refused):  # It would grow without end.
        text = Macros(user, character.char, place=character.id).expand(text)
    line = " ".join(text.split())
    return line if len(line) <= SHORT else line[:SHORT].rstrip() + "…"


def stamp_of(words: Mapping[str, Any]) -> str:
    """What a form says the words of its file were; another picture changes none of them."""
    return hashlib.sha256(msgspec.json.encode(words)).hexdigest()


def stamp_of_persona(persona: Persona) -> str:
    """The same of a persona's form."""
    return stamp_of({"name": persona.name, "description": persona.description})
