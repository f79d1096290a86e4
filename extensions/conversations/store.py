"""The store: every conversation on this machine, safe against kills, full disks and clocks."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kernel.api import Part, Sampling, Text, Timings, Usage

from . import enclosed, tree
from .database import Database
from .enclosed import Kept
from .erasing import Erasing
from .growth import AGAIN, FORSAKEN, ON, Growth, interrupt
from .query import read
from .records import (
    Conversation,
    Ended,
    Found,
    Opened,
    StoredMessage,
    StoreFailed,
    Titled,
    Why,
)
from .search import search
from .shelf import Shelf, brought_back
from .text import clean, is_secret, title_of
from .whole import Said, Whole, add, dump, known

FIRST = 0.04
"""Seconds between a reply's first words and their being saved, at most."""

T = TypeVar("T")
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Store(Erasing):
    """Conversations as trees of messages: adding never overwrites, deleting is a mark.

    Every method but `grow` and `forsake` returns when its change is on the disk; or, while the disk
    takes nothing and `failure` says so, when it is in memory, from where it is saved later. They
    raise `StoreFailed` if neither is possible, `Unknown` for an id that is not there (any more).
    """

    def __init__(self, database: Database, interval: float) -> None:
        super().__init__(database)
        self._interval = interval
        self._first = asyncio.Event()
        self._wordless: set[str] = set()
        """Running replies that have not said anything yet."""
        self.shelf = Shelf(self._write, database.read)
        self.moved: list[Callable[[], object]] = []
        """Called when a conversation went into the trash or came out of it."""
        self.began: list[Callable[[], None]] = []
        """Called when a reply begins."""
        self.ended: list[Callable[[StoredMessage], None]] = []
        """Called when a reply has ended."""

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
                await store.secret.end()

    # --- conversations -----------------------------------------------------------------

    async def list(self, limit: int = 50, before: int | None = None) -> list[Conversation]:
        """The conversations changed last; `before` is the `touched` of the last one seen."""
        query = (
            "SELECT * FROM conversations WHERE deleted IS NULL AND touched < ?"
            " ORDER BY touched DESC LIMIT ?"
        )
        values = (2**62 if before is None else before, limit)
        rows = await self._read("", lambda c: c.execute(query, values).fetchall())
        return [tree.conversation_of(row) for row in rows]

    async def search(self, text: str, limit: int = 50) -> Sequence[Found]:
        """Conversations whose title or a message holds every word of `text`, one hit of each.

        Words in quotes belong together; `tag:`, `in:` a folder, `from:me` and `from:model` narrow.
        """
        query = read(text)
        return await self._read("", lambda c: search(c, query, limit)) if query else ()

    async def create(self, title: str = "", *, incognito: bool = False) -> Conversation:
        """Begin a conversation; one that is incognito is kept in memory, and never on the disk."""
        if incognito:
            return await self.secret.write(lambda c: tree.add_conversation(c, title, secret=True))
        return await self._write(lambda c: tree.add_conversation(c, title))

    async def conversation(self, id: str) -> Conversation:
        return await self._read(id, lambda c: tree.find_conversation(c, id))

    async def get(self, id: str, limit: int = 100, before: str = "", around: str = "") -> Opened:
        """A conversation with the last messages of its branch: those before `before`, or those
        `around` a message of it."""

        def read(c: sqlite3.Connection) -> tuple[Conversation, list[StoredMessage], bool, bool]:
            found = tree.find_conversation(c, id)
            end = tree.find_message(c, before).parent if before else found.leaf
            end = tree.below(c, around, limit // 2) if around else end
            return found, *tree.branch(c, end, limit), bool(around) and end != found.leaf

        while True:
            changes = self._changes
            conversation, messages, earlier, later = await self._read(id, read)
            if changes == self._changes:  # Else what pages were told meanwhile is not in here.
                return Opened(conversation, tuple(map(self._grown, messages)), earlier, later)

    async def after(self, id: str, message: str, limit: int = 100) -> Opened:
        """A conversation with the messages that follow one of its branch."""

        def read(c: sqlite3.Connection) -> tuple[Conversation, list[StoredMessage], str]:
            found = tree.find_conversation(c, id)
            end = tree.below(c, message, limit)
            messages, _ = tree.branch(c, end, limit, message)
            return found, messages if end != message else [], end

        while True:
            changes = self._changes
            conversation, messages, end = await self._read(id, read)
            if changes == self._changes:
                later = end != conversation.leaf
                return Opened(conversation, tuple(map(self._grown, messages)), True, later)

    async def shows(self, message: str) -> bool:
        """Whether a message is on the branch that its conversation shows."""

        def read(c: sqlite3.Connection) -> bool:
            return tree.is_shown(c, tree.find_message(c, message).conversation, message)

        return await self._read(message, read)

    async def rename(self, id: str, title: str, by: Titled = 2) -> Conversation:
        """Give a conversation a title; a model's never takes the place of a person's."""

        def work(c: sqlite3.Connection) -> Conversation:
            tree.find_conversation(c, id)
            c.execute(
                "UPDATE conversations SET title = ?, titled = ?, revision = revision + 1"
                " WHERE id = ? AND titled <= ?",
                (title_of(clean(title), 200), by, id, by),
            )
            return tree.find_conversation(c, id)

        return await self._write(work, id)

    async def delete(self, id: str) -> Conversation:
        """Mark a conversation deleted; `undelete` brings it back until it is purged.

        One that is incognito is gone at once.
        """
        if is_secret(id):
            return await self.secret.close(id)
        return await self._mark(id, time.time())

    async def whole(self, id: str) -> Whole:
        """All of a conversation, as it is exported."""
        whole = await self._read(id, lambda c: dump(c, id))
        return msgspec.structs.replace(whole, messages=tuple(map(self._said, whole.messages)))

    async def take(self, whole: Whole) -> tuple[str, bool]:
        """Take in what is imported; its id, and whether it is new: the same is kept once.

        It is on the disk for good with the next change that waits for it.
        """

        def work(c: sqlite3.Connection) -> tuple[str, bool]:
            id = known(c, whole)
            return id or add(c, whole), not id

        return await self._write(work, durable=False)

    async def keep(self, id: str) -> Conversation:
        """Put an incognito conversation on the disk, among the others; it gets other ids."""
        whole = await self.whole(id)
        asked = next((said.text for said in whole.messages if said.role == "user"), "")
        whole = msgspec.structs.replace(whole, title=title_of(asked), titled=0)
        new = await self._write(lambda c: tree.find_conversation(c, add(c, whole)))
        await self.secret.close(id)
        return new

    async def undelete(self, id: str) -> Conversation:
        return await self._mark(id, None)

    # --- messages ----------------------------------------------------------------------

    async def message(self, id: str) -> StoredMessage:
        return self._grown(await self._read(id, lambda c: tree.find_message(c, id)))

    async def place(self, message: str) -> str:
        """The id of the conversation that a message is in, deleted or not."""
        return await self._read(message, lambda c: tree.conversation_with(c, message))

    async def history(self, end: str, limit: int = 2000) -> Sequence[StoredMessage]:
        """The branch up to and with the message `end`: what a model sees, oldest first."""
        messages, _ = await self._read(end, lambda c: tree.branch(c, end, limit))
        return [self._grown(message) for message in messages]

    async def above(self, id: str) -> int:
        """How many messages stand before one of them."""
        return await self._read(id, lambda c: tree.above(c, id))

    async def with_bytes(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Parts of messages, their pictures with their bytes; words for what is lost."""
        wanted = [(p.message, p.number) for p in parts if isinstance(p, Kept) and not p.data]
        found: dict[enclosed.Place, bytes] = {}
        for of in {is_secret(message): message for message, _ in wanted}.values():
            here = [place for place in wanted if is_secret(place[0]) == is_secret(of)]
            found |= await self._read(of, partial(enclosed.read, places=here))
        return tuple(enclosed.filled(part, found) for part in parts)

    async def add_user(
        self,
        conversation: str,
        text: str,
        parent: str | None = None,
        parts: Iterable[Part] = (),
        name: str = "",
    ) -> StoredMessage:
        """Keep what the user said, in a new conversation if `conversation` is empty.

        It follows what is shown, or `parent`; `parts` where it is more than text.
        """

        def work(c: sqlite3.Connection) -> StoredMessage:
            words = clean(text)
            kept = [Text(clean(p.text)) if isinstance(p, Text) else p for p in parts]
            target = (
                tree.find_conversation(c, conversation)
                if conversation
                else tree.add_conversation(c, words)
            )
            if not target.titled and target.title == title_of("") and not is_secret(target.id):
                c.execute(
                    "UPDATE conversations SET title = ? WHERE id = ?", (title_of(words), target.id)
                )
            above = target.leaf if parent is None else parent
            return tree.add_message(c, target.id, above, "user", words, parts=kept, name=name)

        return await self._write(work, conversation)

    async def add_greetings(
        self, conversation: str, texts: Sequence[str], shown: int = 0, name: str = ""
    ) -> StoredMessage:
        """Begin a conversation, a new one without an id, with what nobody asked for: versions of
        its first message."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            id = conversation or tree.add_conversation(c, "").id
            said = [clean(text) for text in texts]
            ids = [tree.add_message(c, id, "", "assistant", text, name=name).id for text in said]
            tree.show(c, id, ids[shown])
            return tree.find_message(c, ids[shown])

        return await self._write(work, conversation)

    async def begin_reply(
        self,
        parent: str,
        *,
        text: str = "",
        model: str = "",
        loader: str = "",
        sampling: Sampling | None = None,
        name: str = "",
    ) -> StoredMessage:
        """Begin a reply to `parent`, beside those it has; `text` where it goes on with one."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            conversation = tree.conversation_with(c, parent)
            return tree.add_message(
                c, conversation, parent, "assistant", clean(text), state="running",
                model=model, loader=loader, sampling=sampling, name=name,
            )  # fmt: skip

        writing = asyncio.ensure_future(self._begin(work, parent))
        try:
            begun = await asyncio.shield(writing)
        except asyncio.CancelledError:  # It is written all the same, and nobody goes on with it.
            writing.add_done_callback(self._forsaken)
            raise
        self._wordless.add(begun.id)
        for tell in self.began:
            tell()
        return begun

    def _forsaken(self, writing: "asyncio.Task[StoredMessage]") -> None:
        if not writing.cancelled() and not writing.exception():
            self.forsake(writing.result())

    def forsake(self, begun: StoredMessage) -> None:
        """End a reply that nobody writes any more, with the words it has: who began it was stopped.
        It never waits, and is committed within a second."""
        self._wordless.discard(begun.id)
        self.running.discard(begun.id)
        error = FORSAKEN + (ON if begun.text else AGAIN)
        said = clean(begun.text), clean(begun.raw), clean(begun.reasoning)
        self._growing[begun.id] = Growth(*said, "interrupted", error)
        self._news.set()
        for tell in self.ended:
            tell(self._grown(begun))

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
        cut: int = 0,
        sampling: Sampling | None = None,
    ) -> StoredMessage:
        """End a reply. If that cannot be saved it is kept here, shown, and tried again."""
        said = clean(text), clean(raw), clean(reasoning)
        how = state, clean(error), usage or Usage(), timings or Timings()
        more = model, loader, reason, left_out, cut, sampling or Sampling()
        self._growing[id] = Growth(*said, *how, *more)
        self._wordless.discard(id)
        self.running.discard(id)
        self._news.set()
        await self._save(durable=True)
        ended = await self.message(id)
        for tell in self.ended:
            tell(ended)
        return ended

    async def select_version(self, id: str, step: int) -> StoredMessage:
        """Show the version `step` places on (or back), with the branch that was shown below it."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            message = tree.find_message(c, id)
            ids = tree.siblings(c, message)
            place = min(max(ids.index(id) + step, 0), len(ids) - 1)
            tree.show(c, message.conversation, ids[place])
            return tree.find_message(c, ids[place])

        return await self._write(work, id)

    async def show_message(self, id: str) -> StoredMessage:
        """Show the branch that a message is on."""

        def work(c: sqlite3.Connection) -> StoredMessage:
            message = tree.find_message(c, id)
            tree.show(c, message.conversation, id)
            return message

        return await self._write(work, id)

    async def delete_message(self, id: str) -> StoredMessage:
        """Mark one message deleted; what follows stays, unless another version is shown instead."""
        return await self._write(lambda c: tree.mark_message(c, id, deleted=True), id)

    async def undelete_message(self, id: str, *, shown: bool = True) -> StoredMessage:
        """Bring it back; not `shown` it is there where nothing has taken its place, or as another
        version of what has."""
        work = partial(tree.mark_message, id=id, deleted=False, shown=shown)
        return await self._write(work, id)

    # --- what extensions keep with a conversation --------------------------------------

    async def state(self, conversation: str, extension: str, key: str) -> Any:
        """What an extension keeps with a conversation under `key`: plain data, or None."""
        return await self._read(conversation, partial(_kept, where=(conversation, extension, key)))

    async def set_state(self, conversation: str, extension: str, key: str, value: Any) -> None:
        """Keep plain data with a conversation; it stays while the extension is off."""
        await self.change_state(conversation, extension, key, lambda _: value)

    async def change_state(
        self, conversation: str, extension: str, key: str, change: Callable[[Any], Any]
    ) -> None:
        """Change what an extension keeps with a conversation in one step: of two changes at once
        none is lost. `change` gets None where nothing was kept; what it raises changes nothing."""
        where = conversation, extension, key

        def work(c: sqlite3.Connection) -> None:
            tree.find_conversation(c, conversation)
            c.execute(
                "INSERT INTO states VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (*where, tree.as_json(change(_kept(c, where)))),
            )

        await self._write(work, conversation)

    async def change_states(self, extension: str, key: str, change: Callable[[Any], Any]) -> None:
        """Change what an extension keeps under `key` with every conversation, deleted ones too;
        `change` answers None where it stays as it is."""

        def work(c: sqlite3.Connection) -> None:
            here = " WHERE extension = ? AND key = ?"
            query = "SELECT conversation, value FROM states" + here
            for row in c.execute(query, (extension, key)).fetchall():
                new = change(msgspec.json.decode(row["value"]))
                if new is not None:
                    values = (tree.as_json(new), extension, key, row["conversation"])
                    query = "UPDATE states SET value = ?" + here + " AND conversation = ?"
                    c.execute(query, values)

        await self._write(work)
        if self.secret.any:
            await self.secret.write(work)

    # --- inside ------------------------------------------------------------------------

    async def _mark(self, id: str, deleted: float | None) -> Conversation:
        def work(c: sqlite3.Connection) -> Conversation:
            found = tree.find_conversation(c, id, deleted=True)
            query = "UPDATE conversations SET deleted = ?, revision = revision + 1 WHERE id = ?"
            c.execute(query, (deleted, id))
            if deleted is None:
                brought_back(c, id)
            return found

        moved = await self._write(work)
        for tell in self.moved:
            tell()
        return moved

    def _grown(self, message: StoredMessage) -> StoredMessage:
        """The message as it is now, though its last words may not be committed yet."""
        if not (growth := self._growing.get(message.id)):
            return message
        kept = {
            n: getattr(message, n) for n in ("state", "model", "loader") if not getattr(growth, n)
        }
        return msgspec.structs.replace(message, **growth._asdict() | kept)

    def _said(self, said: Said) -> Said:
        """The same of a message that is exported."""
        if not (growth := self._growing.get(said.id)):
            return said
        return msgspec.structs.replace(
            said, text=growth.text, raw=None if growth.raw == growth.text else growth.raw,
            reasoning=growth.reasoning, state=growth.state or said.state, error=growth.error,
        )  # fmt: skip

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


def _kept(c: sqlite3.Connection, where: tuple[str, str, str]) -> Any:
    """What is kept with a conversation by an extension under a key; None where nothing is."""
    query = "SELECT value FROM states WHERE conversation = ? AND extension = ? AND key = ?"
    row = c.execute(query, where).fetchone()
    return msgspec.json.decode(row["value"]) if row else None
