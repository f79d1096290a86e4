"""Take the README's picture from the running program: python -m tools.screenshot

Needs Chromium and the packages of the tests; engines are installed below data/environments.
"""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import expect

from tests.live import ROOT, chromium, live

QUESTIONS = ("Which model fits into 16 GB?", "How do I write an extension?")


async def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        async with (
            live(Path(scratch) / "data", ROOT / "data" / "environments") as server,
            chromium() as browser,
        ):
            context = await browser.new_context(viewport={"width": 1280, "height": 800})
            page = await context.new_page()
            await page.goto(server.link)
            await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)
            for number, question in enumerate(QUESTIONS, 1):
                await page.fill("#chat-text", question)
                await page.keyboard.press("Enter")
                await expect(page.locator("article.chat-reply")).to_have_count(number)
                await expect(page.locator("#chat-submit")).to_be_visible()
            await page.mouse.move(0, 0)
            await page.wait_for_timeout(300)  # The last reply scrolls into view.
            await page.screenshot(path=ROOT / "docs" / "screenshot.png")


if __name__ == "__main__":
    asyncio.run(main())
