"""How conversations are kept in order: folders, tags, pins, and the trash."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from kernel.api import Refused, kill_at

from . import tree
from .records import Conversation, Folder, Listing, Trashed, Unfiled, Unknown
from .text import folder_of, is_secret, tags_of

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

SECRET = "This conversation is incognito: it is in no folder and no list. Keep it first."
GONE = "This folder is not there any more. Choose another one."
THERE = "There is a folder of that name already. Choose another name."
NAMELESS = "A folder needs a name. Type one."
BELOW = "name = :name OR substr(name, 1, length(:name) + 1) = :name || '/'"
"""A folder and those in it."""


class Run(Protocol):
    """Runs a function on the database, and answers what it answers."""

    def __call__(self, work: Work[T], /) -> Awaitable[T]: ...


class Shelf:
    """The order of the conversations on the disk; each change is one transaction."""

    def __init__(self, write: Run, read: Run) -> None:
        self._write, self._read = write, read

    async def listing(self, limit: int = 100) -> Listing:
        """What the list at the side shows: so many of each folder, and of those in none."""
        return await self._read(lambda c: _listing(c, limit))

    async def folders(self) -> list[Folder]:
        return await self._read(_folders)

    async def tags(self) -> list[tuple[str, int]]:
        """All tags with how many conversations have them, the most used first."""
        return await self._read(_tags)

    # --- one conversation --------------------------------------------------------------

    async def pin(self, id: str, *, on: bool) -> Conversation:
        """Keep a conversation at the top of the list, or not."""
        return await self._set(id, "pinned", int(on))

    async def tag(self, id: str, tags: str) -> Conversation:
        """Give a conversation these tags and no others."""
        return await self._set(id, "tags", " ".join(tags_of(tags)))

    async def file(self, id: str, folder: str) -> Conversation:
        """Put a conversation into a folder, which is made if it is not there; "": into none."""
        name = folder_of(folder)

        def work(c: sqlite3.Connection) -> Conversation:
            make_folder(c, name)
            return _set(c, id, "folder", name)

        return await self._write(_shown(id, work))

    # --- folders -----------------------------------------------------------------------

    async def make(self, folder: str) -> str:
        """Make a folder; answers its name as it is kept."""
        if not (name := folder_of(folder)):
            raise Refused(NAMELESS)
        await self._write(lambda c: make_folder(c, name))
        return name

    async def fold(self, folder: str, *, on: bool) -> None:
        """Show a folder's conversations in the list, or only its name."""
        await self._write(
            lambda c: c.execute("UPDATE folders SET folded = ? WHERE name = ?", (on, folder))
        )

    async def rename(self, folder: str, name: str) -> str:
        """Give a folder another name, or another place: those in it come along."""
        if not (new := folder_of(name)):
            raise Refused(NAMELESS)

        def work(c: sqlite3.Connection) -> None:
            if new == folder:
                return
            _find(c, folder)
            taken = c.execute("SELECT 1 FROM folders WHERE name = ?", (new,)).fetchone()
            if taken or new.startswith(folder + "/"):
                raise Refused(THERE)
            values = {"name": folder, "new": new}
            moved = ":new || substr({0}, length(:name) + 1)"
            c.execute(f"UPDATE folders SET name = {moved.format('name')} WHERE {BELOW}", values)
            where = BELOW.replace("name =", "folder =").replace("substr(name", "substr(folder")
            c.execute(
                f"UPDATE conversations SET folder = {moved.format('folder')} WHERE {where}", values
            )
            make_folder(c, new)

        await self._write(work)
        return new

    async def remove(self, folder: str) -> Unfiled:
        """Delete a folder and those in it; their conversations stay, in none."""

        def work(c: sqlite3.Connection) -> Unfiled:
            _find(c, folder)
            values = {"name": folder}
            folders = [
                Folder(row["name"], bool(row["folded"]))
                for row in c.execute(f"SELECT * FROM folders WHERE {BELOW}", values)
            ]
            names = [each.name for each in folders]
            marks = ", ".join("?" * len(names))
            query = f"SELECT id, folder FROM conversations WHERE folder IN ({marks})"
            places = tuple((row["id"], row["folder"]) for row in c.execute(query, names))
            c.execute(f"UPDATE conversations SET folder = '' WHERE folder IN ({marks})", names)
            c.execute(f"DELETE FROM folders WHERE name IN ({marks})", names)
            return Unfiled(tuple(folders), places)

        return await self._write(work)

    async def refile(self, unfiled: Unfiled) -> None:
        """Bring back a folder that was deleted; what was filed elsewhere meanwhile stays there."""

        def work(c: sqlite3.Connection) -> None:
            for each in unfiled.folders:
                make_folder(c, each.name)
                c.execute("UPDATE folders SET folded = ? WHERE name = ?", (each.folded, each.name))
            c.executemany(
                "UPDATE conversations SET folder = ? WHERE id = ? AND folder = ''",
                [(name, id) for id, name in unfiled.places],
            )

        await self._write(work)

    async def sort_in(self, ids: Iterable[str]) -> None:
        """Give conversations that were imported the places in the list that their times tell.

        The others stay in their order, which no clock made.
        """
        new = {*ids}

        def work(c: sqlite3.Connection) -> None:
            query = "SELECT id, updated FROM conversations ORDER BY touched"
            rows = c.execute(query).fetchall()
            mine = [row for row in rows if row["id"] in new]
            mine.sort(key=lambda row: -row["updated"])
            ordered = list[str]()
            for row in rows:
                if row["id"] in new:
                    continue
                while mine and mine[-1]["updated"] <= row["updated"]:
                    ordered.append(mine.pop()["id"])
                ordered.append(row["id"])
            ordered += [row["id"] for row in reversed(mine)]
            c.executemany(
                "UPDATE conversations SET touched = ? WHERE id = ?",
                [(-n, id) for n, id in enumerate(ordered, 1)],
            )
            kill_at("shelf.sorted")
            c.execute("UPDATE conversations SET touched = -touched")

        if new:
            await self._write(work)

    # --- the trash ---------------------------------------------------------------------

    async def trash(self, limit: int = 1000) -> list[Trashed]:
        """Deleted conversations that are not purged yet, the last deleted first."""
        query = (
            "SELECT id, title, deleted, (SELECT count(*) FROM messages m"
            " WHERE m.conversation = c.id AND m.deleted IS NULL) AS messages"
            " FROM conversations c WHERE deleted IS NOT NULL ORDER BY deleted DESC LIMIT ?"
        )
        rows = await self._read(lambda c: c.execute(query, (limit,)).fetchall())
        return [Trashed(row["id"], row["title"], row["deleted"], row["messages"]) for row in rows]

    async def erase(self, ids: Iterable[str]) -> int:
        """Delete for good what is in the trash; what is not there is left alone."""
        chosen = [(id,) for id in ids]

        def work(c: sqlite3.Connection) -> int:
            query = "DELETE FROM conversations WHERE id = ? AND deleted IS NOT NULL"
            return sum(c.execute(query, each).rowcount for each in chosen)

        return await self._write(work)

    async def _set(self, id: str, column: str, value: str | int) -> Conversation:
        return await self._write(_shown(id, lambda c: _set(c, id, column, value)))


def _shown(id: str, work: Work[T]) -> Work[T]:
    """The work, if the conversation is one that lists show."""

    def run(c: sqlite3.Connection) -> T:
        if is_secret(id):
            raise Refused(SECRET)
        tree.find_conversation(c, id)
        return work(c)

    return run


def _set(c: sqlite3.Connection, id: str, column: str, value: str | int) -> Conversation:
    query = f"UPDATE conversations SET {column} = ?, revision = revision + 1 WHERE id = ?"
    c.execute(query, (value, id))
    return tree.find_conversation(c, id)


def make_folder(c: sqlite3.Connection, name: str) -> None:
    """A folder with those it lies in."""
    names = name.split("/") if name else []
    for n in range(1, len(names) + 1):
        c.execute("INSERT OR IGNORE INTO folders (name) VALUES (?)", ("/".join(names[:n]),))


def _find(c: sqlite3.Connection, name: str) -> None:
    if not c.execute("SELECT 1 FROM folders WHERE name = ?", (name,)).fetchone():
        raise Unknown(GONE)


def _folders(c: sqlite3.Connection) -> list[Folder]:
    query = (
        "SELECT folder, count(*) AS count FROM conversations"
        " WHERE deleted IS NULL AND folder <> '' GROUP BY folder"
    )
    counts = {row["folder"]: row["count"] for row in c.execute(query)}
    found = [
        Folder(row["name"], bool(row["folded"]), counts.get(row["name"], 0))
        for row in c.execute("SELECT name, folded FROM folders")
    ]
    return sorted(found, key=lambda each: each.name.casefold().split("/"))


def _tags(c: sqlite3.Connection) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    query = "SELECT tags FROM conversations WHERE deleted IS NULL AND tags <> ''"
    for row in c.execute(query):
        for tag in row["tags"].split():
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].casefold()))


def _listing(c: sqlite3.Connection, limit: int) -> Listing:
    def rows(where: str, *values: str | int) -> tuple[Conversation, ...]:
        query = (
            f"SELECT * FROM conversations WHERE deleted IS NULL AND {where}"
            " ORDER BY touched DESC LIMIT ?"
        )
        return tuple(map(tree.conversation_of, c.execute(query, values).fetchall()))

    folders, folded = list[tuple[Folder, tuple[Conversation, ...]]](), list[str]()
    for folder in _folders(c):
        if any(folder.name.startswith(name + "/") for name in folded):
            continue
        if folder.folded:
            folded.append(folder.name)
        held = () if folder.folded else rows("folder = ? AND pinned = 0", folder.name, limit)
        folders.append((folder, held))
    rest = rows("folder = '' AND pinned = 0", limit + 1)
    return Listing((), rows("pinned <> 0", limit), tuple(folders), rest[:limit], len(rest) > limit)


def brought_back(c: sqlite3.Connection, id: str) -> None:
    """The folder of a conversation that was restored, if it was deleted meanwhile."""
    row = c.execute("SELECT folder FROM conversations WHERE id = ?", (id,)).fetchone()
    make_folder(c, row["folder"] if row else "")
