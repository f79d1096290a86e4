"""Keeps every conversation on this machine, with all versions of every message."""

from typing import Any

from kernel.api import Extension

from .api import STORE
from .store import Store


async def setup(ext: Extension[Any]) -> None:
    store = await ext.enter(Store.open(ext.data_root / "chats.sqlite3"))
    ext.add(STORE, store)
    ext.spawn(store.purge(), "purge")
