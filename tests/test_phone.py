"""A phone in a hand: its keyboard takes half of it, there is no Escape, and a thumb does it all."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live import shoot
from tests.stories import Told, told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "color_scheme": "dark",
}
LINES = "\n".join("abcdefgh")
SEEN = """() => {
  const bounds = e => document.querySelector(e).getBoundingClientRect();
  const log = bounds('chat-log'), box = bounds('#chat-composer'), send = bounds('#chat-submit');
  const at = document.elementFromPoint(send.x + send.width / 2, send.y + send.height / 2);
  return {
    log: Math.min(log.bottom, box.top, innerHeight) - log.top,
    send: at?.closest('button')?.id,
    whole: send.bottom <= innerHeight && document.documentElement.scrollHeight <= innerHeight,
  };
}"""
"""How much of the conversation is seen, and whether Send is."""
UNDER = """() => {
  const {x, y, width, height} = document.getElementById('chat-text').getBoundingClientRect();
  return document.elementFromPoint(x + width / 2, y + height / 2).id;
}"""


@asynccontextmanager
async def spoken(folder: Path, environments: Path) -> AsyncGenerator[Told]:
    """A conversation of a group on a phone."""
    cards = folder / "data" / "characters"
    cards.mkdir(parents=True)
    for name in ("Ada", "Bo", "Princess Alexandrina"):
        card = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {"name": name}}
        (cards / f"{name}.json").write_text(json.dumps(card), "utf-8")
    async with told(folder, environments, ("A long reply. " * 40, "Two."), **PHONE) as story:
        page = story.page
        await page.tap("#chat-setup-open")
        await page.select_option("#chat-setup-mode", "chat")
        await page.select_option("#chat-setup-character", "Ada")
        await page.tap("#chat-setup .chat-close")
        await page.tap("#group_chat-open")
        for number, name in ((2, "Bo"), (3, "Princess Alexandrina")):
            await page.select_option("#group_chat-character", name)
            await expect(page.locator(".group_chat-member")).to_have_count(number)
        await page.evaluate("document.getElementById('group_chat-pop').hidePopover()")
        await page.fill("#chat-text", "Hello")
        await page.tap("#chat-submit")
        await expect(page.locator("article.chat-reply")).to_have_count(1)
        await story.quiet()
        await page.locator(".toast [aria-label=Dismiss]").evaluate_all(
            "all => all.map(b => b.click())"
        )
        await expect(page.locator(".toast")).to_have_count(0)
        yield story


async def sized(page: Page, width: int, height: int, letters: str = "") -> None:
    """The page as a phone leaves it; `letters` is the size that its user chose."""
    await page.set_viewport_size({"width": width, "height": height})
    await page.evaluate("size => { document.documentElement.style.fontSize = size; }", letters)


async def test_beside_a_keyboard_the_conversation_and_send_are_seen(
    tmp_path: Path, environments_dir: Path
):
    async with spoken(tmp_path, environments_dir) as story:
        page, rail = story.page, story.page.locator("#rail")
        for width, height, text, letters, least in (
            (390, 480, "", "", 300),
            (390, 480, LINES, "", 150),
            (390, 400, "", "", 200),
            (360, 330, LINES, "", 90),
            (320, 300, "", "", 120),
            (844, 190, "", "", 100),
            (844, 190, LINES, "", 80),
            (195, 240, "", "", 64),
            (390, 480, "", "200%", 120),
        ):
            at = f"{width}x{height} {letters}"
            await sized(page, width, height, letters)
            await page.fill("#chat-text", text)
            await expect(rail, at).to_be_hidden()
            await expect(page.locator("#status"), at).to_be_hidden()
            await shoot(page, f"phone-{width}x{height}-{len(text)}{letters}".strip("%"))
            seen = await page.evaluate(SEEN)
            assert seen["log"] >= least, (at, seen)
            assert (seen["send"], seen["whole"]) == ("chat-submit", True), (at, seen)

        # Without it they are there again.
        await sized(page, 844, 390)
        await page.locator("chat-log").tap(position={"x": 5, "y": 5})
        await expect(rail).to_be_visible()
        await expect(page.locator("#status")).to_be_visible()


async def test_large_letters_lie_over_nothing(tmp_path: Path, environments_dir: Path):
    async with spoken(tmp_path, environments_dir) as story:
        page = story.page
        for width, height, letters in ((390, 844, "200%"), (195, 422, "")):
            await sized(page, width, height, letters)
            await page.evaluate("document.activeElement.blur()")
            await expect(page.locator("#rail")).to_be_visible()
            await shoot(page, f"phone-large-{width}")
            assert (await page.evaluate(SEEN))["log"] >= 64
            wide = "all => all.filter(a => a.scrollWidth > a.clientWidth).map(a => a.innerText)"
            assert await page.locator("#rail > a:visible").evaluate_all(wide) == []
            await page.tap("#group_chat-open")
            name = page.locator(".group_chat-name", has_text="Princess")
            box = await name.bounding_box()
            assert box
            assert box["width"] >= 64
            await shoot(page, f"phone-large-{width}-group")
            await page.evaluate("document.getElementById('group_chat-pop').hidePopover()")


async def test_a_notice_leaves_the_box_free(tmp_path: Path, environments_dir: Path):
    async with spoken(tmp_path, environments_dir) as story:
        page = story.page
        await page.tap("#chat-do-open")
        await page.tap("#chat-do-remove")
        await expect(page.locator(".toast", has_text="Undo")).to_be_visible()
        for height in (844, 480):
            await sized(page, 390, height)
            await shoot(page, f"phone-notice-{height}")
            assert await page.evaluate(UNDER) == "chat-text", height


async def test_a_name_that_is_being_written_can_be_left(tmp_path: Path, environments_dir: Path):
    async with spoken(tmp_path, environments_dir) as story:
        page, side = story.page, story.page.locator("#chat-side")
        row, edited = side.locator(".entry"), side.locator("[data-ui-edit]")
        opener = page.locator("[popovertarget=chat-side]")
        await opener.tap()
        await row.get_by_role("button", name="Rename").tap()
        await expect(row.locator(".tools")).to_be_hidden()
        await row.locator("input:visible").fill("Another name")
        await shoot(page, "phone-rename")
        await row.get_by_role("button", name="Cancel").tap()
        await expect(edited).to_have_count(0)
        await expect(row.locator("a")).to_have_text("Hello")
        await page.tap("#chat-new-folder")
        await shoot(page, "phone-folder")
        await page.get_by_role("button", name="Cancel").tap()
        await expect(page.locator("#chat-incognito")).to_be_visible()

        # Or with the list that it stands in.
        await page.tap("#chat-new-folder")
        await page.touchscreen.tap(200, 20)
        await expect(side).to_be_hidden()
        await opener.tap()
        await expect(page.locator("#chat-incognito")).to_be_visible()


async def test_a_tab_opens_where_it_was_left(tmp_path: Path, environments_dir: Path):
    async with told(tmp_path, environments_dir, ("One.",), **PHONE) as story:
        page, rail = story.page, story.page.locator("#rail")
        await page.fill("#chat-text", "Hello")
        await page.tap("#chat-submit")
        await expect(page.locator("article.chat-reply")).to_contain_text("One.")
        conversation = page.url
        await rail.get_by_text("Characters").tap()
        await page.wait_for_url("**/characters")
        await rail.get_by_text("Chat").tap()
        await page.wait_for_url(conversation)
        await expect(page.locator("article.chat-reply")).to_contain_text("One.")

        # Its own link, once more, is its beginning; and that is then where it was left.
        await rail.get_by_text("Chat").tap()
        await page.wait_for_url("**/chat")
        await rail.get_by_text("Characters").tap()
        await page.wait_for_url("**/characters")
        await rail.get_by_text("Chat").tap()
        await page.wait_for_url("**/chat")
