"""Search over every title and message, newest first: any part of any word, in any script."""

import sqlite3
from contextlib import suppress

from . import tree
from .records import Found, Unknown
from .text import excerpt


def search(connection: sqlite3.Connection, terms: list[str], limit: int) -> list[Found]:
    """Conversations with all `terms` in the title or in one message, one hit of each.

    The index knows runs of three characters; shorter words are looked for in the text itself.
    """
    found = {hit.conversation.id: hit for hit in _titles(connection, terms, limit)}
    for conversation, message in _messages(connection, terms):
        if len(found) >= limit:
            break
        if conversation not in found:
            with suppress(Unknown):
                found[conversation] = _hit(connection, conversation, message, terms)
    return list(found.values())


def _titles(connection: sqlite3.Connection, terms: list[str], limit: int) -> list[Found]:
    rows = connection.execute(
        "SELECT * FROM conversations WHERE deleted IS NULL"
        + " AND title LIKE ? ESCAPE '\\'" * len(terms)
        + " ORDER BY touched DESC LIMIT ?",
        (*map(_like, terms), limit),
    )
    return [Found(tree.conversation_of(row)) for row in rows]


def _messages(connection: sqlite3.Connection, terms: list[str]) -> sqlite3.Cursor:
    quoted = " ".join('"' + term.replace('"', '""') + '"' for term in terms if len(term) > 2)
    short = [_like(term) for term in terms if len(term) < 3]
    source, order = "messages m WHERE 1", "m.seq"
    if quoted:
        source, order = (
            "words JOIN messages m ON m.seq = words.rowid WHERE words MATCH ?",
            "words.rowid",
        )
    return connection.execute(
        f"SELECT m.conversation, m.id FROM {source} AND {tree.SEEN}"
        + " AND m.text LIKE ? ESCAPE '\\'" * len(short)
        + f" ORDER BY {order} DESC",
        (*([quoted] if quoted else []), *short),
    )


def _like(term: str) -> str:
    return "%" + term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def _hit(connection: sqlite3.Connection, id: str, message: str, terms: list[str]) -> Found:
    text = tree.find_message(connection, message).text
    hidden = not tree.is_shown(connection, id, message)
    return Found(tree.find_conversation(connection, id), message, *excerpt(text, terms), hidden)
