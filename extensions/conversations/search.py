"""Search over every title and message: any part of any word, in any script, the best first."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress

from . import tree
from .query import Query
from .records import Found, Unknown
from .text import pieces

WEIGHED = 2000
"""Of so many messages, the newest that match, the best are looked for; words that stand in more
tell nothing about any of them."""
NEWER = 1.0
"""By how much the newest message outweighs the oldest of those, if both match as well."""


def search(connection: sqlite3.Connection, query: Query, limit: int) -> list[Found]:
    """Conversations with all terms in the title or in one message, one hit of each.

    The index knows runs of three characters; shorter words are looked for in the text itself.
    """
    titles = {hit.conversation.id: hit for hit in _titles(connection, query, limit)}
    best = _best(connection, query) if query.terms or query.role is not None else {}
    found = list[Found]()
    for conversation in [*titles, *(id for id in best if id not in titles)][:limit]:
        if message := best.get(conversation):  # It leads further than the title alone.
            with suppress(Unknown):
                found.append(_hit(connection, conversation, message, query.terms))
        else:
            found.append(titles[conversation])
    return found


def _titles(connection: sqlite3.Connection, query: Query, limit: int) -> Iterator[Found]:
    if query.role is not None:
        return
    where, values = _kept(query)
    rows = connection.execute(
        f"SELECT * FROM conversations c WHERE {where}"
        + " AND c.title LIKE ? ESCAPE '\\'" * len(query.terms)
        + " ORDER BY touched DESC LIMIT ?",
        (*values, *map(_like, query.terms), limit),
    )
    for row in rows:
        marked = pieces(row["title"], query.terms, length=200) if query.terms else ()
        yield Found(tree.conversation_of(row), "", marked)


def _best(connection: sqlite3.Connection, query: Query) -> dict[str, str]:
    """Conversations with their best message, the best first: as it matches, and how new it is."""
    rows = _messages(connection, query)
    if not rows:
        return {}
    newest, oldest = rows[0][2], rows[-1][2]
    span = max(1, newest - oldest)
    scored = sorted(
        ((rank * (1 + NEWER * (seq - oldest) / span), -seq, conversation, message)
         for conversation, message, seq, rank in rows),
    )  # fmt: skip
    best: dict[str, str] = {}
    for _, _, conversation, message in scored:
        best.setdefault(conversation, message)
    return best


def _messages(connection: sqlite3.Connection, query: Query) -> list[tuple[str, str, int, float]]:
    """Conversation, message, its number and how well it matches (less is better), newest first."""
    long = [term for term in query.terms if len(term) > 2]
    short = [_like(term) for term in query.terms if len(term) < 3]
    quoted = " ".join('"' + term.replace('"', '""') + '"' for term in long)
    where, values = _kept(query)
    if query.role is not None:
        where, values = f"{where} AND m.role = ?", (*values, query.role)
    source, order, rank = "messages m", "m.seq", "-1.0"
    if quoted:
        source, order = "words JOIN messages m ON m.seq = words.rowid", "words.rowid"
        where, values = f"words MATCH ? AND {where}", (quoted, *values)
        rank = "bm25(words)"
    rows = connection.execute(
        f"SELECT m.conversation, m.id, m.seq, {rank} FROM {source}"
        f" JOIN conversations c ON c.id = m.conversation WHERE {where} AND m.deleted IS NULL"
        + " AND m.text LIKE ? ESCAPE '\\'" * len(short)
        + f" ORDER BY {order} DESC LIMIT ?",
        (*values, *short, WEIGHED if quoted else WEIGHED // 10),
    )
    return [tuple(row) for row in rows]


def _kept(query: Query) -> tuple[str, tuple[str, ...]]:
    """What a conversation `c` must be: not deleted, in the folder, with the tags."""
    where, values = "c.deleted IS NULL", list[str]()
    for tag in query.tags:
        where += " AND ' ' || c.tags LIKE ? ESCAPE '\\'"
        values.append("% " + _like(tag)[1:])
    if query.folder == "":
        where += " AND c.folder = ''"
    elif query.folder is not None:
        where += " AND (c.folder LIKE ? ESCAPE '\\' OR c.folder LIKE ? ESCAPE '\\')"
        values += [_like(query.folder)[1:], "%/" + _like(query.folder)[1:]]
    return where, tuple(values)


def _like(term: str) -> str:
    return "%" + term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def _hit(connection: sqlite3.Connection, id: str, message: str, terms: tuple[str, ...]) -> Found:
    text = tree.find_message(connection, message).text
    hidden = not tree.is_shown(connection, id, message)
    return Found(tree.find_conversation(connection, id), message, pieces(text, terms), hidden)
