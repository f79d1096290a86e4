"""The machine on the Model page: processor, memory, graphics cards, and what the model uses now."""

import asyncio
from collections.abc import Mapping
from typing import Any

from kernel.api import (
    PANELS,
    Client,
    Disconnected,
    Extension,
    Panel,
    SlotChanged,
    WorkerModel,
)

from .reading import Reader, Running
from .views import view

EVERY = 2
"""Seconds between two looks."""
SLOTS = ("chat", "embedding")


async def setup(ext: Extension[Any]) -> None:
    reader, looking, somebody = Reader(), set[Client](), asyncio.Event()

    def running() -> list[Running]:
        found: list[Running] = []
        for name in SLOTS:
            model = ext.slot(name).model
            if isinstance(model, WorkerModel):
                found.append(Running(name, model.info.name, model.worker.pid))
        return found

    async def look() -> Mapping[str, Any]:
        return view(await ext.thread(reader.look, running()))

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        if client and client.id:
            looking.add(client)
            somebody.set()
        return await look()

    async def tell() -> None:
        html = ext.render("_now.html", oob=True, **await look())
        for client in looking:
            ext.push_html(html, client, "now")

    async def follow() -> None:
        """Look again and again while a page shows it."""
        while True:
            await somebody.wait()
            await asyncio.sleep(EVERY)
            if looking:
                await tell()

    @ext.on(Disconnected)
    async def left(event: Disconnected) -> None:
        looking.discard(event.client)
        if not looking:
            somebody.clear()

    @ext.on(SlotChanged)
    async def changed(event: SlotChanged) -> None:
        if looking and event.state in ("ready", "empty"):
            await tell()

    ext.add(PANELS, Panel("models", "hardware.html", context, order=20, title="Hardware"))
    ext.spawn(follow(), "follow")
