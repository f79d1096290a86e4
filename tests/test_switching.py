"""Starts and stops of extensions that meet each other, hang, or come late."""

import asyncio
import os
import shlex
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kernel import starting, switching
from kernel.manager import THREADS
from kernel.needs import _quoted
from kernel.records import Started, Status
from kernel.starting import start_enabled
from kernel.testing import App, running
from tests.misbehaving.zoo import write

HEAD = """
import asyncio
from contextlib import asynccontextmanager
from kernel.api import Action, Struct

class Settings(Struct, frozen=True):
    a: int = 0
    b: int = 0

class Do(Action, frozen=True):
    pass

@asynccontextmanager
async def thing(ext):
    ext.admin.trouble["opened"] = ["yes"]
    try:
        yield
    finally:
        ext.admin.trouble.setdefault("closing", []).append("begun")
        await ext.admin.gate.wait()
        ext.admin.trouble["closing"].append("done")
"""
SLOW_START = HEAD + "async def setup(ext):\n    await ext.admin.gate.wait()"
SLOW_STOP = HEAD + (
    "async def setup(ext):\n    await ext.enter(thing(ext))\n"
    "    @ext.on(Do)\n    async def do(action, client): pass"
)
STUCK_START = HEAD + (
    "async def setup(ext):\n    await ext.enter(thing(ext))\n    await asyncio.Event().wait()"
)
PLAIN = "async def setup(ext): pass"
ADMIN = 'permissions = ["kernel:admin"]\n'


def status(app: App, *ids: str) -> list[Status]:
    return [app.kernel.records[id].status for id in ids]


def gated(app: App) -> asyncio.Event:
    """What the extensions of these tests wait for."""
    kernel: Any = app.kernel
    kernel.gate = asyncio.Event()
    kernel.only = None
    return kernel.gate


def lives(id: str) -> int:
    return sum(task.get_name() == f"extension:{id}" for task in asyncio.all_tasks())


async def test_a_setting_that_changes_while_it_starts_reaches_it(tmp_path: Path):
    write(tmp_path, "loom", SLOW_START, more=ADMIN)
    off = "extensions:\n  loom:\n    enabled: false\n"
    async with running(folders=[tmp_path], data=tmp_path / "data", settings=off) as app:
        gate = gated(app)
        on = asyncio.create_task(app.kernel.changes.toggle("loom", on=True))
        await app.until(lambda: bool(lives("loom")))
        changes = [
            asyncio.create_task(app.kernel.changes.configure("loom", {field: 2}))
            for field in ("a", "b")
        ]
        lock: Any = app.kernel.records["loom"].lock
        await app.until(lambda: len(lock._waiters or ()) == 2)
        gate.set()
        await asyncio.gather(on, *changes)
        ext = app.extension("loom")
        assert (ext.settings.a, ext.settings.b) == (2, 2)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_chain_of_slow_starts_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
):
    monkeypatch.setattr(starting, "TURN", 0.02)
    slow = "import asyncio\nasync def setup(ext):\n    await asyncio.sleep({})"
    needs = '[requires]\nextensions = ["{}"]'
    write(tmp_path, "aa", slow.format(60 if fails else 0.2))
    write(tmp_path, "bb", slow.format(0.2), more=needs.format("aa"))
    write(tmp_path, "cc", PLAIN, more=needs.format("aa" if fails else "bb"))
    async with running(folders=[tmp_path]) as app:
        app.kernel.patience = 0.3 if fails else 5
        app.kernel.only = {"aa", "bb", "cc"}
        told, _ = app.kernel.bus.open(Started)
        await start_enabled(app.kernel)
        assert told.qsize() == 1
        ends = [Status.FAILED, Status.INCOMPATIBLE, Status.INCOMPATIBLE]
        assert status(app, "aa", "bb", "cc") == (ends if fails else [Status.RUNNING] * 3)


@pytest.mark.parametrize("requirement", ["", "==1.0"])
async def test_a_requirement_that_names_nothing_costs_its_extension_alone(
    tmp_path: Path, requirement: str
):
    write(tmp_path, "aa", PLAIN, more=f'[requires]\npython = ["{requirement}"]')
    write(tmp_path, "bb", PLAIN)
    async with running(folders=[tmp_path]) as app:
        app.kernel.only = {"aa", "bb"}
        await start_enabled(app.kernel)
        assert status(app, "aa", "bb") == [Status.INCOMPATIBLE, Status.RUNNING]


def test_what_installs_a_package_runs_in_the_systems_own_shell(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "win32")
    words = ["C:\\Spindle\\.venv\\python.exe", "C:\\My Spindle\\python.exe", "foo>=1", "foo==1"]
    said = [_quoted(word) for word in words]
    assert said == [words[0], f'"{words[1]}"', '"foo>=1"', "foo==1"]


async def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path):
    write(tmp_path, "aa", PLAIN, more='[requires]\npython = ["no_such_package>=1.0"]')
    async with running(folders=[tmp_path]) as app:
        app.kernel.only = {"aa"}
        await start_enabled(app.kernel)
        said = app.kernel.records["aa"].reason
        python = shlex.quote(sys.executable)
        assert said.endswith(f"Run: {python} -m pip install 'no_such_package>=1.0'")


async def test_a_start_that_waited_for_one_that_is_gone_begins_nothing(tmp_path: Path):
    write(tmp_path, "loom", SLOW_STOP, more=ADMIN)
    async with running("loom", folders=[tmp_path]) as app:
        gate, kernel = gated(app), app.kernel
        stop = asyncio.create_task(kernel.stop("loom"))
        await app.until(lambda: status(app, "loom") == [Status.STOPPING])
        start = asyncio.create_task(kernel.start("loom"))
        lock: Any = kernel.records["loom"].lock
        await app.until(lambda: bool(lock._waiters))
        gone = kernel.records.pop("loom")
        gate.set()
        await stop
        assert not await start
        assert not lives("loom")
        assert not kernel.registry.owned_by("loom")
        assert gone.is_(Status.OFF)


async def test_who_asked_for_a_stop_may_go(tmp_path: Path):
    write(tmp_path, "loom", SLOW_STOP, more=ADMIN)
    async with running("loom", folders=[tmp_path]) as app:
        gate = gated(app)
        stop = asyncio.create_task(app.kernel.stop("loom"))
        await app.until(lambda: status(app, "loom") == [Status.STOPPING])
        stop.cancel()
        gate.set()
        await app.until(lambda: status(app, "loom") == [Status.OFF])


@pytest.mark.parametrize("twice", [False, True])
async def test_one_that_stops_late_is_not_begun_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: bool
):
    monkeypatch.setattr(switching, "LEAVING", 0.05)
    write(tmp_path, "loom", SLOW_STOP, more=ADMIN)
    async with running("loom", folders=[tmp_path]) as app:
        gate, kernel = gated(app), app.kernel
        stops = [asyncio.create_task(kernel.stop("loom")) for _ in range(1 + twice)]
        await asyncio.gather(*stops)
        assert status(app, "loom") == [Status.STUCK]
        assert not await kernel.start("loom")
        assert lives("loom") == 1
        gate.set()
        await app.until(lambda: status(app, "loom") == [Status.RUNNING])
        assert lives("loom") == 1


async def test_a_setting_that_makes_one_stop_late_starts_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(switching, "LEAVING", 0.05)
    write(tmp_path, "loom", SLOW_STOP, more=ADMIN)
    write(tmp_path, "needy", PLAIN, more='[requires]\nextensions = ["loom"]')
    async with running("loom", "needy", folders=[tmp_path], data=tmp_path / "data") as app:
        gate = gated(app)
        await app.kernel.changes.configure("loom", {"a": 1})
        assert status(app, "loom") == [Status.STUCK]
        gate.set()
        await app.until(lambda: status(app, "loom", "needy") == [Status.RUNNING] * 2)
        assert app.extension("loom").settings.a == 1


async def test_a_second_stop_of_a_start_cuts_no_undoing_short(tmp_path: Path):
    write(tmp_path, "loom", STUCK_START, more=ADMIN)
    async with running(folders=[tmp_path]) as app:
        gate, kernel = gated(app), app.kernel
        start = asyncio.create_task(kernel.start("loom"))
        await app.until(lambda: "opened" in kernel.trouble)
        stops = [asyncio.create_task(kernel.stop("loom"))]
        await app.until(lambda: kernel.trouble.get("closing") == ["begun"])
        stops.append(asyncio.create_task(kernel.stop("loom")))
        for _ in range(5):
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(start, *stops)
        assert kernel.trouble["closing"] == ["begun", "done"]
        assert status(app, "loom") == [Status.OFF]


HANGING = """
async def setup(ext):
    for _ in range({count}):
        ext.spawn(ext.thread(ext.admin.ends.wait, 60))
"""


async def test_threads_that_hang_hold_up_no_switch(tmp_path: Path):
    count = max(THREADS, (os.cpu_count() or 1) + 4)
    write(tmp_path, "loom", HANGING.format(count=count), more=ADMIN)
    off = "extensions:\n  loom:\n    enabled: false\n"
    async with running(folders=[tmp_path], data=tmp_path / "data", settings=off) as app:
        kernel: Any = app.kernel
        kernel.ends, kernel.only, kernel.guard.budget = threading.Event(), None, 0.1
        try:
            await kernel.changes.toggle("loom", on=True)
            async with asyncio.timeout(10):
                await kernel.changes.toggle("loom", on=False)
        finally:
            kernel.ends.set()


async def test_one_whose_start_ended_late_starts_again_where_that_is_wished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(switching, "LEAVING", 0.05)
    write(tmp_path, "loom", STUCK_START.replace("await asyncio.Event().wait()", STAYS), more=ADMIN)
    async with running(folders=[tmp_path]) as app:
        gate, kernel = gated(app), app.kernel
        kernel.patience = 0.5  # Whoever starts it waits no longer than a second more.
        start = asyncio.create_task(kernel.start("loom"))
        await app.until(lambda: "opened" in kernel.trouble)
        await kernel.stop("loom")
        assert status(app, "loom") == [Status.STUCK]
        await kernel.start("loom")
        gate.set()
        await app.until(lambda: status(app, "loom") == [Status.RUNNING])
        await start


STAYS = "if not ext.admin.gate.is_set():\n        await asyncio.Event().wait()"


async def test_what_goes_while_others_start_is_not_looked_for(tmp_path: Path):
    write(tmp_path, "aa", PLAIN)
    for id in ("bb", "cc"):
        write(tmp_path, id, SLOW_START, more=f'{ADMIN}[requires]\nextensions = ["aa"]')
    async with running(folders=[tmp_path]) as app:
        gate, kernel = gated(app), app.kernel
        start = asyncio.create_task(kernel.start("aa"))
        await app.until(lambda: bool(lives("bb")))
        kernel.records.pop("cc")
        gate.set()
        assert await start
        assert status(app, "aa", "bb") == [Status.RUNNING] * 2
