"""A conversation as a whole: every version of every message, and what extensions keep with it."""

import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kernel.api import Part, Role, Sampling, Struct, Timings, Usage, kill_at

from . import enclosed, tree
from .records import State, Titled, Why
from .shelf import make_folder
from .text import clean, folder_of, is_secret, new_id, of_copies, tags_of, title_of

LATEST = 4_102_444_800.0
"""Seconds; what claims to be of a later year than 2100 has no time."""
PARTS = msgspec.json.Decoder(tuple[Part, ...])
KINDS: Mapping[str, Any] = {"sampling": Sampling, "usage": Usage, "timings": Timings}


class Said(Struct, frozen=True):
    """One message, as it is kept; what is empty is left out of a file."""

    role: Role
    text: str
    id: str = ""
    parent: str = ""
    """The id of the message before it, which comes before it here too; empty for a first one."""
    child: str = ""
    """Which of the versions below it was shown last."""
    raw: str | None = None
    """The engine's words, where they are others."""
    reasoning: str = ""
    name: str = ""
    parts: tuple[Any, ...] = ()
    state: State = "done"
    error: str = ""
    model: str = ""
    loader: str = ""
    sampling: Mapping[str, Any] = {}
    usage: Mapping[str, Any] = {}
    timings: Mapping[str, Any] = {}
    reason: Why = ""
    left_out: int = 0
    cut: int = 0
    created: float = 0.0


class Whole(Struct, frozen=True, omit_defaults=True):
    """A conversation with all that belongs to it; messages in the order in which they were said."""

    title: str = ""
    messages: tuple[Said, ...] = ()
    leaf: str = ""
    """The id of the last message that is shown."""
    id: str = ""
    folder: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    titled: Titled = 2
    created: float = 0.0
    updated: float = 0.0
    states: Mapping[str, Mapping[str, Any]] = {}
    """What each extension keeps with it, by its id."""
    source: str = ""
    """The fingerprint of what it was imported from."""


def dump(connection: sqlite3.Connection, id: str) -> Whole:
    """All of a conversation but what is deleted in it."""
    found = tree.find_conversation(connection, id)
    rows = connection.execute(
        "SELECT * FROM messages WHERE conversation = ? ORDER BY seq", (id,)
    ).fetchall()
    parents = {row["id"]: row["parent"] or "" for row in rows}
    there = {row["id"] for row in rows if row["deleted"] is None}
    children = {row["id"]: row["child"] or "" for row in rows}

    def up(id: str) -> str:
        while id and id not in there:
            id = parents.get(id, "")
        return id

    def down(id: str) -> str:
        while id and id not in there:
            id = children.get(id, "")
        return id

    states: dict[str, dict[str, Any]] = {}
    for row in connection.execute(
        "SELECT * FROM states WHERE conversation = ? ORDER BY extension, key", (id,)
    ):
        states.setdefault(row["extension"], {})[row["key"]] = msgspec.json.decode(row["value"])
    (source,) = connection.execute(
        "SELECT source FROM conversations WHERE id = ?", (id,)
    ).fetchone()
    return Whole(
        found.title,
        tuple(_said(connection, row, up(parents[row["id"]]), down(children[row["id"]]))
              for row in _in_order(rows) if row["deleted"] is None),
        up(found.leaf),
        found.id, found.folder, found.tags, found.pinned, found.titled,
        found.created, found.updated, states, source,
    )  # fmt: skip


def _in_order(rows: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """Each message after the one that it follows, which may have been put before it later."""
    by_id, taken = {row["id"]: row for row in rows}, dict[str, sqlite3.Row]()
    for row in rows:
        above = list[sqlite3.Row]()
        while row["id"] not in taken:
            above.append(row)
            if row["parent"] not in by_id or len(above) > len(rows):
                break
            row = by_id[row["parent"]]
        taken |= {row["id"]: row for row in reversed(above)}
    return [*taken.values()]


def _said(connection: sqlite3.Connection, row: sqlite3.Row, parent: str, child: str) -> Said:
    def read(name: str) -> Any:
        try:
            return msgspec.json.decode(row[name])
        except ValueError:
            return {}

    names = (
        "role", "text", "id", "raw", "reasoning", "name", "error", "model", "loader", "reason",
        "left_out", "cut", "created",
    )  # fmt: skip
    return Said(
        **{name: row[name] for name in names},
        parent=parent,
        child=child,
        parts=enclosed.whole(connection, row["id"], read("parts")) if row["parts"] else (),
        state="interrupted" if row["state"] == "running" else row["state"],
        **{name: read(name) for name in KINDS},
    )


def fingerprint(whole: Whole, form: str = "spindle") -> str:
    """The same words at the same times are the same conversation."""
    digest = hashlib.sha256()
    for said in whole.messages:
        words = (
            said.role,
            said.name,
            said.text,
            said.raw or "",
            said.parent,
            f"{said.created:.0f}",
        )
        digest.update("\0".join(map(clean, words)).encode() + b"\1")
    return f"{form}:{digest.hexdigest()[:32]}"


def known(connection: sqlite3.Connection, whole: Whole) -> str:
    """The id of the same conversation, if it was imported before or comes from here; else ""."""
    sources = [whole.source, fingerprint(whole), *_named(connection, whole)]
    query = (
        f"SELECT id FROM conversations WHERE source IN ({', '.join('?' * len(sources))})"
        " AND source <> '' AND deleted IS NULL"
    )
    for row in connection.execute(query, sources).fetchall():
        if _holds(connection, row["id"], whole):  # It may have gone on elsewhere since.
            return row["id"]
    query = "SELECT id FROM conversations WHERE id = ? AND deleted IS NULL"
    row = connection.execute(query, (whole.id,)).fetchone()
    return whole.id if row and dump(connection, whole.id).messages == whole.messages else ""


def spoken(whole: Whole, name: str) -> Whole:
    """The same conversation, in which `name` gives every reply."""
    messages = tuple(
        msgspec.structs.replace(said, name=name) if said.role == "assistant" else said
        for said in whole.messages
    )
    return msgspec.structs.replace(whole, messages=messages)


def _named(connection: sqlite3.Connection, whole: Whole) -> list[str]:
    """Fingerprints of a chat of text-generation-webui under the names that it may have come in
    with: for a time the fingerprint had them, as the path of the file told them then."""
    if not whole.messages or not whole.source.startswith("webui:"):
        return []
    query = (
        "SELECT DISTINCT m.name FROM conversations c"
        " JOIN messages first ON first.conversation = c.id AND first.parent IS NULL"
        " JOIN messages m ON m.conversation = c.id"
        " WHERE c.source GLOB 'webui:*' AND first.text = ? AND m.name <> ''"
    )
    names = connection.execute(query, (clean(whole.messages[0].text),)).fetchall()
    return [fingerprint(spoken(whole, row["name"]), "webui") for row in names]


def _holds(connection: sqlite3.Connection, id: str, whole: Whole) -> bool:
    """Whether all that is said in it was said in a conversation, deleted or not; what was deleted
    for good may have been any."""
    query = "SELECT role, text, deleted FROM messages WHERE conversation = ?"
    rows = connection.execute(query, (id,)).fetchall()
    there = Counter((row["role"], row["text"]) for row in rows)
    emptied = Counter(row["role"] for row in rows if row["deleted"] and not row["text"])
    missing = Counter((said.role, clean(said.text)) for said in whole.messages) - there
    return Counter(role for role, _ in missing.elements()) <= emptied


def add(connection: sqlite3.Connection, whole: Whole) -> str:
    """Put a conversation into the tables, at the top of the list; answers its id.

    Ids stay as they are where they are good and free.
    """
    conversation, *ids = _ids(connection, whole)
    source = whole.source if conversation == whole.id else whole.source or fingerprint(whole)
    now = time.time()
    created, updated = _moment(whole.created) or now, _moment(whole.updated) or now
    folder = folder_of(whole.folder)
    connection.execute(
        "INSERT INTO conversations (id, title, touched, created, updated, folder, tags, pinned,"
        " titled, source) VALUES (?, ?, (SELECT coalesce(max(touched), 0) + 1 FROM conversations),"
        " ?, ?, ?, ?, ?, ?, ?)",
        (
            conversation, title_of(clean(whole.title), 300), created, updated, folder,
            " ".join(tags_of(" ".join(whole.tags))), int(whole.pinned), whole.titled,
            clean(source)[:200],
        ),
    )  # fmt: skip
    make_folder(connection, folder)
    places, parents = dict[str, int](), list[int | None]()
    for n, said in enumerate(whole.messages):
        parents.append(above := places.get(said.parent) if said.parent else None)
        parent = None if above is None else ids[above]
        _insert(connection, conversation, ids[n], parent, said, created)
        if said.id:
            places.setdefault(said.id, n)
    for n, said in enumerate(whole.messages):
        below = places.get(said.child) if said.child else None
        if below is not None and parents[below] == n:
            query = "UPDATE messages SET child = ? WHERE id = ?"
            connection.execute(query, (ids[below], ids[n]))
    leaf = ids[places.get(whole.leaf, len(ids) - 1)] if ids else ""
    connection.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, conversation))
    kill_at("whole.added")
    copies = {said.id: id for said, id in zip(whole.messages, ids, strict=True) if said.id}
    for extension, values in whole.states.items():
        for at, kept in values.items():
            key, value = of_copies(at, kept, copies)
            connection.execute(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)",
                (conversation, clean(extension), clean(key), clean(tree.as_json(value))),
            )
    return conversation


def _insert(
    c: sqlite3.Connection, conversation: str, id: str, parent: str | None, said: Said, at: float
) -> None:
    parts, text = _parts(said), clean(said.text)
    kept = {name: tree.as_json(getattr(said, name)) for name in KINDS}
    for name, kind in KINDS.items():
        if not _reads(msgspec.json.Decoder(kind), kept[name]):
            kept[name] = "{}"
    c.execute(
        "INSERT INTO messages (id, conversation, parent, role, parts, text, raw, reasoning, state,"
        " error, model, loader, sampling, usage, timings, created, reason, left_out, cut, name)"
        f" VALUES ({', '.join('?' * 20)})",
        (
            id, conversation, parent, said.role, enclosed.written(parts) if parts else "", text,
            None if said.raw is None or clean(said.raw) == text else clean(said.raw),
            clean(said.reasoning), "interrupted" if said.state == "running" else said.state,
            clean(said.error), clean(said.model), clean(said.loader), *kept.values(),
            _moment(said.created) or at, said.reason,
            *(min(max(many, 0), 2**31) for many in (said.left_out, said.cut)),
            clean(said.name)[:200],
        ),
    )  # fmt: skip
    enclosed.put(c, id, parts)


def _parts(said: Said) -> tuple[Part, ...]:
    """What a file says that a message has beside its words; nothing where that cannot be read."""
    try:
        return PARTS.decode(tree.as_json(said.parts)) if said.parts else ()
    except ValueError:
        return ()


def _reads(decoder: msgspec.json.Decoder[Any], text: str) -> bool:
    try:
        decoder.decode(text)
    except ValueError:
        return False
    return True


def _moment(seconds: float) -> float:
    """A time as a file tells it; 0 where that cannot be."""
    return seconds if 0 < seconds < LATEST else 0.0


def _ids(connection: sqlite3.Connection, whole: Whole) -> list[str]:
    """The id of the conversation, then of each message."""
    there = [whole.id, *(said.id for said in whole.messages)]
    if all(map(_good, there)) and len({*there}) == len(there):
        query = (
            "SELECT 1 FROM conversations WHERE id = ?1 UNION SELECT 1 FROM messages WHERE id = ?1"
        )
        if not any(connection.execute(query, (id,)).fetchone() for id in there):
            return there
    return [new_id() for _ in there]


def _good(id: str) -> bool:
    letters = id.isascii() and id.isalnum() and id == id.lower()
    return letters and 6 <= len(id) <= 40 and not is_secret(id)
