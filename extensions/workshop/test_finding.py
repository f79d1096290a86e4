"""Extensions that come and go while everything runs, and edit and see."""

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from extensions.workshop.finding import SETTLED, Finding
from kernel.api import Status
from kernel.testing import App, Page, running

MANIFEST = 'id = "{id}"\nname = "{name}"\nversion = "1"\nsummary = "Tests."\napi = 1\n'
NOTHING = "async def setup(ext): pass"


def make(root: Path, id: str, name: str = "Loom", code: str = NOTHING) -> Path:
    folder = root / id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(code)
    (folder / "extension.toml").write_text(MANIFEST.format(id=id, name=name))
    return folder


def saved(file: Path, text: str) -> None:
    """Write as an editor does; a clock that stands still would hide it."""
    file.write_text(text)
    now = time.time_ns()
    os.utime(file, ns=(now, now))


def status(app: App, id: str) -> Status | None:
    record = app.kernel.records.get(id)
    return record.status if record else None


def last_cards(page: Page) -> str:
    """The cards as the page was last sent them."""
    page.html += "".join(page.client.outbox.take())
    return page.html.rpartition('id="settings-cards"')[2]


async def test_a_folder_that_comes_or_goes_gets_or_loses_its_card(tmp_path: Path):
    own = tmp_path / "data" / "extensions"
    async with running("workshop", "settings", folders=[own], data=tmp_path / "data") as app:
        app.kernel.only = None
        page = app.page("/settings")
        make(own, "loom", "A new loom")
        await page.until('id="settings-loom".*A new loom')
        await app.until(lambda: status(app, "loom") == Status.RUNNING)
        shutil.rmtree(own / "loom")
        await app.until(lambda: status(app, "loom") is None)
        await app.until(lambda: "A new loom" not in last_cards(page))
        assert "extensions.loom" not in sys.modules


async def test_a_manifest_that_is_mended_starts_it(tmp_path: Path):
    make(tmp_path / "own", "loom")
    (tmp_path / "own" / "loom" / "extension.toml").write_text("nonsense")
    async with running("workshop", folders=[tmp_path / "own"]) as app:
        app.kernel.only = None
        assert status(app, "loom") == Status.INCOMPATIBLE
        make(tmp_path / "own", "loom")
        await app.until(lambda: status(app, "loom") == Status.RUNNING)


async def test_the_users_copy_wins_while_it_is_there(tmp_path: Path):
    make(tmp_path / "shipped", "loom", code="async def setup(ext): ext.emit(('loom', 'shipped'))")
    own = tmp_path / "own"
    async with running("workshop", "loom", folders=[tmp_path / "shipped", own]) as app:
        queue, dispose = app.kernel.bus.open(tuple)
        copy = make(own, "loom", code="async def setup(ext): ext.emit(('loom', 'own'))")
        assert await queue.get() == ("loom", "own")
        shutil.rmtree(copy)
        assert await queue.get() == ("loom", "shipped")
        dispose()


async def test_packages_are_asked_only_when_one_came_or_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    site = tmp_path / "site"
    folder = make(site / "looms", "loom")
    points = site / "looms-1.dist-info" / "entry_points.txt"
    points.parent.mkdir()
    points.write_text(text := "[spindle.extensions]\nloom = looms.loom\n")
    (points.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: looms\nVersion: 1\n")
    (site / "looms" / "__init__.py").touch()

    def age(seconds: float) -> None:
        os.utime(site, (time.time() - seconds, time.time() - seconds))

    async with running(data=tmp_path / "data") as app:
        finding, asked, ask = Finding(app.kernel), 0, app.kernel.discovery.packaged

        def counted() -> list[Path]:
            nonlocal asked
            asked += 1
            return ask()

        def found() -> bool:
            return folder in [place for place, _ in finding._look()]

        monkeypatch.setattr(app.kernel.discovery, "packaged", counted)
        monkeypatch.setattr(sys, "path", [str(site), str(tmp_path / "nowhere")])
        age(SETTLED + 5)
        assert all(found() for _ in range(5))
        assert asked == 1
        points.unlink()
        age(SETTLED - 5)  # an installer works here, and brings the file after its folder
        assert not found()
        points.write_text(text)
        assert found()
        age(-3600)  # the clock was ahead when they came
        asked = 0
        assert all(found() for _ in range(5))
        assert asked == 1
        monkeypatch.setattr(sys, "path", [])
        assert not found()


EDITED = "extensions:\n  workshop:\n    edit_and_see: true\n"
SAYS = """
from kernel.api import PANELS, Panel
async def setup(ext):
    ext.add(PANELS, Panel("status", "s.html"))
    {more}
"""


def woven(root: Path) -> Path:
    folder = make(root, "loom", code=SAYS.format(more=""))
    (folder / "templates").mkdir()
    (folder / "templates" / "s.html").write_text("<p>first</p>")
    return folder


async def test_edit_and_see(tmp_path: Path):
    folder = woven(tmp_path / "own")
    async with running("workshop", "loom", folders=[tmp_path / "own"], settings=EDITED) as app:
        page = app.page("/")
        await app.web.snapshot(page.client)
        await page.until("<p>first</p>")
        saved(folder / "templates" / "s.html", "<p>second</p>")
        await page.until("<p>second</p>")
        saved(folder / "__init__.py", "\n\nasync def setup(ext):\n    torn +\n")
        await app.until(lambda: status(app, "loom") == Status.FAILED)
        assert "(__init__.py, line 4)" in app.kernel.records["loom"].reason
        saved(folder / "__init__.py", "async def setup(ext):\n    sub()\n\ndef sub():\n    1 / 0\n")
        await app.until(lambda: "division" in app.kernel.records["loom"].reason)
        assert "(__init__.py, line 5)" in app.kernel.records["loom"].reason
        saved(folder / "__init__.py", SAYS.format(more=""))
        saved(folder / "templates" / "s.html", "<p>third</p>")
        await page.until("<p>third</p>")
        assert status(app, "loom") == Status.RUNNING


async def test_what_was_seen_empty_is_seen_again_when_it_is_filled(tmp_path: Path):
    """Within one tick of the clock, which both times of the file then say."""
    page = woven(tmp_path / "own") / "templates" / "s.html"
    async with running("workshop", "loom", folders=[tmp_path / "own"], settings=EDITED) as app:
        shown = app.page("/")
        await app.web.snapshot(shown.client)
        await shown.until("<p>first</p>")
        began = app.kernel.records["loom"].since
        saved(page, "")
        tick = page.stat().st_mtime_ns
        await app.until(lambda: app.kernel.records["loom"].since != began)
        page.write_text("<p>second</p>")
        os.utime(page, ns=(tick, tick))
        await shown.until("<p>second</p>")


LATE = """
from pathlib import Path
async def setup(ext):
    file = Path(__file__).parent / "saved_meanwhile.txt"
    ext.emit(("loom", file.exists()))
    file.touch() if not file.exists() else None
"""


async def test_what_is_saved_while_it_starts_is_not_missed(tmp_path: Path):
    make(tmp_path / "own", "loom", code=LATE)
    folders = [tmp_path / "own"]
    async with running("workshop", folders=folders, settings=EDITED) as app:
        queue, dispose = app.kernel.bus.open(tuple)
        app.kernel.only = None
        await app.kernel.start("loom")
        assert await queue.get() == ("loom", False)
        async with asyncio.timeout(10):
            assert await queue.get() == ("loom", True)
        await asyncio.sleep(1.2)  # Two looks: once is enough.
        assert queue.empty()
        dispose()


async def test_without_the_setting_a_saved_file_changes_nothing_that_runs(tmp_path: Path):
    folder = woven(tmp_path / "own")
    async with running("workshop", "loom", folders=[tmp_path / "own"]) as app:
        task = app.kernel.records["loom"].task
        saved(folder / "__init__.py", "torn +")
        with pytest.raises(AssertionError):
            await app.until(lambda: app.kernel.records["loom"].task is not task, 1.2)
        assert status(app, "loom") == Status.RUNNING
        await app.kernel.changes.configure("workshop", {"edit_and_see": True})
        await app.until(lambda: app.kernel.settings.path.exists())
        with pytest.raises(AssertionError):  # what was saved before is known by now
            await app.until(lambda: app.kernel.records["loom"].task is not task, 0.7)

        def seen() -> bool:  # a busy machine may look late: save until it did
            saved(folder / "__init__.py", NOTHING)
            return app.kernel.records["loom"].task is not task

        await app.until(seen)


async def test_one_is_edited_while_another_goes(tmp_path: Path):
    """As a checkout of another branch does; what is edited later is seen, too."""
    own = tmp_path / "own"
    make(own, "loom")
    make(own, "mill")
    async with running("workshop", "loom", "mill", folders=[own], settings=EDITED) as app:
        looms = app.kernel.records["loom"]
        began = looms.since
        shutil.rmtree(own / "mill")
        saved(own / "loom" / "__init__.py", NOTHING + "\n")
        await app.until(lambda: looms.since != began and status(app, "mill") is None)
        await app.until(lambda: status(app, "loom") == Status.RUNNING)
        saved(own / "loom" / "__init__.py", "torn +")
        await app.until(lambda: status(app, "loom") == Status.FAILED)
        assert app.kernel.trouble.keys() == {"loom"}


async def test_a_folder_that_is_copied_slowly_starts_when_it_is_there(tmp_path: Path):
    own = tmp_path / "data" / "extensions"
    async with running("workshop", folders=[own], data=tmp_path / "data") as app:
        app.kernel.only = None
        (make(own, "loom") / "__init__.py").unlink()
        await app.until(lambda: status(app, "loom") == Status.INCOMPATIBLE)
        (own / "loom" / "__init__.py").write_text(NOTHING)
        await app.until(lambda: status(app, "loom") == Status.RUNNING)


async def test_what_this_itself_needs_is_taken_up_at_the_next_start(tmp_path: Path):
    own = tmp_path / "data" / "extensions"
    async with running("workshop", "settings", folders=[own], data=tmp_path / "data") as app:
        app.kernel.only = None
        folder = app.kernel.records["settings"].folder
        shutil.copytree(folder, own / "settings")
        make(own, "loom")
        await app.until(lambda: status(app, "loom") == Status.RUNNING)
        assert app.kernel.records["settings"].folder == folder
        assert status(app, "workshop") == status(app, "settings") == Status.RUNNING


LEAVES = """
import asyncio
from contextlib import asynccontextmanager
@asynccontextmanager
async def thing(ext):
    yield
    await ext.admin.gate.wait()
async def setup(ext):
    await ext.enter(thing(ext))
"""


async def test_the_workshop_goes_while_it_takes_up_another(tmp_path: Path):
    own = tmp_path / "data" / "extensions"
    folder = make(own, "loom", code=LEAVES)
    manifest = folder / "extension.toml"
    manifest.write_text(manifest.read_text() + 'permissions = ["kernel:admin"]\n')
    async with running("workshop", "loom", folders=[own], data=tmp_path / "data") as app:
        kernel: Any = app.kernel
        kernel.only, kernel.gate = None, asyncio.Event()
        shutil.rmtree(folder)
        await app.until(lambda: status(app, "loom") == Status.STOPPING)
        await kernel.stop("workshop")
        kernel.gate.set()
        await app.until(lambda: status(app, "loom") == Status.OFF)
        await kernel.start("workshop")
        await app.until(lambda: status(app, "loom") is None)


async def test_a_moment_without_files_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running(folders=[tmp_path / "own"], data=tmp_path / "data") as app:
        finding, looks = Finding(app.kernel), 0
        look = finding._look

        def failing() -> Any:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise OSError(24, "Too many open files")
            return look()

        monkeypatch.setattr(finding, "_look", failing)
        watching = asyncio.create_task(finding.watch(0.01))
        make(tmp_path / "own", "loom")
        await app.until(lambda: "loom" in app.kernel.records)
        assert looks > 1
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
