"""Keeps every conversation on this machine, with all versions of every message, and backups."""

from typing import Any

from kernel.api import PANELS, Action, Extension, Panel

from .api import STORE
from .care import Care
from .store import Store


class BackUp(Action, frozen=True):
    """Make a backup now."""


class Look(Action, frozen=True):
    """Show what is in a backup."""

    backup: str


class Restore(Action, frozen=True):
    """Put a backup in the place of the present conversations."""

    backup: str


class Recover(Action, frozen=True):
    """Put a damaged file aside and open what can be read of it."""


class Accept(Action, frozen=True):
    """Go on with what was recovered."""


async def setup(ext: Extension[Any]) -> None:
    path = ext.data_root / "chats.sqlite3"
    store = await ext.enter(Store.open(path, spawn=lambda work: ext.spawn(work, "saver")))
    care = Care(ext, store)
    ext.add(STORE, store)
    store.notices.append(care.tell)

    ext.on(BackUp)(lambda _, __: care.back_up("asked"))
    ext.on(Look)(lambda action, client: care.look(action.backup, client))
    ext.on(Restore)(lambda action, _: care.restore(action.backup))
    ext.on(Recover)(lambda _, __: care.recover())
    ext.on(Accept)(lambda _, __: care.accept())

    ext.add(PANELS, Panel("status", "status.html", care.notice, order=50))
    ext.add(PANELS, Panel("composer", "_warning.html", care.notice))
    ext.add(PANELS, Panel("settings", "backups.html", care.listed, title="Backups"))
    care.tell()
    ext.spawn(care.begin(), "care")
