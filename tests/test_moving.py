"""A page that is sent elsewhere: its address, its status line, what was drawn for the old one."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel.outbox import PORTION
from kernel.testing import App, running
from kernel.testing.page import Page

from .misbehaving.zoo import write

SLOW = """
import asyncio
from kernel.api import PANELS, Panel
async def setup(ext):
    ext.gates, ext.waiting = {}, []
    async def context(client, subject):
        if gate := ext.gates.get(subject):
            ext.waiting.append(subject)
            await gate.wait()
        return {"at": subject}
    ext.add(PANELS, Panel("tab", "tab.html", context))
    ext.add(PANELS, Panel("status", "status.html", context, order=20))
"""
DRAWN = re.compile(r'id="status-slow-20"[^>]*>\s*at (\S*)\.')


async def nothing(events: Sequence[object]) -> None: ...


async def steps() -> None:
    """Of the event loop, enough for what waits for nothing."""
    for _ in range(30):
        await asyncio.sleep(0)


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncGenerator[tuple[App, Page]]:
    """A page of an extension whose panels can be held up, by their subject."""
    write(tmp_path, "slow", SLOW)
    for name in ("tab", "status"):
        (tmp_path / "slow" / "templates" / f"{name}.html").write_text("at {{ at }}.")
    async with running("slow", "settings", folders=[tmp_path]) as app:
        page = await app.open("/slow/x")
        app.web._tell = nothing  # What came at the start is not told once more meanwhile.
        await steps()
        assert "at x." in page.html
        page.html = ""
        yield app, page


async def test_the_address_and_the_status_line_go_along(tmp_path: Path):
    async with opened(tmp_path) as (app, page):
        app.extension("slow").go(page.client, "/slow/a%2Fb%20%22c%22")
        assert (page.client.tab, page.client.subject) == ("slow", 'a/b "c"')
        await page.until(r'page-go" hidden data-path="/slow/a%2Fb%20%22c%22"')
        await page.until(r'id="status-slow-20"[^>]*>at a/b &#34;c&#34;\.')


async def test_of_two_moves_the_last_one_is_shown(tmp_path: Path):
    async with opened(tmp_path) as (app, page):
        ext: Any = app.extension("slow")
        ext.gates["a"] = gate = asyncio.Event()
        ext.go(page.client, "/slow/a")
        await app.until(lambda: "a" in ext.waiting)
        ext.go(page.client, "/slow/b")
        await page.until(DRAWN.pattern)
        gate.set()
        await steps()
        assert {*DRAWN.findall(page.html)} == {"b"}


async def test_a_footer_that_was_drawn_for_the_old_address_is_drawn_again(tmp_path: Path):
    async with opened(tmp_path) as (app, page):
        ext: Any = app.extension("slow")
        ext.gates["x"] = gate = asyncio.Event()
        drawing = asyncio.create_task(app.web._panels_changed())
        await app.until(lambda: "x" in ext.waiting)
        ext.go(page.client, "/slow/b")
        await page.until(DRAWN.pattern)
        gate.set()
        await drawing
        assert DRAWN.findall(page.html)[-1] == "b"


async def test_a_snapshot_of_the_old_address_is_none_of_the_new_one(tmp_path: Path):
    async with opened(tmp_path) as (app, page):
        ext: Any = app.extension("slow")
        ext.gates["x"] = gate = asyncio.Event()
        drawing = asyncio.create_task(app.web.snapshot(page.client))
        await app.until(lambda: "x" in ext.waiting)
        ext.go(page.client, "/settings")
        gate.set()
        await drawing
        assert 'hx-swap-oob="innerMorph">at x.</main>' not in page.html
        await page.until(DRAWN.pattern)
        assert DRAWN.findall(page.html)[-1] == ""


async def test_staying_is_no_move(tmp_path: Path):
    async with opened(tmp_path) as (app, page):
        app.extension("slow").go(page.client, "/slow/x")
        await steps()
        assert "page-go" in page.html
        assert not DRAWN.search(page.html)


@pytest.mark.parametrize("at", ["x", "b"])
async def test_a_page_that_was_too_far_behind_is_told_its_address_again(tmp_path: Path, at: str):
    """If it was sent to one; there is no empty message."""
    async with opened(tmp_path) as (app, page):
        sent, hub = list[bytes](), app.kernel.hub
        taking = asyncio.Event()

        async def send(texts: list[bytes]) -> None:
            await taking.wait()
            sent.extend(texts)

        async with hub._connected(page.client, send):
            if at != "x":
                app.extension("slow").go(page.client, f"/slow/{at}")
            for _ in range(3):
                hub.push("slow", "<p>" + "x" * (500 << 10) + "</p>", page.client)
            taking.set()
            await app.until(lambda: any(b"main" in text for text in sent))
        assert all(sent[:-1]), "and at the end a sign of life, perhaps"
        assert any(b'data-path="/slow/b"' in text for text in sent) is (at == "b")
        assert any(f"at {at}.</main>".encode() in text for text in sent)
        assert max(map(len, sent)) < 30 * PORTION
