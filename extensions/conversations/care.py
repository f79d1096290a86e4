"""What keeps conversations safe, as a person sees it: warnings, backups, the way back."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from weakref import WeakSet

from kernel.api import Client, Everyone, Extension

from .backups import Backup, Cause, now
from .records import Erased, Restored, StoreFailed, Unknown
from .store import Store

PATIENCE = 2.0
"""Seconds after the start until the backup is begun: the page comes first."""
HOUR = 3600.0
"""Seconds between two looks at the calendar: one long wait would not count a machine's sleep."""


class Care:
    """Tells the pages how the conversations are kept, and does what they ask about it."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store = ext, store
        self._problem, self._kind, self._partial = "", "", False
        self._looking: WeakSet[Client] = WeakSet()
        """The pages that have the list of backups."""

    async def daily(self) -> None:
        """What every start does, and every day after it: a backup, and only then what was deleted
        long ago goes. What cannot be done now is tried again. Days on which nothing changes push
        no backup out."""
        pause, done, saved = PATIENCE, "", (0, 0)
        while True:
            await asyncio.sleep(pause)
            pause, today = HOUR, now()[:10]
            if today == done or self._store.partial:
                continue
            try:
                if (changes := await self._store.changes()) != saved:
                    await self.back_up("start")
                    saved = changes
                await self._store.purge()
                self._ext.emit(Erased())
                done = today
            except StoreFailed as error:
                self._ext.log.warning("%s", error)

    def tell(self) -> None:
        """Show how things stand, on every page."""
        shown = self._shown()
        partial, self._partial = self._partial, self._store.partial
        if partial and not self._partial:
            self._ext.emit(Erased())  # What could not be told until now.
        before, self._kind = self._kind, shown["kind"]
        if before == "memory" and not self._kind:
            self._ext.tell("The conversations are saved again.", Everyone())
        elif self._kind and self._kind != before:
            self._ext.log.warning("%s", shown["text"])
            self._ext.tell(shown["text"], Everyone(), "error")
        for name in ("_status.html", "_warning.html"):
            self._ext.push_html(self._ext.render(name, oob=True, **shown), Everyone(), name)

    async def notice(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        return self._shown()

    async def listed(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        """The backups, newest first."""
        if client and client.id:
            self._looking.add(client)
        backups = await self._store.backups()
        return {"backups": [described(backup) for backup in backups], "problem": self._problem}

    async def back_up(self, cause: Cause) -> None:
        try:
            await self._store.backup(cause)
            self._problem = ""
        except StoreFailed as error:
            self._problem = f"No backup could be made. {error}"
            raise
        finally:
            await self._tell_list()

    async def look(self, name: str, client: Client) -> None:
        found = await self._store.look(name)
        number = next((b.number for b in await self._store.backups() if b.name == name), 0)
        conversations = [
            {"title": c.title, "messages": c.messages, "day": day(c.updated)} for c in found
        ]
        self._ext.push_html(
            self._ext.render("_look.html", number=number, conversations=conversations), client
        )

    async def restore(self, name: str) -> None:
        [backup] = [b for b in await self._store.backups() if b.name == name] or [None]
        if not backup:
            raise Unknown("This backup is not there any more. Choose another one.")
        await self._store.restore(name)
        when = described(backup)["when"]
        self._ext.tell(
            f"The conversations are as they were on {when}. What was there until now is "
            "among the backups.",
            Everyone(),
        )
        await self._follow()

    async def recover(self) -> None:
        await self._store.recover()
        await self._follow()

    async def accept(self) -> None:
        await self._store.accept()
        self._ext.tell("You can write again, into the conversations as recovered.", Everyone())

    # --- inside ------------------------------------------------------------------------

    async def _follow(self) -> None:
        self._ext.emit(Restored())
        await self._tell_list()

    async def _tell_list(self) -> None:
        """To the pages that look at them."""
        context = await self.listed(None, "")
        html = self._ext.render("_backups.html", oob=True, **context)
        for client in tuple(self._looking):
            self._ext.push_html(html, client, "backups")

    def _shown(self) -> dict[str, Any]:
        store, kind, text = self._store, "", ""
        if store.recovered:
            kind = "recovered"
            text = f"The conversations were damaged; the original is {store.original}."
        elif store.damaged:
            kind, text = "damaged", "The file of the conversations is damaged."
        elif store.failure:
            kind, text = "memory", f"{store.failure} Until then, what is said is kept in memory."
        return {"kind": kind, "text": text, "original": str(store.original or "")}


def described(backup: Backup) -> dict[str, Any]:
    """A backup as the list shows it."""
    made = datetime.fromisoformat(backup.made)
    return {
        "name": backup.name,
        "number": backup.number,
        "when": f"{made.day} {made:%B %Y}, {made:%H:%M}",
        "cause": backup.cause,
        "size": f"{backup.size / 1e6:.1f} MB",
        "conversations": backup.conversations,
        "messages": backup.messages,
    }


def day(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds)
    return f"{when.day} {when:%B %Y}"
