"""The store: every conversation on this machine, safe against kills, full disks and clocks."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kernel.api import Part, Sampling, Text, Timings, Usage

from . import tree
from .backups import Backup, Cause, Listed
from .database import Database, Work
from .growth import Growth, interrupt, write_growth
from .records import Conversation, Ended, Found, Opened, StoredMessage, StoreFailed, Why
from .recovery import recover
from .replacement import put_in_place
from .search import search
from .text import clean, title_of

FIRST = 0.04
"""Seconds between a reply's first words and their being saved, at most."""
PURGE_AFTER = 30 * 24 * 3600.0
"""Seconds between a deletion and its being final."""

T = TypeVar("T")
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Store:
    """Conversations as trees of messages: adding never overwrites, deleting is a mark.

    Every method but `grow` returns when its change is on the disk; or, while the disk takes
    nothing and `failure` says so, when it is in memory, from where it is saved later. They raise
    `StoreFailed` if neither is possible, `Unknown` for an id that is not (or no longer) there.
    """

    def __init__(self, database: Database, interval: float) -> None:
        self._database = database
        self._interval = interval
        self._growing: dict[str, Growth] = {}
        self._changes = 0
        self._news, self._first = asyncio.Event(), asyncio.Event()
        self._wordless: set[str] = set()
        """Running replies that have not said anything yet."""
        self._unsaved = ""
        self._noticed = ""
        self.notices: list[Callable[[], None]] = []
        """Called when `failure`, `damaged` or `recovered` is another than before."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, interval: float = 0.5, spawn: Spawn = asyncio.create_task
    ) -> "AsyncIterator[Store]":
        """Open the file, made and migrated as needed; `interval` seconds between saves of growth.

        Replies that a killed server left behind become `interrupted`, with the text they had.
        """
        async with Database(path) as database:
            store = cls(database, interval)
            if not database.recovered:
                await store._write(interrupt)
            saver = spawn(store._keep_saving())
            try:
                yield store
            finally:
                saver.cancel()
                await asyncio.gather(saver, return_exceptions=True)
                await store._save(durable=True)

    # --- how it is kept ----------------------------------------------------------------

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
    def original(self) -> Path | None:
        """Where the last damaged file is kept."""
        path = self._database.path
        kept = [f for f in path.parent.glob(f"{path.name}.corrupt-*") if f.suffix[-4:] != "-wal"]
        return max(kept, key=lambda file: file.stat().st_ctime_ns, default=None)

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
            raise StoreFailed(
                "A reply is being written. Stop it or wait for its end; then restore."
            )
        backups, path = self._database.backups, self._database.path

        def replace(present: sqlite3.Connection) -> Callable[[], None]:
            backups.make(present, "restore")
            new = backups.prepare(backup, path)
            return lambda: put_in_place(path, new)

        await self._swap(replace)

    async def recover(self) -> None:
        """Put aside what is damaged, and open what can be read of it."""
        path = self._database.path
        await self._swap(lambda _: lambda: recover(path))

    async def accept(self) -> None:
        """Go on with what was recovered."""
        await self._database.accept()
        self._notice()

    async def _swap(self, replace: Callable[[sqlite3.Connection], Callable[[], object]]) -> None:
        try:
            await self._database.swap(replace)
        finally:
            self._growing.clear()
            self._changes += 1
            self._notice()

    def _notice(self) -> None:
        if self.failure:
            self._news.set()  # The saver tries to get back to the disk.
        now = f"{self.failure} {self.damaged} {self.recovered}"
        if now != self._noticed:
            self._noticed = now
            for tell in self.notices:
                tell()

    # --- conversations -----------------------------------------------------------------

    async def list(self, limit: int = 50, before: int | None = None) -> list[Conversation]:
        """The conversations changed last; `before` is the `touched` of the last one seen."""
        query = (
            "SELECT * FROM conversations WHERE deleted IS NULL AND touched < ?"
            " ORDER BY touched DESC LIMIT ?"
        )
        values = (2**62 if before is None else before, limit)
        rows = await self._database.read(lambda c: c.execute(query, values).fetchall())
        return [tree.conversation_of(row) for row in rows]

    async def search(self, text: str, limit: int = 50) -> Sequence[Found]:
        """Conversations whose title or a message holds every word of `text`, one hit of each."""
        terms = clean(text).replace("\0", " ").split()
        return await self._database.read(lambda c: search(c, terms, limit)) if terms else ()

    async def create(self, title: str = "") -> Conversation:
        return await self._write(lambda c: tree.add_conversation(c, title))

    async def conversation(self, id: str) -> Conversation:
        return await self._database.read(lambda c: tree.find_conversation(c, id))

    async def get(self, id: str, limit: int = 100, before: str = "") -> Opened:
        """A conversation with the last messages of its branch (those before `before`)."""

        def read(c: sqlite3.Connection) -> tuple[Conversation, list[StoredMessage], bool]:
            found = tree.find_conversation(c, id)
            end = tree.find_message(c, before).parent if before else found.leaf
            return found, *tree.branch(c, end, limit)

        while True:
            changes = self._changes
            conversation, messages, earlier = await self._database.read(read)
            if changes == self._changes:  # Else what pages were told meanwhile is not in here.
                return Opened(conversation, tuple(map(self._grown, messages)), earlier)

    async def rename(self, id: str, title: str) -> Conversation:
        def work(c: sqlite3.Connection) -> Conversation:
            tree.find_conversation(c, id)
            c.execute(
                "UPDATE conversations SET title = ?, revision = revision + 1 WHERE id = ?",
                (title_of(clean(title), 200), id),
            )
            return tree.find_conversation(c, id)

        return await self._write(work)

    async def delete(self, id: str) -> Conversation:
        """Mark a conversation deleted; `undelete` brings it back until it is purged."""
        return await self._mark(id, time.time())

    async def undelete(self, id: str) -> Conversation:
        return await self._mark(id, None)

    async def purge(self, older: float = PURGE_AFTER) -> None:
        """Make deletions final that are `older` seconds old."""
        limit = (time.time() - older,)

        def work(c: sqlite3.Connection) -> None:
            c.execute("DELETE FROM conversations WHERE deleted < ?", limit)
            c.execute(
                "UPDATE messages SET text = '', raw = NULL, parts = '', reasoning = '', error = ''"
                " WHERE deleted < ? AND text || parts || reasoning <> ''",
                limit,
            )

        await self._write(work)

    # --- messages ----------------------------------------------------------------------

    async def message(self, id: str) -> StoredMessage:
        return self._grown(await self._database.read(lambda c: tree.find_message(c, id)))

    async def history(self, end: str, limit: int = 2000) -> Sequence[StoredMessage]:
        """The branch up to and with the message `end`: what a model sees, oldest first."""
        messages, _ = await self._database.read(lambda c: tree.branch(c, end, limit))
        return [self._grown(message) for message in messages]

    async def add_user(
        self,
        conversation: str,
        text: str,
        parent: str | None = None,
        parts: Iterable[Part] = (),
    ) -> StoredMessage:
        """Keep what the user said, in a new conversation if `conversation` is empty.

        It follows what is shown, or `parent`; `parts` where it is more than text.
        """

        def work(c: sqlite3.Connection) -> StoredMessage:
            words = clean(text)
            target = (
                tree.find_conversation(c, conversation)
                if conversation
                else tree.add_conversation(c, words)
            )
            if not target.leaf and target.title == title_of(""):
                c.execute(
                    "UPDATE conversations SET title = ? WHERE id = ?", (title_of(words), target.id)
                )
            above = target.leaf if parent is None else parent
            return tree.add_message(c, target.id, above, "user", words, parts=parts)

        return await self._write(work)

    async def begin_reply(
        self,
        parent: str,
        *,
        text: str = "",
        model: str = "",
        loader: str = "",
        sampling: Sampling | None = None,
    ) -> StoredMessage:
        """Begin a reply to `parent`, beside those it has; `text` where it goes on with one."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            above = tree.find_message(c, parent)
            return tree.add_message(
                c, above.conversation, parent, "assistant", clean(text), state="running",
                model=model, loader=loader, sampling=sampling,
            )  # fmt: skip

        begun = await self._write(work)
        self._wordless.add(begun.id)
        return begun

    def grow(self, id: str, text: str, raw: str, reasoning: str = "") -> None:
        """Say what a running reply amounts to by now; committed within a second, never waits."""
        self._growing[id] = Growth(clean(text), clean(raw), clean(reasoning))
        self._news.set()
        if id in self._wordless:
            self._wordless.remove(id)
            self._first.set()

    async def finish(
        self,
        id: str,
        state: Ended,
        text: str,
        raw: str,
        reasoning: str = "",
        *,
        error: str = "",
        usage: Usage | None = None,
        timings: Timings | None = None,
        model: str = "",
        loader: str = "",
        reason: Why = "",
        left_out: int = 0,
    ) -> StoredMessage:
        """End a reply. If that cannot be saved it is kept here, shown, and tried again."""
        said = clean(text), clean(raw), clean(reasoning)
        how = state, clean(error), usage or Usage(), timings or Timings()
        self._growing[id] = Growth(*said, *how, model, loader, reason, left_out)
        self._wordless.discard(id)
        self._news.set()
        await self._save(durable=True)
        return await self.message(id)

    async def edit(self, id: str, text: str) -> StoredMessage:
        """Add a version of a message with other words, and show it; nothing follows it yet."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            old, words = tree.find_message(c, id), clean(text)
            rest = [part for part in old.parts if not isinstance(part, Text)]
            return tree.add_message(
                c, old.conversation, old.parent, old.role, words, model=old.model,
                parts=(*rest, Text(words)) if rest and old.role == "user" else (),
                loader=old.loader, sampling=old.sampling,
            )  # fmt: skip

        return await self._write(work)

    async def select_version(self, id: str, step: int) -> StoredMessage:
        """Show the version `step` places on (or back), with the branch that was shown below it."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            message = tree.find_message(c, id)
            ids = tree.siblings(c, message)
            place = min(max(ids.index(id) + step, 0), len(ids) - 1)
            tree.show(c, message.conversation, ids[place])
            return tree.find_message(c, ids[place])

        return await self._write(work)

    async def show_message(self, id: str) -> StoredMessage:
        """Show the branch that a message is on."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            message = tree.find_message(c, id)
            tree.show(c, message.conversation, id)
            return message

        return await self._write(work)

    async def delete_message(self, id: str) -> StoredMessage:
        """Mark one message deleted; what follows stays, unless another version is shown instead."""
        return await self._write(lambda c: tree.mark_message(c, id, deleted=True))

    async def undelete_message(self, id: str) -> StoredMessage:
        return await self._write(lambda c: tree.mark_message(c, id, deleted=False))

    # --- what extensions keep with a conversation --------------------------------------

    async def state(self, conversation: str, extension: str, key: str) -> Any:
        """What an extension keeps with a conversation under `key`: plain data, or None."""
        query = "SELECT value FROM states WHERE conversation = ? AND extension = ? AND key = ?"
        values = (conversation, extension, key)
        row = await self._database.read(lambda c: c.execute(query, values).fetchone())
        return msgspec.json.decode(row["value"]) if row else None

    async def set_state(self, conversation: str, extension: str, key: str, value: Any) -> None:
        """Keep plain data with a conversation; it stays while the extension is off."""

        def work(c: sqlite3.Connection) -> None:
            tree.find_conversation(c, conversation)
            c.execute(
                "INSERT INTO states VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (conversation, extension, key, tree.as_json(value)),
            )

        await self._write(work)

    # --- inside ------------------------------------------------------------------------

    async def _write(self, work: Work[T], *, durable: bool = True) -> T:
        try:
            result = await self._database.write(work, durable=durable)
            self._changes += 1
            return result
        finally:
            self._notice()

    async def _mark(self, id: str, deleted: float | None) -> Conversation:
        def work(c: sqlite3.Connection) -> Conversation:
            found = tree.find_conversation(c, id, deleted=True)
            query = "UPDATE conversations SET deleted = ?, revision = revision + 1 WHERE id = ?"
            c.execute(query, (deleted, id))
            return found

        return await self._write(work)

    def _grown(self, message: StoredMessage) -> StoredMessage:
        """The message as it is now, though its last words may not be committed yet."""
        if not (growth := self._growing.get(message.id)):
            return message
        kept = {
            n: getattr(message, n) for n in ("state", "model", "loader") if not getattr(growth, n)
        }
        return msgspec.structs.replace(message, **growth._asdict() | kept)

    async def _keep_saving(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            with suppress(TimeoutError):  # What is on a page is soon on the disk, too.
                async with asyncio.timeout(self._interval - FIRST):
                    await self._first.wait()
            self._first.clear()
            await asyncio.sleep(min(FIRST, self._interval))
            if self.failure:
                await self._database.retry()
                self._notice()
            with suppress(StoreFailed):
                await self._save(durable=False)
            self._notice()

    async def _save(self, *, durable: bool) -> None:
        """Commit what replies grew to; what cannot be saved stays here for the next try."""
        if not (batch := self._growing.copy()):
            return
        try:
            await self._write(lambda c: write_growth(c, batch), durable=durable)
        except StoreFailed as error:
            self._unsaved = str(error)
            self._notice()
            raise
        self._unsaved = ""
        self._notice()
        for id, growth in batch.items():
            if self._growing.get(id) is growth:
                del self._growing[id]
