"""E9: an extension's script fails in the page; and safe mode, for when nothing else helps."""

import asyncio
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from kernel.app import ScriptFailed
from kernel.records import Status
from kernel.testing import running
from tests.live import chromium, live

from .zoo import told, write

NOTHING = "async def setup(ext): pass"
LOAD = "throw new Error('on purpose <i>');"
MESSAGES = "document.addEventListener('htmx:ws:after:message:incoming', () => { nowhere.to(); });"
LONG = pytest.mark.long
LATER = "await Promise.reject(new Error('on purpose'));"


async def test_an_error_in_a_script_is_on_its_card_and_sets_it_aside(tmp_path: Path):
    write(tmp_path, "bad", NOTHING)
    async with running("settings", "bad", folders=[tmp_path]) as app:
        page, record = app.page("/settings"), app.kernel.records["bad"]
        for _ in range(3):
            await page.act("kernel.script_failed", id="bad", text="x <i> is not defined", line=3)
            if record.status is Status.RUNNING:
                assert (
                    "It runs, but failed in its script in the page: RuntimeError: "
                    "x &lt;i&gt; is not defined (line 3). If the page does not work, "
                    "start Spindle with --safe-mode. If that goes on, switch it off"
                ) in told(app)
        await app.settled()
        assert record.status is Status.QUARANTINED
        for id in ("nobody", "chat", "bad"):  # None of these runs.
            await page.act("kernel.script_failed", id=id, text="x")
        assert app.kernel.trouble.keys() == {"bad"}
        assert ScriptFailed(id="bad", text="x").line == 0


def scripted(data: Path, script: str, id: str = "bad") -> None:
    write(data / "extensions", id, NOTHING)
    (data / "extensions" / id / "static").mkdir()
    (data / "extensions" / id / "static" / f"{id}.js").write_text(script)


@pytest.mark.browser
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "script", [MESSAGES, *(pytest.param(s, marks=LONG) for s in (LOAD, LATER))]
)
async def test_a_page_lives_on_when_a_script_throws(tmp_path: Path, script: str):
    """On load, in a promise, and at every message: the shell works and the card says it."""
    data = tmp_path / "data"
    scripted(data, script)
    async with live(data, tmp_path, "--extensions", "bad") as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.goto(server.link)
        card = page.locator("#settings-bad")
        await expect(card).to_contain_text("failed in its script in the page")
        await expect(card).to_contain_text("start Spindle with --safe-mode")
        await page.goto(server.address + "/settings/appearance")
        await page.get_by_text("Dark", exact=True).click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.goto(server.address)
        await page.locator("#settings-bad-toggle").click()
        await expect(page.locator("#settings-bad-toggle")).to_have_attribute(
            "aria-checked", "false"
        )


@pytest.mark.browser
@pytest.mark.timeout(90)
async def test_of_several_scripts_that_fail_each_is_on_its_own_card(tmp_path: Path):
    data, ids = tmp_path / "data", ("bad", "ugly", "worse")
    for id in ids:
        scripted(data, f"throw new Error('of {id}');", id)
    async with live(data, tmp_path, "--extensions", *ids) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.goto(server.link)
        for id in ids:
            card = page.locator(f"#settings-{id}")
            await expect(card).to_contain_text(
                f"in its script in the page: RuntimeError: Uncaught Error: of {id}"
            )


async def test_safe_mode_says_so_and_how_to_leave_it(tmp_path: Path):
    data = tmp_path / "data"
    scripted(data, LOAD)
    for flags, safe in ((("--safe-mode",), True), (("--extensions", "bad"), False)):
        async with live(data, tmp_path, *flags) as server, httpx.AsyncClient() as web:
            await web.get(server.link)
            page = (await web.get(server.address)).text
            assert ("Safe mode: Spindle runs with Settings alone." in page) == safe
            assert ("start it without --safe-mode." in page) == safe
            assert 'id="settings-bad-toggle"' in page
            assert ("/ext/bad/static/bad.js" in page) != safe
            await asyncio.sleep(0)
