"""What no page shows starts after the first page; who asks for it sooner waits for it."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from kernel import starting
from kernel.clients import Client
from kernel.contract import Refused
from kernel.manager import Kernel
from kernel.manifest import Manifest
from kernel.pages import PANELS
from kernel.records import SectionChanged, Started, Status
from kernel.starting import Late
from kernel.testing import ROOT, running

LATE = """
from starlette.responses import PlainTextResponse
from kernel.api import ROUTES, Action, Routes
class Greet(Action, frozen=True): pass
async def setup(ext):
    ext.add(ROUTES, Routes(PlainTextResponse("from the late one"), "public"))
    @ext.on(Greet)
    async def greet(action, client):
        ext.tell("greeted", client)
"""
FLAG = '[[flags]]\nname = "own-port"\nhelp = "x"\ntype = "int"\ndefault = 5000'
EARLY = "async def setup(ext): pass"
PAGE = {"Accept": "text/html"}


def write(root: Path, id: str, code: str, more: str = "") -> None:
    folder = root / id
    folder.mkdir()
    said = {"id": id, "name": id, "version": "1", "summary": "Tests."}
    lines = [f'{name} = "{value}"' for name, value in said.items()]
    (folder / "extension.toml").write_text("\n".join([*lines, "api = 1", more]))
    (folder / "__init__.py").write_text(code)


class Beginning:
    """A server that begins: its kernel, and a browser that asks it."""

    def __init__(self, kernel: Kernel, late: Late) -> None:
        self.kernel, self.late = kernel, late
        transport = httpx.ASGITransport(late)
        self.browser = httpx.AsyncClient(transport=transport, base_url="http://here")
        self.starting = asyncio.create_task(late.start())

    def status(self, id: str) -> Status:
        return self.kernel.records[id].status


@asynccontextmanager
async def beginning(
    tmp_path: Path, *, more: str = "", strict: bool = False, port: int = 5000
) -> AsyncGenerator[Beginning]:
    write(tmp_path, "late_one", LATE, f'late = true\npaths = ["/late"]\n{FLAG}')
    write(tmp_path, "early_one", EARLY, more)
    async with running("settings", folders=[tmp_path], strict=strict) as app:
        folders = tmp_path.iterdir()  # noqa: ASYNC240  a test may wait for its disk
        app.kernel.only = {"settings", *(each.name for each in folders)}
        app.kernel.flags["late_one"] = {"own-port": port}
        begun = Beginning(app.kernel, Late(app.web, app.kernel))
        async with begun.browser:
            await begun.late.serving.wait()
            yield begun
            await begun.starting


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a page nothing begins by itself."""
    monkeypatch.setattr(starting, "WAIT", 600.0)


@pytest.mark.usefixtures("patient")
async def test_the_first_page_comes_first(tmp_path: Path):
    async with beginning(tmp_path) as begun:
        started, _ = begun.kernel.bus.open(Started)
        assert begun.status("early_one") is Status.RUNNING
        assert begun.status("late_one") is Status.STARTING
        assert (await begun.browser.get("/nowhere", headers=PAGE)).status_code == 404
        assert (await begun.browser.get("/static/app.css")).status_code == 200
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun.status("late_one") is Status.STARTING, "neither was a page"
        assert started.empty()
        assert (await begun.browser.get("/", headers=PAGE)).status_code == 200
        await begun.starting
        assert begun.status("late_one") is Status.RUNNING
        assert started.get_nowait() == Started()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["/late", "/late/models", "/ext/late_one/x"])
async def test_who_asks_for_it_is_answered_by_it(tmp_path: Path, path: str):
    async with beginning(tmp_path) as begun:
        assert begun.status("late_one") is Status.STARTING
        assert (await begun.browser.get(path)).text == "from the late one"


async def test_without_a_page_it_starts_in_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(starting, "WAIT", 0.01)
    async with beginning(tmp_path) as begun:
        await begun.starting
        assert begun.status("late_one") is Status.RUNNING


@pytest.mark.usefixtures("patient")
async def test_the_page_loads_what_it_brings_from_the_beginning(tmp_path: Path):
    async with beginning(tmp_path) as begun:
        static = tmp_path / "late_one" / "static"
        static.mkdir()
        (static / "late_one.css").write_text(".late-one { color: red }")
        first = (await begun.browser.get("/", headers=PAGE)).text
        await begun.starting
        [style] = {*re.findall(r"/ext/styles\.css\?v=\w+", first)}
        assert style in (await begun.browser.get("/", headers=PAGE)).text
        assert ".late-one" in (await begun.browser.get(style)).text


@pytest.mark.usefixtures("patient")
async def test_switched_off_while_it_waits_it_stays_off(tmp_path: Path):
    async with beginning(tmp_path) as begun:
        begun.kernel.only = {"settings", "early_one"}
        await begun.kernel.stop("late_one")
        assert (await begun.browser.get("/", headers=PAGE)).status_code == 200
        await begun.starting
        assert begun.status("late_one") is Status.OFF


@pytest.mark.usefixtures("patient")
async def test_who_needs_it_has_it_at_once(tmp_path: Path):
    async with beginning(tmp_path, more='[requires]\nextensions = ["late_one"]') as begun:
        assert begun.status("early_one") is Status.RUNNING
        assert begun.status("late_one") is Status.RUNNING
        assert (await begun.browser.get("/late")).text == "from the late one"


@pytest.mark.usefixtures("patient")
async def test_with_strict_all_start_before_the_server_answers(tmp_path: Path):
    async with beginning(tmp_path, strict=True) as begun:
        assert begun.status("late_one") is Status.RUNNING


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("port", "status"), [(5000, Status.STARTING), (5001, Status.RUNNING)])
async def test_one_whose_flag_was_said_does_not_wait(tmp_path: Path, port: int, status: Status):
    async with beginning(tmp_path, port=port) as begun:
        assert begun.status("late_one") is status
        assert (await begun.browser.get("/late")).text == "from the late one"


async def test_what_is_late_shows_nothing_in_the_page():
    """But in Settings and Model, which are drawn again when it comes."""
    shipped = (ROOT / "extensions").glob("*/extension.toml")
    late = [m.id for m in (Manifest.read(file.parent) for file in shipped) if m.late and m.enabled]
    assert len(late) > 15
    async with running(*late) as app:
        shown = {
            (entry.owner, entry.value.region)
            for entry in app.kernel.registry.entries(PANELS)
            if entry.owner in late
        }
        assert {region for _, region in shown} <= {"settings", "models", "model_file"}, shown


@pytest.mark.usefixtures("patient")
async def test_who_asks_for_one_that_is_there_waits_for_the_others(tmp_path: Path):
    """Else a program would meet an API without its loader."""
    write(tmp_path, "other_one", EARLY, "late = true")
    async with beginning(tmp_path, port=5001) as begun:  # a flag of it was said
        assert begun.status("late_one") is Status.RUNNING
        assert begun.status("other_one") is Status.STARTING
        assert (await begun.browser.get("/late")).text == "from the late one"
        assert begun.status("other_one") is Status.RUNNING


@pytest.mark.usefixtures("patient")
async def test_what_the_first_page_loads_does_not_wait(tmp_path: Path):
    async with beginning(tmp_path) as begun:
        (static := tmp_path / "late_one" / "static").mkdir()
        (static / "late_one.js").write_text("'it'")
        assert (await begun.browser.get("/ext/late_one/static/late_one.js")).text == "'it'"
        assert begun.status("late_one") is Status.STARTING
        assert (await begun.browser.get("/late")).status_code == 200


@pytest.mark.usefixtures("patient")
async def test_what_a_page_asks_it_for_waits_for_it(tmp_path: Path):
    """As a click right after the server came back."""
    async with beginning(tmp_path) as begun:
        to_server, to_page = asyncio.Queue[Message](), asyncio.Queue[Message]()
        scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}
        serving = asyncio.create_task(begun.late(scope, to_server.get, to_page.put))
        to_server.put_nowait({"type": "websocket.connect"})
        assert (await to_page.get())["type"] == "websocket.accept"
        assert begun.status("late_one") is Status.STARTING
        text = json.dumps({"action": "late_one.greet"})
        to_server.put_nowait({"type": "websocket.receive", "text": text})
        heard = ""
        while 'class="toast' not in heard:
            heard = b"".join((await to_page.get()).get("texts", ())).decode()
        assert "greeted" in heard
        assert begun.status("late_one") is Status.RUNNING
        to_server.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await serving


HANGING = """
import asyncio
from kernel.api import Action
class Greet(Action, frozen=True): pass
async def setup(ext):
    while not (ext.folder / "go_on").exists():
        await asyncio.sleep(0.01)
    @ext.on(Greet)
    async def greet(action, client):
        ext.tell("greeted", client)
"""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a page, or for one that hangs."""
    monkeypatch.setattr(starting, "WAIT", 0.01)
    monkeypatch.setattr(starting, "TURN", 0.05)


def hang(root: Path, more: str = "") -> Path:
    """An extension whose setup lasts until the file is there, and two that need it."""
    write(root, "a_hanging_one", HANGING, more)
    late = more if more.startswith("late") else ""
    for id in ("needs_it", "needs_it_too"):
        write(root, id, EARLY, f'{late}\n[requires]\nextensions = ["a_hanging_one"]')
    return root / "a_hanging_one" / "go_on"


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("more", ["", "late = true"])
async def test_one_that_takes_long_holds_up_nobody(tmp_path: Path, more: str):
    go_on = hang(tmp_path, more)
    async with beginning(tmp_path) as begun:
        started, _ = begun.kernel.bus.open(Started)
        async with asyncio.timeout(5):
            assert (await begun.browser.get("/", headers=PAGE)).status_code == 200
            assert (await begun.browser.get("/late")).text == "from the late one"
        assert begun.status("late_one") is Status.RUNNING
        assert begun.status("early_one") is Status.RUNNING
        assert started.empty(), "else a model would reply without it"
        client, heard = Client("1", "", "/"), list[str]()
        client.hear = lambda text, kind: heard.append(text)
        act = begun.kernel.hub.actions.act
        for id in ("a_hanging_one", "needs_it", "needs_it_too"):
            assert begun.status(id) is Status.STARTING
            with pytest.raises(Refused, match=f"{id} is still starting"):
                await act(client, {"action": f"{id}.greet"})
            page = await begun.browser.get(f"/{id}", headers=PAGE)
            assert page.status_code == 503
            assert f"{id} is still starting" in page.text
            told = await begun.browser.get(f"/ext/{id}/x")
            assert told.headers["retry-after"] == "1"
            assert (told.status_code, told.json()["error"]["code"]) == (503, "starting")
        assert "It waits for a_hanging_one" in begun.kernel.records["needs_it_too"].reason
        go_on.touch()
        await begun.starting
        assert started.get_nowait() == Started()
        assert {begun.status(id) for id in begun.kernel.only or ()} == {Status.RUNNING}
        await act(client, {"action": "a_hanging_one.greet"})
        assert heard == ["greeted"]


async def test_however_many_hang_it_is_two_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(starting, "WAIT", 0.01)
    monkeypatch.setattr(starting, "TURN", 0.4)
    for n in range(8):
        write(tmp_path, f"hanging_{n}", HANGING)
    async with asyncio.timeout(2), beginning(tmp_path) as begun:
        assert begun.status("hanging_7") is Status.STARTING
        for n in range(8):
            (tmp_path / f"hanging_{n}" / "go_on").touch()


@pytest.mark.usefixtures("brief")
async def test_who_ends_the_start_ends_what_takes_long(tmp_path: Path):
    hang(tmp_path)
    async with beginning(tmp_path) as begun:
        await begun.browser.get("/late")
        begun.starting.cancel()
        await asyncio.wait({begun.starting})
        async with asyncio.timeout(2):
            await begun.kernel.close()
        assert not [t for t in asyncio.all_tasks() if t.get_name() == "extension:a_hanging_one"]
        begun.starting = asyncio.ensure_future(asyncio.sleep(0))


@pytest.mark.usefixtures("brief")
async def test_one_that_takes_long_keeps_its_addresses(tmp_path: Path):
    go_on = hang(tmp_path, 'paths = ["/same"]')
    write(tmp_path, "b_other", EARLY, 'paths = ["/same"]')
    async with beginning(tmp_path) as begun:
        go_on.touch()
        await begun.starting
        assert begun.status("a_hanging_one") is Status.RUNNING
        assert begun.status("b_other") is Status.INCOMPATIBLE
        assert "serves /same already" in begun.kernel.records["b_other"].reason


@pytest.mark.usefixtures("brief")
async def test_switched_off_while_it_hangs_it_is_off_at_once(tmp_path: Path):
    """And so is what needs it; what an editor changes next is not held up."""
    hang(tmp_path)
    async with beginning(tmp_path) as begun:
        kernel = begun.kernel
        async with asyncio.timeout(2):
            await kernel.changes.toggle("a_hanging_one", on=False)
            assert begun.status("a_hanging_one") is Status.OFF
            await begun.starting
        assert {begun.status(id) for id in ("needs_it", "needs_it_too")} == {Status.INCOMPATIBLE}
        kernel.only = None
        watching = asyncio.create_task(kernel.settings.watch(kernel.changes.follow, 0.01, 0.01))
        path, heard = kernel.settings.path, kernel.bus.open(SectionChanged)[0]
        path.write_text("extensions:\n  a_hanging_one:\n    enabled: true\n")
        async with asyncio.timeout(2):
            while begun.status("a_hanging_one") is not Status.STARTING:
                await asyncio.sleep(0.005)
            path.write_text("appearance:\n  theme: dark\n")
            while (await heard.get()).name != "appearance":
                pass
        assert kernel.theme == "dark"
        watching.cancel()
        await kernel.close()


async def test_what_is_given_up_before_its_first_step_holds_up_nobody(tmp_path: Path):
    """A task that is cancelled so early runs not one line, nor what would tell of its end."""
    write(tmp_path, "bad", EARLY)
    async with running("settings", folders=[tmp_path]) as app:
        kernel, record = app.kernel, app.kernel.records["bad"]
        kernel.only = None
        starting = asyncio.create_task(kernel.start("bad"))
        while not record.task:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await kernel.stop("bad")
            assert await starting is False
        assert record.status is Status.OFF
        assert await kernel.start("bad")


async def test_what_began_while_its_need_was_to_stop_stops_too(tmp_path: Path):
    hang(tmp_path).touch()
    async with running("settings", folders=[tmp_path]) as app:
        kernel, need = app.kernel, app.kernel.records["a_hanging_one"]
        kernel.only = {"settings", "a_hanging_one", "needs_it"}
        await kernel.start("a_hanging_one")
        await kernel.stop("needs_it")
        async with need.lock:
            off = asyncio.create_task(kernel.stop("a_hanging_one"))
            await asyncio.sleep(0.01)
            on = asyncio.create_task(kernel.start("needs_it"))
            await asyncio.sleep(0.01)
        await asyncio.gather(off, on)
        assert (need.status, kernel.records["needs_it"].status) == (Status.OFF, Status.OFF)


async def test_a_start_goes_on_without_who_asked_for_it(tmp_path: Path):
    go_on = hang(tmp_path)
    async with running("settings", folders=[tmp_path]) as app:
        app.kernel.only = {"settings", "a_hanging_one"}
        record, lives = app.kernel.records["a_hanging_one"], "extension:a_hanging_one"
        asked = asyncio.create_task(app.kernel.start("a_hanging_one"))
        await app.until(lambda: bool(record.task))
        asked.cancel()
        await asyncio.wait({asked})
        again = asyncio.create_task(app.kernel.start("a_hanging_one"))
        await asyncio.sleep(0)
        assert [t.get_name() for t in asyncio.all_tasks()].count(lives) == 1
        go_on.touch()
        assert await again
        assert record.is_(Status.RUNNING)


async def test_those_that_need_each_other_wait_for_nobody(tmp_path: Path):
    for id, other in (("b", "c"), ("c", "b")):
        write(tmp_path, f"{id}_one", EARLY, f'[requires]\nextensions = ["{other}_one"]')
    async with running("settings", folders=[tmp_path]) as app:
        app.kernel.only = {"settings", "b_one", "c_one"}
        async with asyncio.timeout(2):
            await asyncio.gather(*map(app.kernel.start, ("b_one", "c_one")))
        reason = app.kernel.records["b_one"].reason
        assert reason == "It needs itself: b_one → c_one → b_one."
