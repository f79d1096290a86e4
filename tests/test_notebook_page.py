"""A writing session in a real browser: two tabs, a real model, files."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, CDPSession, Locator, Page, expect

from extensions.writing.trash import Trash
from tests.engines.real import ROOT, STORIES, interpreter
from tests.live import Watched, asks_to_leave, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(240)]
STARTER = "It had rained all night, and in the morning the river was at the door."
BEGIN = "Once upon a time, there was a little girl named"


WROTE = """() => { window.wrote = new Promise(done => new MutationObserver((changes, watch) => {
    const busy = document.getElementById('writing-state').dataset.busy;
    if (busy === 'true' || !changes.some(change => change.oldValue === 'true')) return;
    watch.disconnect();
    done();
}).observe(document.body,
    {subtree: true, attributeFilter: ['data-busy'], attributeOldValue: true})); }"""


@asynccontextmanager
async def writing(page: Page) -> AsyncGenerator[None]:
    """What is done inside lets the model write; it ends when the model has written, and not
    where it only had not begun."""
    await page.evaluate(WROTE)
    yield
    await page.evaluate("window.wrote")


async def value(page: Page) -> str:
    return await page.input_value("#writing-text")


async def test_a_writing_session(tmp_path: Path, environments_dir: Path):
    interpreter(environments_dir / "xllamacpp")
    data = tmp_path / "data"
    (data / "notebook").mkdir(parents=True)
    chosen = data / "state" / "parameters" / "parameters.json"
    chosen.parent.mkdir(parents=True)
    chosen.write_text('{"sampling": {"max_new_tokens": 200}}')
    flags = ("--model-dir", str(STORIES), "--model", "stories260K.gguf")
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)

        # A first text begins with a sentence, and has an address.
        await page.goto(f"{server.address}/notebook")
        box = page.locator("#writing-text")
        await expect(box).to_have_value(STARTER)
        assert "/notebook/2" in page.url

        # What is typed is saved, and generation goes on from it, right after the last key.
        await box.fill("")
        await box.type(BEGIN)
        async with writing(page):
            await page.keyboard.press("Control+Enter")
        first = await value(page)
        assert first.startswith(BEGIN)
        assert len(first) > len(BEGIN)
        await expect(page.locator("#writing-count")).to_contain_text("tokens")
        await shoot(page, "notebook-1")

        # Undo, regenerate, undo.
        await page.click("#writing-undo")
        await expect(box).to_have_value(BEGIN)
        for button in ("#writing-generate", "#writing-regenerate"):
            async with writing(page):
                await page.click(button)
        assert (await value(page)).startswith(BEGIN)
        await page.click("#writing-undo")
        await expect(box).to_have_value(BEGIN)

        # A second tab agrees, while both are typed in and the model writes.
        other = await context.new_page()
        await other.goto(page.url)
        await expect(other.locator("#writing-text")).to_have_value(BEGIN)
        async with writing(page):
            await page.click("#writing-generate")
            await other.locator("#writing-text").press("Control+Home")
            await other.keyboard.type("Tale 😀. ")
            await box.press("Control+End")
            await page.keyboard.type("\nThe end.")
        for _ in range(100):
            if await value(page) == await value(other) and "Tale 😀. Once" in await value(page):
                break
            await page.wait_for_timeout(50)
        assert await value(page) == await value(other)
        assert "Tale 😀. Once upon a time" in await value(page)
        assert "\nThe end." in await value(page)
        await other.close()

        # It is there after a reload, and in the file.
        text = await value(page)
        await page.reload()
        await expect(box).to_have_value(text)
        [file] = (data / "notebook").glob("*.txt")
        for _ in range(60):
            if file.read_text("utf-8") == text:
                break
            await page.wait_for_timeout(50)
        assert file.read_text("utf-8") == text

        # Another name, deleted, and back.
        row = page.locator("#writing-list li").first
        await row.hover()
        await row.get_by_role("button", name="Rename").click()
        await row.locator("input[name=title]").fill("My tale")
        await page.keyboard.press("Enter")
        await expect(page.locator("#writing-title")).to_have_text("My tale")
        await expect(page).to_have_url(f"{server.address}/notebook/My%20tale")
        await expect(box).to_have_value(text)
        row = page.locator("#writing-list li").first
        await row.hover()
        await row.get_by_role("button", name="Delete").click()
        await expect(box).not_to_have_value(text)
        await page.get_by_role("button", name="Undo", exact=True).last.click()
        await expect(page.locator("#writing-title")).to_have_text("My tale")
        await expect(box).to_have_value(text)

        # A new one is empty, and the cursor is in it.
        await page.click("#writing-new")
        await expect(box).to_have_value("")
        await expect(box).to_be_focused()
        await page.keyboard.type("Another.")
        await expect(page.locator("#writing-list li")).to_have_count(2)
        await page.locator("#writing-list a").nth(1).click()
        await expect(box).to_have_value(text)

        # What may come next, and the tokens.
        text = "Tale 😀. Once upon a time, there was a little girl named Lily."
        await box.fill(text)
        await page.click("#writing-tab-logits")
        await page.click("#writing-logits-ask")
        await expect(page.locator(".writing-choices tbody tr")).to_have_count(25)
        await page.uncheck("#writing-samplers")
        await page.click("#writing-logits-ask")
        await expect(page.get_by_role("heading", name="Previous output")).to_be_visible()
        await expect(page.locator(".writing-choices tbody tr")).to_have_count(50)
        await shoot(page, "notebook-2-logits")
        await page.click("#writing-tab-tokens")
        await expect(page.locator("#writing-tokens > span.special").first).to_be_attached()
        assert await page.locator("#writing-tokens > span").count() > 20
        await shoot(page, "notebook-3-tokens")
        await page.click("#writing-tab-markdown")
        await expect(page.locator("#writing-view .prose")).to_contain_text("Once upon a time")
        await page.click("#writing-tab-raw")
        await expect(box).to_have_value(text)

        # The phone's layout holds everything; a new text is not left under the list.
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.click("[popovertarget=writing-side]")
        await page.click("#writing-new")
        await expect(page.locator("#writing-side")).to_be_hidden()
        await expect(box).to_be_focused()
        await shoot(page, "notebook-4-phone")

        # What is typed while the server is away is not left without a question.
        assert not await asks_to_leave(page)
        await server.kill()
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "offline")
        await box.fill(f"{text} The end.")
        assert await asks_to_leave(page)
        assert watched.complaints == []


async def test_it_is_written_without_its_tab_until_it_is_stopped(
    tmp_path: Path, environments_dir: Path
):
    interpreter(environments_dir / "xllamacpp")
    data = tmp_path / "data"
    shutil.copytree(ROOT / "tests" / "data" / "slow_motion", data / "extensions" / "slow_motion")
    flags = ("--model-dir", str(STORIES), "--model", "stories260K.gguf")
    async with live(data, environments_dir, *flags) as server, chromium() as browser:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)
        await page.goto(f"{server.address}/notebook")
        await page.locator("#writing-text").fill(BEGIN)
        await page.click("#writing-generate")
        await expect(page.locator("#writing-text")).not_to_have_value(BEGIN)
        seen, address = len(await value(page)), page.url
        await page.close()
        page = await context.new_page()
        await page.goto(address)
        await expect(page.locator("#writing-stop")).to_be_visible()
        more = re.compile(rf"^[\s\S]{{{seen + 4},}}$")
        await expect(page.locator("#writing-text")).to_have_value(more)
        await page.keyboard.press("Escape")
        await expect(page.locator("#writing-generate")).to_be_visible()
        text = await value(page)
        assert text.startswith(BEGIN)
        await page.reload()
        await expect(page.locator("#writing-text")).to_have_value(text)


HELD = """() => { const box = document.querySelector('writing-box');
    box.held = []; box.say = values => box.held.push(values); }"""
FREE = "() => { delete document.querySelector('writing-box').say }"
ARRIVE = """() => { const box = document.querySelector('writing-box');
    delete box.say; for (const values of box.held) box.say(values); }"""


async def until(page: Page, true: str) -> None:
    """Wait until an expression is true; the page's policy lets no string be evaluated in it."""
    async with asyncio.timeout(20):
        while not await page.evaluate(true):
            await asyncio.sleep(0.01)


UNDO = ".toast button:not(.round)"
LEADS_AWAY = ["a[href='/notebook/other']", "#writing-new", "#writing-deleted button", UNDO]


@pytest.mark.parametrize("away", LEADS_AWAY)
async def test_what_leads_away_waits_for_what_is_typed_while_a_change_is_on_its_way(
    tmp_path: Path, away: str
):
    data = tmp_path / "data"
    (data / "notebook").mkdir(parents=True)
    for name in ("story", "other"):
        (data / "notebook" / f"{name}.txt").write_text("Once")
    Trash(data / "notebook" / "trash").put("gone")
    async with live(data, tmp_path / "environments") as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page = await context.new_page()
        await page.goto(server.link)
        await page.goto(f"{server.address}/notebook/story")
        await expect(page.locator("#writing-text")).to_have_value("Once")
        await page.click("#writing-deleted summary")
        if away == UNDO:
            await page.get_by_label("Delete: other").dispatch_event("click")
            await expect(page.locator(UNDO)).to_be_visible()
        await page.evaluate(HELD)
        await page.locator("#writing-text").press("End")
        await page.keyboard.type(" upon")
        await until(page, "document.querySelector('writing-box').held.length > 0")
        await page.keyboard.type(" a time")
        await page.evaluate("document.querySelector('writing-box').since = Infinity")  # No haste.
        assert await asks_to_leave(page)
        await page.click(away)
        await page.evaluate(ARRIVE)
        await expect(page.locator("#writing-title")).not_to_have_text("story")
        await page.goto(f"{server.address}/notebook/story")
        await expect(page.locator("#writing-text")).to_have_value("Once upon a time")


REFUSE = """() => { const stuck = document.createElement('writing-stuck');
    stuck.dataset.id = document.querySelector('writing-box').held.at(-1).id;
    document.querySelector('#writing-news-text').append(stuck); }"""
PASTE_HALF_A_LETTER = """() => { const box = document.querySelector('#writing-text');
    box.value = 'Once \\ud83d';
    box.dispatchEvent(new Event('input', {bubbles: true})); }"""


async def test_what_is_refused_stays_here_and_what_is_typed_then_is_saved(tmp_path: Path):
    data = tmp_path / "data"
    (data / "notebook").mkdir(parents=True)
    file = data / "notebook" / "story.txt"
    file.write_text("Once")
    async with live(data, tmp_path / "environments") as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page = await context.new_page()
        await page.goto(server.link)
        await page.goto(f"{server.address}/notebook/story")
        await expect(page.locator("#writing-text")).to_have_value("Once")
        await page.evaluate(HELD)
        await page.locator("#writing-text").press("End")
        await page.keyboard.type(" upon")
        for tries in (1, 2):  # By itself, and for who wants the model to go on.
            await until(page, f"document.querySelector('writing-box').held.length === {tries}")
            await page.evaluate(REFUSE)
            await until(page, "document.querySelector('writing-box').sent == null")
            assert await asks_to_leave(page)
            assert await page.evaluate("document.querySelector('writing-box').held.length") == tries
            await page.click("#writing-generate")
        await page.evaluate(REFUSE)
        await page.click("#writing-new")
        await expect(page.get_by_text("What you typed here is not saved.")).to_be_visible()
        await expect(page.locator("#writing-text")).to_have_value("Once upon")
        await page.evaluate(FREE)
        await page.evaluate(PASTE_HALF_A_LETTER)
        await until(page, "document.querySelector('writing-box').settled")
        await expect(page.locator("#writing-text")).to_have_value("Once \ufffd")
        await page.locator("#writing-text").press("Control+End")
        await page.keyboard.type("!")
        async with asyncio.timeout(20):
            while file.read_text("utf-8") != "Once \ufffd!":
                await asyncio.sleep(0.05)


@asynccontextmanager
async def two_pages(tmp_path: Path) -> AsyncGenerator[tuple[BrowserContext, Page, Page]]:
    """One text, which says "Once", in two pages."""
    data = tmp_path / "data"
    (data / "notebook").mkdir(parents=True)
    (data / "notebook" / "story.txt").write_text("Once")
    async with live(data, tmp_path / "environments") as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page, other = await context.new_page(), await context.new_page()
        await page.goto(server.link)
        for each in (other, page):
            await each.goto(f"{server.address}/notebook/story")
            await expect(each.locator("#writing-text")).to_have_value("Once")
        yield context, page, other


async def test_what_is_typed_while_the_text_is_renamed_elsewhere_is_saved(tmp_path: Path):
    async with two_pages(tmp_path) as (_, page, other):
        await page.evaluate(HELD)
        await page.locator("#writing-text").press("End")
        await page.locator("#writing-text").type(" upon")
        await until(page, "document.querySelector('writing-box').held.length > 0")
        await page.evaluate(FREE)  # On its way under the old name, it comes too late.
        rename = other.locator('#writing-list form:has(input[name="name"][value="story"])')
        await rename.evaluate(
            "form => { form.elements.title.value = 'tale'; form.requestSubmit() }"
        )
        await until(page, "document.querySelector('writing-box').name === 'tale'")
        await expect(other.locator("#writing-text")).to_have_value("Once upon")
        await until(page, "document.querySelector('writing-box').settled")


async def test_a_word_that_an_input_method_composes_outlives_what_others_write(tmp_path: Path):
    async with two_pages(tmp_path) as (context, page, other):
        await page.bring_to_front()
        await page.locator("#writing-text").press("End")
        keys = await context.new_cdp_session(page)
        for so_far in ("に", "にほ"):
            await compose(keys, so_far)
        await other.evaluate(WRITE_BEFORE_IT)
        await until(
            page,
            """document.querySelector('writing-box writing-change')
            || document.querySelector('#writing-text').value.startsWith('Yes. ')""",
        )
        await compose(keys, "にほん")
        await keys.send("Input.insertText", {"text": "日本"})
        await expect(page.locator("#writing-text")).to_have_value("Yes. Once日本")
        await expect(other.locator("#writing-text")).to_have_value("Yes. Once日本")


async def compose(keys: CDPSession, text: str) -> None:
    where = {"selectionStart": len(text), "selectionEnd": len(text)}
    await keys.send("Input.imeSetComposition", {"text": text, **where})


WRITE_BEFORE_IT = """() => { const box = document.querySelector('#writing-text');
    box.setRangeText('Yes. ', 0, 0);
    box.dispatchEvent(new Event('input', {bubbles: true})); }"""


async def test_a_text_is_renamed_though_the_list_is_drawn_anew_meanwhile(tmp_path: Path):
    notes = tmp_path / "data" / "notebook"
    notes.mkdir(parents=True)
    for changed, name in enumerate(("three", "two", "one")):
        (notes / f"{name}.txt").write_text(name)
        os.utime(notes / f"{name}.txt", (changed, changed))
    async with live(tmp_path / "data", tmp_path / "environments") as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page, other = await context.new_page(), await context.new_page()
        await page.goto(server.link)
        for each in (other, page):
            await each.goto(f"{server.address}/notebook/three")
            await expect(each.locator("html")).to_have_attribute("data-ui-link", "online")
        await page.bring_to_front()
        await row(page, "two").hover()
        await row(page, "two").get_by_role("button", name="Rename").click()
        await page.keyboard.press("Control+a")
        await page.keyboard.type("second")
        await row(other, "one").locator("[aria-label^=Delete]").dispatch_event("click")
        await expect(row(page, "one")).to_have_count(0)
        await page.keyboard.press("Enter")
        await expect(row(page, "second")).to_be_visible()
        assert (notes / "second.txt").read_text("utf-8") == "two"


def row(page: Page, name: str) -> Locator:
    return page.locator(f"#writing-list > ul > li:has(a[title={name}])")
