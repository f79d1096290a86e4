"""Mistakes of a first hour: each is told where its author looks, and costs nobody else."""

import sys
from html import unescape
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
        await page.until("Bad has no recuont")
        answer = await app.fetch("/bad/page", headers={"accept": "text/html"})
        assert (answer.status, "Bad has no such page" in answer.text) == (404, True)


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


NOTHING = "async def setup(ext): ext.on('input')"
LIST = """
from kernel.api import PANELS, Panel
async def setup(ext):
    async def context(client, subject):
        return [1]
    ext.add(PANELS, Panel("status", "it.html", context))
"""
PANEL = """
from kernel.api import PANELS, Panel
async def setup(ext):
    ext.add(PANELS, Panel("status", "it.html"))
"""


@pytest.mark.parametrize(
    ("code", "template", "says"),
    [
        (NOTHING, "", "ext.on takes a point, as OUTPUT, or a class, not 'input'"),
        (PANEL, "", "there is no templates/it.html, which a panel shows"),
    ],
    ids=["no point", "no template"],
)
async def test_what_cannot_be_meant_ends_the_start_with_a_sentence(
    tmp_path: Path, code: str, template: str, says: str
):
    write(tmp_path, "bad", code)
    (tmp_path / "bad" / "templates" / "it.html").unlink()
    async with running("settings", folders=[tmp_path]) as app:
        await app.kernel.changes.toggle("bad", on=True)
        assert app.kernel.records["bad"].status is Status.FAILED
        assert says in unescape(told(app))


@pytest.mark.parametrize(
    ("code", "template", "says"),
    [
        (LIST, "", "its context gave a list, not a dict"),
        (PANEL, "One\n{{ two.three }}\n", "'two' is undefined (it.html, line 2)"),
        (PANEL, "One\n{% if %}\n", "Expected an expression, got 'end of statement block' (it"),
    ],
    ids=["a list", "a name that is none", "a tag that is none"],
)  # fmt: skip
async def test_one_mistake_of_a_panel_counts_once_for_all_pages(
    tmp_path: Path, code: str, template: str, says: str
):
    write(tmp_path, "bad", code)
    (tmp_path / "bad" / "templates" / "it.html").write_text(template)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        for _ in range(5):
            await app.open("/settings")
        assert says in unescape(told(app))
        assert app.kernel.records["bad"].status is Status.RUNNING
        app.kernel.guard.moment = 0  # The same, seconds later.
        for _ in range(2):
            await app.open("/settings")
        await app.until(lambda: app.kernel.records["bad"].status is Status.QUARANTINED)
