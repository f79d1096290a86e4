"""From nothing to a reply in a real browser: a model is found, fetched through two cuts, loaded."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.hub import Hub, Repo, serving
from tests.live import ROOT, Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(240)]
STORIES = ROOT / "tests" / "data" / "stories260K" / "stories260K.gguf"
CARD = """\
---
license: mit
base_model: me/stories
---
<div align="center"><img src="http://canary.test/x.png" onerror="alert(1)"></div>

# Stories

It tells **stories**. <script>alert(1)</script>
"""
LIST = """\
written: 2026-11-27
models:
  - name: Tiny stories
    repo: me/stories-GGUF
    file: stories-Q4_K_M.gguf
    size: 1.2 MB
    licence: MIT
    says: Tells stories.
  - name: Broken
    file: x.gguf
"""


def stocked() -> Hub:
    repo = Repo("me/stories-GGUF", downloads=1234, tags=("gguf",), card={"license": "mit"})
    data = STORIES.read_bytes()
    repo.commit({"README.md": CARD, "stories-Q4_K_M.gguf": data, "stories-Q8_0.gguf": 60_000_000})
    return Hub(repo)


async def test_from_an_empty_folder_to_a_reply(
    tmp_path: Path, environments_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    models = tmp_path / "models"
    models.mkdir()
    (models / "starters.yaml").write_text(LIST, "utf-8")
    with serving(stocked()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        flags = ("--model-dir", str(models))
        async with (
            live(tmp_path / "data", environments_dir, *flags) as server,
            chromium() as browser,
        ):
            context = await browser.new_context(viewport={"width": 1280, "height": 900})
            watched, page = Watched(context), await context.new_page()

            # The list of an empty folder offers small models, and names what is wrong in the list.
            await page.goto(server.link)
            await page.goto(f"{server.address}/models")
            card = page.locator("#downloader-starters")
            await expect(card).to_contain_text("Tiny stories")
            await expect(card).to_contain_text("starters.yaml, entry 2: it needs a “repo”.")
            await shoot(page, "download-1-first")

            # An address of one file leads to that, and to the file list for one that is no form.
            await page.goto(f"{server.address}/models/downloader")
            pasted = f"{hub.address}/me/stories-GGUF/resolve/main"
            await page.fill("#downloader-text", f"{pasted}/stories-Q4_K_M.gguf?download=true")
            await page.keyboard.press("Enter")
            best = page.locator(".downloader-choice[data-best]")
            await expect(best).to_contain_text("the one you named")
            await expect(best).to_contain_text("stories-Q4_K_M.gguf")
            await page.click(".downloader-back")
            await page.fill("#downloader-text", f"{pasted}/README.md")
            await page.keyboard.press("Enter")
            listed = page.locator("#downloader-files").get_by_role("checkbox", name="README.md")
            await expect(listed).to_be_checked()
            await page.reload()
            await expect(listed).to_be_checked()

            # A search finds it; its page tells what is in it, and its card runs nothing.
            await page.goto(f"{server.address}/models/downloader")
            await page.fill("#downloader-text", "stories")
            await page.keyboard.press("Enter")
            await page.locator("#downloader-results a").click()
            small = page.locator(".downloader-choice", has_text="stories-Q4_K_M.gguf")
            await expect(small).to_contain_text("4 bits: the usual choice")
            await expect(small).to_contain_text("fits")
            await page.click("#downloader-about")
            prose = page.locator("#downloader-card .prose")
            await expect(prose).to_contain_text("It tells stories.")
            assert await prose.locator("img, script, div:not(.code)").count() == 0
            await shoot(page, "download-2-repository")

            # The connection breaks twice; the file is whole in the end, and was not begun anew.
            for at in (300_000, 700_000):
                hub.misbehave("cut", "bytes:*stories-Q4_K_M.gguf", at=at)
            await small.get_by_role("button", name="Download").click()
            row = page.locator(".downloader-job", has_text="stories-Q4_K_M.gguf")
            await expect(row).to_have_attribute("data-state", "done", timeout=60_000)
            assert (models / "stories-Q4_K_M.gguf").read_bytes() == STORIES.read_bytes()
            assert [fault.times for fault in hub.faults] == [0, 0]
            assert hub.sent("stories-Q4_K_M.gguf") < STORIES.stat().st_size * 1.02 + 70_000
            await expect(small).to_contain_text("is here")

            # The other one is paused, survives the end of the server, and is cancelled.
            hub.misbehave("slow", "bytes:*stories-Q8_0.gguf", times=99, rate=1_000_000)
            large = page.locator(".downloader-choice", has_text="stories-Q8_0.gguf")
            await large.get_by_role("button", name="Download").click()
            second = page.locator(".downloader-job", has_text="stories-Q8_0.gguf")
            await expect(second).to_contain_text(re.compile(r"[KM]B/s"), timeout=30_000)
            await expect(large).to_contain_text("is being fetched")
            await shoot(page, "download-3-running")
            await second.get_by_role("button", name="Pause").click()
            await expect(second).to_have_attribute("data-state", "paused")
            await server.kill()
            offline = page.get_by_text("Offline. Trying again.").first
            await expect(offline).to_be_visible()
            await server.start()
            await expect(offline).to_be_hidden(timeout=30_000)
            await expect(second).to_have_attribute("data-state", "paused")
            await second.get_by_role("button", name="Go on").click()
            await expect(second).to_have_attribute("data-state", "running", timeout=30_000)
            await second.get_by_role("button", name="Cancel").click()
            await expect(second).to_have_attribute("data-state", "cancelled")
            await second.get_by_role("button", name="Remove").click()
            await expect(second).to_have_count(0)
            assert sorted(file.name for file in models.iterdir() if file.name[0] != ".") == [
                "starters.yaml",
                "stories-Q4_K_M.gguf",
            ]

            # What was fetched is loaded and answers.
            await page.goto(f"{server.address}/models")
            await expect(page.locator("#models-found")).to_contain_text("stories-Q4_K_M")
            await expect(page.locator("#downloader-starters")).to_be_hidden()
            await page.get_by_role("button", name="Load stories-Q4_K_M").click()
            await page.get_by_role("button", name="Load", exact=True).click()
            await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=60_000)
            await page.goto(f"{server.address}/chat")
            await page.fill("#chat-text", "Once upon a time")
            await page.keyboard.press("Enter")
            reply = page.locator("article.chat-reply .chat-body")
            await expect(reply).not_to_be_empty(timeout=30_000)
            assert watched.complaints == []
