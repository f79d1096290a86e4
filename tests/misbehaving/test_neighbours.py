"""What one extension does wrong costs none of the others, nor what the kernel does for all."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kernel import manager
from kernel import workers as workers_module
from kernel.clients import Client
from kernel.contract import Refused, Report
from kernel.loaders import LOADERS
from kernel.model import LoadFailed
from kernel.points import Phase
from kernel.records import Status
from kernel.testing import App, Options, Scripted, running

from .zoo import write

CALM = "async def setup(ext): pass"


@pytest.fixture(autouse=True)
def log_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


SETTINGS = """
import msgspec
class Settings(msgspec.Struct, frozen=True):
    a: int = 1
    def {}(self, *_):
        self.b
async def setup(ext): pass
"""


@pytest.mark.parametrize("method", ["__post_init__", "modern"])
async def test_settings_that_fail_stop_no_other_change(tmp_path: Path, method: str):
    write(tmp_path, "bad", SETTINGS.format(method))
    write(tmp_path, "good", CALM)
    async with running("settings", "good", folders=[tmp_path]) as app:
        kernel = app.kernel
        kernel.only = None
        kernel.settings.update({"enabled": True}, "extensions", "bad")
        kernel.settings.update({"enabled": True}, "extensions", "good")
        await kernel.start("bad")
        await kernel.changes.section("appearance", {"theme": "dark"})
        assert kernel.theme == "dark"
        for id in ("good", "bad"):
            await kernel.changes.toggle(id, on=False)
            assert kernel.records[id].status in (Status.OFF, Status.FAILED)
            assert kernel.settings.enabled(id, default=True) is False
        assert (await app.fetch("/settings/extensions")).status == 200
        kernel.only = set()


async def test_a_check_of_all_fields_keeps_nobody_from_switching_it_off(tmp_path: Path):
    code = SETTINGS.format("__post_init__").replace(
        "self.b", "if self.a > 1: raise ValueError('x')"
    )
    write(tmp_path, "bad", code)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        path = app.kernel.settings.path
        path.write_text("extensions:\n  bad:\n    a: 2\n    enabled: false\n")
        app.kernel.settings.reload()
        assert app.kernel.settings.enabled("bad", default=True) is False
        assert app.kernel.settings.problems["extensions.bad"] == "x"


REWRITES = """
from kernel.api import OUTPUT
async def setup(ext):
    @ext.on(OUTPUT, rewrites=lambda turn: turn.nothing)
    async def out(deltas, turn):
        async for delta in deltas:
            yield delta
"""


async def test_who_cannot_say_whether_it_rewrites_is_counted_itself(tmp_path: Path):
    write(tmp_path, "bad", REWRITES)
    words = Scripted("One. Two.")
    async with running("openai_api", "bad", folders=[tmp_path], model=words) as app:
        for _ in range(3):
            said = {"prompt": "hi", "stream": True}
            answer = await app.fetch("/v1/completions", "POST", who="local", json=said)
            assert answer.status == 200
            assert "One." in answer.text
        await app.until(lambda: app.kernel.records["bad"].is_(Status.QUARANTINED))
        assert app.kernel.records["openai_api"].is_(Status.RUNNING)


ODD = """
import asyncio
from kernel.api import PANELS, Action, Panel
class Bad:
    def __str__(self): raise ValueError("no")
class Go(Action, frozen=True): pass
async def work(job): await asyncio.sleep(0.1)
async def setup(ext):
    @ext.on(Go)
    async def go(action, client):
        {}
"""


@pytest.mark.parametrize(
    "what",
    [
        "ext.job(Bad(), work)",
        'ext.job("x", work).report(0.5, Bad())',
        'ext.job("x" * (33 << 20), work)',
        'ext.add(PANELS, Panel("status", "it.html", title=Bad()))',
        'ext.add(PANELS, Panel("status", "it.html", title="x" * (33 << 20)))',
    ],
)
async def test_pages_are_told_what_happens_after_something_odd(tmp_path: Path, what: str):
    write(tmp_path, "bad", ODD.format(what))
    async with running("settings", "bad", folders=[tmp_path]) as app:
        page = await app.open("/settings")
        with suppress(Refused):  # Some of it fails at once, and is told to who asked.
            await app.kernel.hub.actions.act(Client("1", "", "/"), {"action": "bad.go"})
        await app.until(lambda: not app.kernel.jobs.running)
        app.kernel.jobs.start("settings", "Something after it", lambda job: asyncio.sleep(0.3))
        await page.until("Something after it")
        assert (await app.fetch("/settings")).status == 200


BEGUN = """
async def setup(ext):
    async def work(job): pass
    ext.job("Working", work)
    raise ValueError("something is missing")
"""


async def test_a_job_that_never_began_leaves_the_tray(tmp_path: Path):
    write(tmp_path, "bad", BEGUN)
    async with running("settings", folders=[tmp_path]) as app:
        app.kernel.only = {"settings", "bad"}
        assert not await app.kernel.start("bad")
        await app.until(lambda: not app.kernel.jobs.running)


async def test_who_waits_for_a_job_hears_that_it_was_cancelled():
    async with running() as app:
        job = app.kernel.jobs.start("kernel", "Something", lambda job: asyncio.sleep(60))
        await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(Refused, match="“Something” was cancelled"):
            await job.done
        assert job.progress.state == "cancelled"


async def test_a_job_ends_though_nobody_may_wait_for_it_any_more():
    async with running() as app:
        job = app.kernel.jobs.start("kernel", "Something", lambda job: asyncio.sleep(60))
        await asyncio.sleep(0)
        job.done.cancel()  # As a task that waited for it does when it is cancelled.
        job.cancel()
        await asyncio.wait({job.task})
        assert not job.task.cancelled()
        assert job.progress.state == "cancelled"


ENGINE = """
from kernel.api import LOADERS, Struct, WorkerLoader
class Options(Struct, frozen=True): pass
async def setup(ext):
    ext.add(LOADERS, WorkerLoader(ext, id="one", label="x", engine="worker.py:E", Options=Options,
                                  accepts=lambda path: True))
"""


async def test_an_installation_that_is_cancelled_is_nobodys_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def build(env: Any, root: Path, report: Report, cancelled: Any) -> Path:
        while not cancelled():
            report(0.1, "Collecting it")
        raise Refused("cancelled")

    monkeypatch.setattr(workers_module, "build", build)
    monkeypatch.setattr(workers_module, "ready", lambda env, root: False)
    write(tmp_path, "engine", ENGINE)
    toml = tmp_path / "engine" / "extension.toml"
    toml.write_text(toml.read_text() + '\n[worker]\nenvironment = "nowhere"\n')
    async with running("settings", "engine", folders=[tmp_path]) as app:
        kernel = app.kernel
        for _ in range(3):
            load = asyncio.create_task(kernel.slot().load(Path("m.gguf"), "one"))
            await app.until(lambda: bool(kernel.jobs.running))
            wish = {"action": "kernel.cancel_job", "id": next(iter(kernel.jobs.running))}
            await kernel.hub.actions.act(Client("1", "", "/"), wish)
            with pytest.raises(LoadFailed, match="“Installing Engine” was cancelled"):
                await load
            await app.until(lambda: not kernel.jobs.running)
        assert kernel.records["engine"].is_(Status.RUNNING)
        assert "engine" not in kernel.trouble


class Loads:
    """A loader that does as it is told."""

    id = label = "odd"
    Options = Options

    def __init__(self, app: App, opens: Any) -> None:
        self._opens = opens
        add: Any = app.kernel.registry.add
        add(LOADERS, self, "kernel", phase=Phase.LATE, rank=0, rewrites=False)

    def accepts(self, path: Path) -> bool:
        return True

    async def open(self, path: Path, options: Any, report: Report) -> Any:
        return await self._opens(report)


async def test_what_is_no_model_is_closed():
    class Wrong:
        closed, info = False, None

        async def close(self) -> None:
            self.closed = True

    wrong = Wrong()

    async def opens(report: Report) -> Any:
        return wrong

    async with running() as app:
        Loads(app, opens)
        with pytest.raises(LoadFailed, match="expected a Model, got Wrong"):
            await app.kernel.slot().load(Path("x"), "odd")
        assert wrong.closed


async def test_lines_that_fail_leave_no_load_without_an_end():
    async def opens(report: Any) -> Any:
        report.lines = lambda: None
        raise ValueError("no")

    async with running() as app:
        Loads(app, opens)
        with pytest.raises(LoadFailed, match="ValueError: no"):
            await app.kernel.slot().load(Path("x"), "odd")
        assert app.kernel.slot().state.state == "failed"
        async with asyncio.timeout(2):
            await app.kernel.slot().settled()


async def test_a_load_that_cannot_be_ended_holds_no_end_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(manager, "CLOSING", -0.9)
    free = asyncio.Event()

    async def opens(report: Report) -> Any:
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()
        raise ValueError("x")

    async with running() as app:
        Loads(app, opens)
        load = asyncio.create_task(app.kernel.slot().load(Path("x"), "odd"))
        await app.until(lambda: app.kernel.slot().state.state == "loading")
        async with asyncio.timeout(3):
            await app.kernel.close()
        free.set()
        await asyncio.gather(load, return_exceptions=True)


GO = """
from kernel.api import Action
class Go(Action, frozen=True):
    a: str
    def __post_init__(self): self.a.nothing
async def setup(ext):
    @ext.on(Go)
    async def go(action, client): pass
"""


@pytest.mark.parametrize(("more", "says"), [({}, "too little"), ({"a": "x"}, "fails at it")])
async def test_an_action_that_cannot_be_made_is_answered(
    tmp_path: Path, more: dict[str, str], says: str
):
    write(tmp_path, "bad", GO)
    async with running("bad", folders=[tmp_path]) as app:
        with pytest.raises(Refused, match=says):
            await app.kernel.hub.actions.act(Client("1", "", "/"), {"action": "bad.go", **more})
