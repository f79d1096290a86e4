"""A damaged file is kept aside; a sound one takes its place, with all that could be read of it."""

import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from kernel.api import kill_at

from . import schema, tree
from .growth import Growth, interrupt, write_growth
from .replacement import aside, put_in_place, ready_beside
from .salvage import Row, rows
from .schema import upgrade
from .text import clean, new_id, title_of

RECOVERED = 0x5370_0001
"""The `application_id` of a file that was recovered and that nobody has said yes to."""
CHECKED = 50_000_000
"""Bytes of a file that is checked whole before it is used (0.1 s); a larger one by its backup."""
PART_LOST = "A part of this message was lost when the file of the conversations was damaged."
UNTITLED = "Recovered messages"


class Table(NamedTuple):
    """A table as its rows look in a page: name and type of each column, and how few there may be
    in a row of the schema that brought it."""

    name: str
    columns: tuple[tuple[str, str, bool], ...]
    fewest: int


def is_sound(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file can be trusted; a large one is looked at only at its beginning."""
    connection.text_factory = bytes  # Damaged words are no UTF-8.
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if version > len(schema.MIGRATIONS):
            return version < 1000  # Of a newer Spindle, not for us to judge; or no number at all.
        if names and not (version and {b"conversations", b"messages", b"states"} <= names):
            return False
        if path.stat().st_size > CHECKED:
            return True
        return connection.execute("PRAGMA quick_check(1)").fetchone()[0] == b"ok"
    except UnicodeDecodeError:  # SQLite itself tells of the damage in words that are none.
        return False
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")):
            return False
        raise


def recover(path: Path, ended: Mapping[str, Growth] | None = None) -> None:
    """Build a sound file from what `path` holds and replies `ended` in that it did not take any
    more; the damaged one is kept as `.corrupt-<date>`."""
    new = ready_beside(path, ".recovering")
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        upgrade(target)
        target.execute("BEGIN")
        fill(target, path)
        write_growth(target, ended or {})
        interrupt(target)
        target.execute("COMMIT")
        target.execute(f"PRAGMA application_id = {RECOVERED}")
    kill_at("recover.built")
    put_in_place(path, new, keep=aside(path, f"corrupt-{time.strftime('%Y-%m-%d')}"))


def fill(target: sqlite3.Connection, path: Path) -> None:
    """Copy every row that can be read into the empty tables of `target`."""
    names = ("conversations", "messages", "states", "folders", "enclosures")
    tables = [_table(target, name) for name in names]
    found: dict[str, dict[Any, dict[str, Any]]] = {table.name: {} for table in tables}
    for row in rows(path):
        for table in tables:
            if record := _fits(row, table):
                key = row.seq or (record["conversation"], record["extension"], record["key"])
                found[table.name].setdefault(key, record)
    conversations = _conversations(found["conversations"], found["messages"])
    for record in conversations.values():
        _insert(target, "conversations", record)
    for record in _messages(found["messages"]):
        _insert(target, "messages", record)
    for record in found["states"].values():
        _insert(target, "states", record)
    for record in found["folders"].values():
        _insert(target, "folders", record)
    ids = {id for (id,) in target.execute("SELECT id FROM messages").fetchall()}
    for record in found["enclosures"].values():
        if record["message"] in ids:
            _insert(target, "enclosures", record)
    target.execute(
        "INSERT OR IGNORE INTO folders (name)"
        " SELECT DISTINCT folder FROM conversations WHERE folder <> ''"
    )
    query = (
        "SELECT id, (SELECT id FROM messages m WHERE m.conversation = c.id ORDER BY seq DESC"
        " LIMIT 1) FROM conversations c WHERE leaf NOT IN (SELECT id FROM messages)"
    )
    for conversation, last in target.execute(query).fetchall():
        leaf = tree.end_of(target, last) if last else ""
        target.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, conversation))


def _table(target: sqlite3.Connection, name: str) -> Table:
    fewest = 0
    with closing(sqlite3.connect(":memory:")) as first:
        for script in schema.MIGRATIONS:
            first.executescript(script)
            if fewest := len(first.execute(f"PRAGMA table_info({name})").fetchall()):
                break
    info = target.execute(f"PRAGMA table_info({name})").fetchall()
    return Table(name, tuple((row[1], row[2], bool(row[3])) for row in info), fewest)


def _fits(row: Row, table: Table) -> dict[str, Any] | None:
    """The row by column, if it is one of this table."""
    kinds = {"TEXT": (str,), "INTEGER": (int,), "REAL": (int, float), "BLOB": (bytes,)}
    if not table.fewest <= len(row.values) <= len(table.columns):
        return None
    record: dict[str, Any] = {}
    for (name, kind, needed), value in zip(table.columns, row.values, strict=False):
        if name == "seq":
            if value is not None or not row.seq:
                return None
            value = row.seq
        if not isinstance(value, kinds[kind]) and (needed or value is not None):
            return None
        record[name] = clean(value) if isinstance(value, str) else value
    if table.name == "enclosures" and not row.whole:
        return None
    if table.name == "messages":
        if record["role"] not in ("user", "assistant", "system", "tool"):
            return None
        if not row.whole:
            record["error"] = PART_LOST
        if not re.fullmatch("[0-9a-z]{1,40}", record["id"]):
            record["id"] = new_id()
    return record


def _conversations(
    found: dict[Any, dict[str, Any]], messages: dict[Any, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """All conversations by id, in the order of their list; those lost, after their messages."""
    known = {record["id"]: record for record in found.values()}
    for _, message in sorted(messages.items()):
        if message["conversation"] not in known:
            known[message["conversation"]] = {
                "id": message["conversation"],
                "title": title_of(message["text"]) if message["text"] else UNTITLED,
                "leaf": "",
                "touched": 0,
                "created": message["created"],
                "updated": message["created"],
            }
    ordered = sorted(known.values(), key=lambda record: record["touched"])
    return {r["id"]: {**r, "touched": n} for n, r in enumerate(ordered, 1)}


def _messages(found: dict[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    """All messages, each below one that is there: its own, or the one said before it."""
    by_id, placed, last = dict[str, Any](), dict[str, Any](), dict[str, str]()
    for _, record in sorted(found.items()):
        by_id.setdefault(record["id"], record)
    for id in by_id:
        for record in _down_to(id, by_id, placed):
            if record["parent"] is not None and record["parent"] not in placed:
                record["parent"] = last.get(record["conversation"])
            placed[record["id"]] = record
            last[record["conversation"]] = record["id"]
    for record in placed.values():
        below = placed.get(record["child"])
        if not below or below["parent"] != record["id"]:
            record["child"] = None
    return [*placed.values()]


def _down_to(
    id: Any, by_id: Mapping[str, dict[str, Any]], placed: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A message after those above it that have no place yet: they may be newer than it."""
    above = dict[str, dict[str, Any]]()
    while id in by_id and id not in placed and id not in above:
        above[id] = by_id[id]
        id = by_id[id]["parent"]
    return [*reversed(above.values())]


def _insert(target: sqlite3.Connection, table: str, record: dict[str, Any]) -> None:
    names, marks = ", ".join(record), ", ".join("?" * len(record))
    with suppress(sqlite3.IntegrityError):
        target.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(record.values()))
