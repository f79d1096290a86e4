"""An engine that dies, hangs, talks garbage or does not load, as a person at the page sees it."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Page, expect

from tests.live import Watched, chromium, live, shoot
from tests.test_story import ready, replies, send

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(120)]
HERE = Path(__file__).parent


def drip(tmp_path: Path) -> tuple[Path, Path]:
    """A data folder with the engine, and a folder with a model for it."""
    data, models = tmp_path / "data", tmp_path / "models"
    shutil.copytree(HERE / "data" / "drip", data / "extensions" / "drip")
    models.mkdir()
    for name in ("count.drip", "other.drip"):
        (models / name).touch()
    return data, models


async def load(page: Page, file: str, **options: str) -> None:
    """Load a file in the picker, with options."""
    await page.locator("#models-open").click()
    await page.locator("button.file", has_text=file).click()
    await expect(page.locator("#models-picker section.load h3")).to_have_text(file)
    if options and not await page.locator("#models-options").evaluate("details => details.open"):
        await page.locator("#models-options > summary").click()
    for name, value in options.items():
        await page.locator(f"#models-load [name={name}]").select_option(value)
    await page.get_by_role("button", name="Load", exact=True).click()


def worker_of(server_port: int) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "kernel.worker_host" not in line or "drip" not in line[-1]:
            continue
        with suppress(psutil.NoSuchProcess):  # Another test's may end.
            if any(str(server_port) in parent.cmdline() for parent in process.parents()):
                return process
    raise AssertionError("there is no worker")


async def test_faults_of_an_engine(tmp_path: Path, environments_dir: Path):
    data, models = drip(tmp_path)
    flags = ("--model-dir", str(models), "--model", "count.drip")
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await ready(page)

        # Killed mid-reply: told within two seconds, the text kept, the engine back by itself.
        begun = time.monotonic()
        await send(page, "count")
        body = replies(page).last.locator(".chat-body")
        await expect(body).to_contain_text("3 4 5")
        usual = time.monotonic() - begun
        """What page, server and engine take for something plain: long on a busy machine."""
        worker = worker_of(server.port)
        worker.kill()
        begun = time.monotonic()
        await expect(replies(page).last.locator(".chat-error")).to_be_visible()
        assert time.monotonic() - begun < max(2, 2 * usual)
        await expect(body).to_contain_text("3 4 5")
        await expect(replies(page).last.locator(".chat-error")).to_contain_text("killed")
        await shoot(page, "f1-killed")
        await ready(page, 20)
        assert not worker.is_running()

        # Try again answers with the engine that came back.
        first = await replies(page).last.get_attribute("id") or ""
        await replies(page).last.get_by_role("button", name="Try again").click()
        await expect(page.locator("#chat-stop")).to_be_visible()
        await expect(replies(page).last).not_to_have_id(first)  # It says "1 2 3", too.
        await expect(replies(page).last.locator(".chat-body")).to_contain_text("1 2 3")
        begun = time.monotonic()
        await page.keyboard.press("Escape")
        await expect(page.locator("#chat-submit")).to_be_visible()
        assert time.monotonic() - begun < max(1, usual)

        # Garbage on the pipe ends the worker, and that is told too; a second time in a row the
        # engine stays down, with the way out.
        for times in (1, 2):
            await send(page, "garbage")
            await expect(replies(page)).to_have_count(times + 1)
            await expect(replies(page).last.locator(".chat-error")).to_be_visible()
            if times == 1:
                await ready(page, 20)
        await expect(page.locator("#models-status")).to_contain_text("is not loaded")
        await page.locator("#models-open").click()
        await expect(page.locator("#models-picker [role=alert]")).to_contain_text("by hand")
        await shoot(page, "f2-down")
        await page.keyboard.press("Escape")

        # Death while loading, a refusal while loading, and then a load that works.
        for fault, sentence in (("dies loading", "killed"), ("refuses", "Download it again")):
            await load(page, "other.drip", fault=fault)
            await expect(page.locator("#models-picker [role=alert]")).to_contain_text(sentence)
            await page.keyboard.press("Escape")
        await load(page, "count.drip")
        await ready(page, 20)
        await page.keyboard.press("Escape")

        # Without a model the message stays and says what to do; one click sends it again.
        await page.locator("#models-open").click()
        await page.get_by_role("button", name="Unload").click()
        await expect(page.locator("#models-status")).to_contain_text("No model")
        await page.keyboard.press("Escape")
        await send(page, "count again")
        await expect(replies(page).last.locator(".chat-error")).to_contain_text(
            "No model is loaded"
        )
        await expect(page.locator("article.chat-user").last).to_contain_text("count again")
        await shoot(page, "f3-no-model")
        await load(page, "count.drip")
        await ready(page, 20)
        await page.keyboard.press("Escape")
        await replies(page).last.get_by_role("button", name="Try again").click()
        await expect(replies(page).last.locator(".chat-body")).to_contain_text("1 2")
        assert watched.complaints == []
    left = [p for p in psutil.process_iter(["cmdline"]) if "drip" in str(p.info["cmdline"])]
    assert [p for p in left if str(tmp_path) in str(p.info["cmdline"])] == []
