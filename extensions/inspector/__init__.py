"""Every reply can be looked into: what the model was sent, who changed it, what came back."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import Annotated
from weakref import WeakKeyDictionary

from extensions.chat.api import WATCHERS
from extensions.conversations.api import STORE, Erased, StoredMessage, StoreFailed, is_secret
from kernel.api import PANELS, Action, Client, Extension, Meta, ModelInfo, Panel, Reply, Struct

from .archive import Archive
from .looking import Looking
from .records import record_of

log = logging.getLogger(__name__)


class Settings(Struct, frozen=True):
    """What is kept."""

    most_megabytes: Annotated[
        int,
        Meta(ge=0, le=100_000, description="What may be kept of replies; then the oldest go."),
    ] = 100


class Look(Action, frozen=True):
    """Open the sheet of a reply."""

    message: str


async def setup(ext: Extension[Settings]) -> None:
    store, looking = ext.one(STORE), Looking(ext, ext.one(STORE))
    archive = Archive(ext.data / "inspector.sqlite3", ext.settings.most_megabytes * 1_000_000)

    describing: dict[str, asyncio.Event] = {}
    newest = WeakKeyDictionary[Client, object]()

    async def watch(message: StoredMessage, reply: Reply) -> None:
        """Costs the reply nothing: it has ended, and the work is done in a thread."""
        model = ext.slot().model
        work = keep(message, reply, model.info if model else None)
        describing[message.id] = asyncio.Event()
        ext.spawn(work, "keep")

    async def forget(messages: Sequence[str]) -> None:
        """Those of them that were deleted for good; where the disk takes nothing, later."""
        try:
            if lost := await store.gone(messages):
                await ext.thread(archive.forget, lost)
        except (OSError, sqlite3.Error, StoreFailed) as error:
            log.info("Records could not be forgotten: %s", error)

    async def keep(message: StoredMessage, reply: Reply, info: ModelInfo | None) -> None:
        try:
            record = await ext.thread(record_of, message, reply, info)
            archive.hold(record)
        finally:
            describing.pop(message.id).set()
        if not is_secret(message.conversation) and not reply.turn.incognito:
            try:
                await ext.thread(archive.keep, record)
            except (OSError, sqlite3.Error) as error:
                log.info("A record could not be kept: %s", error)
            await forget([message.id])  # It may have gone while this was written.

    async def tidy() -> None:
        """What was deleted for good is kept here no longer, nor what is too much by now."""
        kept = {*archive.held()}
        try:
            await ext.thread(archive.trim)
            kept |= {*await ext.thread(archive.messages)}
        except (OSError, sqlite3.Error) as error:
            log.info("The records could not be looked through: %s", error)
        await forget([id for id in kept if not is_secret(id)])

    @ext.on(Erased)
    async def erased(event: Erased) -> None:
        await tidy()

    @ext.on(Look)
    async def look(action: Look, client: Client) -> None:
        asked = newest[client] = object()
        message = await store.message(action.message)
        if being := describing.get(message.id):
            await being.wait()
        record = await ext.thread(archive.find, message.id)
        context = await looking.context(message, record)
        if newest[client] is asked:  # Else it asked for another one meanwhile.
            ext.push_html(ext.render("_sheet.html", **context, oob=True), client, "sheet")

    async def of(client: Client | None, subject: str) -> dict[str, str]:
        return {"id": subject}

    ext.add(WATCHERS, watch)
    ext.add(PANELS, Panel("message_actions", "button.html", of, order=90))
    ext.add(PANELS, Panel("status", "sheet.html", order=99))
    ext.spawn(tidy(), "tidy")
