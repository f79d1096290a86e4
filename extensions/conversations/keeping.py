"""How the store's file is kept: what is wrong with it, backups, the way back, replies that grow."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .backups import Backup, Cause, Listed
from .database import Database, Work
from .growth import Growth, write_growth
from .records import StoredMessage, StoreFailed
from .recovery import recover
from .replacement import put_in_place
from .secret import Secret
from .text import is_secret

T = TypeVar("T")
BEING_WRITTEN = "A reply is being written. Stop it or wait for its end; then {}."


class Keeping:
    """What a store does about its file; the methods are described where they are used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._growing: dict[str, Growth] = {}
        self.running = set[str]()
        """Replies that are being written."""
        self._beginning = 0
        """How many are on their way there; not the incognito ones."""
        self._changes = 0
        self._news = asyncio.Event()
        self._unsaved = ""
        self._noticed = ""
        self.notices: list[Callable[[], None]] = []
        """Called when `failure`, `damaged` or `recovered` is another than before."""
        self.secret = Secret()
        """Incognito conversations: in memory, and nowhere else."""

    @property
    def failure(self) -> str:
        """Why nothing is saved at present, what is said being kept in memory; else empty."""
        return self._database.trouble or self._unsaved

    @property
    def damaged(self) -> bool:
        """Whether damage was met since the file was opened; `recover` helps."""
        return self._database.damaged

    @property
    def recovered(self) -> bool:
        """Whether the file was damaged and is only read until `accept` or `restore`."""
        return self._database.recovered

    @property
    def partial(self) -> bool:
        """Whether there may be more than what can be read now."""
        return bool(self.failure or self.damaged or self.recovered)

    @property
    def original(self) -> Path | None:
        """Where the last damaged file is kept."""
        path = self._database.path
        kept = [f for f in path.parent.glob(f"{path.name}.corrupt-*") if f.suffix[-4:] != "-wal"]
        return max(kept, key=lambda file: file.stat().st_ctime_ns, default=None)

    async def changes(self) -> tuple[int, int]:
        """Two numbers: while both stay as they are, all that is kept does."""
        return await self._database.changes()

    async def backup(self, cause: Cause) -> None:
        """Make a backup now, beside all that goes on; nothing waits for it."""
        try:
            await self._database.beside(lambda c: self._database.backups.make(c, cause))
        finally:
            self._notice()

    async def backups(self) -> list[Backup]:
        return await asyncio.to_thread(self._database.backups.all)

    async def look(self, backup: str) -> list[Listed]:
        """The conversations in a backup."""
        return await asyncio.to_thread(self._database.backups.look, backup)

    async def restore(self, backup: str) -> None:
        """Put a backup in the place of everything; a backup of the present is made before."""
        if not self.recovered:
            await self._save(durable=True)
        query = "SELECT 1 FROM messages WHERE state = 'running'"
        if self._growing or await self._database.read(lambda c: c.execute(query).fetchone()):
            raise StoreFailed(BEING_WRITTEN.format("restore"))
        backups, path = self._database.backups, self._database.path

        def replace(present: sqlite3.Connection) -> Callable[[], None]:
            if present.execute(query).fetchone():  # It has begun since.
                raise StoreFailed(BEING_WRITTEN.format("restore"))
            new = backups.prepare(backup, path)
            try:
                backups.spare(present)  # Which may push out the one that is wanted.
            except BaseException:
                new.unlink()
                raise
            return lambda: put_in_place(path, new)

        await self._swap(replace)

    async def recover(self) -> None:
        """Put aside what is damaged, and open what can be read of it, with the replies that ended
        and could not be saved any more."""
        path = self._database.path

        def replace(_: sqlite3.Connection) -> Callable[[], None]:
            running = self.running.copy()
            if self._beginning or any(not is_secret(id) for id in running):
                raise StoreFailed(BEING_WRITTEN.format("recover"))  # Its end would be refused.
            growing = self._growing.copy()
            ended = {id: growth for id, growth in growing.items() if not is_secret(id)}
            return lambda: recover(path, ended)

        await self._swap(replace)

    async def accept(self) -> None:
        """Go on with what was recovered."""
        await self._database.accept()
        self._notice()

    async def _swap(self, replace: Callable[[sqlite3.Connection], Callable[[], object]]) -> None:
        try:
            await self._database.swap(replace)
            self._growing = {id: each for id, each in self._growing.items() if is_secret(id)}
        finally:
            self._changes += 1
            self._notice()

    async def _read(self, id: str, work: Work[T]) -> T:
        """Read where what bears this id is kept."""
        return await (self.secret.read(work) if is_secret(id) else self._database.read(work))

    async def _begin(self, work: Work[StoredMessage], parent: str) -> StoredMessage:
        """Write the beginning of a reply; nothing is recovered until it is known to be running."""
        counts = not is_secret(parent)
        self._beginning += counts
        try:
            begun = await self._write(work, parent)
            self.running.add(begun.id)
            return begun
        finally:
            self._beginning -= counts

    def _notice(self) -> None:
        if self.failure:
            self._news.set()  # The saver tries to get back to the disk.
        now = f"{self.failure} {self.damaged} {self.recovered}"
        if now != self._noticed:
            self._noticed = now
            for tell in self.notices:
                tell()

    async def _write(self, work: Work[T], id: str = "", *, durable: bool = True) -> T:
        """Write where what bears this id is kept."""
        if is_secret(id):
            self._changes += 1
            return await self.secret.write(work)
        try:
            result = await self._database.write(work, durable=durable)
            self._changes += 1
            return result
        finally:
            self._notice()

    async def _save(self, *, durable: bool) -> None:
        """Commit what replies grew to; what cannot be saved stays here for the next try."""
        if not (batch := self._growing.copy()):
            self._unsaved = ""
            return
        apart = {id: growth for id, growth in batch.items() if is_secret(id)}
        rest = {id: growth for id, growth in batch.items() if id not in apart}
        try:
            if apart:
                await self.secret.write(lambda c: write_growth(c, apart))
            if rest:
                await self._write(lambda c: write_growth(c, rest), durable=durable)
        except StoreFailed as error:
            self._unsaved = str(error)
            self._notice()
            raise
        self._unsaved = ""
        self._notice()
        for id, growth in batch.items():
            if self._growing.get(id) is growth:
                del self._growing[id]
