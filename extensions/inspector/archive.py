"""Where records are kept: packed in a file of their own with a limit, or in memory alone."""

import sqlite3
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from .records import Trace

IN_MEMORY = 200
"""Records of incognito conversations, and of replies that were not yet written down."""
TABLE = """
PRAGMA journal_mode = TRUNCATE;
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    message TEXT NOT NULL UNIQUE, conversation TEXT NOT NULL, size INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
"""


class Archive:
    """All methods but `hold` are blocking; a file that is damaged is begun anew."""

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._most = path, most
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Trace] = OrderedDict()

    def hold(self, record: Trace) -> None:
        """Have a record at hand, in memory alone."""
        self._held[record.message] = record
        while len(self._held) > IN_MEMORY:
            self._held.popitem(last=False)

    def keep(self, record: Trace) -> None:
        """Write a record down, and forget the oldest ones where there are too many."""
        data = zlib.compress(msgspec.msgpack.encode(record), 1)
        if len(data) > self._most:
            return
        with self._open() as file:
            file.execute("DELETE FROM records WHERE message = ?", (record.message,))
            file.execute(
                "INSERT INTO records (message, conversation, size, data) VALUES (?, ?, ?, ?)",
                (record.message, record.conversation, len(data), data),
            )
            self._trim(file)
        self._held.pop(record.message, None)

    def trim(self) -> None:
        """Forget the oldest ones where there are too many, as after the limit was lowered."""
        if self._path.exists():
            with self._open() as file:
                self._trim(file)

    def _trim(self, file: sqlite3.Connection) -> None:
        (total,) = file.execute("SELECT total(size) FROM records").fetchone()
        while total > self._most:
            number, size = file.execute(
                "SELECT number, size FROM records ORDER BY number LIMIT 1"
            ).fetchone()
            file.execute("DELETE FROM records WHERE number = ?", (number,))
            total -= size

    def find(self, message: str) -> Trace | None:
        if held := self._held.get(message):
            return held
        if not self._path.exists():
            return None
        try:
            with self._open() as file:
                query = "SELECT data FROM records WHERE message = ?"
                row = file.execute(query, (message,)).fetchone()
            return msgspec.msgpack.decode(zlib.decompress(row[0]), type=Trace) if row else None
        except (OSError, sqlite3.Error, zlib.error, msgspec.DecodeError):
            return None

    def messages(self) -> list[str]:
        if not self._path.exists():
            return []
        with self._open() as file:
            return [id for (id,) in file.execute("SELECT message FROM records")]

    def held(self) -> list[str]:
        return [*self._held]

    def forget(self, messages: Sequence[str]) -> None:
        for id in messages:
            self._held.pop(id, None)
        with self._open() as file:
            rows = [(id,) for id in messages]
            file.executemany("DELETE FROM records WHERE message = ?", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                file = self._begun()
            except sqlite3.OperationalError:
                raise  # The disk is full, say: what is in the file is sound.
            except sqlite3.DatabaseError:
                self._path.unlink(missing_ok=True)
                file = self._begun()
            with closing(file), file:
                yield file

    def _begun(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self._path)
        try:
            file.executescript(TABLE)
        except sqlite3.DatabaseError:
            file.close()
            raise
        return file
