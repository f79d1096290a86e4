"""Every extension is started; what no page shows after the first page, which is sooner so."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernel.manager import Kernel
from kernel.records import Record, Started, Status

WAIT = 0.2
"""Seconds after which it starts without a page; a browser that was just opened takes longer."""
TURN = 2.0
"""Seconds that the others wait for one whose setup takes long; then it goes on beside them."""
LEFT_OUT = "Spindle was started without it (--without): mend what held all up, then switch it on."


async def start_enabled(
    kernel: Kernel,
    page: Callable[[], Awaitable[None]] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Start what the user wants; what a choice on the command line needs comes with it.

    With `page`, it is awaited before those are started that a page does not show. `ready` is called
    when each had its turn: one that takes long goes on, and is still waited for, with who needs it.
    """
    kernel.starting = True
    kernel.only = None if kernel.only is None else kernel.with_needs(kernel.only)
    records = [kernel.records[id] for id in kernel.ordered()]
    late = [record for record in records if page and _late(kernel, record)]
    for record in late:
        if kernel.enabled(record.id):
            kernel.becomes(record, Status.STARTING)
    slow = list[asyncio.Task[bool]]()
    behind = await _start(kernel, (record for record in records if record not in late), slow)
    if page and any(kernel.enabled(record.id) for record in late):
        await page()
    behind += await _start(kernel, late, slow)
    ready()
    await asyncio.gather(*slow)
    there = [r.id for r in behind if r.id in kernel.records and kernel.enabled(r.id)]
    await asyncio.gather(*map(kernel.start, there))  # What it needs is waited for there.
    kernel.starting = False
    kernel.bus.emit(Started())


def _late(kernel: Kernel, record: Record) -> bool:
    """One whose flag was said is there at once: it may open a port of its own."""
    manifest, said = record.manifest, kernel.flags.get(record.id, {})
    if not manifest or not manifest.late:
        return False
    return all(said.get(flag.name, flag.default) == flag.default for flag in manifest.flags)


async def _start(
    kernel: Kernel, records: Iterable[Record], slow: list[asyncio.Task[bool]]
) -> list[Record]:
    """One after the other; answers those that have to wait for one which takes long."""
    behind = list[Record]()
    for record in records:
        if record.id not in kernel.records:  # It was removed meanwhile.
            continue
        if kernel.enabled(record.id):
            needs = map(kernel.records.get, kernel.with_needs([record.id]) - {record.id})
            if slower := [need for need in needs if need and need.lock.locked()]:
                reason = f"It waits for {slower[0].name}, which takes long to start."
                kernel.becomes(record, Status.STARTING, reason)
                behind.append(record)
                continue
            start = asyncio.create_task(kernel.start(record.id))
            turn = TURN / 2 ** len(slow)  # However many hang, it is two turns in all.
            await asyncio.wait({start}, timeout=None if kernel.guard.strict else turn)
            if start.done():
                start.result()  # Raises what its setup raised, with --strict.
            else:
                slow.append(start)
        elif record.id in kernel.without:
            kernel.becomes(record, Status.OFF, LEFT_OUT)
    return behind


class Late:
    """Lets requests for extensions that have yet to start wait until all have."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        self._app, self._kernel = app, kernel
        self.serving, self._asked, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Start every extension; `serving` is set as soon as pages have all that they show."""
        page = None if self._kernel.guard.strict else self._page
        try:
            await start_enabled(self._kernel, page, self._ready)
        finally:
            self._ready()

    def _ready(self) -> None:
        self.serving.set()
        self._ended.set()

    async def _page(self) -> None:
        self.serving.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT):
                await self._asked.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._ended.is_set():
            return await self._app(scope, receive, send)
        if any(_serves(record, scope["path"]) for record in self._kernel.records.values()):
            self._asked.set()
            await self._ended.wait()
        if scope["type"] == "websocket":
            return await self._app(scope, partial(self._held, receive), send)
        if scope["type"] == "http" and not scope["path"].startswith("/static/"):
            return await self._answer(scope, receive, send)
        await self._app(scope, receive, send)

    async def _held(self, receive: Receive) -> Message:
        """What a page asks for, as soon as all are there who may have to do it."""
        message = await receive()
        if message["type"] == "websocket.receive" and not self._ended.is_set():
            self._asked.set()
            await self._ended.wait()
        return message

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        statuses = set[int]()

        async def sending(message: Message) -> None:
            statuses.add(message.get("status", 0))
            await send(message)

        await self._app(scope, receive, sending)
        if 200 in statuses:
            self._asked.set()


def _serves(record: Record, path: str) -> bool:
    manifest = record.manifest
    if not manifest or not manifest.late or not record.is_(Status.STARTING, Status.RUNNING):
        return False
    if path.startswith(f"/ext/{record.id}/static/"):  # The first page loads it.
        return False
    return manifest.serves(path) or f"{path}/".startswith(f"/{record.id}/")
