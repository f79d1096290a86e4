"""E6: an extension is switched on and off while replies stream, and everything is as before."""

import asyncio
import gc
import re
import sys
import threading
import tracemalloc
from pathlib import Path

import psutil
import pytest

from kernel.contract import Turn
from kernel.records import Status
from kernel.testing import App, Page, Scripted, running

from .zoo import write

CODE = """
import asyncio, socket
from contextlib import asynccontextmanager
from kernel.api import *
from extensions.toggled.part import upper
from starlette.responses import PlainTextResponse

class Press(Action, frozen=True): pass

class Mode:
    id = label = "toggled"
    async def request(self, turn, history): ...

@asynccontextmanager
async def listening():
    with socket.create_server(("127.0.0.1", 0)) as listener: yield listener

async def setup(ext):
    await ext.enter(listening())
    ballast = bytearray(40_000)
    async def context(client, subject): return {"size": len(ballast)}
    @ext.on(OUTPUT)
    async def out(deltas, turn):
        async for delta in deltas: yield upper(delta)
    @ext.on(DISPLAY)
    async def display(deltas, turn):
        async for delta in deltas: yield delta
    @ext.on(INPUT)
    async def change(turn): return turn
    @ext.on(Press)
    async def press(action, client): ext.tell(str(len(ballast)), client)
    @ext.on(SectionChanged)
    async def section(event): ballast[0] = 1
    @ext.on(SlotChanged)
    async def slot(event): ballast[0] = 1
    async def beat():
        while True:
            await asyncio.sleep(0.001)
            ballast[0] ^= 1
    ext.spawn(beat(), "beat")
    async def work(job):
        job.report(0.5, "half")
        await asyncio.sleep(600)
    ext.job("Working", work)
    async def app(scope, receive, send):
        await PlainTextResponse(str(len(ballast)))(scope, receive, send)
    ext.add(ROUTES, Routes(app, "page"))
    ext.add(MODES, Mode())
    ext.add(PANELS, Panel("status", "it.html", context))
    ext.add(PANELS, Panel("tab", "tab.html", context, title="Toggled"))
    ext.defer(lambda: None)
"""
PART = """
from msgspec import structs
def upper(delta): return structs.replace(delta, text=delta.text.upper())
"""
SCRIPT = "one two three four five six seven eight nine ten."


def toggled(root: Path) -> None:
    folder = root / "toggled"
    write(root, "toggled", CODE)
    (folder / "part.py").write_text(PART)
    (folder / "templates" / "it.html").write_text('{% include "toggled/deep.html" %}')
    (folder / "templates" / "deep.html").write_text("{{ size }}")
    (folder / "templates" / "tab.html").write_text("<p>{{ size }}</p>")
    (folder / "static").mkdir()
    (folder / "static" / "toggled.css").write_text("p { color: red }")


class Head:
    """The styles of a page, as they are after all that was sent."""

    def __init__(self, page: Page) -> None:
        self._page, self.styles = page, ""

    def look(self) -> None:
        for part in self._page.client.outbox.take():
            if found := re.search(r'data-styles="([^"]*)"', part):
                self.styles = found[1]


async def stream(app: App, done: asyncio.Event) -> int:
    """One reply after the other: each arrives whole, with or without the modifier's change."""
    replies = 0
    while not done.is_set():
        reply = app.run(Turn(prompt="x"))
        _ = [delta async for delta in reply]
        assert reply.finish
        assert (reply.finish.reason, reply.text.lower()) == ("stop", SCRIPT)
        assert reply.raw == SCRIPT
        replies += 1
    return replies


def state(app: App) -> dict[str, object]:
    """All of which nothing may be left."""
    kernel, me = app.kernel, psutil.Process()
    return {
        "contributions": kernel.registry.owned_by("toggled"),
        "modules": [name for name in sys.modules if "toggled" in name],
        "templates": [key for key in (kernel.pages._jinja.cache or ()) if "toggled" in str(key)],
        "queues": sum(map(len, kernel.bus._queues.values())),
        "jobs": list(kernel.jobs.running),
        "listening": [c for c in me.net_connections() if c.status == "LISTEN"],
        "files": me.num_fds(),
        "threads": sum(not t.name.startswith("asyncio_") for t in threading.enumerate()),
        "tasks": sorted(t.get_name() for t in asyncio.all_tasks() if "toggled" in t.get_name()),
        "handle": kernel.records["toggled"].handle,
    }


@pytest.mark.parametrize(
    "times", [20, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
async def test_toggles_during_streams_leave_everything_as_before(tmp_path: Path, times: int):
    toggled(tmp_path)
    model = Scripted(SCRIPT, pause=0.0005)
    async with running("settings", model=model, folders=[tmp_path]) as app:
        kernel, record = app.kernel, app.kernel.records["toggled"]
        head, done = Head(app.page("/settings")), asyncio.Event()
        styles = app.web.assets.styles()
        streams = [asyncio.create_task(stream(app, done)) for _ in range(3)]
        before, memory = dict[str, object](), 0
        tracemalloc.start()
        try:
            for turn in range(times // 2):
                if turn == times // 4:  # Caches are warm now.
                    await asyncio.sleep(0.05)
                    head.look()
                    before, memory = state(app), size(model)
                await kernel.changes.toggle("toggled", on=True)
                assert record.status is Status.RUNNING, record.reason
                await app.web.snapshot(head._page.client)
                head.look()
                await asyncio.sleep(0.002)
                await kernel.changes.toggle("toggled", on=False)
                assert record.status is Status.OFF
            await asyncio.sleep(0.05)
            head.look()
            grown = size(model) - memory
        finally:
            tracemalloc.stop()
            done.set()
            replies = await asyncio.gather(*streams)
        assert state(app) == before
        assert before["contributions"] == before["modules"] == before["tasks"] == []
        assert before["templates"] == []
        assert head.styles.split() == styles == app.web.assets.styles()
        assert app.web.assets._bundle()[0] == b"", "nothing of its styles is served"
        assert grown < 100_000, f"grew by {grown} bytes"
        assert kernel.trouble == {}
        assert min(replies) > 2


NAMES = ("*/ruamel/*", "*/jinja2/visitor.py", "*/pathlib.py")
"""Where names are made that Python's table of names and its cache of attributes keep a while."""


LARGE = 50_000
"""Bytes: no block of the extension is as large, but that table of names is when it grows, and those
of a class's subclasses, which make room for new ones before they forget the old."""


def size(model: Scripted) -> int:
    """Bytes in use."""
    model.asked.clear()
    gc.collect()
    apart = [tracemalloc.Filter(False, name) for name in NAMES]
    traces = tracemalloc.take_snapshot().filter_traces(apart).traces
    return sum(trace.size for trace in traces if trace.size < LARGE)
