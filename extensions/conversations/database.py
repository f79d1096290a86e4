"""One SQLite file behind two threads: one that writes, one that reads without waiting for it."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Self, TypeVar

from kernel.api import kill_at

from . import schema
from .backups import Backups
from .reasons import MOVED, READ_ONLY, is_damage, sentence, takes_nothing
from .records import StoreFailed
from .recovery import RECOVERED, is_sound, recover
from .refuge import Refuge
from .replacement import finish
from .schema import upgrade, version_of

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

PAUSE = 1.0
"""Seconds between two tries to get back to a disk that takes nothing."""


class Database:
    """Open with `async with`; `write` and `read` run a function on the thread they name.

    While the disk takes nothing both work in memory, and `trouble` says why.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.backups = path, Backups(path.parent / "backups")
        self.trouble = ""
        self.damaged = False
        """SQLite met damage while the file was in use."""
        self.recovered = False
        """The file was recovered, and is only read until somebody says to go on with it."""
        self._writer = ThreadPoolExecutor(1, "chats-writer")
        self._reader = ThreadPoolExecutor(1, "chats-reader")
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._refuge: Refuge | None = None
        self._inode, self._seen = (0, 0), (0, 0)
        self._swapping, self._again = False, 0.0
        self._opened = 0

    async def __aenter__(self) -> Self:
        try:
            await self._on(self._writer, self._begin)
            if not self._refuge:
                await self._on(self._reader, self._look, lambda _: None)
        except BaseException:
            self._shut()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """What was handed to `write` before is done first."""
        await self._on(self._reader, self._close_reading)
        await self._on(self._writer, self._end)
        self._shut()

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run `work` in a transaction; returns when it is committed.

        `durable` waits for the disk itself; without it a power cut (not a kill) may lose it.
        A caller who is cancelled while waiting does not undo it.
        """
        return await asyncio.shield(self._on(self._writer, self._commit, work, durable))

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one unchanging view of the file."""
        if self._refuge or self._swapping:
            return await self._on(self._writer, self._look_beside, work)
        return await self._on(self._reader, self._look, work)

    async def changes(self) -> tuple[int, int]:
        """Which file is open, and how many rows were changed since: while both stay, all does."""

        def count() -> tuple[int, int]:
            connection = self._refuge.connection if self._refuge else self._writing
            assert connection
            return -1 if self._refuge else self._opened, connection.total_changes

        return await self._on(self._writer, count)

    async def retry(self) -> None:
        """Get back to the disk, if it takes something again."""
        await self._on(self._writer, self._return)

    async def swap(self, replace: Callable[[sqlite3.Connection], Callable[[], object]]) -> None:
        """Put another file in this one's place: `replace` is given the open database, and what
        it answers is called when nobody has the file open."""
        self._swapping = True
        try:
            await self._on(self._reader, self._close_reading)
            await asyncio.shield(self._on(self._writer, self._swap, replace))
        finally:
            self._swapping = False

    async def accept(self) -> None:
        """Write to a file that was recovered, from now on."""

        def work() -> None:
            assert self._writing
            self._writing.execute("PRAGMA application_id = 0")
            self.recovered = False

        await self._on(self._writer, work)

    async def beside(self, work: Work[T]) -> T:
        """Run `work`, which only reads, on a thread and a connection of its own."""

        def run() -> T:
            self._check_place()
            with closing(_look_at(self.path)) as connection:
                return work(connection)

        return await asyncio.to_thread(self._told, run)

    # --- on the threads ----------------------------------------------------------------

    def _on(
        self, thread: ThreadPoolExecutor, function: Callable[..., T], *args: object
    ) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(thread, self._told, function, *args)

    def _told(self, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except (sqlite3.Error, OSError) as error:
            self.damaged = self.damaged or is_damage(error)
            raise StoreFailed(sentence(error, self.path)) from error

    def _begin(self) -> None:
        try:
            self._writing = self._open()
        except (sqlite3.Error, OSError) as error:
            if not takes_nothing(error) or not self.path.parent.is_dir():
                raise
            self._refuge = Refuge.of(self.path)
            self.trouble = sentence(error, self.path)

    def _open(self) -> sqlite3.Connection:
        finish(self.path)
        if self.path.exists() and not self._is_sound():
            recover(self.path)
        connection = _connect(self.path)
        try:
            if 0 < version_of(connection, self.path) < len(schema.MIGRATIONS):
                self.backups.make(connection, "update")
            upgrade(connection)
            (mark,) = connection.execute("PRAGMA application_id").fetchone()
        except BaseException:
            connection.close()
            raise
        self.recovered, self.damaged = mark == RECOVERED, False
        self._inode = self._where()
        self._opened += 1
        return connection

    def _is_sound(self) -> bool:
        try:
            with closing(_look_at(self.path)) as connection:
                return is_sound(connection, self.path)
        except sqlite3.OperationalError:
            return True  # It cannot even be opened, which is another matter.

    def _where(self) -> tuple[int, int]:
        stat = self.path.stat()
        return stat.st_dev, stat.st_ino

    def _check_place(self) -> None:
        """SQLite would go on writing into a file that no path leads to."""
        with suppress(OSError):
            if self._where() == self._inode:
                return
        raise FileNotFoundError(MOVED.format(self.path))

    def _commit(self, work: Work[T], durable: bool) -> T:
        if self.recovered:
            raise StoreFailed(READ_ONLY)
        if self._refuge and time.monotonic() >= self._again:
            self._return()
        if self._refuge:
            return transact(self._refuge.connection, work)
        assert self._writing
        try:
            self._check_place()
            self._writing.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            return transact(self._writing, work)
        except (sqlite3.Error, OSError) as error:
            if not takes_nothing(error):
                raise
            with suppress(sqlite3.Error, OSError):
                self._refuge = Refuge(self._writing)
            if not self._refuge:
                raise
            self.trouble, self._again = sentence(error, self.path), time.monotonic() + PAUSE
        return transact(self._refuge.connection, work)

    def _return(self) -> None:
        """Write to the disk what was kept in memory; where that fails, all stays as it is."""
        if not (refuge := self._refuge):
            return
        try:
            disk = self._disk()
            refuge.back(disk)
        except (sqlite3.Error, OSError, StoreFailed) as error:
            self._again = time.monotonic() + PAUSE
            if isinstance(error, StoreFailed):
                self.trouble = str(error)
            elif not takes_nothing(error):
                self.trouble = sentence(error, self.path)
            return
        self._refuge, self.trouble = None, ""
        refuge.connection.close()

    def _disk(self) -> sqlite3.Connection:
        """The file, opened again when it is another one that the path leads to."""
        if self._writing:
            if self._where() == self._inode:
                return self._writing
            self._writing.close()
            self._writing = None
        if not self.path.exists() and self._inode != (0, 0):
            raise FileNotFoundError(MOVED.format(self.path))
        self._writing = self._open()
        return self._writing

    def _swap(self, replace: Callable[[sqlite3.Connection], Callable[[], object]]) -> None:
        if self._refuge or not self._writing:
            raise StoreFailed(f"Not now: {self.trouble}")
        self._check_place()
        then = replace(self._writing)
        self._writing.close()
        self._writing = None
        try:
            then()
        finally:
            self._begin()

    def _look(self, work: Work[T]) -> T:
        if self._reading is None or self._seen != self._inode:
            self._close_reading()
            self._reading, self._seen = _connect(self.path), self._inode
        return _view(self._reading, work)

    def _look_beside(self, work: Work[T]) -> T:
        connection = self._refuge.connection if self._refuge else self._writing
        assert connection
        return _view(connection, work)

    def _close_reading(self) -> None:
        if self._reading:
            self._reading.close()
            self._reading = None

    def _end(self) -> None:
        self._return()
        if self._refuge and self._refuge.changed:
            log.error("What was said since then is lost: %s", self.trouble)
        for connection in (self._refuge and self._refuge.connection, self._writing):
            if connection:
                connection.close()

    def _shut(self) -> None:
        for thread in (self._reader, self._writer):
            thread.shutdown()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    connection.row_factory = sqlite3.Row
    # One bad byte in a message is not worth the whole conversation.
    connection.text_factory = lambda data: data.decode(errors="replace")
    try:
        connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000;"
            "PRAGMA journal_size_limit = 16000000; PRAGMA secure_delete = ON;"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _look_at(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)


def transact(connection: sqlite3.Connection, work: Work[T]) -> T:
    """Run `work`, all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        kill_at("commit.begun")
        result = work(connection)
        kill_at("commit.worked")
        connection.execute("COMMIT")
        kill_at("commit.done")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _view(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        connection.execute("COMMIT")
