"""One SQLite file behind two threads: one that writes, one that reads without waiting for it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from .records import StoreFailed
from .schema import migrate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

REASONS = {
    "SQLITE_FULL": "the disk is full. Free some space; nothing else needs to be done.",
    "SQLITE_READONLY": "its folder cannot be written to. Check its permissions.",
    "SQLITE_CANTOPEN": "it cannot be opened. Check that its folder exists and may be written to.",
    "SQLITE_PERM": "it may not be opened. Check its permissions.",
    "SQLITE_BUSY": "another program holds it. Close that program and try again.",
    "SQLITE_IOERR": "the disk reported an error. Check the disk and its free space.",
    "SQLITE_CORRUPT": "it is damaged. Keep a copy of it before doing anything else.",
    "SQLITE_NOTADB": "it is not a database. Move it away, and a new one is made at the next start.",
}


class Database:
    """Open with `async with`; `write` and `read` run a function on the thread they name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = ThreadPoolExecutor(1, "chats-writer")
        self._reader = ThreadPoolExecutor(1, "chats-reader")
        self._inode: tuple[int, int] = (0, 0)

    async def __aenter__(self) -> Self:
        try:
            self._writing = await self._on(self._writer, self._open)
            self._reading = await self._on(self._reader, self._connect)
        except BaseException:
            self._shut()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """What was handed to `write` before is done first."""
        await self._on(self._reader, self._reading.close)
        await self._on(self._writer, self._writing.close)
        self._shut()

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run `work` in a transaction; returns when it is committed.

        `durable` waits for the disk itself; without it a power cut (not a kill) may lose it.
        A caller who is cancelled while waiting does not undo it.
        """
        return await asyncio.shield(self._on(self._writer, self._commit, work, durable))

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one unchanging view of the file."""
        return await self._on(self._reader, self._look, work)

    # --- on the threads ----------------------------------------------------------------

    def _on(
        self, thread: ThreadPoolExecutor, function: Callable[..., T], *args: object
    ) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(thread, self._told, function, *args)

    def _told(self, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except sqlite3.Error as error:
            raise StoreFailed(sentence(error, self.path)) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000;"
            "PRAGMA journal_size_limit = 16000000;"
        )
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        migrate(connection, self.path)
        self._inode = self._where()
        return connection

    def _where(self) -> tuple[int, int]:
        stat = self.path.stat()
        return stat.st_dev, stat.st_ino

    def _commit(self, work: Work[T], durable: bool) -> T:
        connection = self._writing
        try:
            if self._where() != self._inode:
                raise FileNotFoundError
        except OSError:  # SQLite would go on writing into a file that no path leads to.
            raise StoreFailed(
                f"Not saved: {self.path} is not the file it was. Was its folder moved or a drive "
                "taken out? Put it back, then restart Spindle."
            ) from None
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _look(self, work: Work[T]) -> T:
        self._reading.execute("BEGIN")
        try:
            return work(self._reading)
        finally:
            self._reading.execute("COMMIT")

    def _shut(self) -> None:
        for thread in (self._reader, self._writer):
            thread.shutdown()


def sentence(error: sqlite3.Error, path: Path) -> str:
    """What SQLite says, for the user."""
    name = getattr(error, "sqlite_errorname", "")
    reasons = [reason for code, reason in REASONS.items() if name.startswith(code)]
    return f"{path} could not be used: {reasons[0] if reasons else f'{error}. Try again.'}"
