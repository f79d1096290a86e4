"""The Parameters tab in a real browser: a change, a preset, an order that is dragged, a filter."""

import shutil
import time
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live import ROOT, Watched, asks_to_leave, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
MINE = ("chat", "conversations", "prompts", "instruct", "models", "settings", "parameters",
        "engine_kit", "parrot")  # fmt: skip


async def changed(page: Page, name: str, value: str) -> None:
    """Type a value, leave the box, and wait for its mark."""
    await page.fill(f"#parameters-{name}", value)
    await page.keyboard.press("Tab")
    await expect(page.locator(f"#parameters-{name}-reset")).to_be_visible()


async def order(page: Page) -> list[str]:
    items = page.locator("#parameters-order [data-item]")
    return await items.evaluate_all("items => items.map(item => item.dataset.item)")


async def test_parameters_by_hand(tmp_path: Path):
    data, models = tmp_path / "data", tmp_path / "models"
    shutil.copytree(ROOT / "tests" / "data" / "parrot", data / "extensions" / "parrot")
    models.mkdir()
    (models / "polly.parrot").write_text("Hello.")
    known = [each for each in MINE if (ROOT / "extensions" / each).is_dir() or each == "parrot"]
    flags = ("--model-dir", str(models), "--model", "polly.parrot", "--extensions", *known)
    async with live(data, tmp_path / "environments", *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]")

        # The tab opens at once: as the chat does, where the machine is busy.
        began = time.monotonic()
        await page.goto(f"{server.address}/chat")
        await page.wait_for_selector("#chat-text")
        usual, began = time.monotonic() - began, time.monotonic()
        await page.goto(f"{server.address}/parameters")
        await page.wait_for_selector("#parameters-temperature")
        assert time.monotonic() - began < max(2, 4 * usual)
        other = await context.new_page()
        await other.goto(f"{server.address}/parameters")
        await page.bring_to_front()  # Chromium draws what is behind once a second
        await shoot(page, "parameters")

        # A change, in both pages; the slider follows the number, the number the slider.
        await changed(page, "temperature", "0.7")
        await expect(page.locator("#parameters-temperature-slider")).to_have_value("0.7")
        await expect(other.locator("#parameters-temperature")).to_have_value("0.7")
        await page.fill("#parameters-temperature", "9")
        await page.keyboard.press("Tab")
        await expect(page.locator("#parameters-temperature-error")).to_contain_text("from 0 to 5")
        await expect(other.locator("#parameters-temperature-error")).to_have_count(0)
        await page.click("#parameters-temperature-reset")
        await expect(page.locator("#parameters-temperature")).to_have_value("")
        await page.focus("#parameters-top_p-slider")
        await page.keyboard.press("ArrowLeft")
        await expect(other.locator("#parameters-top_p")).to_have_value("0.99")
        await page.click("#parameters-dynamic_temperature")
        await expect(page.locator("#parameters-dynatemp_low")).to_be_visible()

        # A preset, and back to it.
        await page.select_option("#parameters-preset", "Shortwave")
        await expect(page.locator("#parameters-temperature")).to_have_value("1.53")
        await expect(other.locator("#parameters-preset")).to_have_value("Shortwave")
        await expect(page.locator("#parameters-dynamic_temperature-reset")).to_have_count(0)
        await changed(page, "top_k", "40")
        await page.fill("#parameters-typical_p", "9")  # Refused, and gone with the rest.
        await page.keyboard.press("Tab")
        await expect(page.locator("#parameters-typical_p-error")).to_contain_text("from 0 to 1")
        await page.get_by_role("button", name="Restore preset").click()
        await expect(page.locator("#parameters-top_k")).to_have_value("33")
        await expect(page.locator("#parameters-typical_p-error")).to_have_count(0)
        await expect(page.locator("#parameters-typical_p")).to_have_value("")
        await shoot(page, "parameters-preset")

        # The order: dragged by its handle, moved by a key.
        await page.locator("#parameters-otheroptions > summary").click()
        before = await order(page)
        handle = page.locator("#parameters-at-temperature .handle")
        await handle.scroll_into_view_if_needed()
        box = await handle.bounding_box()
        assert box
        await page.mouse.move(box["x"] + 8, box["y"] + 8)
        await page.mouse.down()
        for step in range(1, 8):
            await page.mouse.move(box["x"] + 8, box["y"] + 8 + 15 * step)
        await page.mouse.up()
        await expect(page.locator("#parameters-sampler_priority-reset")).to_be_visible()
        after = await order(page)
        assert after != before
        assert after.index("temperature") > before.index("temperature")
        assert await order(other) == after
        await page.focus("#parameters-up-temperature")
        await page.keyboard.press("Enter")
        moved = after.index("temperature") - 1
        await expect(page.locator("#parameters-order .name").nth(moved)).to_contain_text("temp")
        await expect(page.locator("#parameters-up-temperature")).to_be_focused()

        # Only what the model can do; other pages stay as they are.
        await page.select_option("#parameters-filter", "now")
        await expect(page.locator("#parameters-tfs-row")).to_have_count(0)
        await expect(other.locator("#parameters-tfs-row")).to_have_count(1)

        # A grammar that is wrong is told beside it, and stays in the box.
        await page.locator("#parameters-grammar > summary").click()
        await page.fill("#parameters-gbnf", "root ::= a")
        await page.get_by_label("The grammar", exact=True).check()
        await page.select_option("#parameters-grammar-file", index=1)
        await expect(page.locator(".toast").last).to_contain_text("is not saved. Save it first")
        await expect(page.locator("#parameters-grammar-file")).to_have_value("")
        await page.click("#parameters-use")
        await expect(page.locator("#parameters-gbnf-error")).to_contain_text("names a, which is no")
        await expect(page.locator("#parameters-gbnf")).to_have_value("root ::= a")
        assert await asks_to_leave(page)
        await shoot(page, "parameters-grammar")

        # What is saved is what stands in the box; what is deleted lies in a list.
        await page.fill("#parameters-gbnf", 'root ::= "typed"')
        await page.fill("#parameters-keep-name", "typed")
        await page.get_by_role("button", name="Save grammar as a file").click()
        await expect(page.locator("#parameters-grammar-file")).to_have_value("typed")
        assert (data / "grammars" / "typed.gbnf").read_text() == 'root ::= "typed"\n'
        await page.click("#parameters-grammar-delete")
        await page.locator("#parameters-deleted > summary").click()
        await page.get_by_role("button", name="Restore the grammar typed").click()
        await expect(other.locator("#parameters-grammar-file option[value=typed]")).to_be_attached()

        # A preset that is deleted comes back.
        await page.locator("#parameters-more > summary").click()
        await page.fill("#parameters-save-name", "Mine")
        await page.get_by_role("button", name="Save preset").click()
        await expect(page.locator("#parameters-preset")).to_have_value("Mine")
        await page.click("#parameters-delete")
        await expect(page.locator("#parameters-delete")).to_have_count(0)
        await page.get_by_role("button", name="Undo").last.click()
        await expect(page.locator("#parameters-delete")).to_be_visible()

        # Beside the text box, on a phone, in the dark.
        await page.set_viewport_size({"width": 390, "height": 844})
        await shoot(page, "parameters-phone")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.goto(f"{server.address}/chat")
        await page.click("#parameters-open")
        await expect(page.locator("#parameters-pop-preset")).to_have_value("Mine")
        await page.fill("#parameters-pop-temperature", "0.4")
        await page.keyboard.press("Enter")
        await expect(page.locator("#parameters-open")).to_have_text("Temperature 0.4")
        await expect(other.locator("#parameters-temperature")).to_have_value("0.4")
        await shoot(page, "parameters-pop")
        assert watched.complaints == []
