"""Misbehaviour at the ends of an extension's life: its import, its setup, its stop; and claims."""

import asyncio
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kernel.records import Status
from kernel.testing import Scripted, running
from tests.live import live

from .zoo import ALWAYS, GOOD, HANGS, HEAD, WORDS, reply, told, write

STARTS = [how for how in ALWAYS if how not in ("blocks the loop", "raises 100 MB")]
SETUP = "async def setup(ext):\n    if not calm(): await bad()\n"
IMPORT = """
if not calm():
    coroutine = bad()
    try: coroutine.send(None)
    finally: coroutine.close()
async def setup(ext): pass
"""


def code(statement: str, rest: str) -> str:
    return HEAD.replace("{bad}", statement) + rest


@pytest.fixture(autouse=True)
def log_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("where", ["setup", "import"])
@pytest.mark.parametrize("how", STARTS)
async def test_a_start_that_fails_is_told_and_tried_again(tmp_path: Path, how: str, where: str):
    """E5, and what else a start can do: others run, and the card offers to try again."""
    if how == HANGS[1]:
        pytest.skip("see test_a_setup_that_cannot_be_ended_holds_up_nobody")
    if where == "import" and (how in HANGS or how == "cancels its task"):
        pytest.skip("an import is no coroutine: it can only block, see test_watchdog.py")
    write(tmp_path, "good", GOOD)
    write(tmp_path, "bad", code(ALWAYS[how], {"setup": SETUP, "import": IMPORT}[where]))
    async with running("settings", "good", model=Scripted(WORDS), folders=[tmp_path]) as app:
        kernel, page, record = app.kernel, app.page("/settings"), app.kernel.records["bad"]
        kernel.patience = 0.1
        await page.act("settings.toggle", id="bad", on=True)
        await app.until(lambda: not record.is_(Status.STARTING))
        assert record.status is Status.FAILED, record.reason
        card = told(app)
        assert "Try again</button>" in card
        assert "Mend it, then try again." in card
        assert "Error: " in card
        await reply(app)
        (record.folder / "calm").touch()
        await page.act("settings.retry", id="bad")
        assert record.status is Status.RUNNING
        assert kernel.trouble == {}


UNDOES = """
import asyncio
async def setup(ext):
    async def undo():
        (ext.folder / "undoing").touch()
        while not (ext.folder / "calm").exists(): await asyncio.sleep(0.01)
        (ext.folder / "undone").touch()
    ext.defer(undo)
    await asyncio.Event().wait()
"""


async def test_who_stops_it_a_second_time_cuts_no_undoing_short(tmp_path: Path):
    write(tmp_path, "bad", UNDOES)
    async with running("settings", folders=[tmp_path]) as app:
        kernel, folder = app.kernel, tmp_path / "bad"
        kernel.only = None
        starting = asyncio.create_task(kernel.start("bad"))
        await app.until(lambda: kernel.records["bad"].handle is not None)
        first = asyncio.create_task(kernel.stop("bad"))
        await app.until((folder / "undoing").exists)
        second = asyncio.create_task(kernel.stop("bad"))
        await asyncio.sleep(0.05)
        (folder / "calm").touch()
        await app.until((folder / "undone").exists)
        await asyncio.gather(first, second, starting)
        assert kernel.records["bad"].status is Status.OFF


STUCK = """
import asyncio
async def setup(ext):
    while not (ext.folder / "calm").exists():
        try: await asyncio.sleep(0.01)
        except asyncio.CancelledError: pass
"""


async def test_a_setup_that_cannot_be_ended_holds_up_nobody(tmp_path: Path):
    write(tmp_path, "good", GOOD)
    write(tmp_path, "bad", STUCK)
    async with running("settings", "good", model=Scripted(WORDS), folders=[tmp_path]) as app:
        kernel, record = app.kernel, app.kernel.records["bad"]
        kernel.patience = -0.9
        await kernel.changes.toggle("bad", on=True)
        assert record.status is Status.STUCK
        assert "Restart Spindle without it: python server.py --without bad" in told(app)
        await reply(app)
        await kernel.changes.toggle("bad", on=False)
        (record.folder / "calm").touch()
        await app.until(lambda: record.status is Status.OFF)


@pytest.mark.parametrize("how", STARTS)
async def test_an_undoing_that_fails_is_told_and_the_rest_is_undone(tmp_path: Path, how: str):
    undone = "\n    ext.defer(lambda: (HERE / 'undone').touch())"
    undone += "\n    ext.defer(lambda: calm() or bad())\n"
    write(tmp_path, "bad", code(ALWAYS[how], f"async def setup(ext):{undone}"))
    async with running("settings", "bad", folders=[tmp_path]) as app:
        kernel, record = app.kernel, app.kernel.records["bad"]
        kernel.guard.budget = 0.1
        await kernel.changes.toggle("bad", on=False)
        assert record.status is Status.OFF
        assert (record.folder / "undone").exists()
        assert "It is off, but failed at its stop: " in told(app)
        assert "To be safe, restart Spindle." in told(app)
        await kernel.changes.toggle("bad", on=True)
        assert record.status is Status.RUNNING
        (record.folder / "calm").touch()
        await app.kernel.changes.toggle("bad", on=False)
        await app.until(lambda: not any(t.get_name() == "bad:call" for t in asyncio.all_tasks()))


LEAKING = """
import asyncio, threading
async def forever():
    while True: await asyncio.sleep(600)
def run(): ext_end.wait()
ext_end = threading.Event()
async def setup(ext):
    ext.left = [asyncio.create_task(forever()) for _ in range(3)]
"""
THREAD = f"""{LEAKING}
    threading.Thread(target=run, name="left", daemon=True).start()
    ext.end = ext_end.set
"""


async def test_tasks_that_it_left_are_ended_and_told(tmp_path: Path):
    write(tmp_path, "bad", LEAKING)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        tasks = asyncio.all_tasks()
        await app.kernel.changes.toggle("bad", on=False)
        assert len(tasks - asyncio.all_tasks()) >= 3
        assert "it made tasks past its handle, which were ended. Use ext.spawn (3)" in told(app)


async def test_threads_that_it_left_are_told(tmp_path: Path):
    write(tmp_path, "bad", THREAD)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        end = app.kernel.records["bad"].handle.end  # type: ignore[union-attr]
        await app.kernel.changes.toggle("bad", on=False)
        assert "left threads running, which only a restart of Spindle ends (1)" in told(app)
        end()
        await app.until(lambda: not any(t.name == "left" for t in threading.enumerate()))


WRITING = """
import threading
async def setup(ext):
    said, may_end = [], threading.Event()
    def work():
        may_end.wait(60)
        said.append("written")
    async def follow():
        try:
            await ext.thread(work)
        finally:
            said.append("cancelled")
    ext.spawn(follow())
    ext.defer(lambda: said.append("closed"))
    ext.said, ext.end = said, may_end.set
"""


async def test_what_its_threads_do_is_done_before_its_resources_close(tmp_path: Path):
    write(tmp_path, "bad", WRITING)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        handle: Any = app.extension("bad")
        off = asyncio.create_task(app.kernel.changes.toggle("bad", on=False))
        await app.until(lambda: handle.said)
        handle.end()
        await off
        assert handle.said == ["cancelled", "written", "closed"]


CLAIMS = {
    "a mode's id": (
        "class Mode:\n    id = label = 'plain'\n    async def request(self, turn, history): ...\n"
        "async def setup(ext): ext.add(MODES, Mode(), phase=Phase.EARLY)",
        "'plain' (modes) belongs to good. Use another id",
    ),
    "a loader's id": (
        "class Loader:\n    id = label = 'scripted'\n    Options = Struct\n"
        "    def accepts(self, path): return True\n    async def open(self, *_): ...\n"
        "async def setup(ext): ext.add(LOADERS, Loader(), phase=Phase.EARLY)",
        "'scripted' (loaders) belongs to kernel. Use another id",
    ),
    "an action twice": (
        "class Press(Action, frozen=True): pass\nasync def setup(ext):\n"
        "    for _ in range(2): ext.on(Press)(print)",
        "'bad.press' (action) belongs to bad. Use another name",
    ),
    "a panel that is none": ("async def setup(ext): ext.add(PANELS, 5)", "panels takes a Panel"),
    "a place that is none": (
        "async def setup(ext): ext.add(PANELS, Panel('attic', 'it.html'))",
        "a panel's region is one of",
    ),
    "an order that is none": (
        "async def setup(ext): ext.add(PANELS, Panel('tab', 'it.html', order='last'))",
        "its order a number",
    ),
    "a mode that is none": ("async def setup(ext): ext.add(MODES, 'chat')", "takes a Mode"),
    "a loader that is none": ("async def setup(ext): ext.add(LOADERS, 5)", "takes a Loader"),
    "routes that are none": ("async def setup(ext): ext.add(ROUTES, 5)", "takes a Routes"),
    "samplers that are none": ("async def setup(ext): ext.add(SAMPLERS, 5)", "takes a Samplers"),
    "samplers of no fields": (
        "async def setup(ext): ext.add(SAMPLERS, Samplers('scripted', 5))",
        "is a Struct class",
    ),
    "a modifier that is none": ("async def setup(ext): ext.add(INPUT, 5)", "takes a Callable"),
}


@pytest.mark.parametrize("what", CLAIMS)
async def test_a_claim_that_cannot_stand_costs_its_own_start(tmp_path: Path, what: str):
    text, why = CLAIMS[what]
    write(tmp_path, "good", GOOD)
    write(tmp_path, "bad", f"from kernel.api import *\n{text}")
    async with running("settings", "good", model=Scripted(WORDS), folders=[tmp_path]) as app:
        await app.kernel.changes.toggle("bad", on=True)
        assert app.kernel.records["bad"].status is Status.FAILED
        assert why in app.kernel.records["bad"].reason
        assert app.kernel.registry.owned_by("bad") == []
        await reply(app)


async def test_a_path_of_another_is_refused_with_its_name(tmp_path: Path):
    write(tmp_path, "good", GOOD, more='paths = ["/v7"]')
    write(tmp_path, "bad", "async def setup(ext): pass", more='paths = ["/v7"]')
    async with running("settings", "good", folders=[tmp_path]) as app:
        await app.kernel.changes.toggle("bad", on=True)
        assert "Good serves /v7 already. Switch that off first." in told(app)


PRINTS = """
from kernel.api import OUTPUT
async def setup(ext):
    @ext.on(OUTPUT)
    async def chatty(deltas, turn):
        async for delta in deltas:
            for _ in range({lines}): print("x" * 999)
            yield delta
"""


@pytest.mark.parametrize("mb", [3, pytest.param(1000, marks=pytest.mark.long)])
async def test_what_it_prints_disturbs_no_reply(
    tmp_path: Path, mb: int, monkeypatch: pytest.MonkeyPatch
):
    """E7: what is printed goes to the terminal (here: away), and costs only its time."""
    write(tmp_path, "good", GOOD)
    write(tmp_path, "bad", PRINTS.format(lines=mb * 1000 // 3))
    with Path("/dev/null").open("w") as away:  # noqa: ASYNC230
        monkeypatch.setattr(sys, "stdout", away)
        async with running("good", "bad", model=Scripted(WORDS), folders=[tmp_path]) as app:
            await reply(app)


async def test_others_see_nothing_of_a_modifier_that_is_set_aside_in_a_reply(tmp_path: Path):
    """Three replies at once, each with the failing modifier: all arrive, then it is set aside."""
    bad = (
        "from kernel.api import OUTPUT\nasync def setup(ext):\n    @ext.on(OUTPUT)\n"
        "    async def change(deltas, turn):\n        async for delta in deltas:\n"
        "            yield delta\n            raise ValueError('on purpose')\n"
    )
    write(tmp_path, "good", GOOD)
    write(tmp_path, "bad", bad)
    async with running("good", "bad", model=Scripted(WORDS), folders=[tmp_path]) as app:
        await asyncio.gather(*(reply(app) for _ in range(9)))
        await app.settled()
        assert app.kernel.records["bad"].status is Status.QUARANTINED


NEVER = """
import asyncio, threading, time
from pathlib import Path
async def setup(ext):
    async def stay():
        while True:
            try: await asyncio.sleep(600)
            except asyncio.CancelledError: pass
    ext.spawn(stay())
    threading.Thread(target=time.sleep, args=(600,)).start()
    ext.spawn(ext.thread(time.sleep, 600))
    ext.defer(lambda: (ext.data_root / "ended").touch())
"""


async def test_tasks_and_threads_that_never_end_do_not_hold_up_the_end(tmp_path: Path):
    data = tmp_path / "data"
    write(data / "extensions", "bad", NEVER)
    async with live(data, tmp_path, "--extensions", "bad") as server:
        started = time.monotonic()
        assert await server.kill(signal.SIGTERM) == 0, server.said
        assert time.monotonic() - started < 12
    assert (data / "ended").exists()
