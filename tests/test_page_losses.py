"""What is sent in vain, too early, too slowly or too much at once is not lost."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, Route, WebSocketRoute, expect

from tests.live import asks_to_leave
from tests.test_page_wires import behind_a_wire
from tests.test_pictures_story import png
from tests.test_story import send

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
        late.set()
        await expect(waiting).to_have_count(2)
        await page.wait_for_selector("chat-composer:not([data-ui-enclosing])")
        await page.press("#chat-text", "Enter")
        await expect(shown.locator("li")).to_have_count(2)


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
