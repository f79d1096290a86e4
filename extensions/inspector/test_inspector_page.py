"""Thoughts and the inspector's sheet in a real browser: what stays open while a reply grows."""

import shutil
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import expect

from tests.live import ROOT, Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
RUNS = ("chat", "conversations", "prompts", "instruct", "models", "settings", "engine_kit",
        "reasoning", "inspector", "parameters", "parrot")  # fmt: skip
TELLS = """
        if name == "template":
            said = [f"<|{m['role']}|>{m['parts'][0]['text']}" for m in data["messages"]]
            return "\\n".join([*said, "<|assistant|>"])
        if name == "tokenize":
            words = re.findall(r"<\\|\\w+\\|>|\\s*[^\\s<]+|\\s+|<", data["text"])
            return [[n, word.encode(), word.startswith("<|")] for n, word in enumerate(words, 7)]
        raise LookupError("""
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = (
    (1280, "light"), (390, "dark"), (1280, "dark"), (390, "light"),
)  # fmt: skip
THOUGHT = " ".join(f"Perhaps it is the {n}th of them, perhaps not." for n in range(250))
SAYS = (
    f"<think>\nLet me see. {THOUGHT}\n</think>\n\nIt is **one** of them.\n\n"
    "<think>Is it, really?</think>\n\nYes: `<think>` is only a word here."
)


async def test_thoughts_and_the_sheet(tmp_path: Path):
    data, models = tmp_path / "data", tmp_path / "models"
    parrot = data / "extensions" / "parrot"
    shutil.copytree(ROOT / "tests" / "data" / "parrot", parrot)
    source = (parrot / "__init__.py").read_text("utf-8")
    told = source.replace("\n        raise LookupError(", TELLS)
    (parrot / "__init__.py").write_text(told, "utf-8")
    models.mkdir()
    (models / "polly.parrot").write_text(SAYS, "utf-8")
    flags = ("--model-dir", str(models), "--model", "polly.parrot", "--extensions", *RUNS)
    async with live(data, tmp_path / "environments", *flags) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        await page.wait_for_selector("#models-open .dot[data-state=ready]")
        await page.goto(f"{server.address}/chat")

        # While it thinks the thought is folded and grows; opened, it stays open to the end.
        await page.fill("#chat-text", "Which one is it?")
        await page.keyboard.press("Enter")
        summary = page.locator(".chat-thought summary").first
        await expect(summary).to_have_text("Thinking…")
        words = page.locator(".chat-thought > div").first
        await expect(words).to_be_hidden()
        await summary.click()
        await expect(words).to_contain_text("Let me see.")
        await shoot(page, "thinking")
        before = len(await words.text_content() or "")
        await page.wait_for_function(
            "before => document.querySelector('.chat-thought > div').textContent.length > before",
            arg=before,
        )
        tall = "log => log.scrollHeight > log.clientHeight + 200"
        while not await page.locator("chat-log").evaluate(tall):
            await page.wait_for_timeout(50)
        top = await page.locator("chat-log").evaluate("log => log.scrollTop = 40")
        await expect(page.locator(".chat-thought summary").nth(1)).to_contain_text("Thought for")
        await expect(page.locator("#chat-go[data-busy=false]")).to_be_visible()
        await expect(words).to_be_visible()
        assert await page.locator("chat-log").evaluate("log => log.scrollTop") == top
        await expect(summary).to_contain_text("Thought for")
        await expect(page.locator(".chat-thought > div").nth(1)).to_be_hidden()
        answer = page.locator(".chat-reply .chat-body")
        await expect(answer).to_contain_text("Yes: <think> is only a word here.")
        await summary.click()
        await shoot(page, "thought")

        # The sheet, on a desk and on a phone.
        for width, theme in LOOKS:
            await page.emulate_media(color_scheme=theme)
            await page.set_viewport_size({"width": width, "height": 844})
            await page.locator(".chat-reply [popovertarget=chat-menu]").dispatch_event("click")
            await page.locator(".inspector-look").dispatch_event("click")
            sheet = page.locator("#inspector-sheet")
            await expect(sheet.locator("h3").first).to_have_text("What was sent")
            tokens = sheet.locator(".inspector-tokens")
            await expect(tokens).to_have_text("<|user|>Which one is it?\n<|assistant|>")
            await shoot(page, f"sheet-{width}-{theme}")
            await sheet.locator("details summary").last.click()
            body = sheet.locator(".body")
            wide = await body.evaluate("body => body.scrollWidth - body.clientWidth")
            assert wide <= 0
            if width == 390:  # All of the width is its own.
                assert await sheet.evaluate("sheet => sheet.clientWidth") == width
            if (width, theme) == LOOKS[0]:
                await page.evaluate(
                    "() => { navigator.clipboard.writeText = () => Promise.reject(); }"
                )
                copy = sheet.get_by_role("button", name="Copy the text")
                await copy.click()
                await expect(copy).to_have_attribute("data-ui-done", "")
                read = await page.evaluate("navigator.clipboard.readText()")
                assert read == "<|user|>Which one is it?\n<|assistant|>", "also over plain http"
                # A connection that is lost takes nothing off it.
                await page.evaluate("document.querySelector('#models-open b').append(' lost')")
                await server.kill()
                await server.start()
                await expect(page.locator("#models-open b")).to_have_text("polly")
                await expect(tokens).to_have_text("<|user|>Which one is it?\n<|assistant|>")
            await body.evaluate("body => body.scrollTo(0, body.scrollHeight)")
            await shoot(page, f"sheet-{width}-{theme}-end")
            await page.keyboard.press("Escape")
            await expect(sheet).to_be_hidden()
        await page.locator(".chat-user [popovertarget=chat-menu]").dispatch_event("click")
        await expect(page.locator("#chat-menu-branch")).to_be_visible()
        await expect(page.locator(".inspector-look")).to_be_hidden()
        assert watched.complaints == []
