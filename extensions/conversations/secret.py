"""Incognito conversations: a database in memory that no file ever holds.

It is no copy of the one on the disk and shares nothing with it: no log, no journal, no search
index on the disk, no backup. When a conversation is closed its rows are gone.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from . import tree
from .database import Work, transact
from .records import Conversation
from .schema import upgrade

T = TypeVar("T")


class Secret:
    """Runs functions on the database in memory, one after the other; it is made when needed."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self.any = False
        """Whether there was an incognito conversation since the start."""

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction."""
        return await asyncio.shield(self._on(lambda: transact(self._open(), work)))

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which changes nothing."""
        return await self._on(lambda: work(self._open()))

    async def list(self) -> list[Conversation]:
        """All of them, the last changed first."""
        if not self.any:
            return []
        query = "SELECT * FROM conversations ORDER BY touched DESC"
        rows = await self.read(lambda c: c.execute(query).fetchall())
        return [tree.conversation_of(row) for row in rows]

    async def close(self, id: str) -> Conversation:
        """Forget one of them, for good; answers what it was."""

        def work(c: sqlite3.Connection) -> Conversation:
            found = tree.find_conversation(c, id)
            c.execute("DELETE FROM conversations WHERE id = ?", (id,))
            return found

        return await self.write(work)

    async def end(self) -> None:
        """Forget all of them."""
        if not self._thread:
            return
        if self._connection:
            await self._on(self._connection.close)
        self._thread.shutdown()

    def _on(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        self.any = True
        self._thread = self._thread or ThreadPoolExecutor(1, "incognito")
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        if not self._connection:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.executescript(
                "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON;"
            )
            upgrade(connection)
            self._connection = connection
        return self._connection
