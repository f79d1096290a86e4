"""What is tapped, typed and read in haste, or over a bad wire, is neither lost nor doubled."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live import chromium, live
from tests.proxy import FaultProxy
from tests.test_comforts_story import long_talk
from tests.test_page_wires import behind_a_wire, counting
from tests.test_story import send
from tests.test_touch import PHONE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@asynccontextmanager
async def on_a_phone(folder: Path) -> AsyncGenerator[tuple[FaultProxy, Page]]:
    """A page of a new conversation, whose model counts for some seconds."""
    async with behind_a_wire(folder) as (proxy, context, link):
        assert context.browser
        page = await (await context.browser.new_context(**PHONE)).new_page()
        await page.goto(link)
        await online(page)
        yield proxy, page


async def online(page: Page) -> None:
    await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")


async def busy(page: Page, *, is_: bool) -> None:
    await expect(page.locator("#chat-go")).to_have_attribute("data-busy", str(is_).lower())


async def say(page: Page, text: str) -> None:
    """Send on a screen where Enter does not."""
    await page.fill("#chat-text", text)
    await page.locator("#chat-submit").tap()
    await busy(page, is_=True)


async def test_the_second_tap_of_two_on_send_does_not_stop_the_reply(tmp_path: Path):
    async with on_a_phone(tmp_path) as (_, page):
        now = datetime.now(UTC)
        await page.clock.set_fixed_time(now)
        await say(page, "count")
        stop = page.locator("#chat-stop")
        await page.evaluate(PRESSES)
        await stop.tap()
        assert await page.evaluate("stops") == 0, "it was meant for Send"
        await page.keyboard.press("Escape")
        assert await page.evaluate("stops") == 1, "a key is meant"
        await busy(page, is_=False)
        await say(page, "count again")
        await page.clock.set_fixed_time(now + timedelta(milliseconds=500))
        await stop.tap()
        assert await page.evaluate("stops") == 2


PRESSES = """() => { self.stops = 0; document.addEventListener('htmx:ws:after:message:outgoing',
    ({target}) => { if (target.id === 'chat-stop') ++stops; }); }"""


async def test_whoever_writes_while_the_model_does_keeps_the_words(tmp_path: Path):
    async with on_a_phone(tmp_path) as (_, page):
        box = page.locator("#chat-text")
        await say(page, "count")
        await busy(page, is_=False)
        await box.fill("I was ")
        await page.locator("#chat-setup-open").tap()
        await page.locator("#chat-setup-impersonate").tap()
        await expect(box).to_have_value(re.compile("^I was 0 1 "))
        await box.press("End")
        await page.keyboard.type("and mine")
        await busy(page, is_=False)
        words = await box.input_value()
        assert words.startswith("I was 0 1 ")
        assert words.endswith("and mine")
        assert " 59 " not in words, "it was stopped"


@pytest.mark.parametrize("meanwhile", ["reload", "choice"])
async def test_whoever_writes_stops_the_model_whatever_was_done_since(
    tmp_path: Path, meanwhile: str
):
    async with on_a_phone(tmp_path) as (_, page):
        box = page.locator("#chat-text")
        await say(page, "count")
        await busy(page, is_=False)
        await page.evaluate("document.getElementById('chat-do-impersonate').click()")
        await expect(box).to_have_value(re.compile("^0 1 "))
        if meanwhile == "reload":
            await page.reload()
            await online(page)
        else:
            await page.evaluate("document.getElementById('chat-do-again').click()")
            await expect(page.locator(".toast")).to_contain_text("A reply is being written")
        shown = await box.input_value()
        await expect(box).not_to_have_value(shown)
        await page.evaluate(PRESSES)
        await box.press("End")
        await page.keyboard.type("and mine")
        await busy(page, is_=False)
        assert (await box.input_value()).endswith("and mine")
        assert await page.evaluate("stops"), "nobody needs what it writes now"


async def test_an_insert_that_was_refused_keeps_its_words(tmp_path: Path):
    async with on_a_phone(tmp_path) as (_, page):
        await say(page, "count")
        mine, text = page.locator("article.chat-user"), page.locator("#chat-menu-text")
        insert = page.get_by_role("button", name="Insert", exact=True)
        await mine.locator(".chat-body").tap()
        await mine.get_by_role("button", name="More").tap()
        await page.get_by_text("Insert a message").tap()
        await text.fill("Precious")
        await insert.tap()
        await expect(page.locator(".toast")).to_contain_text("A reply is being written")
        await expect(text).to_be_visible()
        await page.locator("#chat-menu [data-close]").tap()
        await busy(page, is_=False)
        await mine.get_by_role("button", name="More").tap()
        await expect(text).to_have_value("Precious")
        await insert.tap()
        await expect(page.locator(".chat-body", has_text="Precious")).to_have_count(1)
        await expect(page.locator("#chat-menu")).to_be_hidden()
        await expect(text).to_have_value("")


async def test_the_setup_is_kept_before_a_page_is_thrown_away(tmp_path: Path):
    async with on_a_phone(tmp_path) as (_, page):
        start = page.locator("#chat-setup-start_reply_with")
        await page.locator("#chat-setup-open").tap()
        await start.fill("Once")
        await page.evaluate(HIDDEN)
        await expect(start).to_have_js_property("defaultValue", "Once")
        await page.goto("about:blank")
        await page.go_back()
        await expect(start).to_have_value("Once")


HIDDEN = """() => { Object.defineProperty(document, 'hidden', {value: true});
    document.dispatchEvent(new Event('visibilitychange')); }"""


async def test_a_keyboard_at_a_touch_screen_sends_with_control(tmp_path: Path):
    async with on_a_phone(tmp_path) as (_, page):
        await page.fill("#chat-text", "count")
        await page.keyboard.press("Enter")
        await expect(page.locator("#chat-text")).to_have_value("count\n")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("article.chat-user")).to_have_count(1)
        await busy(page, is_=False)
        await page.fill("#chat-text", "and on")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("article.chat-user")).to_have_count(2)
        await expect(page.locator(".toast")).to_have_count(0)
        await busy(page, is_=False)
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(".chat-versions")).to_contain_text("2/2")


@pytest.mark.parametrize("fault", ["late", "lost"])
async def test_what_does_not_arrive_is_told_and_sent_again_once(tmp_path: Path, fault: str):
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        page = await context.new_page()
        await page.clock.install()
        await page.goto(link)
        await online(page)
        told, box = page.locator("#chat-undelivered"), page.locator("#chat-text")
        await expect(told).to_be_hidden()
        if fault == "late":
            proxy.flows.clear()
        else:
            proxy.swallow()
        await box.fill("First words")
        await box.press("Enter")
        await page.clock.fast_forward(5_000)
        await expect(told).to_be_visible()
        if fault == "late":
            await box.press("Enter")
            proxy.flows.set()
        else:
            await page.evaluate("document.getElementById('chat-title').textContent = 'Old'")
            proxy.cut()
            await expect(page.locator("html")).not_to_have_attribute("data-ui-link", "online")
            await page.clock.fast_forward(5_000)
            await expect(page.locator("#chat-title")).to_have_text("New conversation")
            await expect(told).to_be_visible()
            await box.press("Enter")
        await busy(page, is_=True)
        await busy(page, is_=False)
        await expect(page.locator("article.chat-user")).to_have_count(1)
        await expect(page.locator("#chat-conversations .entry")).to_have_count(1)
        await expect(page.locator(".toast")).to_have_count(0)
        await expect(box).to_have_value("")
        await expect(told).to_be_hidden()


async def test_a_message_that_was_sent_is_not_in_the_box_of_a_page_thrown_away(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (_, context, link):
        page = await context.new_page()
        await page.goto(link)
        await online(page)
        await send(page, "Yes")
        await busy(page, is_=False)
        await send(page, "And then?")
        await busy(page, is_=False)
        box, said = page.locator("#chat-text"), page.locator("article.chat-user .chat-bubble")
        await page.evaluate("document.querySelector('chat-composer').watch.disconnect()")
        for words in ("Yes", "No"):  # The page does not live to see what it sent.
            await box.fill(words)
            await box.press("Enter")
            await busy(page, is_=True)
            await busy(page, is_=False)
            await page.reload()
            await online(page)
            await expect(said.last).to_have_text(words)
            await expect(box).to_have_value("")
            assert not await page.evaluate(KEPT)
            await page.evaluate("document.querySelector('chat-composer').watch.disconnect()")

        # What was not taken is in the box again, though the same was said before.
        await page.evaluate(NOT_SENT)
        await box.fill("No")
        await box.press("Enter")
        await page.reload()
        await online(page)
        await expect(said).to_have_count(4)
        await expect(box).to_have_value("No")


@asynccontextmanager
async def in_a_long_talk(folder: Path) -> AsyncGenerator[Page]:
    """A page of a conversation of which not all messages are shown."""
    id = await long_talk(folder / "data")
    counting(folder / "data")
    async with live(folder / "data", folder) as server, chromium() as browser:
        page = await (await browser.new_context()).new_page()
        await page.clock.install()
        await page.goto(server.link)
        await page.goto(f"{server.address}/chat/{id}")
        await online(page)
        yield page


async def test_what_did_not_arrive_stays_in_the_box_though_older_words_are_the_same(tmp_path: Path):
    async with in_a_long_talk(tmp_path) as page:
        box = page.locator("#chat-text")
        await page.evaluate(DEAF)
        await box.fill("Question 80.")
        await box.press("Enter")
        await page.clock.fast_forward(5_000)
        await expect(page.locator("#chat-undelivered")).to_be_visible()
        await page.evaluate(HEARING)
        await page.get_by_role("button", name="Show earlier messages").click()
        await expect(page.get_by_text("Question 80.")).to_be_attached()
        await expect(box).to_have_value("Question 80.")
        assert await page.evaluate(KEPT) == 2

        # Sent again, it is taken for what it is.
        await box.press("Enter")
        await expect(box).to_have_value("")
        await expect(page.locator("article.chat-user .chat-bubble").last).to_have_text(
            "Question 80."
        )
        assert not await page.evaluate(KEPT)


async def test_what_did_not_arrive_from_where_a_search_led_is_in_the_box_after_a_reload(
    tmp_path: Path,
):
    async with in_a_long_talk(tmp_path) as page:
        box, last = page.locator("#chat-text"), page.locator("article.chat-user .chat-bubble").last
        words = await last.inner_text()
        await page.fill("#chat-find-text", "Question 10")
        await page.press("#chat-find-text", "Enter")
        await page.locator(".chat-found a").last.click()
        await expect(page.locator("#chat-later-end")).to_be_attached()
        await page.evaluate(DEAF)
        await box.fill(words)
        await box.press("Enter")
        assert await page.evaluate(KEPT) == 2
        await page.reload()
        await online(page)
        await expect(last).to_have_text(words)
        await expect(box).to_have_value(words)


async def test_insert_clicked_twice_inserts_once(tmp_path: Path):
    async with in_a_long_talk(tmp_path) as page:
        last = page.locator("article").last
        await last.hover()
        await last.get_by_role("button", name="More").click()
        await page.get_by_text("Insert a message").click()
        await page.fill("#chat-menu-text", "Inserted words")
        await page.evaluate(DEAF)
        insert = page.get_by_role("button", name="Insert", exact=True)
        await insert.dblclick()
        assert await page.evaluate("unheard.length") == 1

        # It did not arrive: nobody waits for it any more.
        await page.clock.fast_forward(4_000)
        await page.evaluate(HEARING)
        await insert.click()
        await expect(page.locator("article .chat-body", has_text="Inserted words")).to_have_count(1)
        await expect(page.locator("#chat-menu")).to_be_hidden()


async def test_a_search_leads_an_older_reader_to_a_version_that_was_hidden(tmp_path: Path):
    async with in_a_long_talk(tmp_path) as page:
        answer = await page.locator("article.chat-reply .chat-body").last.inner_text()
        await page.evaluate(AGAIN)
        await busy(page, is_=True)
        await busy(page, is_=False)
        await page.get_by_role("button", name="Show earlier messages").click()
        old = page.get_by_text("Question 80.")
        await expect(old).to_be_attached()
        await page.locator("chat-log").hover()
        await page.mouse.wheel(0, -100)
        await old.evaluate("e => e.scrollIntoView({block: 'center'})")
        await page.evaluate(ASKED)
        await page.fill("#chat-find-text", answer.split(".")[0])
        await page.press("#chat-find-text", "Enter")
        await page.locator(".chat-found a", has_text="not shown now").first.click()
        found = page.locator("[data-ui-found]")
        await expect(found).to_contain_text(answer.split(".")[0])
        await page.evaluate(ANSWERED)
        await expect(found).to_be_in_viewport()
        assert "chat.reveal" in await page.evaluate("asked")
        assert "chat.back" not in await page.evaluate("asked")


DEAF = """() => { self.unheard = []; self.heard = WebSocket.prototype.send;
    WebSocket.prototype.send = function (words) { unheard.push(words); }; }"""
HEARING = "() => { WebSocket.prototype.send = heard; }"
ASKED = """() => { self.asked = []; document.addEventListener('htmx:ws:before:message:outgoing',
    ({detail}) => asked.push(detail.message.values.action)); }"""
ANSWERED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
KEPT = "Object.keys(sessionStorage).filter(key => /draft:|sent:/.test(key)).length"
NOT_SENT = "() => { WebSocket.prototype.send = () => {}; }"


async def test_a_reader_of_old_messages_stays_there_when_the_log_changes(tmp_path: Path):
    id = await long_talk(tmp_path / "data")
    counting(tmp_path / "data")
    async with live(tmp_path / "data", tmp_path) as server, chromium() as browser:
        context = await browser.new_context()
        page, other = await context.new_page(), await context.new_page()
        await page.goto(server.link)
        await page.goto(f"{server.address}/chat/{id}")
        await online(page)
        await other.goto(page.url)
        await online(other)
        await page.bring_to_front()
        old, lately = page.get_by_text("Question 80."), page.get_by_text("Question 120.")
        await page.get_by_role("button", name="Show earlier messages").click()
        await expect(old).to_be_attached()
        await page.locator("chat-log").hover()
        await page.mouse.wheel(0, -100)

        # What the new log has as well stays where it is.
        await lately.evaluate("e => e.scrollIntoView({block: 'center'})")
        before = await lately.bounding_box()
        await other.evaluate(AGAIN)
        await expect(page.get_by_text("0 1 2")).to_be_attached()
        after = await lately.bounding_box()
        assert before
        assert after
        assert abs(before["y"] - after["y"]) < 2

        # To what it lacks the page goes back; whoever writes goes on writing.
        await page.get_by_role("button", name="Show earlier messages").click()
        await old.evaluate("e => e.scrollIntoView({block: 'center'})")
        await busy(other, is_=False)
        await page.focus("#chat-text")
        await other.evaluate(AGAIN)
        await expect(page.get_by_role("button", name="Go to the end")).to_be_attached()
        await expect(old).to_be_in_viewport()
        await expect(page.locator("#chat-text")).to_be_focused()

        # A change that hides what is read leads to what stands above it, and hides nothing else.
        await busy(other, is_=False)
        answer = other.locator("article", has_text="Answer 79.")
        await other.get_by_role("button", name="Show earlier messages").click()
        await answer.hover()
        await answer.get_by_role("button", name="Regenerate").click()
        await expect(page.get_by_text("Question 79.")).to_be_in_viewport()
        await expect(old).to_have_count(0)
        await expect(page.locator(".toast")).to_have_count(0)
        await expect(other.locator(".toast")).to_contain_text("Another version is written.")
        await other.get_by_role("button", name="Undo").click()
        await expect(other.get_by_text("Question 80.")).to_be_attached()
        await busy(other, is_=False)


AGAIN = "document.getElementById('chat-do-again').click()"
