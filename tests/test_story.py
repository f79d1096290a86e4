"""The whole story in a real browser: from the first visit to a server that was killed."""

import asyncio
import shutil
import signal
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.live import Live, Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(240)]
HERE = Path(__file__).parent
LONG = "give me the long tour"


def slow_motion(data: Path) -> None:
    """The user's own extension folder holds one that lets replies come slowly."""
    shutil.copytree(HERE / "data" / "slow_motion", data / "extensions" / "slow_motion")


async def ready(page: Page, seconds: float = 120) -> None:
    await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=seconds * 1000)


async def send(page: Page, text: str) -> None:
    """Write a message once nothing is being written (Enter waits too), and see it in the log."""
    await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
    mine = page.locator("article.chat-user")
    before = await mine.count()
    await page.fill("#chat-text", text)
    await page.keyboard.press("Enter")
    await expect(mine).to_have_count(before + 1)


def replies(page: Page):
    return page.locator("article.chat-reply")


async def switch(context: BrowserContext, server: Live, id: str) -> None:
    """Flip an extension's switch on a settings page of its own."""
    page = await context.new_page()
    await page.goto(f"{server.address}/settings")
    toggle = page.locator(f"#settings-{id}-toggle")
    before = await toggle.get_attribute("aria-checked")
    await toggle.click()
    await expect(toggle).not_to_have_attribute("aria-checked", before or "")
    await page.close()


async def test_the_whole_story(tmp_path: Path, environments_dir: Path):
    data = tmp_path / "data"
    slow_motion(data)
    async with live(data, environments_dir) as server, chromium(whole=True) as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()

        # A first visit without the token asks for it; the link of the terminal opens the page.
        answer = await page.goto(server.address)
        assert answer
        assert answer.status == 401
        await expect(page.get_by_label("Key")).to_be_visible()
        await shoot(page, "1-token")
        watched.complaints.clear()  # Chromium tells of every 401.
        await page.goto(server.link)
        assert "token" not in page.url
        await ready(page)
        await expect(page.get_by_text("Meet the guide")).to_be_visible()
        await shoot(page, "2-first")

        # A conversation gets an address, a title and an answer.
        await switch(context, server, "slow_motion")  # off
        await send(page, "How do I load a model?")
        await expect(replies(page).first).to_contain_text("status line", timeout=10_000)
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        assert "/chat/" in page.url
        await expect(page.locator("#chat-conversations")).to_contain_text("How do I load a model?")
        await expect(page.locator("#say")).to_have_text("The reply is complete.")
        await shoot(page, "3-answer")

        # Stop keeps what was said; an extension leaves mid-stream and the reply goes on.
        await switch(context, server, "slow_motion")  # on
        await send(page, LONG)
        await expect(page.locator("#chat-stop")).to_be_visible()
        await expect(replies(page).nth(1).locator(".chat-body")).not_to_be_empty()
        await shoot(page, "4-streaming")
        await page.keyboard.press("Escape")
        await expect(page.locator("#chat-submit")).to_be_visible()
        await page.evaluate("window.seenBefore = 'no reload since'")
        stopped = await replies(page).nth(1).locator(".chat-body").inner_text()
        assert stopped.strip()
        await expect(page.locator("#say")).to_have_text(
            "The reply has ended. A note stands below it."
        )
        await replies(page).nth(1).get_by_role("button", name="Regenerate").click()
        await expect(page.locator("#chat-stop")).to_be_visible()
        await expect(replies(page).nth(1).locator(".chat-body")).not_to_be_empty()
        await switch(context, server, "slow_motion")  # off, while it streams
        await expect(page.locator("#chat-submit")).to_be_visible(timeout=15_000)
        whole = await replies(page).nth(1).locator(".chat-body").inner_text()
        assert len(whole) > len(stopped)
        assert await page.evaluate("window.seenBefore") == "no reload since"

        # Both versions are kept.
        await expect(replies(page).nth(1)).to_contain_text("2/2")
        await replies(page).nth(1).get_by_label("Version before").click()
        await expect(replies(page).nth(1)).to_contain_text("1/2")
        assert (await replies(page).nth(1).locator(".chat-body").inner_text()) == stopped

        # An edited question is a branch of its own.
        user = page.locator("article.chat-user").first
        await user.hover()
        await user.get_by_role("button", name="Edit").click()
        await user.locator("textarea").fill("What is a GGUF file?")
        await user.get_by_role("button", name="Send again").click()
        await expect(page.locator("article.chat-user").first).to_contain_text("2/2")
        await expect(replies(page).first).to_contain_text("GGUF", timeout=10_000)
        await expect(replies(page)).to_have_count(1)

        # A second tab sees the same; the phone's layout holds everything.
        other = await context.new_page()
        await other.set_viewport_size({"width": 390, "height": 844})
        await other.goto(page.url)
        await expect(replies(other).first).to_contain_text("GGUF")
        wide = await other.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        await shoot(other, "5-phone")
        await send(other, "Who are you?")
        await expect(replies(page)).to_have_count(2)
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await other.close()

        # The server is killed; the page comes back by itself, the draft is still there.
        await page.fill("#chat-text", "half a sentence")
        await server.kill()
        await expect(page.get_by_text("Offline. Trying again.").first).to_be_visible()
        await shoot(page, "6-offline")
        await server.start()
        await expect(page.get_by_text("Offline. Trying again.").first).to_be_hidden(timeout=15_000)
        await expect(page.locator("#chat-text")).to_have_value("half a sentence")
        await expect(replies(page)).to_have_count(2)
        await ready(page)
        await page.fill("#chat-text", "")
        await send(page, "What is a LoRA?")
        await expect(replies(page)).to_have_count(3)
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")

        # The other engine's form of the guide gives the same kind of answer.
        await page.locator("#models-open").click()
        await (
            page.locator("#models-picker button.file", has_text="safetensors")
            .or_(page.locator("#models-picker button.file").filter(has_not_text=".gguf"))
            .first.click()
        )
        await page.get_by_role("button", name="Load", exact=True).click()
        await expect(page.locator("#models-status")).to_contain_text("Transformers", timeout=60_000)
        await shoot(page, "7-picker")
        await page.keyboard.press("Escape")
        await send(page, "How do I load a model?")
        await expect(replies(page).nth(3)).to_contain_text("status line", timeout=20_000)
        await shoot(page, "8-transformers")

        assert watched.complaints == []
        assert await server.kill(signal.SIGTERM) in (0, -15)


async def test_a_reply_goes_on_without_its_tab(tmp_path: Path, environments_dir: Path):
    data = tmp_path / "data"
    slow_motion(data)
    async with live(data, environments_dir) as server, chromium() as browser:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(server.link)
        await ready(page)
        await send(page, LONG)
        await expect(replies(page).first.locator(".chat-body")).not_to_be_empty()
        address = page.url
        await page.close()
        await asyncio.sleep(0)
        again = await context.new_page()
        await again.goto(address)
        await expect(again.locator("#chat-stop")).to_be_visible()
        early = await replies(again).first.locator(".chat-body").inner_text()
        assert early.strip()
        await again.wait_for_function(
            "length => document.querySelector('.chat-reply .chat-body').innerText.length > length",
            arg=len(early),
        )


async def test_settings_work_by_keyboard_and_show_errors_beside_the_field(
    tmp_path: Path, environments_dir: Path
):
    data = tmp_path / "data"
    slow_motion(data)
    async with live(data, environments_dir) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.goto(f"{server.address}/settings")
        card = page.locator("#settings-slow_motion")
        await card.locator("summary").click()
        field = card.get_by_label("Pause")
        await expect(field).to_be_visible()
        await shoot(page, "9-settings")

        # The order is the user's, in an editor and by keyboard, and it is written down.
        file = data / "settings.yaml"
        text = file.read_text("utf-8")
        order = "".join(f"\n  {id}: {{}}" for id in ("word_count", "sounds", "slow_motion"))
        file.write_text(text.replace("\nextensions:", f"\nextensions:{order}"), "utf-8")
        await expect(page.locator("[data-item]").nth(2)).to_have_attribute(
            "data-item", "slow_motion"
        )
        up = card.get_by_role("button", name="Move up")
        place = await page.locator("[data-item]").evaluate_all(
            "cards => cards.findIndex(card => card.dataset.item === 'slow_motion')"
        )
        await up.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-item]").nth(place - 1)).to_have_attribute(
            "data-item", "slow_motion"
        )
        for there in range(place - 2, -1, -1):  # up to the top, where the focus stays
            await page.keyboard.press("Enter")
            first = page.locator("[data-item]").nth(there)
            await expect(first).to_have_attribute("data-item", "slow_motion")
        await expect(up).to_be_focused()
        await expect(up).to_have_attribute("aria-disabled", "true")
        assert await up.evaluate("button => getComputedStyle(button).opacity") != "0"

        # By mouse it is dragged by its handle: here below the two that followed it.
        cards = page.locator("[data-item]")
        names = "cards => cards.slice(0, 3).map(card => card.dataset.item)"
        first, *others = await cards.evaluate_all(names)
        handle, last = cards.first.locator(".handle"), cards.nth(2)
        await handle.hover()
        await page.mouse.down()
        for _ in range(2):  # The others move up, out of its way.
            box = await last.bounding_box()
            assert box
            await page.mouse.move(box["x"] + 20, box["y"] + box["height"] - 5, steps=12)
        await page.mouse.up()
        await expect(cards.nth(2)).to_have_attribute("data-item", first)
        await expect(up).not_to_have_attribute("aria-disabled", "true")  # Drawn by the server.
        assert await cards.evaluate_all(names) == [*others, first]

        # An editor's change shows without a reload; a bad one is told and changes nothing.
        text = file.read_text("utf-8")
        file.write_text(text.replace("theme: system", "theme: dark"), "utf-8")
        await page.goto(f"{server.address}/settings/appearance")
        await expect(page.get_by_label("Dark")).to_be_checked()
        await page.get_by_label("Light").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "light")
        assert "theme: light" in file.read_text("utf-8")
        assert "# The order of the extensions" in file.read_text("utf-8")
        assert watched.complaints == []
