"""The Model page in a real browser: a model is dropped, found, looked at; a broken one says why."""

import base64
import os
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.ggufs import a_gguf
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
QUIET = "extensions:\n  models:\n    at_start: false\n"
GOOD = a_gguf({"general.name": "Dropped", "general.license": "mit", "general.file_type": 15})
DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), moved = new DataTransfer();
  moved.items.add(new File([bytes], name));
  const at = document.querySelector('#models-page');
  for (const kind of ['dragover', 'drop']) {
    at.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: moved}));
  }
}"""


async def drop(page: Page, name: str, data: bytes) -> None:
    """As a person drops a file onto the page."""
    await page.evaluate(DROP, [name, base64.b64encode(data).decode()])


async def drag(page: Page, *paths: Path) -> None:
    """As a person drags files and folders from the desktop: these are real ones of the disk."""
    box = await page.locator("#models-page").bounding_box()
    assert box
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 200}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = await page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        await session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    await session.detach()


async def test_models_are_dropped_found_and_looked_at(tmp_path: Path, environments_dir: Path):
    data, models, sent = tmp_path / "data", tmp_path / "models", tmp_path / "tiny"
    for folder in (data, models, sent / "deep"):
        folder.mkdir(parents=True)
    (data / "settings.yaml").write_text(QUIET)
    (models / "cut.gguf").write_bytes(GOOD[:-9])
    os.utime(models / "cut.gguf", (1, 1))  # Nobody is writing it any more.
    (sent / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (sent / "pytorch_model.bin").write_bytes(b"\x80\x04x")
    (sent / "deep" / "notes.md").write_text("Words.")
    (sent / ".hidden").write_text("x")
    async with (
        live(data, environments_dir, "--model-dir", str(models)) as server,
        chromium() as browser,
    ):
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.get_by_role("link", name="Models", exact=True).click()
        await expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
        await expect(page.locator(".models-one").filter(has_text="cut.gguf")).to_contain_text(
            "ends 9 bytes after the file does"
        )

        # A file is dropped: it is there, with what it says of itself.
        await drop(page, "dropped.gguf", GOOD)
        row = page.locator(".models-one").filter(has_text="dropped.gguf")
        await expect(row).to_contain_text("llama · 16 · Q4_K_M")
        await expect(row).to_contain_text("llama.cpp")
        assert (models / "dropped.gguf").read_bytes() == GOOD
        await drop(page, "dropped.gguf", GOOD)
        await expect(page.locator(".toast")).to_contain_text("There is already dropped.gguf")

        # A folder is chosen; its hidden files stay behind.
        await page.set_input_files("#models-choose-folder", sent)
        row = page.locator(".models-one").filter(has_text="tiny")
        await expect(row).to_contain_text("a format that can run programs")
        assert (models / "tiny" / "deep" / "notes.md").read_text() == "Words."
        assert not (models / "tiny" / ".hidden").exists()

        # A folder and a file are dragged there together from the desktop.
        shutil.copytree(sent, tmp_path / "hung")
        (tmp_path / "hung.gguf").write_bytes(GOOD)
        await drag(page, tmp_path / "hung", tmp_path / "hung.gguf")
        await expect(page.locator(".models-one").filter(has_text="hung.gguf")).to_be_visible()
        row = page.locator(".models-one").filter(has_text="hung").filter(has_not_text="hung.gguf")
        await expect(row).to_contain_text("a format that can run programs")
        assert (models / "hung" / "deep" / "notes.md").read_text() == "Words."
        assert not (models / "hung" / ".hidden").exists()

        # A file that is copied shows by itself, and goes by itself.
        (models / "copied.gguf").write_bytes(GOOD)
        await expect(page.locator(".models-one").filter(has_text="copied.gguf")).to_be_visible()
        (models / "copied.gguf").unlink()
        await expect(page.locator(".models-one").filter(has_text="copied.gguf")).to_have_count(0)
        await shoot(page, "models-list")

        # One of them: its facts, its loaders, how it is loaded.
        await page.get_by_role("link", name="dropped.gguf").click()
        await expect(page.locator("#models-facts")).to_contain_text("mit")
        await expect(page.locator("#models-facts")).to_contain_text("It is a GGUF file.")
        await expect(page.locator("#models-page-load")).to_be_visible()
        await page.get_by_role("button", name="Save only").click()
        await expect(page.locator(".toast").last).to_contain_text("Saved. It counts from")
        await shoot(page, "models-file")
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.get_by_role("link", name="All models").click()
        await expect(page.locator(".models-one").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await shoot(page, "models-phone")

        # The picker loads from the list, by the keyboard; what is broken is not in it.
        load = page.get_by_role("button", name="Load dropped.gguf")
        await load.focus()
        await page.keyboard.press("Enter")
        picker = page.locator("#models-picker")
        await expect(picker.locator("section.load h3")).to_have_text("dropped.gguf")
        await expect(picker.locator(".file")).to_have_count(2)
        wrong = [said for said in watched.complaints if "409" not in said]
        assert not wrong, wrong
