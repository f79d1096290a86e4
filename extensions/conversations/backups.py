"""Copies of the database: one at every start, one before every change that could go wrong.

A server that stays up makes another on each day, as a start would. Neither adds one that is like
the last of them: who starts again and again and says nothing pushes no other state out.
A name tells when it was made and why; the number in front orders them, because clocks jump.
"""

import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import convert

from kernel.api import Meta, Struct, kill_at

from . import schema
from .reasons import is_damage
from .records import StoreFailed, Unknown
from .replacement import ready_beside, settle
from .schema import upgrade

Cause = Literal["start", "update", "restore", "asked"]
NAME = re.compile(r"chats-(\d{4,})-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)-([a-z]+)\.sqlite3")
KEPT = 7
"""Backups made at starts and on days after them; of the others, the last three of each cause."""
OTHERS = 3
ROOM = 64_000_000
"""Bytes of the disk that a copy leaves to what is said meanwhile."""
DAMAGED = "This backup is damaged. Choose another one; the conversations are as they were."
ALL = (
    "SELECT * FROM conversations ORDER BY seq",
    "SELECT * FROM folders ORDER BY seq",
    "SELECT * FROM states ORDER BY conversation, extension, key",
    "SELECT seq, parent, child, deleted, length(text), length(reasoning) FROM messages"
    " ORDER BY seq",
)
"""What two states differ in; other words of a message count in its conversation, too."""


class Backup(Struct, frozen=True):
    """A copy of all conversations, as they were when it was made."""

    name: str
    number: int
    made: str
    """The time on the clock that day, as ISO 8601."""
    cause: Cause
    size: int = 0
    conversations: int = 0
    messages: int = 0


class Listed(Struct, frozen=True):
    """A conversation in a backup."""

    id: str
    title: str
    messages: int
    updated: Annotated[float, Meta(ge=0, le=3e10)]
    """A time that every calendar has; damage makes others."""


def now() -> str:
    return time.strftime("%Y-%m-%dT%H-%M-%S")


class Backups:
    """The folder of backups; every method blocks, and none touches the database that is in use."""

    def __init__(self, folder: Path, clock: Callable[[], str] = now) -> None:
        self.folder, self._clock = folder, clock
        self._one = threading.Lock()
        """Held while a copy is made: another one would take its number, and its draft away."""

    def make(self, source: sqlite3.Connection, cause: Cause) -> Path | None:
        """Copy what `source` shows now; None when nothing has to be kept, or kept again."""
        with self._one:
            return self._made(source, cause)

    def spare(self, present: sqlite3.Connection) -> None:
        """Copy what another one takes the place of, unless there is a copy like it: who goes
        through them, back and forth, pushes none out."""
        with self._one:
            if not any(self._is_like(backup, present) for backup in self._lasting()):
                self._made(present, "restore")

    def _lasting(self) -> list[Backup]:
        """Those that no further start of today takes away."""
        today, last = self._clock()[:10], dict[str, Backup]()
        for backup in (named := self._named()):  # The newest first.
            if backup.cause == "start":
                last.setdefault(backup.made[:10], backup)
        last.pop(today, None)
        return [b for b in named if b.cause != "start" or b is last.get(b.made[:10])]

    def _made(self, source: sqlite3.Connection, cause: Cause) -> Path | None:
        if not _count(source, "conversations"):
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        if cause in ("start", "asked"):  # Nobody writes while the others are made.
            self._check_room(source)
        named = self._named()
        number = named[0].number + 1 if named else 1
        last = next((each for each in named if each.cause == "start"), None)
        name = f"chats-{number:04}-{self._clock()}-{cause}.sqlite3"
        draft = ready_beside(self.folder / name, ".draft")
        try:
            with closing(sqlite3.connect(draft)) as to:
                source.backup(to)
                kill_at("backup.copied")
                to.execute("PRAGMA journal_mode = DELETE")  # A file that is whole by itself.
                if to.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise sqlite3.DatabaseError("database disk image is malformed")
                if cause == "start" and last and self._is_like(last, to):
                    return None  # Copied all the same, for that is how a large file is checked.
            settle(draft, self.folder / name)
        finally:
            for left in self.folder.glob("*.draft*"):
                left.unlink(missing_ok=True)
        self._rotate()
        return self.folder / name

    def all(self) -> list[Backup]:
        """All backups that can be read, newest first, with what is in them."""
        found = [self._described(backup) for backup in self._named()]
        return [backup for backup in found if backup]

    def look(self, name: str) -> list[Listed]:
        """The conversations in a backup, as its list showed them."""
        with _read(), closing(self.open(name)) as connection:
            return [
                convert(dict(zip(Listed.__struct_fields__, row, strict=True)), Listed)
                for row in connection.execute(
                    "SELECT id, title, (SELECT count(*) FROM messages m"
                    " WHERE m.conversation = c.id AND m.deleted IS NULL), updated"
                    " FROM conversations c WHERE deleted IS NULL ORDER BY touched DESC"
                )
            ]

    def prepare(self, name: str, path: Path) -> Path:
        """A copy of a backup beside the database, brought to this program's schema."""
        new = ready_beside(path, ".restoring")
        try:
            with (
                _read("SQLITE_READONLY"),  # What damage makes of the copy: its folder takes files.
                closing(self.open(name)) as source,
                closing(sqlite3.connect(new)) as to,
            ):
                source.backup(to)
                if to.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise StoreFailed(DAMAGED)
                to.isolation_level = None
                upgrade(to)
                to.execute("UPDATE messages SET state = 'interrupted' WHERE state = 'running'")
                to.execute("PRAGMA application_id = 0")
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        kill_at("restore.prepared")
        return new

    def open(self, name: str) -> sqlite3.Connection:
        """Read a backup; it is never written to. Raises Unknown."""
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file():
            raise Unknown("This backup is not there any more. Choose another one.")
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        connection.text_factory = lambda data: data.decode(errors="replace")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(schema.MIGRATIONS):
            connection.close()
            raise StoreFailed("This backup is of a newer Spindle. Update this one to read it.")
        return connection

    # --- inside ------------------------------------------------------------------------

    def _check_room(self, source: sqlite3.Connection) -> None:
        (pages,), (size,) = (
            source.execute(f"PRAGMA {n}").fetchone() for n in ("page_count", "page_size")
        )
        if pages * size + ROOM > shutil.disk_usage(self.folder).free:
            raise StoreFailed(
                f"The disk is nearly full: a backup takes {pages * size / 1e6:.1f} MB and leaves"
                f" {ROOM / 1e6:.0f} MB free for what is said meanwhile. Free some space."
            )

    def _named(self) -> list[Backup]:
        found: list[Backup] = []
        for path in self.folder.glob("chats-*.sqlite3"):
            match = NAME.fullmatch(path.name)
            if match and match[3] in get_args(Cause):
                day, _, hour = match[2].partition("T")
                made = f"{day}T{hour.replace('-', ':')}"
                found.append(Backup(path.name, int(match[1]), made, match[3]))  # type: ignore[arg-type]
        return sorted(found, key=lambda backup: -backup.number)

    def _described(self, backup: Backup) -> Backup | None:
        try:
            with _read(), closing(self.open(backup.name)) as connection:
                return Backup(
                    backup.name,
                    backup.number,
                    backup.made,
                    backup.cause,
                    (self.folder / backup.name).stat().st_size,
                    _count(connection, "conversations"),
                    _count(connection, "messages"),
                )
        except (OSError, sqlite3.Error, StoreFailed, Unknown):
            return None

    def _is_like(self, backup: Backup, present: sqlite3.Connection) -> bool:
        """Whether it holds the same; not if it cannot be read, or is of another schema."""
        unread = suppress(OSError, sqlite3.Error, StoreFailed, Unknown)
        with unread, _read(), closing(self.open(backup.name)) as connection:
            return all(_same(connection, present, query) for query in ALL)
        return False

    def _rotate(self) -> None:
        """Keep the newest, the first of today beside it, and the last of each day before."""
        kept: list[Backup] = []
        backups = self._named()
        starts = [b for b in backups if b.cause == "start"]
        today = starts[0].made[:10] if starts else ""
        first = min((b.number for b in starts if b.made[:10] == today), default=0)
        for backup in starts:
            another = any(backup.made[:10] == b.made[:10] for b in kept)
            if not another or backup.number == first:
                kept.append(backup)
        kept = kept[:KEPT]
        for cause in set(get_args(Cause)) - {"start"}:
            kept += [b for b in backups if b.cause == cause][:OTHERS]
        for backup in backups:
            if backup not in kept:
                (self.folder / backup.name).unlink(missing_ok=True)


@contextmanager
def _read(*also: str) -> Iterator[None]:
    """Damage that is met is a backup's, and says nothing of the database that is in use; these
    errors of SQLite tell of damage `also`."""
    try:
        yield
    except ValueError as error:  # No text, no number; SQLite's own words repeat the damage, too.
        raise StoreFailed(DAMAGED) from error
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")  # Python's own have none.
        if is_damage(error) or name.startswith(("SQLITE_ERROR", *also)):
            raise StoreFailed(DAMAGED) from error
        raise


def _same(one: sqlite3.Connection, other: sqlite3.Connection, query: str) -> bool:
    rows = zip_longest(one.execute(query), other.execute(query))
    return all(a and b and tuple(a) == tuple(b) for a, b in rows)


def _count(connection: sqlite3.Connection, table: str) -> int:
    query = f"SELECT count(*) FROM {table} WHERE deleted IS NULL"
    return connection.execute(query).fetchone()[0]
