"""A GGUF file that is dropped into models/, loaded from the page, and talked with in four tabs."""

import asyncio
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.engines.real import STORIES, interpreter
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(300)]
NAMES = ("Lily", "Tom", "Anna", "Ben")


async def talk(page: Page, name: str) -> str:
    """What the model makes of a sentence of this tab alone."""
    await page.get_by_label("Message", exact=True).fill(f"Once upon a time {name} had a dog")
    await page.keyboard.press("Enter")
    reply = page.locator("article.chat-reply")
    await expect(reply.locator(".chat-figures")).to_be_visible(timeout=60_000)
    await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
    await expect(page.locator("article.chat-user")).to_have_count(1)
    assert name in await page.locator("article.chat-user").inner_text()
    return await reply.locator(".chat-body").inner_text()


@pytest.mark.parametrize("engine", ["", pytest.param("native", marks=pytest.mark.long)])
async def test_four_tabs_talk_with_a_file_that_was_dropped_in(
    tmp_path: Path, environments_dir: Path, engine: str
):
    interpreter(environments_dir / f"xllamacpp{engine and '-'}{engine}")
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    data.mkdir()
    if engine:
        (data / "settings.yaml").write_text(f"llama_cpp:\n  variant: {engine}\n")
    flags = ("--model-dir", str(models))
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.click("#models-open")
        shutil.copy(STORIES / "stories260K.gguf", models / "dropped.gguf")
        await page.locator("#models-list button.file", has_text="dropped").first.click()
        await page.locator("#models-load .primary").click()
        await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)
        await page.keyboard.press("Escape")
        tabs = [page, *[await context.new_page() for _ in NAMES[1:]]]
        for tab in tabs[1:]:
            await tab.goto(f"{server.address}/chat")
        for tab in tabs:
            await tab.wait_for_selector("html[data-ui-link=online]")
        said = await asyncio.gather(*map(talk, tabs, NAMES))
        assert all(len(words.split()) > 20 for words in said), said
        assert len(set(said)) == len(NAMES)
        await shoot(page, f"four-tabs{engine and '-'}{engine}")
        assert watched.complaints == []
