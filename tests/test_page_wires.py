"""S3 and M3 in a real browser: a page behind a bad wire, and an engine that falls silent."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from playwright.async_api import BrowserContext, expect

from tests.live import Watched, chromium, free_port, live
from tests.proxy import FaultProxy, faulty
from tests.test_faults import drip, worker_of
from tests.test_story import ready, replies, send

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
HERE = Path(__file__).parent
QUIET = "extensions:\n  models:\n    at_start: false\n"


def counting(data: Path) -> None:
    """The user's own extension answers with numbers, so that no engine is needed."""
    shutil.copytree(HERE / "data" / "counting", data / "extensions" / "counting")
    (data / "settings.yaml").write_text(QUIET, "utf-8")


@asynccontextmanager
async def behind_a_wire(folder: Path) -> AsyncGenerator[tuple[FaultProxy, BrowserContext, str]]:
    """A server, a browser, and what lies between them; the link for a first visit."""
    data, port = folder / "data", free_port()
    data.mkdir()
    counting(data)
    flags = ("--allowed-host", f"127.0.0.1:{port}")
    async with (
        live(data, folder, *flags) as server,
        faulty(server.port, port) as proxy,
        chromium() as browser,
    ):
        context = await browser.new_context()
        yield proxy, context, server.link.replace(f":{server.port}", f":{port}")


async def misbehave(proxy: FaultProxy, fault: str) -> None:
    match fault:
        case "cut":
            proxy.cut()
        case "stall":
            proxy.flows.clear()
            await asyncio.sleep(1)
            proxy.cut()
            proxy.flows.set()
        case "half-close":
            proxy.half_close()
        case "drip":
            proxy.drip = 1
            await asyncio.sleep(1)
            proxy.drip = 0
            proxy.cut()
        case _:
            await asyncio.sleep(0.5)


async def test_s3_a_page_behind_a_bad_wire_comes_back_by_itself(
    tmp_path: Path, pytestconfig: pytest.Config
):
    """By every fault with --long; programs have all of them in any case (tests/test_wires.py)."""
    long = pytestconfig.getoption("--long")
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(link)
        for fault in ("gather", "cut", "stall", "half-close", "drip") if long else ("cut", "stall"):
            proxy.gather = 4096 if fault == "gather" else 0
            before = proxy.connections
            await send(page, f"count for {fault}")
            body = replies(page).last.locator(".chat-body")
            await expect(body).to_contain_text("3 4 5", timeout=10_000)
            await misbehave(proxy, fault)
            await expect(body).to_contain_text("57 58 59", timeout=30_000)
            await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
            text = re.sub(r"\s+", " ", await body.inner_text()).strip()
            assert text == " ".join(str(number) for number in range(60)), fault
            assert (proxy.connections > before) == (fault != "gather"), fault
        assert watched.complaints == []


async def test_s3_a_wire_that_died_without_a_word_is_noticed(tmp_path: Path):
    """As of a phone that slept: its browser has an open socket, at whose other end is nobody."""
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        watched = Watched(context)
        page, other = await context.new_page(), await context.new_page()
        await page.clock.install()
        await page.goto(link)
        await send(page, "count 3")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        proxy.swallow()
        await other.goto(page.url)
        await send(other, "count 4")
        await expect(replies(other)).to_have_count(2)
        await page.clock.fast_forward(30_000)
        await expect(replies(page)).to_have_count(1)
        await page.clock.fast_forward(30_000)
        await expect(replies(page)).to_have_count(2)
        await send(page, "count 5")
        await expect(replies(page)).to_have_count(3)
        assert watched.complaints == []


async def test_a_page_that_wakes_looks_at_its_wire_at_once(tmp_path: Path):
    """As of a phone that is unlocked: half a minute of waiting would be for nothing."""
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        watched = Watched(context)
        page = await context.new_page()
        await page.clock.install()
        await page.goto(link)
        await send(page, "count 3")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await page.evaluate("self.ends = 0; addEventListener('htmx:ws:close', () => ++self.ends)")
        proxy.swallow()
        await page.clock.fast_forward(20_000)
        await page.evaluate(
            "document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))"
        )
        assert await page.evaluate("ends") == 0
        await page.clock.fast_forward(3_500)
        assert await page.evaluate("ends") == 1
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await send(page, "count 4")
        await expect(replies(page)).to_have_count(2)
        assert watched.complaints == []


async def test_a_page_that_hears_of_its_network_asks_no_later(tmp_path: Path):
    async with live(tmp_path / "data", tmp_path) as server, chromium() as browser:
        page = await browser.new_page()
        await page.clock.install()
        await page.goto(server.link)
        linked = page.locator("html")
        await expect(linked).to_have_attribute("data-ui-link", "online")
        await server.kill()
        await expect(linked).to_have_attribute("data-ui-link", "offline")
        for _ in range(12):  # It asks less and less often.
            await page.clock.run_for(5_000)
        await page.clock.pause_at(await page.evaluate("Date.now() + 1000"))
        await server.start()
        await page.evaluate("dispatchEvent(new Event('online'))")
        await page.clock.run_for(400)
        await expect(linked).to_have_attribute("data-ui-link", "online")


@pytest.mark.engine
async def test_m3_a_silent_engine_in_the_page(tmp_path: Path, environments_dir: Path):
    data, models = drip(tmp_path)
    (data / "settings.yaml").write_text("model:\n  silence: 5\n", "utf-8")
    flags = ("--model-dir", str(models), "--model", "count.drip")
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context()
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await ready(page)

        # It counts, then says nothing more: ended at the time that the settings say.
        await send(page, "stall")
        last = replies(page).last
        await expect(last.locator(".chat-body")).to_contain_text("1 2 3")
        worker = worker_of(server.port)
        family = [worker, *worker.children(recursive=True)]
        assert len(family) == 2, "it started a process of its own"
        error = last.locator(".chat-error")
        await expect(error).to_contain_text("silent for", timeout=30_000)
        [seconds] = re.findall(r"silent for (\d+) seconds", await error.inner_text())
        assert 5 <= int(seconds) < 9
        await expect(last.locator(".chat-body")).to_contain_text("1 2 3")
        await ready(page, 20)
        gone = psutil.STATUS_ZOMBIE
        assert not [p for p in family if p.is_running() and p.status() != gone]

        # Stop frees the page at once, though the engine hears nothing; the next reply is told why.
        await send(page, "stall")
        second = replies(page).nth(1).locator(".chat-body")
        await expect(second).to_contain_text("1 2 3")
        worker = worker_of(server.port)
        await page.keyboard.press("Escape")  # A click so soon would be taken for one on Send.
        await expect(page.locator("#chat-submit")).to_be_visible()
        assert worker.is_running(), "the page did not wait for its end"
        assert worker.status() != gone
        await expect(second).to_contain_text("1 2 3")
        deadline = time.monotonic() + 30
        while worker.is_running() and worker.status() != gone:
            assert time.monotonic() < deadline, "the silent engine was never ended"
            await asyncio.sleep(0.1)
        await ready(page, 20)
        await send(page, "count")
        await expect(replies(page).nth(2).locator(".chat-body")).to_contain_text("1 2 3 4 5")
        assert watched.complaints == []
