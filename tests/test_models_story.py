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

OPENED = """() => {
  const moved = new DataTransfer(), how = {bubbles: true, cancelable: true, dataTransfer: moved};
  moved.items.add(new File(['x'], 'late.gguf'));
  const main = document.querySelector('main');
  return ['dragover', 'drop'].map(kind => main.dispatchEvent(new DragEvent(kind, how)));
}"""
"""Whether the browser would open a file that is dropped onto a page, and is dragged over it."""

GAP = """() => {
  const box = part => document.querySelector(`.models-here ${part}`).getBoundingClientRect();
  return box('.fields').top - box('h2').bottom;
}"""
"""What lies between the name of a model and its loaders."""
BELOW = """row => {
  const box = part => row.querySelector(part).getBoundingClientRect();
  return box('a').bottom <= box('p').top;
}"""
"""Whether the facts of a model stand below its name."""


async def drop(page: Page, name: str, data: bytes) -> None:
    """As a person drops a file onto the page."""
    await page.evaluate(DROP, [name, base64.b64encode(data).decode()])


async def drag(page: Page, *paths: Path, onto: str = "#models-page") -> None:
    """As a person drags files and folders from the desktop: these are real ones of the disk."""
    box = await page.locator(onto).bounding_box()
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
        await expect(page.locator(".toast.error")).to_contain_text("There is already dropped.gguf")

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

        # Each section takes what is dropped; elsewhere a file is not opened in place of the page.
        (tmp_path / "late.gguf").write_bytes(GOOD)
        await page.get_by_role("link", name="Hardware").click()
        await expect(page.get_by_role("heading", name="Hardware")).to_be_visible()
        await drag(page, tmp_path / "late.gguf", onto="#models-sections")
        await expect(page.get_by_text("late.gguf was put into models/.")).to_be_visible()
        assert (models / "late.gguf").read_bytes() == GOOD
        await page.get_by_role("link", name="Settings", exact=True).click()
        await expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
        assert await page.evaluate(OPENED) == [False, False]
        await page.get_by_role("link", name="Models", exact=True).click()
        await page.wait_for_url(
            "**/models/hardware"
        )  # Where it was left; once more: its beginning.
        await page.get_by_role("link", name="Models", exact=True).click()

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
        assert await page.evaluate(GAP) >= 8
        await shoot(page, "models-file")
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.get_by_role("link", name="All models").click()
        await expect(page.locator("#models-find")).to_be_hidden()  # there is nothing to search in
        for number in range(12):
            (models / f"many-{number:02}.gguf").write_bytes(GOOD)
        await expect(page.locator("#models-find")).to_be_visible()
        cut = page.locator(".models-one").filter(has_text="cut.gguf")
        await expect(cut).to_be_visible()
        assert await cut.evaluate(BELOW), "a long name has all the width"
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await shoot(page, "models-phone")

        # A search leaves nothing else below the list.
        await expect(page.locator("#converter-found")).to_be_visible()
        await page.fill("#models-words", "nothing like it")
        await expect(page.locator("#converter-found")).to_be_hidden()
        await page.fill("#models-words", "")

        # The picker loads from the list, by the keyboard; what is broken is not in it. It shows
        # the chosen one, however many there are, and what loads it.
        await page.set_viewport_size({"width": 390, "height": 640})
        load = page.get_by_role("button", name="Load many-11.gguf")
        await load.focus()
        await page.keyboard.press("Enter")
        picker = page.locator("#models-picker")
        await expect(picker.locator("section.load h3")).to_have_text("many-11.gguf")
        await expect(picker.locator(".file[aria-pressed=true]")).to_be_in_viewport()
        await expect(picker.locator(".primary")).to_be_in_viewport(ratio=1)
        box = await picker.locator(".file .name").first.bounding_box()
        assert box
        assert box["width"] > 300, "its loaders are below it"
        await expect(picker.locator(".file")).to_have_count(15)
        wrong = [said for said in watched.complaints if "409" not in said]
        assert not wrong, wrong
