"""The tree of messages in SQL: every function runs inside one transaction of the writer or reader.

A conversation shows one branch: from its `leaf` up to a root. Each message remembers in `child`
which of the versions below it was shown last, so that going back to a branch finds its end.
"""

import sqlite3
import time
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from kernel.api import Part, Role, Sampling, Text, Timings, Usage

from . import enclosed
from .records import Conversation, State, StoredMessage, Unknown
from .text import clean, is_secret, new_id, title_of

Connection = sqlite3.Connection
ALL = 2**31

VERSIONS = """
    (SELECT count(*) FROM messages v WHERE v.conversation = m.conversation
        AND v.parent IS m.parent AND v.role = m.role AND v.deleted IS NULL) AS versions,
    (SELECT count(*) FROM messages v WHERE v.conversation = m.conversation
        AND v.parent IS m.parent AND v.role = m.role AND v.deleted IS NULL
        AND v.seq <= m.seq) AS number
"""
SEEN = "m.deleted IS NULL AND (SELECT deleted FROM conversations WHERE id = m.conversation) IS NULL"
UP = """
    WITH RECURSIVE up (id, parent, depth) AS (
        SELECT id, parent, 0 FROM messages WHERE id = :start
        UNION ALL
        SELECT m.id, m.parent, depth + 1 FROM up JOIN messages m ON m.id = up.parent
        WHERE depth < :limit
    )
"""
SHOWN = """
    WITH RECURSIVE up (id, parent, depth, shown) AS (
        SELECT id, parent, 0, deleted IS NULL FROM messages WHERE id = :start
        UNION ALL
        SELECT m.id, m.parent, depth + 1, shown + (m.deleted IS NULL)
        FROM up JOIN messages m ON m.id = up.parent WHERE shown < :limit AND up.parent <> :above
    )
"""
"""The same, with a limit for what is not deleted."""

ATTACHMENT_LOST = "What was attached to this message can no longer be read. Its words are here."

T = TypeVar("T")
_sampling = msgspec.json.Decoder(Sampling)
_usage = msgspec.json.Decoder(Usage)
_timings = msgspec.json.Decoder(Timings)


def _read(decoder: msgspec.json.Decoder[T], text: str) -> T | None:
    try:
        return decoder.decode(text)
    except ValueError:
        return None


def _parts(text: str, message: str) -> tuple[Part, ...]:
    try:
        return enclosed.parts_of(text, message)
    except ValueError:
        return ()


def as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# --- reading ----------------------------------------------------------------------------


def conversation_of(row: sqlite3.Row) -> Conversation:
    names = ("id", "title", "leaf", "touched", "revision", "created", "updated", "folder", "titled")
    tags, pinned = tuple(row["tags"].split()), bool(row["pinned"])
    return Conversation(**{name: row[name] for name in names}, tags=tags, pinned=pinned)


def message_of(row: sqlite3.Row) -> StoredMessage:
    """A row as a message; what of its details cannot be read is left out, and that is said."""
    text: str = row["text"]
    parts = _parts(row["parts"], row["id"]) if row["parts"] else (Text(text),)
    return StoredMessage(
        id=row["id"],
        conversation=row["conversation"],
        role=row["role"],
        parent=row["parent"] or "",
        parts=parts or (Text(text),),
        text=text,
        raw=text if row["raw"] is None else row["raw"],
        reasoning=row["reasoning"],
        state=row["state"],
        error=row["error"] or ("" if parts else ATTACHMENT_LOST),
        model=row["model"],
        loader=row["loader"],
        sampling=_read(_sampling, row["sampling"]) or Sampling(),
        usage=_read(_usage, row["usage"]) or Usage(),
        timings=_read(_timings, row["timings"]) or Timings(),
        reason=row["reason"],
        left_out=row["left_out"],
        cut=row["cut"],
        created=row["created"],
        number=row["number"],
        versions=row["versions"],
        name=row["name"],
    )


def find_conversation(connection: Connection, id: str, *, deleted: bool = False) -> Conversation:
    """The conversation, or `Unknown`; `deleted` finds one that is marked so, too."""
    row = connection.execute("SELECT * FROM conversations WHERE id = ?", (id,)).fetchone()
    if not row or (row["deleted"] is not None and not deleted):
        raise Unknown("This conversation has been deleted. Start a new one.")
    return conversation_of(row)


def find_message(connection: Connection, id: str) -> StoredMessage:
    """The message, or `Unknown` if it or its conversation is deleted."""
    query = f"SELECT m.*, {VERSIONS} FROM messages m WHERE m.id = ? AND {SEEN}"
    row = connection.execute(query, (id,)).fetchone()
    if not row:
        raise Unknown("This message has been deleted. Undo that, or go on with another one.")
    return message_of(row)


def conversation_with(connection: Connection, message: str) -> str:
    """The id of the conversation that a message is in, deleted or not: others may follow it."""
    query = "SELECT conversation FROM messages WHERE id = ?"
    row = connection.execute(query, (message,)).fetchone()
    return find_conversation(connection, row["conversation"] if row else "").id


def branch(
    connection: Connection, end: str, limit: int, above: str = ""
) -> tuple[list[StoredMessage], bool]:
    """The last messages up to and with `end`, oldest first, of those that follow `above`; and
    whether there are earlier ones."""
    query = f"""{SHOWN} SELECT m.*, depth, {VERSIONS} FROM up JOIN messages m USING (id)
        ORDER BY depth DESC"""
    rows = connection.execute(query, {"start": end, "limit": limit, "above": above}).fetchall()
    earlier = bool(rows) and rows[0]["parent"] is not None
    return [message_of(row) for row in rows if row["deleted"] is None], earlier


def above(connection: Connection, id: str) -> int:
    """How many messages of its branch stand before one."""
    query = f"{UP} SELECT count(*) FROM up JOIN messages USING (id) WHERE depth AND deleted IS NULL"
    (number,) = connection.execute(query, {"start": id, "limit": ALL}).fetchone()
    return number


def siblings(connection: Connection, message: StoredMessage) -> list[str]:
    """The ids of all versions of a message that are not deleted, oldest first."""
    rows = connection.execute(
        "SELECT id FROM messages WHERE conversation = ? AND parent IS ? AND role = ?"
        " AND deleted IS NULL ORDER BY seq",
        (message.conversation, message.parent or None, message.role),
    )
    return [row["id"] for row in rows]


# --- writing ----------------------------------------------------------------------------


def add_conversation(connection: Connection, title: str, *, secret: bool = False) -> Conversation:
    now = time.time()
    row = connection.execute(
        "INSERT INTO conversations (id, title, touched, created, updated) VALUES (?, ?,"
        " (SELECT coalesce(max(touched), 0) + 1 FROM conversations), ?, ?) RETURNING *",
        (new_id(secret=secret), title_of(clean(title)), now, now),
    ).fetchone()
    return conversation_of(row)


def touch(
    connection: Connection, conversation: str, leaf: str | None = None, *, top: bool = False
) -> None:
    """Count a change; perhaps show another branch, or go to the `top` of the list."""
    connection.execute(
        "UPDATE conversations SET revision = revision + 1, leaf = coalesce(?, leaf) WHERE id = ?",
        (leaf, conversation),
    )
    if top:
        connection.execute(
            "UPDATE conversations SET updated = ?,"
            " touched = (SELECT max(touched) + 1 FROM conversations) WHERE id = ?",
            (time.time(), conversation),
        )


def add_message(
    connection: Connection,
    conversation: str,
    parent: str,
    role: Role,
    text: str,
    *,
    parts: Iterable[Part] = (),
    state: State = "done",
    model: str = "",
    loader: str = "",
    sampling: Sampling | None = None,
    name: str = "",
) -> StoredMessage:
    """Add a message under `parent` (empty: as a first message) and show it."""
    id, parts = new_id(secret=is_secret(conversation)), tuple(parts)
    connection.execute(
        "INSERT INTO messages (id, conversation, parent, role, parts, text, state, model, loader,"
        " sampling, created, name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id, conversation, parent or None, role, enclosed.written(parts) if parts else "", text,
            state, model, loader, as_json(sampling or Sampling()), time.time(), clean(name),
        ),
    )  # fmt: skip
    enclosed.put(connection, id, parts)
    connection.execute("UPDATE messages SET child = ? WHERE id = ?", (id, parent))
    touch(connection, conversation, leaf=id, top=True)
    return find_message(connection, id)


def below(connection: Connection, id: str, limit: int) -> str:
    """The message `limit` places below `id` on the branch that was shown last, or its end."""
    rows = connection.execute(
        "WITH RECURSIVE down (id, child, depth) AS ("
        " SELECT id, child, 0 FROM messages WHERE id = :id UNION ALL"
        " SELECT m.id, m.child, depth + 1 FROM down JOIN messages m ON m.id = down.child"
        " WHERE depth < :limit) SELECT id FROM down ORDER BY depth DESC LIMIT 1",
        {"id": id, "limit": limit},
    ).fetchall()
    return rows[0]["id"] if rows else id


def end_of(connection: Connection, id: str) -> str:
    """The last message of the branch that was shown below `id`."""
    (end,) = connection.execute(
        "WITH RECURSIVE down (id, child, depth) AS ("
        " SELECT id, child, 0 FROM messages WHERE id = ? UNION ALL"
        " SELECT m.id, m.child, depth + 1 FROM down JOIN messages m ON m.id = down.child)"
        " SELECT id FROM down ORDER BY depth DESC LIMIT 1",
        (id,),
    ).fetchone()
    return end


def show(connection: Connection, conversation: str, id: str) -> None:
    """Show the branch through `id`, down to where it was left."""
    connection.execute(
        f"{UP} UPDATE messages SET child = up.id FROM up"
        " WHERE messages.id = up.parent AND messages.child IS NOT up.id",
        {"start": id, "limit": ALL},
    )
    touch(connection, conversation, leaf=end_of(connection, id))


def is_shown(connection: Connection, conversation: str, id: str) -> bool:
    """Whether `id` is on the branch that the conversation shows."""
    leaf = find_conversation(connection, conversation, deleted=True).leaf
    query = f"{UP} SELECT 1 FROM up WHERE id = :id"
    return bool(connection.execute(query, {"start": leaf, "limit": ALL, "id": id}).fetchone())


def mark_message(
    connection: Connection, id: str, *, deleted: bool, shown: bool = True
) -> StoredMessage:
    """Mark one message deleted, or take the mark back, and show it then.

    A message without other versions is left out of its branch, which goes on below it. Where
    there are others, the nearest is shown instead, with what follows that one: what followed
    the deleted one is out of sight until the mark is taken back.
    """
    query = f"SELECT m.*, {VERSIONS} FROM messages m WHERE m.id = ? AND (m.deleted IS NULL) = ?"
    row = connection.execute(query, (id, deleted)).fetchone()
    if not row:
        raise Unknown("This message has been deleted or restored already, perhaps in another tab.")
    message = message_of(row)
    connection.execute(
        "UPDATE messages SET deleted = ? WHERE id = ?", (time.time() if deleted else None, id)
    )
    others = siblings(connection, message)
    if not deleted and shown:
        show(connection, message.conversation, id)
    elif deleted and others and is_shown(connection, message.conversation, id):
        show(connection, message.conversation, others[max(0, message.number - 2)])
    else:
        touch(connection, message.conversation)
    return message
