"""The event loop stands still: who holds it is named, counted, and can be left out."""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
import websockets

from kernel.records import Status
from kernel.rescue import Rescue, in_words
from kernel.testing import Scripted, running
from kernel.waiting import comes_true
from kernel.watchdog import Block, Watchdog
from tests.live import Live, live

from .zoo import told, write

SLOW = """
import time
from kernel.api import Action
class Press(Action, frozen=True):
    seconds: float
def work(seconds):
    time.sleep(seconds)
async def setup(ext):
    @ext.on(Press)
    async def press(action, client):
        work(action.seconds)
"""


async def test_who_holds_the_loop_is_named_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    write(tmp_path, "bad", SLOW)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        with Watchdog(app.kernel, after=0.1):
            page, record = app.page(), app.kernel.records["bad"]
            await page.act("bad.press", seconds=0.3)
            await page.until(r"Bad held everything up for \d+\.\d s\. Its card in Settings")
            assert re.search(
                r"It runs, but failed in event loop: TimeoutError: it held everything up for "
                r"\d+\.\d s at bad/__init__.py:7, in work\. If that goes on",
                told(app),
            )
            assert "Bad holds everything up at bad/__init__.py:7, in work" in caplog.text
            assert "time.sleep(seconds)" in caplog.text  # its stack
            async with asyncio.timeout(20):
                while record.status is not Status.QUARANTINED:
                    await page.act("bad.press", seconds=0.3)
                    await asyncio.sleep(0.05)


async def test_a_pause_of_nobody_is_nobodys_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with running() as app:
        with Watchdog(app.kernel, after=0.1):
            time.sleep(0.3)  # noqa: ASYNC251
            await asyncio.sleep(0.05)
        assert "Something holds everything up" in caplog.text
        assert app.kernel.trouble == {}


async def test_it_costs_nothing_while_all_is_well():
    async with running() as app:
        before = time.process_time()
        await asyncio.sleep(1)
        without = time.process_time() - before
        with Watchdog(app.kernel):
            before = time.process_time()
            await asyncio.sleep(1)
            assert time.process_time() - before - without < 0.01


def test_the_command_is_exact_and_keeps_a_password_to_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["kernel", "serve", "--port", "7861", "--password", "p w"])
    assert in_words("bad") == "python server.py --port 7861 --password '…' --without bad"
    monkeypatch.setattr(sys, "argv", ["kernel", "serve", "--password=p@ss word!", "--strict"])
    assert in_words("bad") == "python server.py '--password=…' --strict --without bad"


# --- with a real server ---------------------------------------------------------------------

HANGS = """
from kernel.api import Action
class Press(Action, frozen=True): pass
async def setup(ext):
    @ext.on(Press)
    async def press(action, client):
        while not (ext.folder / "calm").exists(): pass
"""
SETTINGS = "server:\n  patience: 2\n"


def hanging(data: Path) -> None:
    write(data / "extensions", "bad", HANGS)
    (data / "settings.yaml").write_text(SETTINGS)


async def press(server: Live, web: httpx.AsyncClient, action: str, **values: str) -> None:
    """Press a button of a page, without waiting for anything."""
    cookie = "; ".join(f"{name}={value}" for name, value in web.cookies.items())
    address = server.address.replace("http", "ws") + "/ws?path=/chat"
    headers = {"Cookie": cookie, "Origin": server.address}
    socket = await websockets.connect(address, additional_headers=headers)
    await socket.send(json.dumps({"action": action, **values}))
    await asyncio.sleep(0.3)
    socket.transport.abort()


def messages(data: Path) -> str:
    with sqlite3.connect(data / "chats.sqlite3") as chats:
        return str(chats.execute("SELECT * FROM messages").fetchall())


async def rescue_page(web: httpx.AsyncClient, address: str) -> httpx.Response:
    """The page as soon as it is offered."""
    for _ in range(60):
        try:
            answer = await web.get(address, timeout=0.5)
        except httpx.TransportError:
            continue
        if answer.status_code == 503:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError("no rescue came")


async def test_what_hangs_for_ever_is_left_out_by_a_button_and_nothing_is_lost(tmp_path: Path):
    data = tmp_path / "data"
    hanging(data)
    flags = ("--extensions", "chat", "bad")
    async with live(data, tmp_path, *flags) as server, httpx.AsyncClient() as web:
        await web.get(server.link)
        await press(server, web, "chat.send", text="Remember me")
        while "Remember me" not in messages(data):
            await asyncio.sleep(0.05)
        await press(server, web, "bad.press")
        page = await rescue_page(web, server.address)
        assert "<h1>Bad holds everything up</h1>" in page.text
        assert re.search(r"bad/__init__.py:7, in press", page.text)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await web.get(server.address + "/static/app.css")).status_code == 200
        assert "Bad holds everything up, at bad/__init__.py:7" in server.said
        assert re.search(r"python server.py .*--extensions chat bad .*--without bad\n", server.said)

        # The same door: another name, another site and nobody in particular are refused.
        button = server.address + "/restart-without"
        own = {"Origin": server.address}
        for headers in ({"Host": "evil.test"}, {"Origin": "http://evil.test"}):
            assert (await web.post(button, headers=headers)).status_code == 403
        async with httpx.AsyncClient() as stranger:
            assert (await stranger.post(button, headers=own)).status_code == 401
            assert (await stranger.get(server.address)).status_code == 401
        assert (await web.get(server.address)).status_code == 503

        process = psutil.Process(server._process.pid)  # type: ignore[union-attr]
        started = process.create_time()
        answer = await web.post(button, headers=own)
        assert answer.status_code == 200
        assert "It starts without Bad." in answer.text
        for _ in range(100):
            with suppress(httpx.TransportError):
                if (await web.get(server.address, timeout=1)).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        assert process.create_time() == started  # the same process, at the same port
        assert "--without" in process.cmdline()
        settings = (await web.get(server.address + "/settings")).text
        card = settings[settings.index('id="settings-bad"') :].partition("</li>")[0]
        assert "Spindle was started without it (--without)" in card
        assert "mend what held all up, then switch it on." in card
        assert 'aria-checked="false"' in card
        (data / "extensions" / "bad" / "calm").touch()
        await press(server, web, "settings.toggle", id="bad", on="true")
        async with asyncio.timeout(20):
            while "--without" in card:  # until it runs again
                settings = (await web.get(server.address + "/settings")).text
                card = settings[settings.index('id="settings-bad"') :].partition("</li>")[0]
        assert 'aria-checked="true"' in card
    with sqlite3.connect(data / "chats.sqlite3") as chats:
        assert chats.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert "Remember me" in messages(data)
    chats.close()


async def test_what_goes_on_by_itself_is_not_restarted(tmp_path: Path):
    data = tmp_path / "data"
    hanging(data)
    async with live(data, tmp_path, "--extensions", "bad") as server, httpx.AsyncClient() as web:
        await web.get(server.link)
        await press(server, web, "bad.press")
        await rescue_page(web, server.address)
        (data / "extensions" / "bad" / "calm").touch()
        settings = ""
        for _ in range(50):
            with suppress(httpx.TransportError):  # Who still had the rescue's ear asks again.
                settings = (await web.get(server.address + "/settings", timeout=2)).text
            if "It runs, but failed in event loop" in settings:
                break
            await asyncio.sleep(0.1)
        assert "It runs, but failed in event loop" in settings
        assert (await web.post(server.address + "/restart-without")).status_code == 404


@pytest.mark.parametrize("where", ["import", pytest.param("setup", marks=pytest.mark.long)])
async def test_what_hangs_at_the_start_is_left_out_too(tmp_path: Path, where: str):
    """Nobody was let in yet: the rescue page asks for the key, as every page does."""
    data, hang = tmp_path / "data", "while True: pass"
    code = hang if where == "import" else f"async def setup(ext):\n    {hang}"
    write(data / "extensions", "bad", code)
    (data / "settings.yaml").write_text(SETTINGS)
    async with live(data, tmp_path, "--extensions", "bad") as server, httpx.AsyncClient() as web:
        assert "Bad holds everything up" in server.said
        assert (await web.get(server.address)).status_code == 401
        key, own = (data / "secrets" / "api_key").read_text(), {"Origin": server.address}
        answer = await web.post(server.address + "/login", data={"token": "no"}, headers=own)
        assert answer.status_code == 401
        answer = await web.post(server.address + "/login", data={"token": key}, headers=own)
        assert answer.status_code == 303
        assert "Bad holds everything up" in (await web.get(server.address)).text
        await web.post(server.address + "/restart-without", headers=own)
        for _ in range(100):
            with suppress(httpx.TransportError):
                if (await web.get(server.address, timeout=1)).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        assert "Spindle was started without it" in (await web.get(server.address)).text


async def test_two_signals_end_what_stands_still(tmp_path: Path):
    data = tmp_path / "data"
    hanging(data)
    async with live(data, tmp_path, "--extensions", "bad") as server, httpx.AsyncClient() as web:
        await web.get(server.link)
        await press(server, web, "bad.press")
        server.tell(signal.SIGINT)
        await asyncio.sleep(0.2)
        assert await server.kill(signal.SIGINT) == 130


class Waits:
    """An event that is set after so many waits."""

    def __init__(self, times: int) -> None:
        self._left = times

    def wait(self, timeout: float) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize(
    ("worked", "queued", "blocked"),
    [(0.01, 0, False), (3600, 0, True), (900, 2700, True), (0.01, 3600, False)],
)
async def test_a_machine_that_slept_is_no_block_and_a_library_that_worked_is(
    monkeypatch: pytest.MonkeyPatch, worked: float, queued: float, blocked: bool
):
    """One wait took an hour: nobody's, unless the processor worked all the while, or a quarter of
    it where four shared it."""
    async with running() as app:
        dog: Any = Watchdog(app.kernel)
        dog._watched, dog._native, dog._free = threading.get_ident(), 0, Waits(1)
        monkeypatch.setattr("time.monotonic", iter([0.0, 3600.0]).__next__)
        monkeypatch.setattr("time.process_time", iter([0.0, worked]).__next__)
        queue = iter([0.0, queued])
        monkeypatch.setattr("kernel.watchdog._queued", lambda _: next(queue))
        block = dog._await()
        monkeypatch.undo()
        assert bool(block) == blocked


@pytest.mark.long
async def test_a_server_that_was_stopped_for_a_while_saw_no_block(tmp_path: Path):
    data = tmp_path / "data"
    hanging(data)
    async with live(data, tmp_path, "--extensions", "bad") as server, httpx.AsyncClient() as web:
        assert server._process
        server._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(4)
        server._process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.6)
        assert (await web.get(server.link)).status_code == 303
        assert "holds everything up" not in server.said


PATIENT = """
import time
from kernel.api import INPUT, OUTPUT, Delta
async def setup(ext):
    async def work():
        for _ in range(3):
            await ext.thread(time.sleep, 0.01)
    @ext.on(INPUT)
    async def before(turn):
        await work()
        return turn
    @ext.on(OUTPUT)
    async def after(deltas, turn):
        async for delta in deltas:
            await work()
            yield Delta(delta.text.upper())
"""


async def test_who_waits_while_the_loop_stands_still_is_not_late(tmp_path: Path):
    """The machine sleeps or is busy, again and again: what others do meanwhile has its time."""
    write(tmp_path, "good", PATIENT)
    async with running("good", model=Scripted("One two three."), folders=[tmp_path]) as app:
        app.kernel.guard.budget = 0.2
        reply = asyncio.create_task(app.say("Hello"))
        while not reply.done():
            await asyncio.sleep(0.015)
            time.sleep(0.25)  # noqa: ASYNC251, the loop is held up
        assert app.kernel.trouble == {}
        assert await reply == "ONE TWO THREE."


HOGGING = """
import asyncio, time
from kernel.api import OUTPUT
async def setup(ext):
    @ext.on(OUTPUT)
    async def after(deltas, turn):
        while True:
            time.sleep(0.06)
            await asyncio.sleep(0)
        yield
"""


async def test_who_holds_the_loop_up_again_and_again_is_late_all_the_same(tmp_path: Path):
    """Each time a little, and never as long as the watchdog waits."""
    write(tmp_path, "bad", HOGGING)
    async with running("bad", model=Scripted("One two."), folders=[tmp_path]) as app:
        app.kernel.guard.budget = 0.2
        assert await asyncio.wait_for(app.say("Hello"), 20) == "One two."
        assert "took longer than 0.2 s" in str(app.kernel.trouble["bad"])


PANEL = """
import time
from kernel.api import GENERATE, PANELS, Delta, Panel
async def setup(ext):
    async def work(*_):
        for _ in range(3):
            await ext.thread(time.sleep, 0.01)
        return {"n": 1}
    await work()
    ext.add(PANELS, Panel("tab", "it.html", work))
    async def words():
        await work()
        yield Delta("Hello.")
    @ext.on(GENERATE)
    async def answer(draft):
        return words()
"""


async def test_panels_setups_and_answers_have_their_time_too(tmp_path: Path):
    write(tmp_path, "good", PANEL)
    (tmp_path / "good" / "templates").mkdir(exist_ok=True)
    (tmp_path / "good" / "templates" / "it.html").write_text("<p>drawn {{ n }}</p>")
    async with running(folders=[tmp_path]) as app:
        guard = app.kernel.guard
        guard.budget = guard.silence = app.kernel.patience = 0.2

        async def all_of_it() -> tuple[bool, str, str]:
            started = await app.kernel.start("good")
            page = await app.open("/good")
            return started, str(page.html), await app.say("Hello")

        work = asyncio.create_task(all_of_it())
        while not work.done():
            await asyncio.sleep(0.015)
            time.sleep(0.25)  # noqa: ASYNC251, the loop is held up
        started, shown, said = await work
        assert started
        assert "drawn 1" in shown
        assert said == "Hello."
        assert app.kernel.trouble == {}


PATIENT_PANELS = {
    "a caught error": """
        try: await ext.thread(open, "/nonexistent")
        except OSError: pass
        await asyncio.sleep(0.15)""",
    "a limit within": """
        try:
            async with asyncio.timeout(0.01): await asyncio.sleep(9)
        except TimeoutError: pass
        await asyncio.sleep(0.15)""",
    "a group within": """
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.15))""",
}
STUBBORN_PANELS = {
    "itself": "await stubborn()",
    "a child": "await asyncio.gather(stubborn())",
    "a task": "await asyncio.shield(asyncio.ensure_future(stubborn()))",
}
DRAWS = """
import asyncio
from kernel.api import PANELS, Panel
from pathlib import Path
async def stubborn():
    while not Path(__file__).with_name("calm").exists():
        try: await asyncio.sleep(0.01)
        except asyncio.CancelledError: pass
async def setup(ext):
    async def context(client, subject):
        {work}
        return {{}}
    ext.add(PANELS, Panel("tab", "it.html", context))
"""


def panel(root: Path, id: str, work: str) -> None:
    write(root, id, DRAWS.format(work=work))
    (root / id / "templates").mkdir(exist_ok=True)
    (root / id / "templates" / "it.html").write_text(f"<p>{id} is drawn</p>")


@pytest.mark.parametrize("how", PATIENT_PANELS)
async def test_a_panel_may_catch_what_it_likes_in_its_time(tmp_path: Path, how: str):
    panel(tmp_path, "good", PATIENT_PANELS[how])
    async with running("good", folders=[tmp_path]) as app:
        page = await app.open("/good")
        await page.until("good is drawn")
        assert app.kernel.trouble == {}


@pytest.mark.parametrize("how", STUBBORN_PANELS)
async def test_a_panel_that_goes_on_costs_its_own_place(tmp_path: Path, how: str):
    panel(tmp_path, "bad", STUBBORN_PANELS[how])
    async with running("bad", folders=[tmp_path]) as app:
        app.kernel.guard.budget = 0.1
        page = app.page("/bad")
        async with asyncio.timeout(2):
            await app.web.snapshot(page.client)
        await page.until("bad could not draw this|Bad could not draw this")
        assert "took longer than 0.1 s" in str(app.kernel.trouble["bad"])
        (tmp_path / "bad" / "calm").touch()
        await app.until(lambda: not any("stubborn" in str(t) for t in asyncio.all_tasks()))
        await app.until(lambda: not any(t.get_name() == "bad:call" for t in asyncio.all_tasks()))


PUSHES = """
import asyncio
from kernel.api import PANELS, Everyone, Panel
async def setup(ext):
    ext.drawn = 0
    async def context(client, subject):
        ext.drawn += 1
        if ext.drawn == 1:  # In the moment between its end and what is made of it.
            asyncio.get_running_loop().call_soon(ext.push_html, "<p id=x>newer</p>", Everyone())
        return {}
    ext.add(PANELS, Panel("tab", "it.html", context))
"""


async def test_what_its_owner_pushes_right_after_it_was_drawn_comes_behind_it(tmp_path: Path):
    """And it is drawn once: to draw may have effects, as to hand out words that waited."""
    panel(tmp_path, "good", "pass")
    (tmp_path / "good" / "__init__.py").write_text(PUSHES)
    async with running("good", folders=[tmp_path]) as app:
        page = app.page("/good")
        await app.web.snapshot(page.client)
        await page.until("good is drawn.*newer")
        ext: Any = app.extension("good")
        assert ext.drawn == 1


LATER = """
import asyncio
from kernel.api import PANELS, Panel
async def setup(ext):
    ext.later = []
    async def again(client, subject):
        await asyncio.sleep(0.02)
        ext.later = await ext.panels("tab", client, "x")
    async def context(client, subject):
        if subject == "first": ext.spawn(again(client, subject))
        elif len(subject) > 1: await ext.panels("tab", client, subject[1:])
        return {}
    ext.add(PANELS, Panel("tab", "it.html", context))
"""


async def test_a_panel_may_show_itself_for_less_and_a_task_of_it_may_draw_it_later(tmp_path: Path):
    panel(tmp_path, "good", "pass")
    (tmp_path / "good" / "__init__.py").write_text(LATER)
    async with running("good", folders=[tmp_path]) as app:
        ext: Any = app.extension("good")
        assert "good is drawn" in str(await ext.panels("tab", None, "abcdefgh"))
        await ext.panels("tab", None, "first")
        await app.until(lambda: bool(ext.later))
        assert "good is drawn" in str(ext.later)
        assert app.kernel.trouble == {}


OUTER = """
from kernel.api import PANELS, Panel
async def setup(ext):
    async def context(client, subject):
        return {"inner": await ext.panels("composer", client, subject)}
    ext.add(PANELS, Panel("tab", "it.html", context))
"""


async def test_what_hangs_within_a_panel_is_blamed_itself(tmp_path: Path):
    for id in ("one", "two"):
        panel(tmp_path, id, "await asyncio.sleep(9)")
        code = tmp_path / id / "__init__.py"
        code.write_text(code.read_text("utf-8").replace('"tab"', '"composer"'))
    panel(tmp_path, "outer", "pass")
    (tmp_path / "outer" / "__init__.py").write_text(OUTER)
    async with running("one", "two", "outer", folders=[tmp_path]) as app:
        app.kernel.guard.budget = 0.1
        page = app.page("/outer")
        await app.web.snapshot(page.client)
        await page.until("outer is drawn")
        assert app.kernel.trouble.keys() == {"one", "two"}


async def test_what_is_looked_for_has_its_seconds_and_no_more():
    """However long each look takes: what is counted is time, not looks."""
    began = time.monotonic()
    looks = 0

    def never() -> bool:
        nonlocal looks
        looks += 1
        time.sleep(0.02)
        return False

    assert not await comes_true(never, 0.2)
    assert looks > 5
    assert 0.2 <= time.monotonic() - began < 1
    assert await comes_true(lambda: True, 0)


async def test_the_settings_are_asked_on_the_loop_alone():
    """Whoever reads them may be who holds everything up."""
    asked: list[int] = []

    def limit() -> float:
        asked.append(threading.get_ident())
        return 10

    async with running() as app:
        with Watchdog(app.kernel, after=0.02, limit=limit):
            await app.until(lambda: len(asked) > 3)
        assert {*asked} == {threading.get_ident()}


MIRRORS = {
    "itself": "await ext.panels('tab', client, subject)",
    "others for ever": "while True: await ext.panels('composer', client, subject)",
    "others, and hangs": "await ext.panels('composer', client, subject); await asyncio.sleep(9)",
}


@pytest.mark.parametrize("how", MIRRORS)
async def test_a_panel_that_shows_others_has_an_end_too(tmp_path: Path, how: str):
    panel(tmp_path, "inner", "await asyncio.sleep(0.01)")
    code = tmp_path / "inner" / "__init__.py"
    code.write_text(code.read_text("utf-8").replace('"tab"', '"composer"'))
    panel(tmp_path, "outer", MIRRORS[how])
    async with running("inner", "outer", folders=[tmp_path]) as app:
        app.kernel.guard.budget, app.kernel.guard.patience = 0.1, 0.5
        page = app.page("/outer")
        async with asyncio.timeout(3):
            await app.web.snapshot(page.client)
        await page.until("outer is drawn" if how == "itself" else "could not draw this")
        assert app.kernel.trouble.keys() == {"outer"}
        said = "shows itself" if how == "itself" else "took longer than 0.1 s"
        assert said in str(app.kernel.trouble)


ENDING = """
import asyncio, time
from kernel.api import OUTPUT
async def setup(ext):
    async def tidy():
        for _ in range(3):
            await ext.thread(time.sleep, 0.01)
    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            await tidy()
    @ext.on(OUTPUT)
    async def after(deltas, turn):
        try:
            async for delta in deltas:
                yield delta
        finally:
            await tidy()
    ext.spawn(work())
"""


async def test_an_end_has_its_time_too(tmp_path: Path):
    """Of a task that tidies up when it is cancelled, and of a modifier that leaves a reply."""
    write(tmp_path, "good", ENDING)
    model = Scripted("One two.", gate=(gate := asyncio.Semaphore(1)))
    async with running("good", model=model, folders=[tmp_path]) as app:
        app.kernel.guard.budget = 0.2
        reply = asyncio.create_task(app.say("Hello"))
        while not gate.locked():
            await asyncio.sleep(0)
        end = asyncio.create_task(app.kernel.stop("good"))
        while not end.done():
            await asyncio.sleep(0.015)
            time.sleep(0.25)  # noqa: ASYNC251, the loop is held up
        for _ in range(5):
            gate.release()
        assert await reply == "One two."
        assert app.kernel.trouble == {}


BUSY = """
import time
from kernel.api import Action
class Press(Action, frozen=True):
    seconds: float
async def setup(ext):
    @ext.on(Press)
    async def press(action, client):
        end = time.thread_time() + action.seconds
        while time.thread_time() < end:
            pass
"""


@contextmanager
def on_one_processor_with(others: int) -> Iterator[None]:
    """This thread, and so many programs that never rest."""
    processors = os.sched_getaffinity(0)
    with ExitStack() as stack:
        os.sched_setaffinity(0, {min(processors)})
        stack.callback(os.sched_setaffinity, 0, processors)
        for _ in range(others):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.enter_context(busy)
            stack.callback(busy.kill)
        yield


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system tells no queue")
async def test_who_only_waits_for_a_processor_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Four busy programs on the one processor that is left to all: 0.4 s of work take 2 s."""
    write(tmp_path, "bad", BUSY)
    async with running("bad", folders=[tmp_path]) as app:
        page = app.page()
        with Watchdog(app.kernel), on_one_processor_with(4):
            began = time.monotonic()
            await page.act("bad.press", seconds=0.4)
            assert time.monotonic() - began > 1.5  # The processor was really shared.
            await asyncio.sleep(0)
        assert "holds everything up" not in caplog.text
        assert app.kernel.trouble == {}


async def test_where_sockets_cannot_be_shared_the_terminal_tells_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As on Windows: the sentence is all, and no thread touches the socket."""
    write(tmp_path, "bad", SLOW)
    untouched: Any = None
    async with running("bad", folders=[tmp_path]) as app:
        nothing = Rescue(app.kernel, untouched, untouched, untouched, untouched, serves=False)
        with Watchdog(app.kernel, after=0.1, limit=lambda: 0.2, rescue=nothing):
            await app.page().act("bad.press", seconds=0.6)
        said = capsys.readouterr().err
        assert "Bad holds everything up, at bad/__init__.py:7, in work." in said
        assert "--without bad\n" in said


async def test_a_connection_that_went_away_is_no_obstacle(tmp_path: Path):
    """Its socket cannot be shut down any more: the page is served all the same."""
    write(tmp_path, "bad", SLOW)
    gone, free = socket.socket(), threading.Event()
    gone.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with running("bad", folders=[tmp_path]) as app:
            plain = partial(uvicorn.Config, log_config=None, lifespan="off")
            open_door = lambda web, access_of: web  # noqa: E731
            rescue = Rescue(app.kernel, listener, open_door, plain, lambda: [gone], serves=True)
            block = Block("bad", "bad/__init__.py:7, in work", "")
            serving = asyncio.create_task(asyncio.to_thread(rescue, block, free))
            try:
                async with httpx.AsyncClient() as web:
                    answer = await web.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
                assert answer.status_code == 503
                assert "Bad" in answer.text
            finally:
                free.set()
                await serving
