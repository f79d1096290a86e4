"""The tables, as numbered migrations: each runs in one transaction, once, in order."""

import sqlite3
from pathlib import Path

from kernel.api import kill_at

from .records import StoreFailed

FIRST = """
CREATE TABLE conversations (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    title    TEXT NOT NULL,
    leaf     TEXT NOT NULL DEFAULT '',  -- the end of the branch that is shown
    touched  INTEGER NOT NULL UNIQUE,   -- orders the list: a count, because clocks jump
    revision INTEGER NOT NULL DEFAULT 0,
    created  REAL NOT NULL,             -- seconds; only ever shown
    updated  REAL NOT NULL,
    deleted  REAL                       -- when it was marked; purged later
) STRICT;

CREATE TABLE messages (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,  -- orders versions; never used twice
    id           TEXT NOT NULL UNIQUE,
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent       TEXT REFERENCES messages (id) ON DELETE CASCADE,
    child        TEXT,                  -- which of the versions below it was shown last
    role         TEXT NOT NULL,
    parts        TEXT NOT NULL DEFAULT '',  -- JSON; empty where they are the text alone
    text         TEXT NOT NULL,
    raw          TEXT,                  -- the engine's words; NULL where they equal the text
    reasoning    TEXT NOT NULL DEFAULT '',
    state        TEXT NOT NULL,
    error        TEXT NOT NULL DEFAULT '',
    model        TEXT NOT NULL DEFAULT '',
    loader       TEXT NOT NULL DEFAULT '',
    sampling     TEXT NOT NULL DEFAULT '{}',
    usage        TEXT NOT NULL DEFAULT '{}',
    timings      TEXT NOT NULL DEFAULT '{}',
    created      REAL NOT NULL,
    deleted      REAL
) STRICT;
CREATE INDEX versions ON messages (conversation, parent, seq);
CREATE INDEX parents ON messages (parent);
CREATE INDEX running ON messages (state) WHERE state = 'running';

CREATE TABLE states (
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    extension    TEXT NOT NULL,
    key          TEXT NOT NULL,
    value        TEXT NOT NULL,         -- JSON
    PRIMARY KEY (conversation, extension, key)
) STRICT, WITHOUT ROWID;

-- Search: every run of three characters, so that parts of words and unspaced scripts are found.
-- Of a very long message the first 200,000 characters; a reply is indexed when it has ended.
CREATE VIEW searchable AS SELECT seq, substr(text, 1, 200000) AS text FROM messages;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'searchable', content_rowid = 'seq', tokenize = 'trigram'
);
CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.state <> 'running' BEGIN
    INSERT INTO words (rowid, text) VALUES (new.seq, substr(new.text, 1, 200000));
END;
CREATE TRIGGER reply_ended AFTER UPDATE OF state ON messages
WHEN old.state = 'running' AND new.state <> 'running' BEGIN
    INSERT INTO words (rowid, text) VALUES (new.seq, substr(new.text, 1, 200000));
END;
CREATE TRIGGER message_emptied AFTER UPDATE OF text ON messages WHEN old.state <> 'running' BEGIN
    INSERT INTO words (words, rowid, text)
    VALUES ('delete', old.seq, substr(old.text, 1, 200000));
    INSERT INTO words (rowid, text) VALUES (new.seq, substr(new.text, 1, 200000));
END;
CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.state <> 'running' BEGIN
    INSERT INTO words (words, rowid, text)
    VALUES ('delete', old.seq, substr(old.text, 1, 200000));
END;
"""

SECOND = """
ALTER TABLE messages ADD COLUMN reason TEXT NOT NULL DEFAULT '';      -- why the engine ended
ALTER TABLE messages ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0;  -- messages it did not see
"""

THIRD = """
ALTER TABLE conversations ADD COLUMN folder TEXT NOT NULL DEFAULT '';  -- its path: Work/Letters
ALTER TABLE conversations ADD COLUMN tags TEXT NOT NULL DEFAULT '';    -- a space between them
ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
-- Who gave it its title: 0 its own first words, 1 a model, 2 a person.
ALTER TABLE conversations ADD COLUMN titled INTEGER NOT NULL DEFAULT 0;
-- The fingerprint of what it was imported from, so that nothing is imported twice.
ALTER TABLE conversations ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN name TEXT NOT NULL DEFAULT '';  -- who says it, if that is told
UPDATE conversations SET titled = 2;  -- Nobody knows any more; a person's title is never replaced.
CREATE INDEX filed ON conversations (folder, pinned, touched);
CREATE INDEX sources ON conversations (source) WHERE source <> '';
CREATE TABLE folders (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    name   TEXT NOT NULL UNIQUE,         -- its path
    folded INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

FOURTH = """
-- Characters at the end of the user's message that this reply's model did not see.
ALTER TABLE messages ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
"""

FIFTH = """
-- The bytes of a message's pictures; what they are stands among its parts.
CREATE TABLE enclosures (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    message TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,            -- which of the parts it is
    data    BLOB NOT NULL,
    UNIQUE (message, number)
) STRICT;
"""

MIGRATIONS = (FIRST, SECOND, THIRD, FOURTH, FIFTH)


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has seen; raises StoreFailed when it knows more than we."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreFailed(
            f"The conversations in {path.name} were last opened by a newer Spindle. "
            "Update this one, or start it with another --data-dir."
        )
    return version


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables to this program's schema, each step whole or not at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        kill_at("migrate.step")
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;{script};PRAGMA user_version = {number};COMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
