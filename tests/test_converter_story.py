"""Weights that could run programs, in a real browser: found, converted with a click, refused."""

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.engines.real import interpreter
from tests.live import Watched, chromium, live, shoot
from tests.torch_files import archive, plain, running, table

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(240)]
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


async def test_a_file_is_converted_with_a_click(tmp_path: Path, environments_dir: Path):
    interpreter(environments_dir / "torch")
    models, canary = tmp_path / "models", tmp_path / "canary"
    models.mkdir()
    plain(models / "good.pt")
    flags = ("--model-dir", str(models), "--lora-dir", str(tmp_path / "loras"))
    async with live(tmp_path / "data", environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.goto(f"{server.address}/models")
        rows = page.locator(".converter-one")
        await expect(rows).to_have_count(1)

        # One that comes while the page is open is there by itself; it is named what it would run.
        archive(models / "evil.pt", table({"a": running(canary)}), {})
        os.utime(models / "evil.pt", (1, 1))  # Nobody is writing it any more.
        await expect(rows).to_have_count(2, timeout=30_000)
        await rows.first.get_by_role("button", name="Convert evil.pt").click()
        await expect(rows.first.get_by_role("alert")).to_contain_text("would run posix.system")
        for width, scheme in LOOKS:
            await page.set_viewport_size({"width": width, "height": 800})
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width
            await shoot(page, f"converter-{width}-{scheme}")

        # The other becomes safetensors, and its row goes.
        await rows.last.get_by_role("button", name="Convert good.pt").click()
        await expect(rows).to_have_count(1, timeout=60_000)
        assert (models / "good.safetensors").is_file()
        assert (models / "good.pt").is_file()
        assert not canary.exists()
        assert not watched.complaints
