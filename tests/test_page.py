"""What the page does by itself, in a real browser: the palette, the shortcuts, and what happens
offline. No engine is needed: the model is a parrot."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, Route, WebSocketRoute, expect

from tests.live import Live, Watched, chromium, live

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
PARROT = Path(__file__).parent / "data" / "parrot"
MINE = ("chat", "conversations", "models", "settings", "commands", "parrot")


@asynccontextmanager
async def opened(
    tmp_path: Path, *words: str, width: int = 1280, **settings: str
) -> AsyncGenerator[tuple[Live, BrowserContext, Page]]:
    """A server whose model says `words`, and a page that has it; complaints of it fail the test."""
    data, models = tmp_path / "data", tmp_path / "models"
    shutil.copytree(PARROT, data / "extensions" / "parrot")
    models.mkdir()
    for name in ("polly", "jacob"):
        (models / f"{name}.parrot").write_text("\n===\n".join(words or ("Hello.",)))
    flags = ("--model-dir", str(models), "--model", "polly.parrot", "--extensions", *MINE)
    async with live(data, tmp_path / "environments", *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": width, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]")
        yield server, context, page
        assert watched.complaints == []


COMPOSED = """field => !field.dispatchEvent(new KeyboardEvent("keydown",
    {key: "Enter", keyCode: 229, bubbles: true, cancelable: true}))"""
"""The Enter by which Safari ends a choice of an input method; says whether the page took it."""


async def test_the_palette_by_keyboard(tmp_path: Path):
    async with opened(tmp_path, "One two three.") as (_, _, page):
        palette, box = page.locator("#commands"), page.get_by_role("combobox")
        chosen = palette.locator("[role=option][aria-selected=true]")
        await page.focus("#chat-text")
        await page.keyboard.press("Control+k")
        await expect(palette).to_be_visible()
        await expect(box).to_be_focused()
        await expect(chosen).to_have_count(1)
        first = await chosen.inner_text()
        assert not await box.evaluate(COMPOSED)
        await page.keyboard.press("ArrowDown")
        await expect(chosen).not_to_have_text(first)
        await expect(box).to_have_attribute(
            "aria-activedescendant", await chosen.get_attribute("id") or "none"
        )
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("ArrowUp")
        await expect(chosen).to_have_text(
            await palette.get_by_role("option").last.inner_text()
        )  # round the end
        await expect(box).to_be_focused()

        # Any words in any order; what does not hold them goes, with its heading.
        await page.keyboard.type("DARK the")
        await expect(palette.get_by_role("option")).to_have_text(["Theme: dark"])
        await expect(palette.get_by_role("group")).to_have_count(1)
        await page.keyboard.press("Enter")
        await expect(palette).to_be_hidden()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await expect(page.locator("#chat-text")).to_be_focused()

        # It opens empty and anew; nothing found is said, and Enter does nothing then.
        await page.keyboard.press("Meta+k")
        await expect(box).to_have_value("")
        await expect(chosen).to_have_text(first)
        await expect(palette.get_by_role("option", name="Theme: dark")).to_have_count(0)
        await page.keyboard.type("no such thing")
        await expect(palette.get_by_text("Nothing here is called that.")).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(palette).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(palette).to_be_hidden()

        # One that opens another dialog, and a link.
        await page.keyboard.press("Control+k")
        await page.keyboard.type("choose a model")
        await expect(palette.get_by_role("option")).to_have_count(1)
        await page.keyboard.press("Enter")
        picker = page.locator("#models-picker")
        await expect(picker).to_be_visible()
        await expect(palette).to_be_hidden()

        # Words selected beyond its edge leave it open; a click beside it closes it.
        await picker.locator("h2").hover()
        await page.mouse.down()
        await page.mouse.move(5, 5)
        await page.mouse.up()
        await expect(picker).to_be_visible()
        await page.mouse.click(5, 5)
        await expect(picker).to_be_hidden()
        await page.locator("#commands-open").click()
        await palette.get_by_role("option", name="Settings: About").click()
        await page.wait_for_url("**/settings/about")

        # In Settings the cards are found by any words of theirs; a switch changes none of that.
        await page.get_by_role("link", name="Extensions", exact=True).click()
        cards = page.locator("#settings-cards .card").filter(visible=True)
        await page.locator("#settings-page").wait_for()
        all_of_them = await cards.count()
        await page.keyboard.press("/")
        await page.keyboard.type("status WORD")
        await expect(cards).to_have_count(1)
        await expect(cards.locator(".handle")).to_be_hidden()
        switch = cards.get_by_role("switch", name="Word count")
        for checked in ("true", "false"):
            await switch.click()
            await expect(switch).to_have_attribute("aria-checked", checked)
            await expect(cards).to_have_count(1)
        await page.fill("#settings-filter", "no such thing")
        none = page.get_by_text("No extension, and no setting of one, is called that.")
        await expect(none).to_be_visible()
        await page.fill("#settings-filter", "")
        await expect(cards).to_have_count(all_of_them)


async def test_what_says_no_place_changes_nothing(tmp_path: Path):
    """A fragment without hx-swap-oob, by an author's mistake, is none of the page's."""
    async with opened(tmp_path) as (server, context, _):
        page, sockets = await context.new_page(), list[WebSocketRoute]()

        def between(socket: WebSocketRoute) -> None:
            socket.connect_to_server()
            sockets.append(socket)

        await page.route_web_socket("**/ws*", between)
        await page.goto(f"{server.address}/chat")
        await page.wait_for_selector("html[data-ui-link=online]")
        sockets[0].send("<b id='stray'>lost</b>")
        sockets[0].send('<span id="page-theme" data-theme="dark" hx-swap-oob="outerHTML"></span>')
        await page.wait_for_selector("html[data-theme=dark]")
        assert await page.locator("#stray").count() == 0
        await expect(page.locator("#chat-text")).to_be_visible()


async def test_the_choice_in_the_palette_stays_while_a_reply_is_drawn(tmp_path: Path):
    async with opened(tmp_path, "word " * 4000) as (_, _, page):
        await page.fill("#chat-text", "Go on.")
        await page.keyboard.press("Enter")
        await expect(page.locator("#chat-stop")).to_be_visible()
        await page.keyboard.press("Control+k")
        chosen = page.locator("#commands").locator("[role=option][aria-selected=true]")
        await expect(chosen).to_have_count(1)
        first = await chosen.inner_text()
        await page.keyboard.press("ArrowDown")
        second = await chosen.inner_text()
        assert second != first
        words = await page.evaluate(WORDS)
        while await page.evaluate(WORDS) < words + 50:
            await asyncio.sleep(0.02)
        await expect(chosen).to_have_text(second)
        await page.keyboard.press("Escape")
        await page.keyboard.press("Escape")


MOVING = """() => {
  window.moved = new Set();
  const look = () => {
    for (const each of document.getAnimations())
      if (each.playState === 'running' && each.effect.getComputedTiming().duration > 0)
        moved.add(each.animationName ?? each.transitionProperty);
    requestAnimationFrame(look);
  };
  look();
}"""
"""Notes from now on what moves."""
STILL = "() => document.getAnimations().every(each => each.playState !== 'running')"
LONG = """() => {
  const log = document.querySelector('chat-log');
  return log.scrollHeight > log.clientHeight + 500;
}"""
AT_ITS_END = """() => {
  const log = document.querySelector('chat-log');
  return log.scrollHeight - log.scrollTop - log.clientHeight < 2;
}"""


async def grown(page: Page) -> None:
    """Wait for some more lines of a reply."""
    await page.evaluate("""() => new Promise(done => {
      const log = document.querySelector('chat-log'), height = log.scrollHeight;
      const timer = setInterval(() => {
        if (log.scrollHeight > height + 100) done(clearInterval(timer));
      }, 20);
    })""")


async def at_its_end(page: Page) -> None:
    await page.wait_for_function(AT_ITS_END, timeout=5000)


async def test_a_reply_that_is_written_is_followed_without_a_voice_or_a_movement(tmp_path: Path):
    """And as fast as the status line says in the end."""
    async with opened(tmp_path, ("word " * 60 + "\n\n") * 200, "One two three.") as (_, _, page):
        await page.emulate_media(reduced_motion="reduce")
        await page.wait_for_function(STILL)  # What began to move before it may still do so.
        await page.evaluate(MOVING)
        text, jump = page.locator("#chat-text"), page.locator(".chat-jump")
        scroller, log = page.locator("chat-log"), page.get_by_role("log")
        await expect(log).to_have_attribute("aria-live", "off")
        await expect(log).to_have_attribute("aria-busy", "false")

        # Shift+Enter is a new line, and nothing is sent by it.
        await text.focus()
        await page.keyboard.type("Go")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("on.")
        await expect(text).to_have_value("Go\non.")
        await expect(page.locator("article")).to_have_count(0)
        await page.keyboard.press("Enter")
        await expect(page.locator(".chat-user .chat-bubble")).to_have_text("Go\non.")

        # The log follows the words, until its reader goes elsewhere, and again at the end.
        await expect(log).to_have_attribute("aria-busy", "true")
        await expect(page.locator("#say")).to_have_text("The reply is being written.")
        await page.wait_for_function(LONG)
        await grown(page)
        await at_its_end(page)
        await expect(jump).to_be_hidden()
        await scroller.hover()
        await page.mouse.wheel(0, -300)
        await expect(jump).to_be_visible()
        before = await scroller.evaluate("log => log.scrollTop")
        await grown(page)
        assert await scroller.evaluate("log => log.scrollTop") == before
        await page.get_by_role("button", name="Jump to the newest").click()
        await at_its_end(page)
        await grown(page)
        await at_its_end(page)
        await expect(jump).to_be_hidden()
        await expect(text).to_be_focused()

        await page.keyboard.press("Escape")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await expect(log).to_have_attribute("aria-busy", "false")
        assert await page.evaluate(TOAST_MOVES) == 0
        assert await page.evaluate("[...moved]") == []
        await page.emulate_media(reduced_motion="no-preference")
        assert await page.evaluate(TOAST_MOVES) > 0, "it would be seen"

        await page.keyboard.type("And now?")
        await page.keyboard.press("Enter")
        await expect(page.locator("article.chat-reply").last).to_contain_text("One two three.")
        await expect(page.locator("#status")).to_contain_text("500 tokens/s")


WORDS = "() => document.querySelector('#chat-log').textContent.length"
"""How much of the reply is drawn."""


async def test_what_is_pressed_before_the_scripts_are_there_is_done_then(tmp_path: Path):
    """Otherwise Send would leave the page by itself, and take what was typed along."""
    async with opened(tmp_path, "Hello there.") as (server, _, page):
        there = asyncio.Event()

        async def slow(route: Route) -> None:
            await there.wait()
            await route.continue_()

        await page.route("**/ext/chat/static/*", slow)
        await page.goto(f"{server.address}/chat", wait_until="commit")
        await page.fill("#chat-text", "Good morning.")
        await page.locator("#chat-submit").click(no_wait_after=True)
        await page.locator("#models-open").click(no_wait_after=True)
        await expect(page.locator("#models-picker")).to_be_hidden()
        there.set()
        await expect(page.locator("#models-picker")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#chat-log")).to_contain_text("Good morning.")
        await expect(page.locator("#chat-log")).to_contain_text("Hello there.")


async def test_a_page_connects_though_the_script_of_its_socket_is_late(tmp_path: Path):
    """With defer htmx would begin before that is there, and never open a socket."""
    async with opened(tmp_path) as (server, context, _):
        page = await context.new_page()

        async def late(route: Route) -> None:
            await page.wait_for_function("() => 'htmx' in window", polling=10)
            await page.evaluate("new Promise(done => setTimeout(done, 100))")
            await route.continue_()

        await page.route("**/vendor/hx-ws*", late)
        await page.goto(f"{server.address}/chat", wait_until="commit")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")


async def test_the_shortcuts_and_the_keys_they_name(tmp_path: Path):
    async with opened(tmp_path, "word " * 4000) as (_, _, page):
        await page.focus("#chat-text")
        await page.keyboard.type("What?")  # While someone types, ? is a letter.
        await expect(page.locator("#chat-text")).to_have_value("What?")
        await expect(page.locator("#commands-keys")).to_be_hidden()
        assert not await page.locator("#chat-text").evaluate(COMPOSED)
        await page.keyboard.press("Enter")
        await expect(page.locator("#chat-stop")).to_be_visible()
        await page.locator("#chat-log").click()
        await page.keyboard.press("?")
        keys = page.locator("#commands-keys")
        await expect(keys.get_by_text("Stop the reply")).to_be_visible()
        await expect(keys.locator("kbd .else").first).to_have_text("Ctrl")
        await page.keyboard.press("/")  # Nothing behind an open dialog is meant.
        await page.keyboard.press("Escape")
        await expect(keys).to_be_hidden()
        await expect(page.locator("#chat-stop")).to_be_visible()
        await page.keyboard.press("/")
        await expect(page.locator("#chat-text")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.locator("#chat-submit")).to_be_visible()


async def test_an_arrow_that_is_held_writes_one_version(tmp_path: Path):
    async with opened(tmp_path, "One.", "Two.", "Three.") as (_, _, page):
        await page.fill("#chat-text", "Hi.")
        await page.keyboard.press("Enter")
        reply, versions = page.locator("article.chat-reply"), page.locator(".chat-versions")
        await expect(reply).to_contain_text("One.")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await page.locator("#chat-log").click()
        await page.keyboard.down("ArrowRight")
        await expect(versions).to_contain_text("2/2")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await page.keyboard.down("ArrowRight")
        await page.keyboard.up("ArrowRight")
        await page.keyboard.press("ArrowLeft")
        await expect(versions).to_contain_text("1/2")


async def test_the_palette_on_a_phone(tmp_path: Path):
    async with opened(tmp_path, width=390) as (_, _, page):
        await page.get_by_role("button", name="Commands").click()
        palette = page.locator("#commands")
        await expect(palette.get_by_role("option").first).to_be_visible()
        box = await palette.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await palette.get_by_role("button", name="Close").click()
        await expect(palette).to_be_hidden()


UNDO = """() => {
  const toasts = document.getElementById('toasts');
  toasts.insertAdjacentHTML('beforeend', `<div class="toast note"><p>It is gone.</p>
    <button type="button" hx-ws:send data-dismiss>Undo</button>
    <button type="button" data-dismiss>Dismiss</button></div>`);
  htmx.process(toasts.lastElementChild);
}"""


async def test_on_a_small_phone_an_empty_conversation_begins_at_its_top(tmp_path: Path):
    async with opened(tmp_path, width=360) as (_, _, page):
        await page.set_viewport_size({"width": 360, "height": 320})
        await page.reload()
        log = page.locator("chat-log")
        await page.wait_for_function("() => document.querySelector('chat-log').follow")
        assert await log.evaluate("log => log.scrollHeight > log.clientHeight"), "it does not fit"
        assert await log.evaluate("log => log.scrollTop") == 0


MEASURED = """name => {
  const open = document.getElementById('models-open'), line = document.getElementById('status');
  open.querySelector('b').textContent = name;
  open.insertAdjacentHTML('beforeend', '<span>GGUF</span>');
  open.insertAdjacentHTML('afterend', '<span id="rate">1,352 tokens/s</span>');
  const cut = [...line.querySelectorAll('*:not(:has(*))')].flatMap(leaf => {
    const part = leaf.closest('.part'), {left, right, top} = leaf.getBoundingClientRect();
    const room = part.getBoundingClientRect(), seen = right > left && top < room.bottom;
    return seen && right > room.right + 1 ? [leaf.textContent] : [];
  });
  const rate = document.getElementById('rate').getBoundingClientRect();
  return {cut, rate: rate.width > 0 && rate.top < line.getBoundingClientRect().bottom};
}"""
"""What of the status line is seen in part, and whether the speed is seen; a name that is shortened
ends with dots. Written and measured at once, for the server may draw the line anew."""


@pytest.mark.parametrize(
    ("name", "measured"), [("polly", True), ("Polly-7B-Instruct-v0.3-Q4_K_M", False)]
)
async def test_the_status_line_cuts_no_word_in_two(tmp_path: Path, name: str, measured: bool):
    async with opened(tmp_path, width=390) as (_, _, page):
        assert await page.evaluate(MEASURED, name) == {"cut": [], "rate": measured}


async def test_a_link_does_not_leave_the_page_for_a_dead_server(tmp_path: Path):
    async with opened(tmp_path) as (server, _, page):
        await page.fill("#chat-text", "First words")
        await page.keyboard.press("Enter")
        await expect(page.locator("article.chat-reply")).to_contain_text("Hello.")
        row, sheet = (
            page.locator("#chat-conversations .entry"),
            page.locator("#conversations-sheet"),
        )
        await row.hover()
        await row.get_by_label("Folder, tags, export").click()
        await page.fill("#conversations-title", "Brass")
        address = page.url
        await server.kill()
        await expect(page.get_by_text("Offline. Trying again.").first).to_be_visible()

        # What cannot be sent stays to be sent: a dialog, and the Undo of a notice.
        await sheet.get_by_role("button", name="Save").click()
        await expect(page.locator("#conversations-title")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(sheet).to_be_hidden()
        await page.evaluate(UNDO)
        for number, name in enumerate(("Undo", "Dismiss")):
            await page.get_by_role("button", name=name, exact=True).click()
            await page.evaluate("new Promise(done => setTimeout(done, 50))")
            await expect(page.locator(".toast")).to_have_count(1 - number)
        await page.fill("#chat-text", "half a sentence")
        for link in (
            page.get_by_role("link", name="New conversation").first,
            page.locator("#rail a").last,
        ):
            await link.click()
            assert page.url == address
        await expect(page.locator(".nudged")).to_be_visible()
        await expect(page.locator("#chat-text")).to_have_value("half a sentence")
        await server.start()
        await expect(page.locator("html")).to_have_attribute(
            "data-ui-link", "online", timeout=15_000
        )
        await expect(page.locator(".nudged")).to_be_hidden()
        await page.locator("#rail a").last.click()
        await page.wait_for_url("**/settings")


async def test_a_tab_that_comes_back_hears_what_all_were_told_meanwhile(tmp_path: Path):
    async with opened(tmp_path) as (server, context, page):
        await page.fill("#chat-text", "First words")
        await page.keyboard.press("Enter")
        await expect(page.locator("article.chat-reply")).to_contain_text("Hello.")
        await page.get_by_label("Delete: First words").first.dispatch_event("click")
        await expect(page.locator(".toast")).to_contain_text("deleted")
        await page.goto("about:blank")
        other = await context.new_page()
        await other.goto(f"{server.address}/settings/conversations")
        await other.locator("#conversations-trash").get_by_label("Restore: First words").click()
        told = "“First words” is in the list again."
        await expect(other.locator(".toast")).to_contain_text(told)
        for times in (1, 0):
            await page.goto(f"{server.address}/chat")
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
            await expect(page.locator(".toast", has_text=told)).to_have_count(times)
            last = await other.locator(".toast", has_text=told).get_attribute("id")
            assert await page.evaluate("`toast-${sessionStorage.told}`") == last, "it is not new"


AT_THE_RIGHT = """paragraph => {
  const range = document.createRange(), box = paragraph.getBoundingClientRect();
  range.selectNodeContents(paragraph);
  const words = range.getBoundingClientRect();
  return words.left - box.left > box.right - words.right;
}"""
"""Whether the words stand at the right side, as Arabic does."""


async def test_versions_show_without_a_pointer_and_rename_selects_the_old_name(tmp_path: Path):
    async with opened(tmp_path, "One.", "Two.\n\nثلث ربع.\n\n- ثلث") as (_, context, page):
        await page.fill("#chat-text", "First words")
        await page.keyboard.press("Enter")
        await expect(page.locator("article.chat-reply")).to_contain_text("One.")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        mine = page.locator("article.chat-user")
        await mine.hover()
        await mine.get_by_role("button", name="Edit").click()
        await mine.locator("textarea").fill("Other words")
        await mine.get_by_role("button", name="Send again").click()
        await expect(page.locator("article.chat-reply")).to_contain_text("Two.")
        paragraphs = page.locator("article.chat-reply .chat-body p")
        await expect(paragraphs).to_have_count(2)
        assert not await paragraphs.first.evaluate(AT_THE_RIGHT)
        assert await paragraphs.last.evaluate(AT_THE_RIGHT)
        item = page.locator("article.chat-reply .chat-body li")
        assert not await item.evaluate(AT_THE_RIGHT), "its mark is at the left"
        await page.fill("#chat-text", "ربع")
        await expect(page.locator("#chat-text")).to_have_css("direction", "rtl")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        arrow = """(log, shiftKey) => log.dispatchEvent(new KeyboardEvent("keydown",
            {key: "ArrowLeft", shiftKey, bubbles: true, cancelable: true}))"""
        assert await page.locator("chat-log").evaluate(arrow, True), "it selects text"
        assert not await page.locator("chat-log").evaluate(arrow, False)
        await page.mouse.move(5, 5)
        await page.focus("#chat-text")
        seen = "node => node.checkVisibility({checkOpacity: true})"
        versions = mine.locator(".chat-versions")
        assert await versions.evaluate(seen)
        assert await versions.evaluate("node => getComputedStyle(node).opacity") == "1"
        edit = mine.get_by_role("button", name="Edit")
        await expect(edit).to_have_css("opacity", "0")

        phone = await context.browser.new_context(  # type: ignore[union-attr]
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
        )
        await phone.add_cookies(await context.cookies())  # type: ignore[arg-type]
        touch = await phone.new_page()
        await touch.goto(page.url)
        await expect(touch.locator("article.chat-reply")).to_contain_text("Two.")
        await touch.locator(".chat-user .chat-versions").get_by_label("Version before").tap()
        await expect(touch.locator("article.chat-reply")).to_contain_text("One.")
        await phone.close()

        await page.locator("#chat-conversations .entry").hover()
        await page.get_by_label("Rename:").click()
        await page.keyboard.type("Brass")
        await page.keyboard.press("Enter")
        await expect(page.locator("#chat-conversations a")).to_have_text("Brass")


async def test_an_edit_is_drawn_when_it_begins_and_outlives_news_of_its_message(tmp_path: Path):
    async with opened(tmp_path, "One.", "Two.") as (_, context, page):
        await page.fill("#chat-text", "First words")
        await page.keyboard.press("Enter")
        reply = page.locator("article.chat-reply").first
        await expect(reply).to_contain_text("One.")
        await expect(page.locator(".chat-edit")).to_have_count(0)
        await reply.get_by_role("button", name="Edit").click()
        await reply.locator("textarea").fill("Half a thought")

        other = await context.new_page()
        await other.goto(page.url)
        await other.fill("#chat-text", "More words")
        await other.keyboard.press("Enter")  # which draws the message above anew, everywhere
        await expect(page.locator("article.chat-reply").last).to_contain_text("Two.")
        await expect(reply.locator("textarea")).to_have_value("Half a thought")
        await expect(reply.locator("textarea")).to_be_focused()

        await reply.get_by_role("button", name="Save").click()
        await expect(reply).to_contain_text("Half a thought")
        await expect(page.locator("article.chat-reply")).to_have_count(2)
        await expect(page.locator(".chat-edit")).to_have_count(0)

        mine = page.locator("article.chat-user").first
        await mine.get_by_role("button", name="Edit").click()
        await mine.locator("textarea").fill("Thrown away")
        await page.keyboard.press("Escape")
        await expect(page.locator(".chat-edit")).to_have_count(0)
        await mine.get_by_role("button", name="Edit").click()
        await expect(mine.locator("textarea")).to_have_value("First words")

        await mine.locator("textarea").fill("Half another")
        await page.click(".chat-new")
        await expect(page.locator("article")).to_have_count(0)
        await page.locator("#chat-conversations .entry > a").first.click()
        await expect(mine.locator("textarea")).to_have_value("Half another")
        await page.reload()
        await expect(mine.locator("textarea")).to_have_value("Half another")
        await mine.get_by_role("button", name="Save").click()
        await expect(mine.locator(".chat-bubble")).to_have_text("Half another")
        await expect(page.locator("article")).to_have_count(4)
        await page.reload()
        await expect(page.locator("article")).to_have_count(4)
        await expect(page.locator(".chat-edit")).to_have_count(0)


async def test_of_two_pages_that_send_at_once_neither_loses_its_words(tmp_path: Path):
    async with opened(tmp_path, "One.", "Two.", "Three.") as (_, context, page):
        await page.fill("#chat-text", "Hello")
        await page.keyboard.press("Enter")
        await expect(page.locator("article.chat-reply")).to_contain_text("One.")
        other = await context.new_page()
        await other.goto(page.url)
        await expect(other.locator("html")).to_have_attribute("data-ui-link", "online")
        tabs = {"The first": page, "The other": other}
        for words, tab in tabs.items():
            await tab.fill("#chat-text", words)
        await asyncio.gather(*(tab.press("#chat-text", "Enter") for tab in tabs.values()))
        for tab in tabs.values():
            await expect(tab.locator("article.chat-user")).not_to_have_count(1)
            await expect(tab.locator("#chat-go")).to_have_attribute("data-busy", "false")
        said = await page.locator("article.chat-user .chat-bubble").all_text_contents()
        for words, tab in tabs.items():
            await expect(tab.locator("#chat-text")).to_have_value("" if words in said else words)


async def test_a_formula_with_an_arrow_has_it(tmp_path: Path):
    """KaTeX gives what it draws styles, which the policy of the page forbids as attributes."""
    async with opened(tmp_path, r"So $\vec{v}$ and $\frac{1$.") as (_, context, page):
        watched = Watched(context)
        await page.fill("#chat-text", "Hello")
        await page.keyboard.press("Enter")
        formulas = page.locator("chat-math")
        await expect(formulas).to_have_count(2)
        await expect(formulas.first.locator(".accent-body svg")).to_have_count(1)
        width = "element => element.getBoundingClientRect().width"
        assert await formulas.first.locator(".accent-body svg").evaluate(width) > 3
        assert await formulas.last.locator(".katex-error").get_attribute("style")
        assert watched.complaints == []


async def test_a_formula_is_drawn_though_its_library_did_not_come_at_first(tmp_path: Path):
    async with opened(tmp_path, "So $a$.", "So $b$.") as (server, signed_in, _):
        assert signed_in.browser
        known = await signed_in.storage_state()
        context = await signed_in.browser.new_context(storage_state=known)  # It may complain.
        page = await context.new_page()
        await page.goto(f"{server.address}/chat")
        script, asked = "**/katex.min.js*", list[str]()
        await context.route(script, lambda route: route.abort())
        for words in ("One", "Two"):
            await page.fill("#chat-text", words)
            async with page.expect_request(script) as request:
                await page.keyboard.press("Enter")
            asked.append((await request.value).url)
            await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
            await context.unroute(script)
        await expect(page.locator("chat-math .katex")).to_have_count(2)
        assert asked[0] != asked[1], "some browsers keep for ever that an address failed"
        assert "failed in its script" not in server.said


LOOKS = """() => {
  window.looks = 0;
  for (const name of ['querySelector', 'querySelectorAll']) {
    const look = Document.prototype[name];
    Document.prototype[name] = function(what) {
      if (!/^#[\\w-]+$/.test(what) && this === document) window.looks++;
      return look.call(this, what);
    };
  }
}"""


async def test_no_token_makes_the_page_look_through_all_of_itself(tmp_path: Path):
    """Each such look costs a millisecond in a chat of 2,000 messages."""
    async with opened(tmp_path, "word " * 400) as (_, _, page):
        await page.evaluate(LOOKS)
        await page.fill("#chat-text", "Talk")
        await page.focus("#chat-submit")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#chat-stop:focus")
        begun = await page.evaluate("looks")
        await page.wait_for_selector("#chat-submit:focus")
        assert await page.evaluate("looks") - begun < 12, "as many as when it begins and ends"

        # On paper the reply is whole, and nothing is there to press.
        await page.set_viewport_size({"width": 1280, "height": 240})
        log, cut = page.locator("chat-log"), "log => log.scrollHeight - log.clientHeight"
        assert await log.evaluate(cut) > 0
        await page.emulate_media(media="print")
        assert await log.evaluate(cut) == 0
        for gone in ("#rail", "#chat-side", "#chat-composer", "#status", ".chat-tools"):
            await expect(page.locator(gone).first).to_be_hidden()


TOAST_MOVES = """() => {
  document.getElementById("toasts").insertAdjacentHTML("beforeend", '<div class="toast note">Hm.');
  return new Promise(done => requestAnimationFrame(() => done(document.getAnimations().length)));
}"""
TOAST = """kind => document.getElementById("toasts").insertAdjacentHTML("beforeend",
    `<div class="toast ${kind}"><p>It failed. Try again.</p></div>`)"""


@pytest.mark.parametrize(("width", "height"), [(390, 780), (1280, 720)])
async def test_what_loads_a_chosen_model_is_in_sight(tmp_path: Path, width: int, height: int):
    async with opened(tmp_path, width=width) as (_, _, page):
        await page.set_viewport_size({"width": width, "height": height})
        for number in range(8):
            (tmp_path / "models" / f"bird {number}.parrot").write_text("Hello.")
        await page.click("#models-open")
        await page.locator("#models-picker").get_by_text("bird 1.parrot").click()
        load = page.locator("#models-picker form .primary")
        await expect(load).to_have_text("Load")
        await expect(load).to_be_in_viewport(ratio=1)
        assert await load.evaluate(
            """button => {
              const {x, y, width, height} = button.getBoundingClientRect();
              return document.elementFromPoint(x + width / 2, y + height - 2) === button;
            }"""
        )


async def test_an_error_leaves_in_the_end_and_covers_no_way_out(tmp_path: Path):
    async with opened(tmp_path) as (_, _, page):
        toasts = page.locator(".toast")
        await page.clock.install()
        for _ in range(5):
            await page.evaluate(TOAST, "error")
        await expect(toasts).to_have_count(3)
        await page.clock.run_for(15_000)
        await expect(toasts).to_have_count(3)
        await toasts.first.hover()
        await page.clock.run_for(8_000)
        await expect(toasts).to_have_count(1)
        await page.mouse.move(5, 400)
        await page.clock.run_for(3_000)
        await expect(toasts).to_have_count(0)
        for width, height in ((1280, 800), (700, 800), (390, 800)):
            await page.set_viewport_size({"width": width, "height": height})
            await page.locator("#models-open").click()
            close = page.locator("#models-picker").get_by_role("button", name="Close")
            await expect(close).to_be_visible()
            for _ in range(3):
                await page.evaluate(TOAST, "error")
            await close.click(timeout=3_000)
            await page.clock.run_for(25_000)
            await expect(toasts).to_have_count(0)


async def test_the_toasts_of_a_page_that_is_not_seen_keep_no_clock_once_they_are_gone(
    tmp_path: Path,
):
    async with opened(tmp_path) as (_, _, page):
        await page.clock.install()
        await page.clock.pause_at(await page.evaluate("Date.now() + 1000"))
        await page.evaluate(UNSEEN)
        for _ in range(5):
            await page.evaluate(TOAST, "error")
        await expect(page.locator(".toast")).to_have_count(3)
        await page.clock.run_for(2_000)
        await page.evaluate("self.ticks = 0")
        await page.clock.run_for(1_000)
        assert await page.evaluate("ticks") == 3


UNSEEN = """() => {
    Object.defineProperty(document, 'hidden', {get: () => true});
    const {setTimeout} = self;
    self.setTimeout = (does, after, ...more) => {
        if (does.name === 'leave') self.ticks++;
        return setTimeout(does, after, ...more);
    };
}"""


async def test_focus_comes_back_to_the_row_whose_dialog_was_open(tmp_path: Path):
    """Its button is out of sight meanwhile."""
    async with opened(tmp_path, "Hello.") as (_, _, page):
        await page.fill("#chat-text", "Hi.")
        await page.keyboard.press("Enter")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        row = page.locator(".entry:has([id^=chat-menu-])")
        await row.locator("a").focus()
        await row.locator("[id^=chat-menu-]").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#conversations-sheet")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#conversations-sheet")).to_be_hidden()
        await expect(row.locator("a")).to_be_focused()
