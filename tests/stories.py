"""What the stories share: a server with a model that says what stands in its file, and a page."""

import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.live import ROOT, Live, Watched, chromium, live

HELPERS = ("parrot", "listener")


class Told(NamedTuple):
    """A story under way."""

    server: Live
    context: BrowserContext
    page: Page
    watched: Watched

    def heard(self) -> list[dict[str, Any]]:
        """The requests that came to the engine."""
        file = self.server.data / "state" / "listener" / "requests.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    def sent(self, number: int = -1) -> str:
        """The words of one of them: of each message, after its name."""
        messages = self.heard()[number]["messages"]
        texts = ((m.get("name", ""), "".join(p["text"] for p in m["parts"])) for m in messages)
        return "\n".join(f"{name}: {text}" if name else text for name, text in texts)

    def article(self, text: str) -> Locator:
        return self.page.locator("article", has_text=text)

    async def send(self, text: str) -> None:
        """Write a message, and wait for the end of what answers it."""
        await self.page.fill("#chat-text", text)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("article.chat-user").last).to_contain_text(text)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing is being written."""
        await expect(self.page.locator("#chat-go")).to_have_attribute("data-busy", "false")

    async def fits(self, width: int) -> None:
        """Nothing is wider than the page."""
        assert await self.page.evaluate("document.documentElement.scrollWidth") <= width


@asynccontextmanager
async def told(
    folder: Path, environments: Path, says: tuple[str, ...], **how: Any
) -> AsyncGenerator[Told]:
    """A story with a model that says these things in turn; `how` is the browser's context."""
    data, models = folder / "data", folder / "models"
    models.mkdir()
    (models / "polly.parrot").write_text("\n===\n".join(says), "utf-8")
    for name in HELPERS:
        shutil.copytree(ROOT / "tests" / "data" / name, data / "extensions" / name)
    flags = ("--model-dir", str(models), "--model", "polly.parrot")
    async with live(data, environments, *flags) as server, chromium() as browser:
        context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **how})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]")
        yield Told(server, context, page, watched)
        assert watched.complaints == []
