"""Characters come in as files that are dropped, chosen or pasted, and go out as files."""

import io
import time
from collections.abc import Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kernel.api import Everyone, Extension, Refused

from . import charx, png, rows, trees
from .books import book_of
from .cards import Card, flat_of, in_png, tree_of
from .conversion import to_book
from .folder import CHARX, LARGEST, bounded, sniffed
from .incoming import read_bytes
from .library import Library
from .pages import Pages
from .reading import character_of, worlds_of
from .records import Book
from .search import LOOKED, never_found
from .trees import Tree
from .worlds import LORE, is_world, world_of

FILES = 200
"""Of one upload."""
TYPES = {
    ".charx": "application/zip",
    ".png": "image/png",
    ".yaml": "application/yaml",
    ".json": "application/json",
}
TOLD = 3
"""Refusals of one upload, or of one change, that are told in full."""


class Exchange:
    """The routes of import and export; `changed` tells the galleries."""

    def __init__(
        self, ext: Extension[Any], library: Library, pages: Pages, changed: Callable[[], None]
    ) -> None:
        self._ext, self._library, self._pages, self._changed = ext, library, pages, changed

    # --- in -----------------------------------------------------------------------------

    async def uploaded(self, request: Request) -> Response:
        """Cards, characters, and pictures beside those of the same name."""
        async with request.form(max_files=FILES, max_fields=4) as form:
            files = [each for each in form.getlist("file") if isinstance(each, UploadFile)]
            sent = [(each.filename or "", await each.read(LARGEST + 1)) for each in files]
        await self._ext.thread(self._take, sent)
        self._changed()
        return Response(status_code=204)

    async def portrait(self, request: Request) -> Response:
        """Another picture for a character or a persona."""
        kind, id = request.path_params["kind"], request.path_params["id"]
        folder = self._library.people.folder if kind == "persona" else self._library.folder
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("file")
            data = await file.read(LARGEST + 1) if isinstance(file, UploadFile) else b""
        try:
            if len(data) > LARGEST:
                raise Refused(f"The picture is larger than {LARGEST >> 20} MB. Make it smaller.")
            await self._library.change(lambda: folder.show(folder.place(id), data))
            if folder is self._library.folder:
                await self._pages.tell_face(id)
        except (Refused, OSError) as refusal:
            self._ext.tell(str(refusal), Everyone(), "error")
        self._changed()
        return Response(status_code=204)

    def pasted(self, text: str) -> str:
        """A character of JSON or YAML, or a lorebook; answers the address of it."""
        data = text.encode("utf-8", "replace")
        if (world := _world("", data)) is not None:
            for sentence in deaf("The lorebook", book_of(world)):
                self._ext.tell(sentence, Everyone(), "error")
            name = str(world.get("name") or "Lorebook")
            return LORE + self._library.worlds.create(name, world)
        card, _ = read_bytes("", data)
        character = character_of("character", card)
        for sentence in deaf(character.name, character.book):
            self._ext.tell(sentence, Everyone(), "error")
        return self._library.folder.create(character.name, card)

    def _take(self, sent: list[tuple[str, bytes]]) -> None:
        """Make characters of files; what is none is told, and costs the others nothing."""
        made, refused, odd = list[str](), list[str](), list[str]()
        pictures = {PurePath(name).stem: data for name, data in sent if _is_picture(name, data)}
        for name, data in sent:
            stem = PurePath(name).stem
            if stem in pictures and pictures[stem] is data:
                continue
            try:
                if (world := _world(name, data)) is not None:
                    with self._library.alone:
                        # Cards name the file, whatever name is inside.
                        id = self._library.worlds.create(stem or "Lorebook", world)
                    made.append(id)
                    odd += deaf(id, book_of(world))
                    continue
                card, picture = read_bytes(name, data)
                title = character_of(stem or "character", card).name
                picture = picture or pictures.pop(stem, b"")
                embed = data.startswith(png.SIGNATURE)
                with self._library.alone:
                    id = self._library.folder.create(title, card, picture, embed=embed)
                made.append(title[:80])
                odd += deaf(title, character_of(id, card).book)
            except (Refused, OSError) as error:
                refused.append(f"{name[:80] or 'A file'}: {error}")
            except Exception:
                self._ext.log.exception("%s cannot be imported.", name[:80])
                refused.append(f"{name[:80] or 'A file'}: it cannot be read. The log says why.")
        refused += [f"{stem[:80]}: it is a picture without a character." for stem in pictures]
        if made:
            names = ", ".join(made[:TOLD]) + (f" and {len(made) - TOLD} more" * (len(made) > TOLD))
            self._ext.tell(f"Imported {names}.", Everyone())
        for sentence in [*refused[:TOLD], *odd[:TOLD]]:
            self._ext.tell(sentence, Everyone(), "error")
        if len(refused) > TOLD:
            more = f"{len(refused) - TOLD} more files are no characters that can be read."
            self._ext.tell(more, Everyone(), "error")

    # --- out ----------------------------------------------------------------------------

    async def exported(self, request: Request) -> Response:
        """A character as a file: `ID.png` (V2 and V3 in it), or V3 as charx, yaml or json."""
        id, dot, suffix = request.path_params["name"].rpartition(".")
        kind = TYPES.get(dot + suffix)
        try:
            if not kind:
                raise Refused("There is no such form.")
            data = await self._ext.thread(self._export, id, dot + suffix)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), 404)
        except OSError:
            return PlainTextResponse("There is no such character.", 404)
        return _file(f"{id}{dot}{suffix}", data, kind)

    async def world(self, request: Request) -> Response:
        """A lorebook as SillyTavern's World Info: `NAME.json`."""
        id, _, suffix = request.path_params["name"].rpartition(".")
        try:
            if suffix != "json":
                raise Refused("There is no such form.")
            tree = await self._ext.thread(self._library.worlds.tree, id)
        except (Refused, OSError):
            return PlainTextResponse("There is no such lorebook.", 404)
        return _file(f"{id}.json", trees.to_json(world_of(tree)), "application/json")

    def _with_lore(self, card: Card) -> Card:
        """The card with a copy of the lorebook that goes with it, where it has none of its own."""
        worlds = worlds_of(card.data.get("extensions"))
        own = rows.tree(card.data.get("character_book"))
        if not worlds or rows.entries(own):
            return card
        try:
            book = to_book(self._library.worlds.tree(worlds[0]))
        except Refused:
            return card
        book = {**own, **book, "name": worlds[0]}
        return Card({**card.data, "character_book": book}, card.beside)

    def _export(self, id: str, suffix: str) -> bytes:
        folder = self._library.folder
        place = folder.place(id)
        card = self._with_lore(folder.read(place))
        picture = front(folder.picture(place), id, card)
        archive = place.file.suffix.lower() == CHARX
        if suffix == CHARX:
            before = io.BytesIO(bounded(place.file)) if archive else None
            return charx.packed(tree_of(card), picture, sniffed(picture), before)
        if archive:
            card = Card(charx.alone(card.data), card.beside)
        if suffix == ".png":
            return in_png(card, front(picture, id, card, png_only=True))
        return trees.to_yaml(flat_of(card)) if suffix == ".yaml" else trees.to_json(tree_of(card))


def _file(name: str, data: bytes, kind: str) -> Response:
    """A file to be kept, never a page."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type=kind, headers=headers)


def deaf(name: str, book: Book | None) -> list[str]:
    """A sentence about the keys of a lorebook that are never found, if there are any."""
    until = time.monotonic() + LOOKED
    entries = book.entries if book else ()
    keys = [each for entry in entries for each in never_found(entry, until)]
    if not keys:
        return []
    more = f" and {len(keys) - TOLD} more" * (len(keys) > TOLD)
    some = "; ".join(keys[:TOLD])
    return [
        f"{name[:80]}: these keys of its lorebook are never found: {some}{more}. Write them without"
        " looking ahead or back, or as plain words."
    ]


def front(picture: bytes, id: str, card: Card, *, png_only: bool = False) -> bytes:
    """The picture of a card; one is drawn where there is none, or none that a PNG can hold."""
    if picture.startswith(png.SIGNATURE) or (picture and not png_only):
        return picture
    hue = sum(character_of(id, card).name.encode()) * 47 % 360
    return png.drawn(hue)


def _world(name: str, data: bytes) -> Tree | None:
    """The lorebook that a file of JSON is; None where it is none."""
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith(b"{"):
        return None
    tree = trees.from_json(text)
    return world_of(tree) if is_world(tree) else None


def _is_picture(name: str, data: bytes) -> bool:
    """Whether it is a picture without a card in it."""
    try:
        kind = sniffed(data)
        return kind != ".png" or not png.texts(io.BytesIO(data), whole=False)
    except Refused:
        return False
