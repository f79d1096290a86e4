"""Stories of whole sittings in a real browser; test_notebook_page.py tells one of writing."""

import base64
import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from extensions.characters import png
from tests.live import shoot
from tests.stories import told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
CARD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Maren",
        "description": "{{char}} draws maps of places that are not there yet.",
        "first_mes": "Hold this corner, {{user}}.",
        "alternate_greetings": ["The ink is wet.", "You are early."],
        "character_book": {
            "entries": [
                {"keys": ["compass"], "content": "{{char}}'s compass points at her.",
                 "enabled": True, "insertion_order": 1, "extensions": {}, "use_regex": False},
                {"keys": ["harbour"], "content": "The harbour is dry.",
                 "enabled": True, "insertion_order": 2, "extensions": {}, "use_regex": False},
            ]
        },
    },
}  # fmt: skip


def card() -> bytes:
    text = base64.b64encode(json.dumps(CARD).encode())
    return png.with_texts(png.drawn(190, 40, 60), {"ccv3": text})


async def test_a_roleplay(tmp_path: Path, environments_dir: Path):
    """A card with a lorebook comes in, and is talked to."""
    (tmp_path / "maren.png").write_bytes(card())
    says = ("Maren: It points at *me*.", "At nothing else.", "Not any more.", "Into the fold.")
    async with told(tmp_path, environments_dir, says) as story:
        page = story.page
        await page.goto(f"{story.server.address}/characters")
        await page.set_input_files("#characters-files", [tmp_path / "maren.png"])
        await page.locator("#characters-list > li").filter(has_text="Maren").locator("a").click()
        await page.click("#characters-start")

        # Her greeting stands there, under her name and picture; another one is a swipe away.
        greeting = page.locator("article.chat-reply").first
        await expect(greeting).to_contain_text("Hold this corner, You.")
        await expect(greeting.locator("h2")).to_have_text("Maren")
        await expect(greeting.locator("h2 img")).to_have_js_property("naturalWidth", 40)
        assert "/chat/" in page.url
        await greeting.get_by_label("Version after").click()
        await expect(greeting).to_contain_text("The ink is wet.")
        await expect(greeting).to_contain_text("2/3")

        # What is said brings what her book knows of it, and nothing else.
        await story.send("Does your compass work?")
        reply = page.locator("article.chat-reply").nth(1)
        await expect(reply.locator(".chat-body")).to_have_text("It points at me.")
        await expect(reply.locator("h2")).to_have_text("Maren")
        await expect(reply.locator("h2 img")).to_have_js_property("naturalWidth", 40)
        sent = story.sent()
        assert "Maren draws maps of places" in sent
        assert "Maren's compass points at her." in sent
        assert "The harbour is dry." not in sent
        assert sent.endswith("Maren: The ink is wet.\nYou: Does your compass work?")
        await expect(page.locator("#chat-conversations")).to_contain_text("Does your compass work?")
        await shoot(page, "story-roleplay")

        # Another version of the reply, and of the first words: what follows is a branch.
        await reply.get_by_role("button", name="Regenerate").click()
        await expect(reply).to_contain_text("At nothing else.")
        await expect(reply).to_contain_text("2/2")
        await greeting.get_by_label("Version after").click()
        await expect(page.locator("article")).to_have_count(1)
        await story.send("Where is the harbour?")
        assert story.sent().endswith("Maren: You are early.\nYou: Where is the harbour?")
        assert "The harbour is dry." in story.sent()
        await page.reload()
        await expect(page.locator("article.chat-reply h2").last).to_have_text("Maren")
        await expect(page.locator("article.chat-reply").last).to_contain_text("Not any more.")
