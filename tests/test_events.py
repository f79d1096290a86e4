"""Every event of the kernel reaches who listens to its class, and says what it is for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from kernel import api
from kernel.bus import Bus
from kernel.contract import Turn
from kernel.jobs import Job, JobProgress, Jobs
from kernel.starting import start_enabled
from kernel.testing import App, Scripted, running
from tools import reference

from .misbehaving.zoo import write

LISTENER = """
from typing import Annotated
from kernel.api import *
import kernel.api

class Settings(Struct, frozen=True):
    level: Annotated[int, Meta(ge=1, le=9, description="How much.")] = 1
class Fail(Action, frozen=True): pass
class Work(Action, frozen=True): pass

async def setup(ext):
    ext.seen = []
    for name in {names}:
        async def heard(event): ext.seen.append(event)
        ext.on(getattr(kernel.api, name))(heard)
    @ext.on(Fail)
    async def fail(action, client): raise ValueError("on purpose")
    @ext.on(Work)
    async def work(action, client):
        async def done(job): job.report(0.5, "half")
        await ext.job("Counting", done).done
"""


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    for id, code in (
        ("listener", LISTENER.replace("{names}", repr(reference.EVENTS))),
        (
            "other",
            "from kernel.api import *\n"
            "async def setup(ext): ext.add(PANELS, Panel('tab', 'it.html'))",
        ),
    ):
        folder = tmp_path / id
        (folder / "templates").mkdir(parents=True)
        (folder / "templates" / "it.html").write_text("It.")
        (folder / "__init__.py").write_text(code)
        (folder / "extension.toml").write_text(
            f'id = "{id}"\nname = "{id}"\nversion = "1"\nsummary = "Tests."\napi = 1\n'
        )
    async with running("listener", model=Scripted("Hi."), folders=[tmp_path]) as app:
        yield app


async def toggled(app: App) -> None:
    await app.kernel.changes.toggle("other", on=True)


async def connected(app: App) -> None:
    hub = app.kernel.hub
    async with hub._connected(await hub._page("page", "/", ""), _nowhere):
        pass


async def _nowhere(texts: list[bytes]) -> None: ...


async def acted(app: App, name: str) -> None:
    await app.page().act(f"listener.{name}")


async def replied(app: App) -> None:
    _ = [delta async for delta in app.run(Turn(prompt="x"))]


async def configured(app: App) -> None:
    await app.kernel.changes.configure("listener", {"level": 2})


STORY: Mapping[str, tuple[Callable[[App], Any], Callable[[Any], bool]]] = {
    "Changed": (toggled, lambda e: e.point == "panels"),
    "Connected": (connected, lambda e: e.client.path == "/"),
    "Disconnected": (connected, lambda e: e.client.path == "/"),
    "Failure": (
        lambda app: acted(app, "fail"),
        lambda e: (
            (e.owner, e.point, str(e.error), e.fatal)
            == ("listener", "action listener.fail", "on purpose", False)
        ),
    ),
    "Generated": (replied, lambda e: e.slot == "chat" and e.finish.reason == "stop"),
    "JobProgress": (
        lambda app: acted(app, "work"),
        lambda e: (e.owner, e.title, e.state) == ("listener", "Counting", "done"),
    ),
    "SectionChanged": (configured, lambda e: e.name == "extensions.listener"),
    "SettingsChanged": (configured, lambda e: e.id == "listener"),
    "SlotChanged": (lambda app: app.kernel.slot().unload(), lambda e: e.state == "empty"),
    "Started": (lambda app: start_enabled(app.kernel), lambda e: True),
    "StatusChanged": (toggled, lambda e: (e.id, e.status, e.reason) == ("other", "running", "")),
}
"""What brings each event about, and what it then says."""


@pytest.mark.parametrize("name", reference.EVENTS)
async def test_it_reaches_who_listens(app: App, name: str):
    assert name in STORY, "a public event needs a line in STORY"
    bring_about, says = STORY[name]
    kind: Any = getattr(api, name)
    ext: Any = app.kernel.records["listener"].handle
    await bring_about(app)
    await app.until(lambda: any(type(e) is kind and says(e) for e in ext.seen))


class Telling(Bus):
    """Keeps what it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def emit(self, event: object) -> None:
        assert isinstance(event, JobProgress)
        self.notes.append(event.note)


async def test_the_last_word_of_a_job_before_a_silence_is_told(tmp_path: Path):
    """Reports that come too fast are held back, and the last of them follows."""

    async def hurrying(job: Job) -> None:
        for note in ("one", "two", "three"):
            job.report(0.5, note)
        await asyncio.Event().wait()

    bus = Telling()
    job = Jobs(bus, tmp_path).start("test", "Hurrying", hurrying)
    async with asyncio.timeout(10):
        while "three" not in bus.notes:
            await asyncio.sleep(0.01)
    assert bus.notes == ["", "one", "three"]
    job.cancel()
    await asyncio.wait({job.task})
    assert bus.notes[-1] == "three"
    assert job.progress.state == "cancelled"


def test_who_does_not_listen_holds_up_nobody_and_loses_the_oldest(
    caplog: pytest.LogCaptureFixture,
):
    """Each has a queue of its own, which grows no further; a plain call waits for none of them."""
    bus, many = Bus(), 1000
    deaf, _ = bus.open(int)
    keen, _ = bus.open(int)
    heard: list[int] = []
    for number in range(many + 3):
        bus.emit(number)
        heard.append(keen.get_nowait())
    assert heard == [*range(many + 3)]
    assert [deaf.get_nowait() for _ in range(deaf.qsize())] == [*range(3, many + 3)]
    lost = [line.rpartition(" ")[2] for line in caplog.messages]
    assert lost == ["0", "1", "2"], "what was lost is told"


SLOW = """
import asyncio
async def setup(ext):
    ext.gate, ext.heard = asyncio.Event(), []
    @ext.on(int)
    async def slowly(number):
        await ext.gate.wait()
        ext.heard.append(number)
"""


async def test_a_listener_that_hangs_holds_up_no_other(tmp_path: Path):
    for id in ("slow", "quick"):
        write(tmp_path, id, SLOW)
    async with running("slow", "quick", folders=[tmp_path]) as app:
        slow, quick = (cast(Any, app.extension(id)) for id in ("slow", "quick"))
        quick.gate.set()
        for number in range(5):
            app.kernel.bus.emit(number)
        await app.until(lambda: quick.heard == [*range(5)])
        assert slow.heard == []
        slow.gate.set()
        await app.until(lambda: slow.heard == [*range(5)])


async def test_who_asks_for_the_changes_of_one_point_hears_of_no_other():
    async with running("sounds") as app:
        ext, heard = app.extension("sounds"), list[api.Changed]()

        @ext.on(api.Changed(api.MODES))
        async def changed(event: api.Changed) -> None:
            heard.append(event)

        for point in (api.PANELS, api.MODES, api.LOADERS):
            app.kernel.bus.emit(api.Changed(point))
        await app.until(lambda: bool(heard))
        assert heard == [api.Changed("modes")]


def test_of_equal_changes_that_wait_one_is_told():
    bus = Bus()
    queue, _ = bus.open(object)
    for point in ("actions", "panels", "actions"):
        bus.emit(api.Changed(point))
    assert [queue.get_nowait() for _ in range(queue.qsize())] == [
        api.Changed("actions"),
        api.Changed("panels"),
    ]
    bus.emit(api.Changed("actions"))
    assert queue.get_nowait() == api.Changed("actions"), "the first was told: this is another"
    for _ in range(2):
        bus.emit(JobProgress("1", "models", "Load"))
    assert queue.qsize() == 2, "what is no such event is told each time"
