"""How a model is loaded, in a real browser with real engines: options saved beside it, stages,
what to change where it fails, the command line at a start, what comes with it, and four tabs that
talk with it at once."""

import asyncio
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.engines.real import STORIES, interpreter
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(300)]


async def look(page: Page, name: str) -> None:
    """A picture of it in all four looks, where those are kept."""
    for width, height in ((1280, 800), (390, 780)):
        for scheme in ("light", "dark"):
            await page.set_viewport_size({"width": width, "height": height})
            await page.emulate_media(color_scheme=scheme)
            await shoot(page, f"{name}-{width}-{scheme}")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.emulate_media(color_scheme="light")


async def choose(page: Page, name: str) -> None:
    await page.locator("#models-list button.file", has_text=name).first.click()
    await expect(page.locator("#models-picker section.load h3")).to_have_text(name)


async def ready(page: Page, name: str) -> None:
    await expect(page.locator("#models-status b")).to_have_text(name, timeout=120_000)
    await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)


async def test_from_a_choice_to_the_next_start(tmp_path: Path, environments_dir: Path):
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    shutil.copy(STORIES / "stories260K.gguf", models / "stories.gguf")
    (models / "config-user.yaml").write_text(
        "# Kept since 2024.\n.*stories:\n  n_ctx: 384\n  n_gqa: 8\n  threads: 1\n"
    )
    saved, flags = models / "config-user.yaml", ("--model-dir", str(models))
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.click("#models-open")
        await choose(page, "stories.gguf")
        form = page.locator("#models-load")
        await page.click("#models-options > summary")
        await expect(form.get_by_label("Context length")).to_have_value("384")
        await look(page, "load-form")

        # Who loads with something wrong is led to it, past all that is unfolded in between.
        box = form.get_by_label("Context length")
        await box.fill("-5")
        await form.get_by_role("button", name="Load", exact=True).click()
        await expect(box).to_be_focused()
        await expect(box).to_be_in_viewport()
        await expect(form.locator(".error")).to_be_in_viewport()
        await box.fill("384")
        await page.click("#models-gone > summary")
        await expect(page.locator("#models-gone")).to_contain_text("override_kv corrects a file")

        # What works is saved below its name, and everything else in the file stays.
        await form.get_by_label("Context length").fill("256")
        await page.locator("#models-load summary", has_text="What comes with it").click()
        await form.get_by_label("Preset").select_option("Shortwave")
        await form.get_by_role("button", name="Load", exact=True).click()
        await ready(page, "stories")
        await expect(page.locator("#parameters-pop-preset")).to_have_value("Shortwave")
        await expect(page.locator("#models-picker")).to_contain_text("256 context")
        await look(page, "load-ready")
        text = saved.read_text()
        assert text.startswith("# Kept since 2024.\n.*stories:\n  n_ctx: 384\n  n_gqa: 8\n")
        assert "stories.gguf$:\n  loader: llama.cpp\n  context_length: 256\n" in text
        assert "preset: Shortwave" in text
        await page.click("#models-forget")
        await expect(page.locator("#models-forget")).to_have_count(0)
        await page.get_by_role("button", name="Undo").click()  # Also above a dialog.
        await expect(page.locator("#models-forget")).to_be_visible()
        await expect(page.locator("#models-picker")).to_be_visible()
        assert "preset: Shortwave" in saved.read_text()

        # The preset that came with it stays.
        await page.keyboard.press("Escape")
        await page.goto(f"{server.address}/parameters")
        await expect(page.locator("#parameters-preset")).to_have_value("Shortwave")
        assert watched.complaints == []
    flags = (*flags, "--ctx-size", "320")
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.goto(server.link)
        await ready(page, "stories")
        await expect(page.locator("#models-status")).to_contain_text("320 context")


async def test_a_load_under_way_and_one_that_crashes(tmp_path: Path, environments_dir: Path):
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    shutil.copytree(Path(__file__).parent / "data" / "slow_load", data / "extensions" / "slow_load")
    (models / "one.slow").write_text("")
    flags = ("--model-dir", str(models))
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.click("#models-open")
        await choose(page, "one.slow")
        await page.locator("#models-load .primary").click()
        stages = page.locator("#models-stages li")
        await expect(stages.last).to_contain_text("Reading 40 of 100", timeout=60_000)
        await expect(stages.nth(-2)).to_contain_text("Checking the file")
        await page.click("#models-log > summary")
        await expect(page.locator("#models-log pre")).to_contain_text("layer 40")
        await look(page, "load-stages")
        await page.click("#models-cancel")
        await expect(page.locator("#models-stages")).to_have_count(0)
        await expect(page.locator("#models-status")).to_contain_text("No model")

        # It finds no memory: what to change is said, and what was typed stays.
        (models / "one.slow").write_text("starve")
        form = page.locator("#models-load")
        await page.click("#models-options > summary")
        await form.get_by_label("Context length").fill("90000")
        await page.click("#models-options > summary")
        await page.locator("#models-load .primary").click()
        await expect(page.locator("#models-picker .fail")).to_contain_text("ran out of memory")
        await expect(page.locator("#models-advice")).to_contain_text("Context length: shorter")
        await expect(form.get_by_label("Context length")).to_have_value("90000")
        await expect(form.get_by_label("Context length")).to_be_visible()
        await look(page, "load-failed")
        assert not (models / "config-user.yaml").exists()

        (models / "one.slow").write_text("crash")
        await page.locator("#models-load .primary").click()
        await expect(page.locator("#models-picker .fail")).to_contain_text(
            "crashed", timeout=60_000
        )
        await page.click("#models-crash > summary")
        await expect(page.locator("#models-crash pre")).to_contain_text("about to fall over")
        await look(page, "load-crashed")
        assert watched.complaints == []


NAMES = ("Lily", "Tom", "Anna", "Ben")


async def talk(page: Page, name: str) -> str:
    """What the model makes of a sentence of this tab alone."""
    await page.get_by_label("Message", exact=True).fill(f"Once upon a time {name} had a dog")
    await page.keyboard.press("Enter")
    reply = page.locator("article.chat-reply")
    await expect(reply.locator(".chat-figures")).to_be_visible(timeout=60_000)
    await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
    await expect(page.locator("article.chat-user")).to_have_count(1)
    assert name in await page.locator("article.chat-user").inner_text()
    return await reply.locator(".chat-body").inner_text()


@pytest.mark.parametrize("engine", ["", pytest.param("native", marks=pytest.mark.long)])
async def test_four_tabs_talk_with_a_file_that_was_dropped_in(
    tmp_path: Path, environments_dir: Path, engine: str
):
    python = interpreter(environments_dir / f"xllamacpp{engine and '-'}{engine}")
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    chosen = data / "state" / "parameters" / "parameters.json"
    chosen.parent.mkdir(parents=True)
    chosen.write_text('{"sampling": {"max_new_tokens": 150}}')
    settings = f'extensions:\n  llama_cpp:\n    variant: "{engine}"\n'
    (data / "settings.yaml").write_text(settings)
    flags = ("--model-dir", str(models))
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await page.click("#models-open")
        shutil.copy(STORIES / "stories260K.gguf", models / "dropped.gguf")
        await choose(page, "dropped.gguf")
        await page.locator("#models-load .primary").click()
        await ready(page, "dropped")
        await page.keyboard.press("Escape")
        tabs = [page, *[await context.new_page() for _ in NAMES[1:]]]
        for tab in tabs[1:]:
            await tab.goto(f"{server.address}/chat")
        for tab in tabs:
            await tab.wait_for_selector("html[data-ui-link=online]")
        said = await asyncio.gather(*map(talk, tabs, NAMES))
        assert all(len(words.split()) > 20 for words in said), said
        assert len(set(said)) == len(NAMES)
        assert str(python) in server.interpreters()
        await shoot(page, f"four-tabs{engine and '-'}{engine}")
        assert watched.complaints == []
