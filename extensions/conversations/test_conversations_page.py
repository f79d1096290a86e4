"""The dialog of one conversation, and importing files, in a real browser."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Locator, Page, Route, expect

from tests.live import chromium, live

from .store import Store

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
RUNS = ("--extensions", "chat", "conversations", "settings")
OFFLINE = "document.documentElement.dataset.uiLink = 'offline'"
ONLINE = "document.documentElement.dataset.uiLink = 'online'"


@asynccontextmanager
async def opened(folder: Path, path: str, *titles: str) -> AsyncGenerator[Page]:
    """A page at `path`, with these conversations in its list."""
    data = folder / "data"
    data.mkdir()
    async with Store.open(data / "chats.sqlite3") as store:
        for title in titles:
            await store.add_user("", title)
    async with live(data, folder, *RUNS) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.goto(server.link)
        await page.goto(server.address + path)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        yield page


async def sheet_of(page: Page, title: str) -> Locator:
    row = page.locator("#chat-conversations li.entry", has_text=title)
    await row.hover(timeout=5_000)
    await row.locator("[data-open]").click()
    return page.locator("#conversations-sheet")


async def test_the_dialog_of_a_conversation_has_nothing_that_was_typed_for_another(tmp_path: Path):
    async with opened(tmp_path, "/chat", "One", "Two") as page:
        sheet = await sheet_of(page, "One")
        await expect(sheet.locator("h2")).to_have_text("One")
        await page.fill("#conversations-tags", "secret")
        await page.fill("#conversations-new-folder", "Letters")
        await page.keyboard.press("Escape")
        await sheet_of(page, "Two")
        await expect(sheet.locator("h2")).to_have_text("Two")
        await expect(page.locator("#conversations-tags")).to_have_value("")
        await expect(page.locator("#conversations-new-folder")).to_have_value("")


async def test_until_the_server_answers_the_dialog_can_delete_no_other_conversation(tmp_path: Path):
    async with opened(tmp_path, "/chat", "One", "Two") as page:
        sheet = await sheet_of(page, "One")
        await expect(page.locator("#conversations-delete")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.evaluate(OFFLINE)
        await sheet_of(page, "Two")
        await expect(sheet.locator("h2")).to_have_text("Conversation")
        await expect(page.locator("#conversations-delete")).to_have_count(0)
        await sheet.get_by_role("button", name="Close").click()
        await expect(sheet).to_be_hidden()
        await page.evaluate(ONLINE)
        await sheet_of(page, "Two")
        await expect(sheet.locator("h2")).to_have_text("Two")


async def test_a_folder_is_renamed_though_the_list_is_drawn_anew_meanwhile(tmp_path: Path):
    async with opened(tmp_path, "/chat") as page:
        other = await page.context.new_page()
        await other.goto(page.url)
        await new_folder(page, "Beta")
        await new_folder(page, "Gamma")
        beta = page.locator(".chat-folder[data-folder=Beta]")
        await beta.hover()
        await beta.get_by_role("button", name="Rename").click()
        await page.keyboard.press("Control+a")
        await page.keyboard.type("Letters")
        await new_folder(other, "Alpha")
        await expect(page.locator(".chat-folder[data-folder=Alpha]")).to_be_visible()
        await page.bring_to_front()
        await page.keyboard.press("Enter")
        await expect(page.locator(".chat-folder[data-folder=Letters]")).to_be_visible()
        folders = page.locator(".chat-folder")
        assert await folders.evaluate_all("all => all.map(one => one.dataset.folder)") == [
            "Alpha",
            "Gamma",
            "Letters",
        ]


async def new_folder(page: Page, name: str) -> None:
    await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
    await page.bring_to_front()
    await page.click("#chat-new-folder")
    await page.keyboard.type(name)
    await page.keyboard.press("Enter")
    await expect(page.locator(f".chat-folder[data-folder={name}]")).to_be_visible()


def a_file(name: str) -> FilePayload:
    words = f"You:\nHello {name}\n\nAda:\nHi.\n".encode()
    return {"name": f"{name}.txt", "mimeType": "text/plain", "buffer": words}


@asynccontextmanager
async def importing(folder: Path) -> AsyncGenerator[tuple[Page, asyncio.Event, asyncio.Event]]:
    """A page on which a file is chosen, whose words arrive when the second event is set; the
    first says that they are on their way."""
    async with opened(folder, "/settings/conversations") as page:
        sent, arrive = asyncio.Event(), asyncio.Event()

        async def slow(route: Route) -> None:
            sent.set()
            await arrive.wait()
            await route.continue_()

        await page.route("**/ext/conversations/incoming/**", slow)
        await page.set_input_files("#conversations-files", a_file("one"))
        await sent.wait()
        yield page, sent, arrive


async def test_files_that_are_chosen_while_others_are_on_their_way_go_with_them(tmp_path: Path):
    async with importing(tmp_path) as (page, _, arrive):
        await page.set_input_files("#conversations-files", a_file("two"))
        arrive.set()
        await expect(page.locator("#conversations-imported")).to_contain_text("2 conversations")


async def test_a_file_is_sent_with_the_moment_in_which_it_was_changed(tmp_path: Path):
    (file := tmp_path / "old.txt").write_bytes(a_file("old")["buffer"])
    os.utime(file, (1_700_000_000, 1_700_000_000))
    async with opened(tmp_path, "/settings/conversations") as page:
        async with page.expect_request("**/ext/conversations/incoming/**") as sent:
            await page.set_input_files("#conversations-files", file)
        assert "modified=1700000000000" in (await sent.value).url


async def test_files_that_came_while_the_connection_was_away_are_imported_after_it(tmp_path: Path):
    async with importing(tmp_path) as (page, _, arrive):
        await page.evaluate(OFFLINE)
        arrive.set()
        await expect(page.locator("#conversations-sending")).to_have_attribute("value", "1")
        await page.evaluate(f"{ONLINE}; {CONNECTED}")
        await expect(page.locator("#conversations-imported")).to_contain_text("1 conversation")


async def test_how_far_files_are_is_shown_also_where_the_page_is_drawn_anew(tmp_path: Path):
    async with importing(tmp_path) as (page, _, arrive):
        await page.set_input_files("#conversations-files", a_file("two"))
        await page.evaluate(OFFLINE)
        arrive.set()
        bar = page.locator("#conversations-sending")
        await expect(bar).to_have_attribute("value", "0.5")
        await page.evaluate(ANEW)
        await expect(page.locator("#conversations-import[data-drawn]")).to_be_attached()
        await expect(bar).to_have_attribute("value", "0.5")
        await expect(bar).to_be_visible()
        await page.evaluate(f"{ONLINE}; {CONNECTED}")
        await expect(page.locator("#conversations-imported")).to_contain_text("2 conversations")
        await expect(bar).to_be_hidden()


ANEW = """(async () => {
    const anew = document.querySelector('#conversations-import').cloneNode(true);
    anew.dataset.drawn = '';
    anew.setAttribute('hx-swap-oob', 'outerMorph');
    Object.assign(anew.querySelector('progress'), {value: 0, hidden: true});
    const text = anew.outerHTML;
    await htmx.swap({target: 'body', swap: 'none', text});
})()"""
"""All of it as the server draws it, which knows nothing of what the page sends."""
CONNECTED = """document.dispatchEvent(
    new CustomEvent('htmx:ws:after:connection', {detail: {connection: {}}}))"""
