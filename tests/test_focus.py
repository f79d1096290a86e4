"""Who uses the keyboard alone stays where they are, though the page is drawn anew around them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.live import chromium, live
from tests.test_page_wires import counting
from tests.test_story import replies, send

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@asynccontextmanager
async def opened(folder: Path, path: str = "/chat") -> AsyncGenerator[Page]:
    data = folder / "data"
    data.mkdir()
    counting(data)
    async with live(data, folder) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.goto(server.link)
        await page.goto(server.address + path)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        yield page


async def pressed(button: Locator) -> None:
    await button.focus()
    await button.page.keyboard.press("Enter")


async def test_a_message_keeps_the_focus_through_its_versions_and_edits(tmp_path: Path):
    async with opened(tmp_path) as page:
        await send(page, "Count")
        reply = replies(page)
        done = page.locator("#chat-go[data-busy=false]")
        await expect(done).to_be_attached()
        await pressed(reply.get_by_role("button", name="Regenerate"))
        await expect(reply).to_contain_text("2/2")
        await expect(done).to_be_attached()
        assert await page.evaluate("document.activeElement.closest('article')?.id")

        before = reply.get_by_role("button", name="Version before")
        await pressed(before)
        await expect(reply).to_contain_text("1/2")
        assert await page.evaluate("document.activeElement.closest('article')?.id")
        await pressed(reply.get_by_role("button", name="Version after"))
        await expect(reply).to_contain_text("2/2")
        await expect(reply.locator(":focus")).to_have_count(1)

        mine = page.locator("article.chat-user")
        await pressed(mine.get_by_role("button", name="Edit"))
        await expect(mine.locator("textarea")).to_be_focused()
        await page.keyboard.type("!")
        await page.keyboard.press("Enter")
        await expect(mine).to_contain_text("Count!")
        await expect(mine.locator(":focus")).to_have_count(1)


async def test_a_row_of_the_list_keeps_the_focus_when_it_is_renamed(tmp_path: Path):
    async with opened(tmp_path) as page:
        await pressed(page.locator("#chat-new-folder"))
        await page.keyboard.type("Letters")
        await page.keyboard.press("Enter")
        folder = page.locator(".chat-folder")
        await expect(folder).to_contain_text("Letters")
        await expect(page.locator("aside :focus, nav :focus")).to_have_count(1)
        await folder.hover()
        await pressed(folder.get_by_role("button", name="Rename"))
        await page.keyboard.press("Control+a")
        await page.keyboard.type("Post")
        await page.keyboard.press("Enter")
        await expect(folder).to_contain_text("Post")
        await expect(folder.locator(":focus")).to_have_count(1)


async def test_a_setting_keeps_the_focus_when_it_is_reset(tmp_path: Path):
    async with opened(tmp_path, "/parameters") as page:
        await page.fill("#parameters-temperature", "0.5")
        await page.keyboard.press("Tab")
        reset = page.locator("#parameters-temperature-reset")
        await pressed(reset)
        await expect(reset).to_have_count(0)
        await expect(page.locator("main :focus")).to_have_count(1)


async def test_who_types_where_something_goes_away_presses_nothing(tmp_path: Path):
    async with opened(tmp_path) as page:
        await send(page, "Count")
        await expect(page.locator("#chat-go[data-busy=false]")).to_be_attached()
        other = await page.context.new_page()
        await other.goto(page.url)
        await expect(other.locator("html")).to_have_attribute("data-ui-link", "online")
        await page.bring_to_front()
        await pressed(page.locator("article").last.get_by_role("button", name="Edit"))
        await page.keyboard.type("and more")
        await other.locator("article").last.get_by_role("button", name="More").click()
        await other.locator("#chat-menu").get_by_role("button", name="Delete").click()
        await expect(page.locator("article")).to_have_count(1)
        assert await page.evaluate("document.activeElement === document.body")
