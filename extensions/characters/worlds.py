"""Lorebooks of their own: the worlds of SillyTavern, `NAME.json` in the folder `worlds`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from kernel.api import Point, Refused, Struct, write

from . import rows, trees
from .books import book_of
from .conversion import to_world
from .folder import TEXTS, Folder, Place, Unreadable, bounded
from .records import Book
from .trees import Tree

NOT_ONE = "This is no lorebook: it has no entries. Choose another file."
LORE = "lore:"
"""Begins the address of one among those of characters."""
SPEC = "lorebook_v3"
"""What the third version of cards calls a lorebook that stands alone."""


class WorldRenamed(Struct, frozen=True):
    """A lorebook of its own got another name: whoever keeps the old one takes the new one."""

    old: str
    new: str


class Shelf(Protocol):
    """Who knows which lorebooks belong to a conversation."""

    async def worlds(self, conversation: str) -> Sequence[str]:
        """Their names."""
        ...


SHELVES: Point[Shelf] = Point("shelves", "Tell which lorebooks belong to a conversation.")


class Worlds:
    """The worlds that lie in a folder, read anew after each change."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root, "lorebook")
        self._known: dict[str, tuple[object, Book]] = {}

    def names(self) -> list[str]:
        """All of them, in the order of the alphabet."""
        places = self.folder.places().values()
        return [place.id for place in places if place.file.suffix.lower() in TEXTS]

    def place(self, id: str) -> Place:
        """Where one lies; raises Refused."""
        return self.folder.place(id)

    def tree(self, id: str) -> Tree:
        """A world as its file has it; raises Refused."""
        file = self.place(id).file
        try:
            found = self.folder.tree(file)[0]
        except OSError as error:
            why = error.strerror or "it is gone"
            raise Unreadable(f"{file.name} cannot be read: {why}. Look at it.") from None
        if not is_world(found):
            raise Unreadable(f"{file.name}: {NOT_ONE}")
        return cast(Tree, found)

    def books(self, ids: Sequence[str]) -> dict[str, Book]:
        """Those of them that can be read, as they are searched, by their names."""
        found: dict[str, Book] = {}
        for id in dict.fromkeys(ids):
            try:
                stamp = self.place(id).stamp()
                if id not in self._known or self._known[id][0] != stamp:
                    self._known[id] = stamp, book_of(self.tree(id)) or Book()
                found[id] = self._known[id][1]
            except (Refused, OSError):  # The page says so, where it is shown.
                continue
        return found

    def create(self, name: str, world: Tree) -> str:
        """Keep a new one; answers its id."""
        id = self.folder.free(name)
        write(self.folder.own(self.folder.root / f"{id}.json"), trees.to_json(world))
        return id

    def update(self, id: str, change: Callable[[Tree], Tree]) -> None:
        """Keep what a world is now, if that is something else."""
        file, before = self.place(id).file, self.tree(id)
        after = cast(Tree, trees.plain(change(before)))
        if after != before:
            text = "" if file.suffix.lower() == ".json" else trees.yaml_text(bounded(file))
            json = file.suffix.lower() == ".json"
            write(
                self.folder.own(file), trees.to_json(after) if json else trees.to_yaml(after, text)
            )


def is_world(tree: Any) -> bool:
    """Whether a file from somewhere holds a lorebook, and no character."""
    if not isinstance(tree, dict):
        return False
    found = cast(Tree, tree)
    if found.get("spec") == SPEC:
        return isinstance(found.get("data"), dict)
    there = isinstance(found.get("entries"), dict | list)
    return there and "data" not in found and "spec" not in found and "first_mes" not in found


def world_of(found: Tree) -> Tree:
    """A lorebook from elsewhere as it is kept here: entries that are a list get numbers."""
    book = rows.tree(found["data"]) if found.get("spec") == SPEC else found
    return book if isinstance(book.get("entries"), dict) else to_world(book)
