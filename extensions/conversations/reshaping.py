"""What changes the shape of a conversation: messages put between others, moved, taken off its end,
and a copy of its beginning. No words are lost: what goes is marked, and can be brought back."""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from kernel.api import Refused, Role, Text

from . import enclosed, tree
from .keeping import Keeping
from .records import Conversation, StoredMessage, Unknown
from .text import clean, is_secret, new_id, of_copies

FIRST = "This is the first message. It cannot go further up."
LAST = "This is the last message. It cannot go further down."


class Reshaping(Keeping):
    """The store's methods for that; each is one transaction."""

    async def say(
        self, conversation: str, role: Role, text: str, *, name: str = "", model: str = ""
    ) -> StoredMessage:
        """Keep a message at the end, in a new conversation without an id; nothing is answered."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            words = clean(text)
            found = (
                tree.find_conversation(c, conversation)
                if conversation
                else tree.add_conversation(c, words)
            )
            return tree.add_message(c, found.id, found.leaf, role, words, name=name, model=model)

        return await self._write(work, conversation)

    async def edit(self, id: str, text: str, *, keep: bool = False) -> StoredMessage:
        """Add a version of a message with other words, and show it. Nothing follows it yet, or with
        `keep` all that followed the other one."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            old, words = tree.find_message(c, id), clean(text)
            rest = [part for part in old.parts if not isinstance(part, Text)]
            new = tree.add_message(
                c, old.conversation, old.parent, old.role, words, model=old.model,
                parts=(*rest, Text(words)) if rest and old.role == "user" else (),
                loader=old.loader, sampling=old.sampling, name=old.name,
            )  # fmt: skip
            if keep:
                shown = _child(c, id)
                _put(c, _children(c, old.conversation, id), new.id)
                _point(c, new.id, shown)
                _point(c, id, "")
                tree.show(c, old.conversation, shown or new.id)
            return tree.find_message(c, new.id)

        return await self._write(work, id)

    async def insert(
        self, id: str, role: Role, text: str, *, before: bool = False, name: str = ""
    ) -> StoredMessage:
        """Put a message after or before another one; all that followed there follows it now."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            at = tree.find_message(c, id)
            above = at.parent if before else id
            below = _children(c, at.conversation, above)
            shown = id if before else _child(c, id)
            new = tree.add_message(c, at.conversation, above, role, clean(text), name=name)
            _put(c, below, new.id)
            _point(c, new.id, shown)
            tree.show(c, at.conversation, shown or new.id)
            return tree.find_message(c, new.id)

        return await self._write(work, id)

    async def move(self, id: str, *, up: bool) -> StoredMessage:
        """Let a message change places with the one before or after it, each with its versions."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            found = tree.find_message(c, id)
            tree.show(c, found.conversation, id)
            other = _before(c, id) if up else _after(c, id)
            if not other:
                raise Refused(FIRST if up else LAST)
            _swap(c, *((other, id) if up else (id, other)))
            return tree.find_message(c, id)

        return await self._write(work, id)

    async def cut(self, id: str) -> StoredMessage:
        """Mark a message deleted with all that follows it, and end the conversation before it."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            found = tree.find_message(c, id)
            query = "UPDATE messages SET deleted = ? WHERE deleted IS NULL AND id IN d"
            c.execute(f"{DOWN} {query}", (id, _moment(c)))
            _point(c, found.parent, "")
            c.execute(
                "UPDATE conversations SET leaf = ?, revision = revision + 1 WHERE id = ?",
                (found.parent, found.conversation),
            )
            return found

        return await self._write(work, id)

    async def uncut(self, id: str, *, shown: bool = True) -> StoredMessage:
        """Bring back what was cut off; not `shown` as another version of what took its place."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            query = "SELECT conversation, deleted FROM messages WHERE id = ? AND deleted NOT NULL"
            row = c.execute(query, (id,)).fetchone()
            if not row:
                raise Unknown("This has been restored already, perhaps in another tab.")
            query = "UPDATE messages SET deleted = NULL WHERE deleted = ? AND id IN d"
            c.execute(f"{DOWN} {query}", (id, row["deleted"]))
            if shown:
                tree.show(c, row["conversation"], id)
            return tree.find_message(c, id)

        return await self._write(work, id)

    async def fork(self, id: str, title: str) -> Conversation:
        """A new conversation with all that is shown up to and with a message, and what extensions
        keep with it; one of an incognito conversation is incognito, too."""

        def work(c: sqlite3.Connection) -> Conversation:
            found = tree.find_message(c, id)
            secret = is_secret(found.conversation)
            new = tree.add_conversation(c, title, secret=secret)
            messages, _ = tree.branch(c, id, tree.ALL)
            copies, parent = dict[str, str](), ""
            for message in messages:
                copy = copies[message.id] = new_id(secret=secret)
                c.execute(COPY, (copy, new.id, parent or None, message.id))
                enclosed.copy(c, message.id, copy)
                _point(c, parent, copy)
                parent = copy
            _copy_states(c, found.conversation, new.id, copies)
            c.execute(
                "UPDATE conversations SET titled = 2, folder = o.folder, tags = o.tags"
                " FROM (SELECT folder, tags FROM conversations WHERE id = ?) o WHERE id = ?",
                (found.conversation, new.id),
            )
            tree.touch(c, new.id, leaf=parent)
            return tree.find_conversation(c, new.id)

        return await self._write(work, id)


DOWN = """
    WITH RECURSIVE d (id) AS (
        SELECT id FROM messages WHERE id = ?
        UNION ALL SELECT m.id FROM d JOIN messages m ON m.parent = d.id
    )
"""
_SAME = (
    "role, parts, text, raw, reasoning, error, model, loader, sampling, usage, timings, created,"
    " reason, left_out, cut, name"
)
COPY = (
    f"INSERT INTO messages (id, conversation, parent, state, {_SAME}) SELECT ?, ?, ?,"
    f" CASE state WHEN 'running' THEN 'interrupted' ELSE state END, {_SAME}"
    " FROM messages WHERE id = ?"
)


def _copy_states(c: sqlite3.Connection, old: str, new: str, copies: Mapping[str, str]) -> None:
    """What extensions keep with a conversation; where it names a message, its copy."""
    for row in c.execute("SELECT * FROM states WHERE conversation = ?", (old,)).fetchall():
        name, _, of = row["key"].rpartition(" ")
        if name and of not in copies:  # Of a message that is not copied.
            continue
        key, kept = row["key"], row["value"]
        with suppress(msgspec.DecodeError):  # What nobody can read is copied as it is.
            key, value = of_copies(key, msgspec.json.decode(kept), copies)
            kept = tree.as_json(value)
        c.execute("INSERT INTO states VALUES (?, ?, ?, ?)", (new, row["extension"], key, kept))


def _moment(c: sqlite3.Connection) -> float:
    """The time, or a little later: no two cuts bear the same."""
    (last,) = c.execute("SELECT max(deleted) FROM messages").fetchone()
    return max(time.time(), (last or 0.0) + 0.001)


def _parent(c: sqlite3.Connection, id: str) -> str:
    row = c.execute("SELECT parent FROM messages WHERE id = ?", (id,)).fetchone()
    return row["parent"] or "" if row else ""


def _child(c: sqlite3.Connection, id: str) -> str:
    row = c.execute("SELECT child FROM messages WHERE id = ?", (id,)).fetchone()
    return row["child"] or "" if row else ""


def _is_there(c: sqlite3.Connection, id: str) -> bool:
    query = "SELECT 1 FROM messages WHERE id = ? AND deleted IS NULL"
    return bool(c.execute(query, (id,)).fetchone())


def _before(c: sqlite3.Connection, id: str) -> str:
    """The message that is shown before this one."""
    while (id := _parent(c, id)) and not _is_there(c, id):
        pass
    return id


def _after(c: sqlite3.Connection, id: str) -> str:
    """The message that is shown after this one."""
    while (id := _child(c, id)) and not _is_there(c, id):
        pass
    return id


def _children(c: sqlite3.Connection, conversation: str, id: str, role: str = "") -> list[str]:
    """What follows a message, deleted or not; without an id what a conversation begins with."""
    query = (
        "SELECT id FROM messages WHERE conversation = ? AND parent IS ? AND ? IN ('', role)"
        " ORDER BY seq"
    )
    return [row["id"] for row in c.execute(query, (conversation, id or None, role))]


def _put(c: sqlite3.Connection, ids: list[str], parent: str) -> None:
    values = [(parent or None, id) for id in ids]
    c.executemany("UPDATE messages SET parent = ? WHERE id = ?", values)


def _point(c: sqlite3.Connection, id: str, child: str) -> None:
    """Which of the versions below a message is shown."""
    c.execute("UPDATE messages SET child = ? WHERE id = ?", (child or None, id))


def _swap(c: sqlite3.Connection, upper: str, lower: str) -> None:
    """Two messages of which one is shown after the other; what is deleted between stays there."""
    first, second = tree.find_message(c, upper), tree.find_message(c, lower)
    top, between = first.parent, second.parent
    uppers = _children(c, first.conversation, top, first.role)
    lowers = _children(c, first.conversation, between, second.role)
    rest, shown = _children(c, first.conversation, lower), _child(c, lower)
    _put(c, lowers, top)
    _put(c, uppers, lower)
    _put(c, rest, between)
    _point(c, lower, upper)
    _point(c, between, shown)
    tree.show(c, first.conversation, upper)
