"""Adapters in a real browser: what fits is applied with weights, told, and removed."""

import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.engines.real import STORIES
from tests.engines.tiny import make_lora
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(200)]
LORA = STORIES.parent / "lora-stories260K"
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def filled(folder: Path) -> tuple[str, ...]:
    """A model, and adapters of all kinds; the flags that name their folders."""
    models, loras = folder / "models", folder / "loras"
    models.mkdir()
    shutil.copyfile(STORIES / "stories260K.gguf", models / "stories.gguf")
    shutil.copytree(LORA, loras / "plays", ignore=shutil.ignore_patterns("*.gguf"))
    shutil.copyfile(LORA / "lora-shakespeare-f32.gguf", loras / "shakespeare.gguf")
    make_lora(loras / "noise.gguf")
    make_lora(loras / "for-another-model.gguf", width=32)
    (loras / "pickled").mkdir()
    shutil.copyfile(LORA / "adapter_config.json", loras / "pickled" / "adapter_config.json")
    (loras / "pickled" / "adapter_model.bin").write_bytes(b"x")
    places = "--model-dir", str(models), "--lora-dir", str(loras)
    return (*places, "--model", "stories.gguf", "--lora", "shakespeare=0.5")


def row(page: Page, name: str) -> str:
    return f".loras-one:has(.name:text-is('{name}'))"


async def test_what_fits_is_applied_and_removed(tmp_path: Path, environments_dir: Path):
    flags = filled(tmp_path)
    async with live(tmp_path / "data", environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)

        # What the command line named is applied; the status line leads to the list.
        await expect(page.locator("#loras-status")).to_contain_text("shakespeare")
        await page.click("#loras-status a")
        told, weight = page.locator("#loras-list > .well"), ".loras-weight input"
        await expect(told).to_contain_text("Applied to stories: shakespeare at 0.5")
        await expect(page.locator(f"{row(page, 'shakespeare')} {weight}")).to_have_value("0.5")
        for name, why in (
            ("for-another-model", "does not fit this model"),
            ("plays", "is in PEFT form, and the loaded model takes adapters in GGUF form"),
            ("pickled", "a format that can run programs"),
        ):
            await expect(page.locator(row(page, name))).to_contain_text(why)
            await expect(page.locator(f"{row(page, name)} input")).to_be_disabled()
        await shoot(page, "adapters")

        # Two at once, by the keyboard.
        await page.focus(f"{row(page, 'noise')} input[type=checkbox]")
        await page.keyboard.press("Space")
        await page.keyboard.press("Tab")
        await page.keyboard.type("0.25")
        await page.keyboard.press("Enter")
        await expect(told).to_contain_text("noise at 0.25")
        await expect(page.locator("#loras-status")).to_contain_text("2 adapters")

        # A weight that is none is told, and changes nothing.
        await page.fill(f"{row(page, 'noise')} {weight}", "1000")
        await page.click("#loras-apply")
        await expect(page.locator(".toast, [role=alert]").last).to_contain_text("a number up to")
        await expect(told).to_contain_text("noise at 0.25")

        # A file that comes shows up by itself, and what is ticked meanwhile stays so.
        await page.uncheck(f"{row(page, 'noise')} input[type=checkbox]")
        make_lora(tmp_path / "loras" / "another.gguf", seed=3)
        await expect(page.locator(row(page, "another"))).to_be_visible()
        assert not await page.is_checked(f"{row(page, 'noise')} input[type=checkbox]")

        # All of them are removed: no box stays ticked.
        await page.click("#loras-remove")
        await expect(told).to_contain_text("No adapter is applied to stories.")
        await expect(page.locator("#loras-status")).to_be_hidden()
        assert await page.locator("#loras-all input:checked").count() == 0

        # A narrow page holds it.
        await page.set_viewport_size({"width": 390, "height": 844})
        assert not await page.evaluate(WIDE)
        assert not watched.complaints
