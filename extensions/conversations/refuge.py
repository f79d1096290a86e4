"""All conversations in memory while the disk takes nothing, and the way back to it."""

import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from shutil import copyfile

from .records import StoreFailed
from .recovery import fill
from .schema import upgrade

LARGEST = 400_000_000
"""Bytes of a database that is taken into memory; a larger one stays where it is."""

TABLES = ("conversations", "messages", "folders", "enclosures")
JOURNAL = "CREATE TEMP TABLE changed (name, seq, PRIMARY KEY (name, seq));" + "".join(
    f"CREATE TEMP TRIGGER {table}_{verb} AFTER {verb} ON main.{table} BEGIN"
    f" INSERT OR IGNORE INTO changed VALUES ('{table}', {row}.seq); END;"
    for table in TABLES
    for verb, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old"))
)

FREE = {"conversations": "touched = -seq", "folders": "name = '/' || seq"}
"""What stands in for a value that no two rows may share, until each has its own."""

Print = tuple[int, int | None, int | None]


class Refuge:
    """A copy of the database, and what was changed in it since; used by the writer's thread."""

    def __init__(self, disk: sqlite3.Connection) -> None:
        (pages,), (size,) = (
            disk.execute(f"PRAGMA {n}").fetchone() for n in ("page_count", "page_size")
        )
        if pages * size > LARGEST:
            raise sqlite3.OperationalError("the conversations are too large to be kept in memory")
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        disk.backup(self.connection)
        self.connection.executescript("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;")
        upgrade(self.connection)
        self.connection.executescript(JOURNAL)
        self._was, self._before = _print(self.connection), self.connection.total_changes

    @classmethod
    def of(cls, path: Path) -> "Refuge":
        """From a file in a folder that cannot be written to; read beside its log, elsewhere."""
        with tempfile.TemporaryDirectory(prefix="spindle-") as folder:
            copy = Path(folder) / path.name
            for end in ("", "-wal"):
                with suppress(FileNotFoundError):
                    copyfile(f"{path}{end}", f"{copy}{end}")
            with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(copy)) as connection:
                return cls(connection)
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                upgrade(connection)
                fill(connection, copy)
                return cls(connection)

    @property
    def changed(self) -> bool:
        """Whether there is anything that the disk does not have."""
        return self.connection.total_changes > self._before

    def back(self, disk: sqlite3.Connection) -> None:
        """Write what was changed meanwhile, all or nothing; raises what the disk says."""
        disk.execute("PRAGMA synchronous = FULL")
        disk.execute("BEGIN IMMEDIATE")
        try:
            if _print(disk) != self._was:
                raise StoreFailed("Other conversations lie there now. Restart Spindle.")
            disk.execute("PRAGMA defer_foreign_keys = ON")  # A row may come before what it names.
            query = "SELECT name, seq FROM changed ORDER BY name, seq"
            changed = self.connection.execute(query).fetchall()
            for name, seq in changed:  # What one of them had before another may have by now.
                if name in FREE:
                    disk.execute(f"UPDATE {name} SET {FREE[name]} WHERE seq = ?", (seq,))
            for name, seq in changed:
                self._copy(disk, name, seq)
            self._copy_states(disk)
            disk.execute("COMMIT")
        except BaseException:
            if disk.in_transaction:
                disk.execute("ROLLBACK")
            raise

    def _copy(self, disk: sqlite3.Connection, table: str, seq: int) -> None:
        row = self.connection.execute(f"SELECT * FROM {table} WHERE seq = ?", (seq,)).fetchone()
        if not row:
            disk.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))
            return
        names = [name for name in row.keys() if name != "seq"]  # noqa: SIM118  a Row is no dict
        values = [row[name] for name in names]
        assigned = ", ".join(f"{name} = ?" for name in names)
        done = disk.execute(f"UPDATE {table} SET {assigned} WHERE seq = ?", (*values, seq))
        if not done.rowcount:
            marks = ", ".join("?" * len(names))
            disk.execute(
                f"INSERT INTO {table} (seq, {', '.join(names)}) VALUES (?, {marks})",
                (seq, *values),
            )

    def _copy_states(self, disk: sqlite3.Connection) -> None:
        query = "SELECT conversation, extension, key, value FROM states"
        here, there = ({tuple(row) for row in c.execute(query)} for c in (self.connection, disk))
        where = "conversation = ? AND extension = ? AND key = ?"
        for row in there - here:
            disk.execute(f"DELETE FROM states WHERE {where}", row[:3])
        for row in here - there:
            disk.execute("INSERT INTO states VALUES (?, ?, ?, ?)", row)


def _print(connection: sqlite3.Connection) -> Print:
    """What tells one state of the conversations from another."""
    query = "SELECT count(*), sum(revision), max(touched) FROM conversations"
    return tuple(connection.execute(query).fetchone())
