"""In a real browser: whether a model fits is told before it is loaded, and again as it is typed."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.engines.larger import make
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def test_bars_follow_the_options(tmp_path: Path, environments_dir: Path):
    models = tmp_path / "models"
    make(models, "15m")
    flags = "--model-dir", str(models)
    async with live(tmp_path / "data", environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 390, "height": 800})
        watched = Watched(context)
        page, asked = await context.new_page(), list[str]()

        def heard(message: str | bytes) -> None:
            if "models.weigh" in str(message):
                asked.append(str(message))

        page.on("websocket", lambda socket: socket.on("framesent", heard))
        await page.goto(server.link)
        await page.click("#models-open")
        await page.get_by_role("button", name="zeros-15m.gguf").click()
        told = page.locator("#models-fit")
        await expect(told).to_contain_text("It fits with a context of 32,768 tokens.")
        await expect(told.get_by_role("img", name="Memory: weights 30 MB")).to_be_visible()
        assert len(asked) == 1

        # What is typed is asked when the typing rests, once; what cannot be is not.
        await page.locator("#models-load summary", has_text="Options").click()
        length = page.get_by_label("Context length").first
        await length.press_sequentially("4096", delay=20)
        await expect(told).to_contain_text("It fits with a context of 4,096 tokens.")
        assert len(asked) == 2
        kind = page.get_by_label("Cache type").first
        await kind.select_option("f32")
        await expect(told).to_contain_text("Conversations 57 MB")
        await shoot(page, "fit")
        # What the load would refuse is told at once, without bars.
        await kind.select_option("q8_0")
        await expect(told).to_contain_text("this model's are 48 wide. Take f16.")
        await expect(told.get_by_role("img")).to_have_count(0)
        await shoot(page, "fit-refused")
        wide = await page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= 390

        # The machine has a section of its own.
        await page.goto(f"{server.address}/models/hardware")
        await expect(page.get_by_role("img", name="Memory:")).to_be_visible()
        await expect(page.get_by_text("% busy")).to_be_visible()
        assert not watched.complaints
