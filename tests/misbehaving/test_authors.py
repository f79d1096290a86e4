"""Mistakes of a first hour: each is told where its author looks, and costs nobody else."""

import sys
from pathlib import Path

import pytest

from kernel.records import Status
from kernel.testing import running
from kernel.worker import Worker, WorkerError

from .zoo import told, write

PUSHES = """
from kernel.api import Action
class Press(Action, frozen=True): pass
async def setup(ext):
    @ext.on(Press)
    async def press(action, client):
        await ext.push("it.html", client, text="lost")
"""
LACKS = """
from kernel.api import Struct
class Settings(Struct, frozen=True):
    mood: str
async def setup(ext): pass
"""
WORKER = """
class Water:
    def call(self, name, report, cancelled, **data):
        return 1 / data["by"]
"""


async def test_a_fragment_that_says_no_place_is_the_actions_failure(tmp_path: Path):
    write(tmp_path, "bad", PUSHES)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        page = await app.open("/settings")
        page.html = ""
        await page.act("bad.press")
        await page.until("it.html says no place: give its outer tags hx-swap-oob")
        assert "lost" not in page.html


async def test_a_setting_without_a_default_is_told_on_its_card(tmp_path: Path):
    write(tmp_path, "bad", LACKS)
    async with running("settings", folders=[tmp_path]) as app:
        await app.kernel.changes.toggle("bad", on=True)
        assert app.kernel.records["bad"].status is Status.FAILED
        assert "Missing required argument" in told(app)
        assert "could not draw this" not in (await app.fetch("/settings")).text


async def test_an_action_that_it_does_not_have_is_told(tmp_path: Path):
    write(tmp_path, "bad", "async def setup(ext): pass")
    async with running("bad", folders=[tmp_path]) as app:
        page = app.page()
        await page.act("bad.recuont")
        await page.until("Bad has nothing of that name")
        answer = await app.fetch("/bad/page", headers={"accept": "text/html"})
        assert (answer.status, "Bad has nothing of that name" in answer.text) == (404, True)


async def test_a_manifest_that_is_there_first_waits_for_its_code(tmp_path: Path):
    write(tmp_path, "bad", "async def setup(ext): pass")
    code = tmp_path / "bad" / "__init__.py"
    code.unlink()
    async with running("settings", folders=[tmp_path]) as app:
        await app.kernel.changes.toggle("bad", on=True)
        assert "It has no __init__.py yet." in told(app)
        code.write_text("async def setup(ext): pass")
        assert await app.kernel.start("bad")


async def test_an_engine_with_a_method_alone_works_and_says_where_it_failed(tmp_path: Path):
    (tmp_path / "worker.py").write_text(WORKER)
    said = list[str]()
    code = f"{tmp_path / 'worker.py'}:Water"
    worker = await Worker.start(Path(sys.executable), code, on_log=said.append)
    assert await worker.call("share", by=2) == 0.5
    with pytest.raises(WorkerError, match=r"ZeroDivisionError.* \(worker\.py, line 4\)"):
        await worker.call("share", by=0)
    await worker.close()
    assert any(line.startswith("error: The engine failed: ZeroDivisionError") for line in said)
