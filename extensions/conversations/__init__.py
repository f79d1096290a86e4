"""Keeps every conversation on this machine, with all versions of every message, and backups."""

from typing import Annotated

from kernel.api import (
    PANELS,
    REQUEST,
    ROUTES,
    Extension,
    Meta,
    Panel,
    Phase,
    Route,
    Router,
    Routes,
    Struct,
)

from . import actions as ask
from .api import STORE
from .arranging import Arranging
from .care import Care
from .outgoing import Outgoing
from .records import Erased, Rearranged, Restored
from .sending import Sending
from .store import Store


class Settings(Struct, frozen=True):
    """What is done with conversations beside keeping them."""

    titles: Annotated[
        bool,
        Meta(description="The model finds a title for each conversation, after its first reply."),
    ] = False


async def setup(ext: Extension[Settings]) -> None:
    path = ext.data_root / "chats.sqlite3"
    store = await ext.enter(Store.open(path, spawn=lambda work: ext.spawn(work, "saver")))
    care, arranging, outgoing = Care(ext, store), Arranging(ext, store), Outgoing(ext, store)
    ext.add(STORE, store)
    store.notices.append(care.tell)
    ext.on(REQUEST, phase=Phase.LATE)(Sending(store).filled)

    ext.on(ask.BackUp)(lambda _, __: care.back_up("asked"))
    ext.on(ask.Look)(lambda action, client: care.look(action.backup, client))
    ext.on(ask.Restore)(lambda action, _: care.restore(action.backup))
    ext.on(ask.Recover)(lambda _, __: care.recover())
    ext.on(ask.Accept)(lambda _, __: care.accept())
    arranging.listen()
    ext.on(Erased)(lambda _: arranging.tell_trash())
    ext.on(Rearranged)(lambda _: arranging.tell_trash())
    ext.on(Restored)(lambda _: arranging.tell_trash())

    ext.add(PANELS, Panel("status", "status.html", care.notice, order=50))
    ext.add(PANELS, Panel("composer", "_warning.html", care.notice))
    ext.add(PANELS, Panel("composer", "incognito.html", arranging.secret))
    ext.add(PANELS, Panel("sidebar", "sheet.html"))
    ext.add(PANELS, Panel("command", "command.html", order=45, title="Folders and trash"))
    ext.add(PANELS, Panel("settings", "exchange.html", arranging.exchange, title="Conversations"))
    ext.add(PANELS, Panel("settings", "trash.html", arranging.trash, title="Trash"))
    ext.add(PANELS, Panel("settings", "backups.html", care.listed, title="Backups"))
    routes = [
        Route("/ext/conversations/incoming/{batch}/{number}", arranging.incoming.part,
              methods=["POST"]),
        Route("/ext/conversations/export/{id}/{form}", outgoing.one),
        Route("/ext/conversations/library.zip", outgoing.all),
    ]  # fmt: skip
    ext.add(ROUTES, Routes(Router(routes), access="page"))
    care.tell()
    ext.spawn(care.daily(), "care")
