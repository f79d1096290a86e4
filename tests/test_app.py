"""The page and what extensions serve, over real HTTP semantics."""

import asyncio
import hashlib
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernel.api import PANELS, Key
from kernel.clients import Everyone
from kernel.pages import drawn
from kernel.testing import App, running
from tests.sockets import serving

TAB = """
from kernel.api import PANELS, ROUTES, Panel, Route, Router, Routes
from starlette.responses import PlainTextResponse

async def setup(ext):
    async def hello(request):
        return PlainTextResponse("hello")

    async def context(client, subject):
        if subject == "broken":
            raise ZeroDivisionError("on purpose")
        return {"subject": subject}

    ext.add(PANELS, Panel("tab", "panel.html", context, title="Mine", icon="M1 1h2"))
    ext.add(PANELS, Panel("status", "status.html"))
    routes = [Route("/ext/mine/hello", hello), Route("/claimed/x", hello)]
    ext.add(ROUTES, Routes(Router(routes), "page"))
"""


def write(root: Path, *first: str) -> None:
    """An extension with a tab, which does these lines `first` when it is drawn."""
    folder = root / "mine"
    (folder / "templates").mkdir(parents=True)
    (folder / "static").mkdir()
    (folder / "static" / "mine.css").write_text(".mine { color: var(--ink); }")
    (root / "secret.txt").write_text("secret")
    (folder / "extension.toml").write_text(
        'id = "mine"\nname = "Mine"\nversion = "1"\nsummary = "A tab."\napi = 1\n'
        'paths = ["/claimed"]\n'
    )
    (folder / "templates" / "panel.html").write_text("<p id=mine-p>Subject {{ subject }}</p>")
    (folder / "templates" / "status.html").write_text("<i>mine</i>")
    lines = "".join(f"        {line}\n" for line in first)
    (folder / "__init__.py").write_text(
        TAB.replace("        return {", f"{lines}        return {{")
    )


def browser(app: App) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app.web)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_tab_is_an_address(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app, browser(app) as http:
        for path, subject in (("/", ""), ("/mine", ""), ("/mine/a%20b", "a b")):
            page = await http.get(path)
            assert page.status_code == 200
            assert f"<p id=mine-p>Subject {subject}</p>" in page.text
            assert 'aria-current="page"' in page.text
            style = re.search(
                r'<link rel="stylesheet" href="(/ext/styles[^"]+)" data-style>', page.text
            )
            assert style
            assert (await http.get(style[1])).text == ".mine { color: var(--ink); }"
        assert (await http.get("/nowhere")).status_code == 404
        assert (await http.post("/mine")).status_code == 405
        lost = await http.get("/nowhere", headers={"accept": "text/html"})
        assert (lost.status_code, "This page does not exist" in lost.text) == (404, True)


async def test_routes_live_and_die_with_their_extension(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app, browser(app) as http:
        for path in ("/ext/mine/hello", "/claimed/x"):
            assert (await http.get(path)).text == "hello"
        assert (await http.get("/ext/mine/static/mine.css")).status_code == 200
        await app.kernel.changes.toggle("mine", on=False)
        for path in ("/ext/mine/hello", "/claimed/x", "/ext/mine/static/mine.css", "/mine"):
            assert (await http.get(path)).status_code == 404
        for path in ("/ext/mine/hello", "/claimed/x", "/mine"):
            told = (await http.post(path)).json()["error"]
            assert told["message"].endswith(" is switched off. Switch it on in Settings.")
            assert told["code"] == "not_found"
        await app.kernel.changes.toggle("mine", on=True)
        assert (await http.get("/ext/mine/hello")).text == "hello"


WAITS = """
import asyncio
from kernel.api import ROUTES, Route, Router, Routes
async def setup(ext):
    async def wait(request):
        ext.there.set()
        await asyncio.Future()
    ext.there = asyncio.Event()
    ext.add(ROUTES, Routes(Router([Route("/ext/waits/x", wait)]), "inference"))
"""


@pytest.mark.parametrize(
    ("end", "status"), [("stops", 503), ("is switched off", 503), ("revokes the key", 401)]
)
async def test_whose_request_is_cut_off_hears_why(tmp_path: Path, end: str, status: int):
    folder = tmp_path / "waits"
    folder.mkdir()
    (folder / "extension.toml").write_text(
        'id = "waits"\nname = "Waits"\nversion = "1"\nsummary = "It waits."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(WAITS)
    async with (
        running("waits", folders=[tmp_path]) as app,
        serving(app, timeout_graceful_shutdown=0) as served,
        httpx.AsyncClient(base_url=served.http) as web,
    ):
        words = f"sk-{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        served.keyring.keep([Key("phone", digest, "generate")])
        headers = {"authorization": f"Bearer {words}"}
        asked = asyncio.create_task(web.get("/ext/waits/x", headers=headers))
        extension: Any = app.extension("waits")
        await extension.there.wait()
        if end == "stops":
            served.server.end()
        elif end == "is switched off":
            await app.kernel.changes.toggle("waits", on=False)
        else:
            served.keyring.keep([])
            assert app.kernel.access.door
            app.kernel.access.door.drop_keys()
        answer = await asked
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
        assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


async def test_no_file_outside_static_is_served(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app, browser(app) as http:
        for path in (
            "/ext/mine/static/../extension.toml",
            "/ext/mine/static/%2e%2e/extension.toml",
            "/ext/mine/static/../../secret.txt",
            "/static/../settings.yaml",
            "/static/%2e%2e/settings.yaml",
            "/static//etc/passwd",
        ):
            answer = await http.get(httpx.URL(f"http://test{path}"))
            assert answer.status_code == 404, path


async def test_a_panel_that_fails_costs_its_own_place(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app, browser(app) as http:
        page = await http.get("/mine/broken")
        assert page.status_code == 200
        assert "Mine could not draw this" in page.text
        assert "<i>mine</i>" in page.text


async def test_a_snapshot_holds_everything_and_drops_what_it_contains(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app:
        page = app.page("/mine/7")
        app.kernel.hub.push("mine", "<p>old</p>", Everyone())
        await app.web.snapshot(page.client)
        parts = page.client.outbox.take()
        sent = "".join(parts)
        assert parts[-1] == "", "by which the page knows that it has all of it"
        assert "<p>old</p>" not in sent
        assert '<main id="main" hx-swap-oob="innerMorph"><p id=mine-p>Subject 7</p></main>' in sent
        assert "<i>mine</i>" in sent


async def test_what_is_pushed_while_a_page_is_drawn_is_not_lost(tmp_path: Path):
    write(tmp_path, "context.word = 'newer'", 'ext.push_html("<i>newer</i>", client, "status")')
    folder = tmp_path / "mine"
    (folder / "templates" / "status.html").write_text("<i>{{ word }}</i>")
    panel = '"status.html", lambda *_: asyncio.sleep(0, {"word": getattr(context, "word", "old")})'
    source = (folder / "__init__.py").read_text().replace('"status.html"', panel)
    (folder / "__init__.py").write_text(f"import asyncio\n{source}")
    async with running("mine", folders=[tmp_path]) as app:
        page = app.page("/mine")
        await app.web.snapshot(page.client)
        await app.until(lambda: re.findall("<i>(.*?)</i>", page.html)[-1] == "newer")


async def test_a_page_that_is_being_drawn_is_not_drawn_twice(tmp_path: Path):
    count = "context.drawn = subject = getattr(context, 'drawn', 0) + 1"
    write(tmp_path, "import asyncio", "await asyncio.sleep(0.01)", count)
    async with running("mine", folders=[tmp_path]) as app:
        page = app.page("/mine")
        drawing = asyncio.create_task(app.web.snapshot(page.client))
        await asyncio.sleep(0)
        await app.web._panels_changed()
        await drawing
        assert "Subject 1<" in page.html


async def test_a_page_that_goes_on_while_it_is_drawn_stays_there(tmp_path: Path):
    moved = '<main id="main" hx-swap-oob="innerMorph">moved</main>'
    write(tmp_path, 'client.path, before = "/mine/9", client.path', "if client.path != before:",
          f"    ext.push_html('{moved}', client)")  # fmt: skip
    async with running("mine", folders=[tmp_path]) as app:
        page = app.page("/mine/7")
        await app.web.snapshot(page.client)
        assert page.html.count("<main") == 1
        assert "moved" in page.html
        await app.web.snapshot(page.client)
        assert "Subject 7" in page.html, "when it stays it is drawn"


async def test_a_tab_switched_off_and_on_needs_no_reload(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app, browser(app) as http:
        assert (await http.get("/mine")).status_code == 200
        page = app.page("/mine")
        await app.kernel.changes.toggle("mine", on=False)
        await page.until("Mine is switched off")
        off = re.findall(r'data-styles="([^"]*)"', page.html)[-1]
        page.html = ""
        await app.kernel.changes.toggle("mine", on=True)
        await page.until("data-styles")
        assert re.findall(r'data-styles="([^"]*)"', page.html)[-1] != off
        await page.until("Subject")


async def test_a_page_that_comes_back_sees_what_changed_meanwhile(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app:
        page, there = app.page("/mine"), app.page("/mine")
        await app.web.snapshot(page.client)
        for part in ('href="/mine"', 'id="status-mine-', 'id="page-theme" hidden data-theme=""'):
            assert part in page.html
        page.close()
        await app.kernel.changes.toggle("mine", on=False)
        await app.kernel.changes.section("appearance", {"theme": "dark"})
        await there.until("Mine is switched off")
        back = await app.open("/mine")
        assert 'id="rail"' in back.html
        assert 'href="/mine"' not in back.html
        assert 'id="status"' in back.html
        assert 'id="status-mine-' not in back.html
        assert "Mine is switched off" in back.html
        assert 'id="page-theme" hidden data-theme="dark"' in back.html


async def test_jobs_are_shown_and_can_be_cancelled():
    async with running() as app:
        page = app.page()

        async def work(job: object) -> None:
            await asyncio.Event().wait()

        job = app.kernel.jobs.start("test", "Fetching the moon", work)
        await page.until("Fetching the moon")
        await page.act("kernel.cancel_job", id=job.progress.id)
        await app.until(lambda: not app.kernel.jobs.running)
        assert job.cancelled()


async def test_a_panel_whose_extension_stops_meanwhile_is_no_failure(tmp_path: Path):
    write(tmp_path)
    async with running("mine", folders=[tmp_path]) as app:
        entry = next(e for e in app.kernel.registry.entries(PANELS) if e.owner == "mine")
        asked, stopped = asyncio.Event(), asyncio.Event()

        async def slow(client: object, subject: str) -> dict[str, object]:
            asked.set()
            await stopped.wait()
            return {}

        panel = replace(entry, value=replace(entry.value, context=slow))
        drawing = asyncio.create_task(drawn(app.kernel, panel, None, ""))
        await asked.wait()
        await app.toggle("mine", on=False)
        await app.settled()
        stopped.set()
        assert await drawing == ""
        assert not app.kernel.guard._history["mine"]
