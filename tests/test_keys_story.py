"""Keys in Settings, in a real browser: made by keyboard, shown once, limited, revoked; a site."""

import asyncio
import http.client
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live import Live, Watched, chromium, live, shoot
from tests.test_comforts_story import SMALL, WIDE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
SITE = "https://app.example.org"
PATH = "/api/ws/schema.json"


def asks(server: Live, **headers: str) -> int:
    """The status that a program gets, one that no rule for this machine lets in."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", PATH, headers={"Sec-Fetch-Site": "none", **sent})
        return connection.getresponse().status
    finally:
        connection.close()


async def picture(page: Page, name: str) -> None:
    """Both widths, both themes; nothing is cut off, nothing too small for a finger."""
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            await page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
            await shoot(page, f"{name}-{width}-{theme}")
        assert await page.evaluate(WIDE) == [], width
    await page.set_viewport_size({"width": 1280, "height": 900})


async def test_a_key_from_its_making_to_its_end(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "settings.yaml").write_text(
        "extensions:\n  models:\n    at_start: false\n"
    )
    async with (
        live(tmp_path / "data", tmp_path / "environments") as server,
        chromium() as browser,
    ):
        context = await browser.new_context(viewport={"width": 1280, "height": 900}, has_touch=True)
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        watched = Watched(context)
        page = await context.new_page()
        await page.emulate_media(reduced_motion="reduce")  # no picture of half a theme
        await page.goto(server.link)
        await page.goto(f"{server.address}/settings/api_keys")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await picture(page, "keys-empty")

        await page.focus("#api_keys-name")
        await page.keyboard.type("SillyTavern on the laptop")
        await page.keyboard.press("Enter")
        words = await page.locator("#api_keys-words").text_content() or ""
        await expect(page.locator("#api_keys-copy")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#api_keys-copy[data-ui-done]")).to_be_attached()
        assert await page.evaluate("navigator.clipboard.readText()") == words
        await page.locator("#api_keys-words").evaluate("e => e.textContent = 'W'.repeat(46)")
        await picture(page, "keys-made")  # however it is broken into lines
        assert await asyncio.to_thread(asks, server, x_api_key=words) == 200
        await page.click("#api_keys-done")
        await expect(page.locator("#api_keys-name")).to_have_value("")
        await expect(page.locator("body")).not_to_contain_text(words)

        card = page.locator(".api_keys-key")
        await card.locator("summary").click()
        await card.get_by_label("Tokens a minute").fill("20000")
        await card.get_by_label("Requests at once").fill("2")
        await card.get_by_label("Name").click()
        await expect(card.locator("summary")).to_have_text("2 at once, 20,000 tokens a minute")
        await page.fill("#api_keys-name", "Backup script")
        await page.select_option("#api_keys-scope", "admin")
        await page.click("#api_keys-make-it")
        await page.click("#api_keys-done")
        await expect(card.first).to_contain_text("May do everything")

        await page.fill("#api_keys-origins", f"{SITE}/chat")
        await page.keyboard.press("Tab")
        await expect(page.locator("#api_keys-origins")).to_have_value(SITE)
        assert await asyncio.to_thread(asks, server, x_api_key=words, origin=SITE) == 200
        await page.reload()
        await expect(page.locator("#api_keys-origins")).to_have_value(SITE)
        await expect(card.last).to_contain_text("Last used")
        await page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        await picture(page, "keys-all")

        await card.get_by_role("button", name="Revoke: SillyTavern on the laptop").click()
        await expect(card).to_have_count(1)
        assert await asyncio.to_thread(asks, server, x_api_key=words) == 401
        await page.get_by_role("button", name="Undo").click()
        await expect(card).to_have_count(2)
        assert await asyncio.to_thread(asks, server, x_api_key=words) == 200
        assert watched.complaints == []

        phone = await browser.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True,
            storage_state=await context.storage_state(),
        )  # fmt: skip
        page = await phone.new_page()
        await page.goto(f"{server.address}/settings/api_keys")
        await page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert await page.evaluate(SMALL) == []
