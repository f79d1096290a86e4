"""The machine on the Model page: processor, memory, graphics cards, and what the model uses now."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
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
    reader, looking, news = Reader(), set[Client](), asyncio.Event()
    last: dict[str, Any] = {}

    def running() -> list[Running]:
        found: list[Running] = []
        for name in SLOTS:
            model = ext.slot(name).model
            if isinstance(model, WorkerModel):
                found.append(Running(name, model.info.name, model.worker.pid))
        return found

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        """What was seen last: a driver may take longer to answer than a page should wait."""
        if client and client.id:
            looking.add(client)
            news.set()
        return {"now": dict(last)}

    def seen() -> list[Client]:
        return [client for client in looking if not client.lost]

    async def look() -> None:
        last.update(view(await ext.thread(reader.look, running())))
        html = ext.render("_now.html", oob=True, now=last)
        for client in seen():
            ext.push_html(html, client, "now")

    async def follow() -> None:
        """Look when a page comes or a model does, and again and again while a page is there."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY if seen() else None):
                    await news.wait()
            news.clear()
            if seen():
                await look()
            if not seen():  # The last page may have left meanwhile.
                last.clear()

    @ext.on(Disconnected)
    async def left(event: Disconnected) -> None:
        looking.discard(event.client)

    @ext.on(SlotChanged)
    async def changed(event: SlotChanged) -> None:
        if event.state in ("ready", "empty"):
            news.set()

    ext.add(PANELS, Panel("models", "hardware.html", context, order=20, title="Hardware"))
    ext.spawn(follow(), "follow")
