"""A story of lore in a real browser: a world of SillyTavern's and a CharX file, edited and told."""

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from extensions.characters.test_charx import CARD, packed
from tests.stories import told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
WORLD = {
    "entries": {
        "0": {"uid": 0, "key": ["ferry"], "comment": "The ferry", "content": "It goes at dawn.",
              "sticky": 4},
    }
}  # fmt: skip


async def test_lore_comes_in_is_edited_and_told(tmp_path: Path, environments_dir: Path):
    (tmp_path / "Harbour.json").write_text(json.dumps(WORLD))
    book = {"entries": [{"keys": ["tail"], "content": "It is red.", "extensions": {}}]}
    card = {**CARD, "data": {**CARD["data"], "character_book": book}}
    (tmp_path / "fox.charx").write_bytes(packed(card))
    says = ("Hm.", "At dawn.", "Yes.")
    async with told(tmp_path, environments_dir, says) as story:
        page = story.page
        await page.goto(f"{story.server.address}/characters")
        files = [tmp_path / "Harbour.json", tmp_path / "fox.charx"]
        await page.set_input_files("#characters-files", files)
        picture = page.locator("#characters-list > li").filter(has_text="Bo").locator("img")
        await expect(picture).to_have_js_property("naturalWidth", 4)

        # The lorebook is edited; a switch above the form leaves what is typed alone.
        await page.click("#characters-worlds a:has-text('Harbour')")
        content = page.locator("#characters-entry-0-content")
        async with asyncio.timeout(20):
            while not await content.is_visible():  # News of the import may draw the card anew.
                await page.click(".characters-entry > summary")
                await page.wait_for_timeout(200)
        await content.fill("It goes at noon.")
        await page.click("#characters-everywhere")
        await expect(page.locator("#characters-everywhere")).to_contain_text("Told in every")
        assert await page.input_value("#characters-entry-0-content") == "It goes at noon."
        await page.click("#characters-everywhere")
        await expect(page.locator("#characters-everywhere")).to_contain_text("Tell it in every")
        await page.click("#characters-add-entry")
        await page.fill("#characters-entry-1-keys", "lantern")
        await page.fill("#characters-entry-1-content", "There are seven.")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("#characters-stamp")).to_contain_text("Saved.")

        # The card's own lore becomes a lorebook, and what was typed is kept with it.
        await page.goto(f"{story.server.address}/characters/Bo")
        await page.fill("#characters-f-description", "A vixen.")
        await page.click("#characters-g-book > summary")
        await page.click("#characters-set-free")
        await expect(page.locator("#characters-stamp")).to_contain_text("is the lorebook “Bo lore”")
        assert await page.input_value("#characters-f-description") == "A vixen."
        assert await page.input_value("#characters-f-world") == "Bo lore"

        # In the conversation the world is told where it was chosen, and stays for a while.
        await page.click("#characters-start")
        await page.click("#lorebooks-open")
        await page.click("#lorebooks-list button:has-text('Harbour')")
        await expect(page.locator("#lorebooks-open")).to_have_text("Lore · 1")
        await page.keyboard.press("Escape")
        await story.send("When is the ferry, and whose tail is that?")
        await expect(page.locator("article.chat-reply")).to_have_count(1)
        assert "It goes at noon." in story.sent()
        assert "It is red." in story.sent()
        await story.send("And now something else entirely.")
        await expect(page.locator("article.chat-reply")).to_have_count(2)
        assert "It goes at noon." in story.sent()
        assert "There are seven." not in story.sent()
