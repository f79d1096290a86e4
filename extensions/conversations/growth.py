"""Replies on their way to the disk: what they amount to by now, and how that is written."""

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from kernel.api import Sampling, Timings, Usage

from . import tree
from .records import Ended, Why

FORSAKEN = "This reply was stopped before its end. "
INTERRUPTED = "Spindle was stopped while this reply was being written. "
ON, AGAIN = "Continue it, or try again.", "Try again."
"""A reply without a word cannot be continued."""


class Growth(NamedTuple):
    """What a running reply amounts to, not committed yet; `state` is its end."""

    text: str
    raw: str
    reasoning: str
    state: Ended | None = None
    error: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    model: str = ""
    loader: str = ""
    reason: Why = ""
    left_out: int = 0
    cut: int = 0
    sampling: Sampling = Sampling()
    """What it was asked with, once that is known."""


def write_growth(connection: sqlite3.Connection, batch: Mapping[str, Growth]) -> None:
    for id, growth in batch.items():
        connection.execute(
            "UPDATE messages SET text = ?, raw = ?, reasoning = ?, state = ?, error = ?, usage = ?,"
            " timings = ?, model = coalesce(nullif(?, ''), model),"
            " loader = coalesce(nullif(?, ''), loader), reason = ?, left_out = ?, cut = ?,"
            " sampling = coalesce(nullif(?, '{}'), sampling)"
            " WHERE id = ? AND state = 'running'",
            (
                growth.text, None if growth.raw == growth.text else growth.raw, growth.reasoning,
                growth.state or "running", growth.error, tree.as_json(growth.usage),
                tree.as_json(growth.timings), growth.model, growth.loader,
                growth.reason, growth.left_out, growth.cut, tree.as_json(growth.sampling), id,
            ),
        )  # fmt: skip
        if growth.state:
            row = connection.execute("SELECT conversation FROM messages WHERE id = ?", (id,))
            for (conversation,) in row.fetchall():
                tree.touch(connection, conversation, top=True)


def interrupt(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE messages SET state = 'interrupted', error = ? || iif(text = '', ?, ?)"
        " WHERE state = 'running'",
        (INTERRUPTED, AGAIN, ON),
    )
