"""What is sent in vain, too early, too slowly or too much at once is not lost."""

import asyncio
import re
import struct
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, Route, WebSocketRoute, expect

from tests.live import asks_to_leave, chromium, live
from tests.test_page_wires import behind_a_wire, counting
from tests.test_pictures_story import png
from tests.test_story import send, switch

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def test_a_form_that_was_saved_into_a_dead_wire_is_not_saved(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        page = await context.new_page()
        await page.clock.install()
        await page.goto(link)
        await page.goto(f"{link.split('?')[0]}characters")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await add(page, "Ash")
        await expect(page.locator("#characters-persona-of-Ash")).to_be_visible()
        assert not await asks_to_leave(page)

        proxy.swallow()
        await add(page, "Bea")
        await page.clock.fast_forward(5_000)
        other = await context.new_page()
        await other.goto(page.url)
        await add(other, "Cid")
        await expect(other.locator("#characters-persona-of-Cid")).to_be_visible()
        proxy.cut()
        await expect(page.locator("#characters-persona-of-Cid")).to_be_visible()
        await expect(page.locator("#characters-persona-name")).to_have_value("Bea")
        assert await asks_to_leave(page)


async def test_a_save_whose_answer_was_lost_is_a_save(tmp_path: Path):
    wires, deaf = list[WebSocketRoute](), asyncio.Event()

    def through(wire: WebSocketRoute) -> None:
        wires.append(wire)
        server = wire.connect_to_server()
        server.on_message(lambda words: None if deaf.is_set() else wire.send(words))

    async with behind_a_wire(tmp_path) as (_, context, link):
        page = await context.new_page()
        await page.route_web_socket(re.compile("/ws"), through)
        await page.goto(link)
        await page.goto(f"{link.split('?')[0]}characters")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await add(page, "Ash")
        ash = page.locator("#characters-persona-of-Ash")
        await ash.locator("summary").click()
        for words in ("Half a thought", "A thought"):
            await page.fill("#characters-persona-of-Ash-about", words)
            deaf.set()
            await ash.get_by_role("button", name="Save", exact=True).click()
            while not any(words in f.read_text() for f in (tmp_path / "data").rglob("Ash.*")):
                await asyncio.sleep(0.01)
            assert await ash.locator("form[data-ui-dirty]").count() == 1, "nobody said that it is"
            await wires[-1].close(code=1006)
            deaf.clear()
            await expect(ash.locator("form[data-ui-dirty]")).to_have_count(0)
            assert not await asks_to_leave(page)
            await expect(ash.get_by_role("status")).to_have_text("")


async def add(page: Page, name: str) -> None:
    box = page.locator("#characters-persona-name")
    if not await box.is_visible():
        await page.click("#characters-persona-new > summary")
    await box.fill(name)
    await page.get_by_role("button", name="Add", exact=True).click()


async def test_an_edit_that_was_not_taken_opens_again_with_its_words(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        page, other = await context.new_page(), await context.new_page()
        await page.clock.install()
        await page.goto(link)
        await send(page, "First words")
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        mine = page.locator("article.chat-user").first
        box, save = mine.locator("textarea"), mine.get_by_role("button", name="Save", exact=True)

        await mine.get_by_role("button", name="Edit").click()
        await box.fill("Other words")
        proxy.swallow()
        await save.click()
        await expect(box).to_be_hidden()
        proxy.cut()
        await expect(box).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await expect(box).to_have_value("Other words")

        await other.goto(page.url)
        await send(other, "More words")  # While those are answered no message is changed.
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "true")
        await save.click()
        await expect(page.locator(".toast")).to_contain_text("A reply is being written")
        await expect(box).to_be_hidden()
        await page.focus("#chat-text")
        await page.clock.fast_forward(5_000)
        await expect(box).to_be_visible()
        await expect(box).to_have_value("Other words")
        await expect(page.locator("#chat-text")).to_be_focused()

        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await save.click()
        await expect(mine.locator(".chat-bubble")).to_have_text("Other words")
        await page.clock.fast_forward(5_000)
        await expect(page.locator("[data-ui-edit]")).to_have_count(0)
        kept = await page.evaluate("Object.keys(sessionStorage)")
        assert not [key for key in kept if re.match("edit:", key)]


async def test_a_page_waits_longer_until_it_has_all_that_it_shows(tmp_path: Path):
    """On a slow wire a long conversation takes a minute; what comes of it is no message yet."""
    async with behind_a_wire(tmp_path) as (_, context, link):
        page, wires = await context.new_page(), list[WebSocketRoute]()
        await page.clock.install()
        await page.route_web_socket(re.compile("/ws"), lambda wire: wires.append(wire))
        await page.goto(link)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await page.evaluate("self.ends = 0; addEventListener('htmx:ws:close', () => ++self.ends)")
        await page.clock.fast_forward(90_000)
        assert await page.evaluate("ends") == 0
        wires[0].send("")
        wires[0].send('<p id="say" hx-swap-oob="innerHTML">All of it.</p>')
        await expect(page.locator("#say")).to_have_text("All of it.")
        await page.clock.fast_forward(50_000)
        assert await page.evaluate("ends") == 1


async def test_words_that_arrive_after_a_long_stall_leave_the_box(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        page = await context.new_page()
        await page.clock.install()
        await page.goto(link)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        proxy.flows.clear()
        await page.fill("#chat-text", "First words")
        await page.keyboard.press("Enter")
        await page.clock.fast_forward(5_000)
        await expect(page.locator("#chat-text")).to_have_value("First words")
        proxy.flows.set()
        await expect(page.locator("article.chat-user")).to_have_count(1)
        await expect(page.locator("#chat-text")).to_have_value("")
        await page.reload()
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await expect(page.locator("#chat-text")).to_have_value("")


async def test_a_message_waits_for_every_picture_that_is_on_its_way(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (_, context, link):
        page, held, late = await context.new_page(), asyncio.Event(), asyncio.Event()

        async def first_is_late(route: Route) -> None:
            if not held.is_set():
                held.set()
                await late.wait()
            await route.continue_()

        await page.route("**/ext/images/waiting/*?*", first_is_late)
        await page.goto(link)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        waiting, shown = page.locator(".images-row > li"), page.locator(".chat-user .images-shown")
        await page.set_input_files("#images-file", picture(64))
        await held.wait()
        await page.set_input_files("#images-file", picture(96))
        await expect(waiting).to_have_count(1)
        await page.fill("#chat-text", "Which is larger?")
        await page.keyboard.press("Enter")
        await expect(page.locator("#images-going")).to_be_visible()
        await expect(page.locator("article.chat-user")).to_have_count(0)
        late.set()
        await expect(shown.locator("li")).to_have_count(2)
        await expect(page.locator("article.chat-user")).to_have_count(1)
        await expect(page.locator("#chat-text")).to_have_value("")
        await expect(page.locator("#images-going")).to_be_hidden()


@pytest.mark.parametrize("how", ["a word more", "a file that is none"])
async def test_a_message_that_is_no_longer_as_it_was_sent_is_not_sent(tmp_path: Path, how: str):
    async with behind_a_wire(tmp_path) as (_, context, link):
        page, held, late = await context.new_page(), asyncio.Event(), asyncio.Event()

        async def is_late(route: Route) -> None:
            held.set()
            await late.wait()
            await route.continue_()

        await page.route("**/ext/images/waiting/*?*", is_late)
        await page.goto(link)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        none = [picture(64)] if how == "a word more" else [picture(64), SVG]
        await page.set_input_files("#images-file", none)
        await held.wait()
        await page.fill("#chat-text", "Which is larger?")
        await page.keyboard.press("Enter")
        if how == "a word more":
            await page.keyboard.type("!")
        late.set()
        await page.wait_for_selector("chat-composer:not([data-ui-enclosing])")
        await expect(page.locator(".images-row > li")).to_have_count(1)
        await expect(page.locator("article.chat-user")).to_have_count(0)
        assert "Which is larger?" in await page.input_value("#chat-text")
        await page.press("#chat-text", "Enter")
        await expect(page.locator("article.chat-user")).to_have_count(1)


async def test_files_that_no_longer_fit_or_arrive_are_not_sent(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (_, context, link):
        page, sent = await context.new_page(), list[str]()
        page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
        await page.goto(link)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        for status in (404, 401, 500):
            await page.route("**/ext/images/waiting/*?*", partial(answer, status))
            await page.set_input_files("#images-file", [picture(64), picture(65)])
            await expect(page.locator(".toast")).to_contain_text("The file did not arrive")
            await page.click(".toast [data-dismiss]")
            await expect(page.locator(".toast")).to_have_count(0)
            await page.unroute("**/ext/images/waiting/*?*")
        assert len(sent) == 3, "the second had not come either"
        await page.set_input_files("#images-file", [picture(64 + n) for n in range(20)])
        await expect(page.locator("#images-refused")).to_contain_text("takes 8 pictures")
        await page.wait_for_selector("chat-composer:not([data-ui-enclosing])")
        await expect(page.locator(".images-row > li")).to_have_count(8)
        assert len(sent) == 3 + 9


async def answer(status: int, route: Route) -> None:
    await route.fulfill(status=status, body="no")


async def test_pictures_that_a_restart_forgot_are_told_of(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    counting(data)
    async with live(data, tmp_path) as server, chromium() as browser:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(server.link)
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await page.set_input_files("#images-file", [picture(64), picture(65)])
        waiting, refused = page.locator(".images-row > li"), page.locator("#images-refused")
        await expect(waiting).to_have_count(2)
        await server.kill()
        await expect(page.locator("html")).not_to_have_attribute("data-ui-link", "online")
        await server.start()
        await expect(refused).to_contain_text("no longer has the pictures that waited here")
        await expect(waiting).to_have_count(0)

        # A small picture of another kind, and one that is too wide, are drawn anew.
        await page.set_input_files("#images-file", [bmp(), wide()])
        await expect(waiting).to_have_count(2)
        await expect(refused).to_have_count(0)

        # Switched off and on again, the page's box is known: what comes back waits there.
        await page.fill("#chat-text", "count to 1")
        await page.press("#chat-text", "Enter")
        await expect(page.locator(".chat-user .images-shown li")).to_have_count(2)
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        for there in (0, 1):
            await switch(context, server, "images")
            await expect(page.locator("#images-attach")).to_have_count(there)
        await page.click("#chat-do-open")
        await page.click("#chat-do-remove")
        await expect(waiting).to_have_count(2)


def bmp() -> FilePayload:
    dots = bytes(range(192))
    head = struct.pack("<IHHI", 54 + len(dots), 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 24, 0, len(dots), 2835, 2835, 0, 0)
    return {"name": "p", "mimeType": "image/bmp", "buffer": b"BM" + head + info + dots}


def wide() -> FilePayload:
    return {"name": "p", "mimeType": "image/png", "buffer": png(70_000, 20, (190, 60, 40))}


SVG: FilePayload = {"name": "p", "mimeType": "image/svg+xml", "buffer": b"<svg/>"}


def picture(width: int) -> FilePayload:
    return {"name": "p", "mimeType": "image/png", "buffer": png(width, 48, (190, 60, 40))}


async def test_what_is_too_long_for_one_message_stays_and_the_page_says_so(tmp_path: Path):
    async with behind_a_wire(tmp_path) as (_, context, link):
        page = await context.new_page()
        characters = tmp_path / "data" / "characters"
        characters.mkdir(exist_ok=True)
        (characters / "Ash.yaml").write_text("name: Ash\ncontext: Ash is calm.\n", "utf-8")
        await page.goto(link)
        await page.goto(f"{link.split('?')[0]}characters/Ash")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        await page.evaluate(FILL, 1_500_000)
        await expect(page.locator(".toast")).to_contain_text("This is too long to be sent")
        await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
        assert await asks_to_leave(page)
        await page.evaluate(FILL, 10)
        await expect(page.locator("#characters-form")).not_to_have_attribute("data-ui-dirty", "")
        async with asyncio.timeout(20):
            while "\u5b57" * 10 not in (characters / "Ash.yaml").read_text("utf-8"):
                await asyncio.sleep(0.05)


FILL = """count => { const box = document.getElementById('characters-f-description');
    box.value = '\u5b57'.repeat(count);
    box.dispatchEvent(new Event('input', {bubbles: true}));
    box.form.requestSubmit(); }"""


async def test_what_is_chosen_in_vain_goes_back_and_words_are_sent_later(tmp_path: Path):
    """Without a server, and on a wire that died without a word."""
    async with behind_a_wire(tmp_path) as (proxy, context, link):
        page = await context.new_page()
        await page.goto(link)
        online, mode = page.locator("html[data-ui-link=online]"), page.locator("#chat-setup-mode")
        words = page.locator("#chat-setup-system_message")
        await expect(online).to_be_attached()
        await page.click("#chat-setup-open")

        proxy.flows.clear()
        proxy.cut()
        await expect(page.locator("html[data-ui-link=offline]")).to_be_attached()
        await mode.select_option("chat")
        await expect(mode).to_have_value("instruct")
        await expect(page.locator(".toast")).to_contain_text("this was not changed")
        await words.fill("Be brief.")
        await words.blur()
        await expect(page.locator(".toast").last).to_contain_text("What you typed is sent")
        proxy.flows.set()
        await kept_by_the_server(page, "Be brief.")

        await page.reload()
        await expect(online).to_be_attached()
        await expect(words).to_have_value("Be brief.")
        await page.click("#chat-setup-open")
        proxy.swallow()
        await words.fill("Be calm.")
        await words.blur()
        await mode.select_option("chat")
        await expect(mode).to_have_value("chat")
        proxy.cut()
        await expect(page.locator(".toast")).to_contain_text("this was not changed")
        await expect(mode).to_have_value("instruct")
        await kept_by_the_server(page, "Be calm.")


async def kept_by_the_server(page: Page, words: str) -> None:
    """Its own field holds these words as they were drawn."""
    drawn = "words => document.getElementById('chat-setup-system_message').defaultValue === words"
    await page.wait_for_function(drawn, arg=words, timeout=20_000)
