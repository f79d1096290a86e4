"""A library of conversations in a real browser: folders, search, import, trash, incognito."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.live import Watched, asks_to_leave, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SECRET = "persimmon quartz"


def row(page: Page, title: str) -> Locator:
    return page.locator("#chat-conversations li.entry").filter(has_text=title)


async def write(page: Page, text: str) -> None:
    """Say something; there is no model, and it is kept all the same."""
    mine = page.locator("article.chat-user")
    before = await mine.count()
    await page.fill("#chat-text", text)
    await page.keyboard.press("Enter")
    await expect(mine).to_have_count(before + 1)


async def menu(page: Page, title: str) -> Locator:
    """The dialog of a conversation."""
    await row(page, title).hover()
    await row(page, title).get_by_role("button", name=re.compile("Folder, tags")).click()
    sheet = page.locator("#conversations-sheet")
    await expect(sheet.locator("h2")).to_have_text(title)
    return sheet


def long_history(path: Path) -> Path:
    """A file of text-generation-webui in which the needle stands far above the end."""
    rows = [[f"question {n}", f"answer {n}. " * 20] for n in range(150)]
    rows[10][1] = "Here lies the needle of the haystack."
    value = {"internal": rows, "visible": rows, "metadata": {}}
    path.write_text(json.dumps(value), "utf-8")
    return path


def holds(folder: Path, words: str) -> list[Path]:
    """The files below a folder that hold these words, in any usual encoding."""
    forms = [words.encode(form) for form in ("utf-8", "utf-16-le")]
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if any(form in file.read_bytes() for form in forms)]


async def test_a_library_in_order(tmp_path: Path):
    (models := tmp_path / "models").mkdir()
    data = tmp_path / "data"
    started = live(data, tmp_path / "environments", "--model-dir", str(models))
    async with started as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await write(page, "A letter to my aunt")

        # A folder by its button, a conversation into it by dragging; a tag and a pin by the dialog.
        await page.get_by_role("button", name="New folder").click()
        await page.keyboard.type("Letters")
        await page.keyboard.press("Enter")
        folder = page.locator('[data-folder="Letters"]')
        await expect(folder).to_be_visible()
        await row(page, "A letter to my aunt").drag_to(folder)
        held = page.locator(".chat-held li.entry")
        await expect(held).to_have_count(1)
        await shoot(page, "library-folder")
        await folder.get_by_role("button", expanded=True).click()
        await expect(held).to_have_count(0)
        await folder.get_by_role("button", expanded=False).press("Enter")
        await expect(held).to_have_count(1)
        sheet = await menu(page, "A letter to my aunt")
        await shoot(page, "library-sheet")
        await sheet.get_by_label("Tags").fill("family, post")
        await sheet.get_by_role("button", name="Save").click()
        tags = row(page, "A letter to my aunt").locator(".chat-tag")
        await expect(tags).to_have_count(2)
        beside = """e => {
          const right = each => each.getBoundingClientRect().right;
          const before = e.firstChild.textContent;
          e.firstChild.textContent = 'long '.repeat(20);
          const seen = right(e.lastElementChild) <= right(e);
          e.firstChild.textContent = before;
          return seen;
        }"""
        title = row(page, "A letter to my aunt").locator("a")
        assert await title.evaluate(beside), "tags are seen beside a title of any length"
        sheet = await menu(page, "A letter to my aunt")
        await sheet.get_by_role("button", name="Pin to the top").click()
        await expect(page.locator("#chat-conversations .group").first).to_have_text("Pinned")

        # Import by the file dialog; a hit leads to its message, far above the end.
        settings = await context.new_page()
        await settings.goto(f"{server.address}/settings/conversations")
        await shoot(settings, "library-settings")
        file = long_history(tmp_path / "haystack.json")
        for said in ("1 conversation imported, with 300 messages", "1 was here already"):
            await settings.locator("#conversations-files").set_input_files([file])
            await expect(settings.locator("#conversations-imported")).to_contain_text(said)
        await page.bring_to_front()  # Chromium draws what is behind once a second
        await page.fill("#chat-find-text", '"needle of the"')
        hit = page.locator(".chat-found a")
        await expect(hit.locator("mark")).to_have_text("needle of the")
        await shoot(page, "library-found")
        await hit.click()
        message = page.locator("article[data-ui-found]")
        await expect(message).to_contain_text("needle of the haystack")
        await expect(message).to_be_in_viewport()
        await expect(message).to_be_focused()
        await shoot(page, "library-jump")
        await page.get_by_role("button", name="Go to the end").click()
        await expect(page.locator("article").last).to_contain_text("answer 149")
        await expect(page.locator("article").last).to_be_in_viewport()
        await page.fill("#chat-find-text", "")
        await expect(page.locator(".chat-found")).to_have_count(0)

        # Export of one, and of all.
        sheet = await menu(page, "haystack")
        async with page.expect_download() as download:
            await sheet.get_by_role("link", name="SillyTavern").click()
        kept = await (await download.value).path()
        assert (await download.value).suggested_filename == "haystack.jsonl"
        assert len(kept.read_text("utf-8").splitlines()) == 301
        await sheet.get_by_role("button", name="Close").click()
        async with settings.expect_download() as download:
            await settings.get_by_role("link", name="Spindle: everything").click()
        archive = await (await download.value).path()
        with zipfile.ZipFile(archive) as opened:
            assert sorted(opened.namelist()) == [
                "Letters/A letter to my aunt.spindle.json", "haystack.spindle.json",
            ]  # fmt: skip

        # Deleted, it is in the trash; restored, it is in the list.
        await row(page, "haystack").hover()
        await row(page, "haystack").get_by_role("button", name="Delete: haystack").click()
        await expect(row(page, "haystack")).to_have_count(0)
        trashed = settings.locator("#conversations-trash .card")
        await expect(trashed).to_contain_text("haystack")
        await settings.get_by_role("button", name="Restore: haystack").click()
        await expect(row(page, "haystack")).to_have_count(1)
        await expect(trashed).to_have_count(0)

        # Incognito: in memory, marked, and in no file; kept on a click, or closed.
        await page.get_by_role("button", name=re.compile("New incognito")).click()
        pill = page.get_by_role("button", name="Incognito", exact=True)
        await expect(pill).to_be_visible()
        await write(page, f"the {SECRET} of it")
        await page.fill("#chat-text", f"a draft: {SECRET}")
        stored = "JSON.stringify([{...sessionStorage}, {...localStorage}])"
        assert SECRET not in await page.evaluate(stored)
        assert SECRET not in await page.title()
        assert await asks_to_leave(page), "the draft is nowhere else"
        await page.fill("#chat-text", "")
        assert not await asks_to_leave(page)
        edited = page.locator("article.chat-user").last
        await edited.get_by_role("button", name="Edit").click()
        await edited.locator("textarea").fill(f"half an edit: {SECRET}")
        assert await asks_to_leave(page)
        assert SECRET not in await page.evaluate(stored)
        await edited.get_by_role("button", name="Cancel").click()
        assert not await asks_to_leave(page)
        await shoot(page, "library-incognito")
        assert holds(data, "A letter to my aunt")
        assert not holds(data, SECRET)
        await pill.click()
        await shoot(page, "library-incognito-open")
        await page.get_by_role("button", name="Close and forget it").click()
        await expect(pill).to_have_count(0)
        await expect(page.locator("article")).to_have_count(0)
        assert SECRET not in server.said

        # Drafts: each conversation has its own, after a reload and after another start.
        await row(page, "haystack").get_by_role("link").click()
        await expect(page).to_have_title("haystack")
        await page.fill("#chat-text", "half a sentence")
        await row(page, "A letter to my aunt").get_by_role("link").click()
        await expect(page).to_have_title("A letter to my aunt")
        await expect(page.locator("#chat-text")).to_have_value("")
        await page.fill("#chat-text", "dear")
        await server.kill()
        await server.start()
        await expect(page.get_by_text("Offline. Trying again.").first).to_be_hidden(timeout=15_000)
        await page.reload()
        await expect(page.locator("#chat-text")).to_have_value("dear")
        await row(page, "haystack").get_by_role("link").click()
        await expect(page.locator("#chat-text")).to_have_value("half a sentence")

        # A phone shows all of it.
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.get_by_role("button", name="Conversations").click()
        await shoot(page, "library-phone")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        assert watched.complaints == []
