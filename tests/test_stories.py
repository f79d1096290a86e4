"""Stories of whole sittings in a real browser; test_notebook_page.py tells one of writing."""

import base64
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import FloatRect, Locator, Page, expect

from extensions.characters import png
from tests.live import shoot
from tests.stories import told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
LONG = "Lady Genevieve Aurelia Thunderwood of the Endless Northern Marches"
BEGINS = """
pill => {
  const range = document.createRange();
  range.selectNodeContents(pill);
  return range.getBoundingClientRect().left - pill.getBoundingClientRect().left;
}
"""
"""How far from the left edge of a pill its words begin."""
CARD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Maren",
        "description": "{{char}} draws maps of places that are not there yet.",
        "first_mes": "Hold this corner, {{user}}.",
        "alternate_greetings": ["The ink is wet.", "You are early."],
        "character_book": {
            "entries": [
                {"keys": ["compass"], "content": "{{char}}'s compass points at her.",
                 "enabled": True, "insertion_order": 1, "extensions": {}, "use_regex": False},
                {"keys": ["harbour"], "content": "The harbour is dry.",
                 "enabled": True, "insertion_order": 2, "extensions": {}, "use_regex": False},
            ]
        },
    },
}  # fmt: skip


def card() -> bytes:
    text = base64.b64encode(json.dumps(CARD).encode())
    return png.with_texts(png.drawn(190, 40, 60), {"ccv3": text})


async def test_a_roleplay(tmp_path: Path, environments_dir: Path):
    """A card with a lorebook comes in, and is talked to."""
    (tmp_path / "maren.png").write_bytes(card())
    says = ("Maren: It points at *me*.", "At nothing else.", '"Not any more."', "Into the fold.")
    async with told(tmp_path, environments_dir, says) as story:
        page = story.page
        await page.goto(f"{story.server.address}/characters")
        await page.set_input_files("#characters-files", [tmp_path / "maren.png"])
        await page.locator("#characters-list > li").filter(has_text="Maren").locator("a").click()
        await page.click("#characters-start")

        # Her greeting stands there, under her name and picture; another one is a swipe away.
        greeting = page.locator("article.chat-reply").first
        await expect(greeting).to_contain_text("Hold this corner, You.")
        await expect(greeting.locator("h2")).to_have_text("Maren")
        await expect(greeting.locator("h2 img")).to_have_js_property("naturalWidth", 40)
        assert "/chat/" in page.url
        await greeting.get_by_label("Version after").click()
        await expect(greeting).to_contain_text("The ink is wet.")
        await expect(greeting).to_contain_text("2/3")

        # What is said brings what her book knows of it, and nothing else.
        await story.send("Does your compass work?")
        reply = page.locator("article.chat-reply").nth(1)
        await expect(reply.locator(".chat-body")).to_have_text("It points at me.")
        await expect(reply.locator("h2")).to_have_text("Maren")
        await expect(reply.locator("h2 img")).to_have_js_property("naturalWidth", 40)
        sent = story.sent()
        assert "Maren draws maps of places" in sent
        assert "Maren's compass points at her." in sent
        assert "The harbour is dry." not in sent
        assert sent.endswith("Maren: The ink is wet.\nYou: Does your compass work?")
        await expect(page.locator("#chat-conversations")).to_contain_text("Does your compass work?")
        await shoot(page, "story-roleplay")

        # Another version of the reply, and of the first words: what follows is a branch.
        await reply.get_by_role("button", name="Regenerate").click()
        await expect(reply).to_contain_text("At nothing else.")
        await expect(reply).to_contain_text("2/2")
        await greeting.get_by_label("Version after").click()
        await expect(page.locator("article")).to_have_count(1)
        await story.send("Where is the harbour?")
        assert story.sent().endswith("Maren: You are early.\nYou: Where is the harbour?")
        assert "The harbour is dry." in story.sent()
        await page.reload()
        await expect(page.locator("article.chat-reply h2").last).to_have_text("Maren")
        await expect(page.locator("article.chat-reply").last).to_contain_text("Not any more.")
        spoken = page.locator("article.chat-reply q")
        colour = "e => [e, e.parentElement].map(each => getComputedStyle(each).color)"
        assert len(set(await spoken.evaluate(colour))) == 2, "what is said aloud stands out"


async def test_an_instruct_session(tmp_path: Path, environments_dir: Path):
    """A question, another wording of it, and both branches."""
    says = (
        "A list:\n\n- one\n- two", "```python\nprint(1)\n```", "It goes on ", "and on.", "Fine.",
    )  # fmt: skip
    async with told(tmp_path, environments_dir, says) as story:
        page = story.page
        replies, mine = page.locator("article.chat-reply"), page.locator("article.chat-user")
        await story.send("Make a list.")
        await expect(replies.first.locator("li")).to_have_count(2)
        await expect(replies.first.locator("h2")).to_have_text("polly")
        assert [m["role"] for m in story.heard()[-1]["messages"]] == ["user"]

        # Other words are another branch; the way back is one click.
        await mine.first.hover()
        await mine.first.get_by_role("button", name="Edit").click()
        await mine.first.locator("textarea").fill("Make a program.")
        await mine.first.get_by_role("button", name="Send again").click()
        await expect(replies.first.locator("code").first).to_contain_text("print(1)")
        await story.quiet()
        await expect(mine.first).to_contain_text("2/2")
        await shoot(page, "story-instruct")
        await story.send("And then?")
        assert "Make a program." in story.sent()
        assert "Make a list." not in story.sent()
        await replies.nth(1).get_by_role("button", name="Continue").click()
        await expect(replies.nth(1).locator(".chat-body")).to_have_text("It goes on and on.")
        await story.quiet()
        await mine.first.get_by_label("Version before").click()
        await expect(mine.first).to_contain_text("Make a list.")
        await expect(page.locator("article")).to_have_count(2)
        await expect(replies.first.locator("li")).to_have_count(2)

        # The branch is where it was left, and both are kept.
        await mine.first.get_by_label("Version after").click()
        await expect(replies).to_have_count(2)
        await page.reload()
        await expect(replies.nth(1).locator(".chat-body")).to_have_text("It goes on and on.")
        await expect(replies.nth(1)).to_contain_text("2/2")


def cast(folder: Path, *names: str) -> None:
    """Characters with pictures, in the data folder of a story to come."""
    characters = folder / "data" / "characters"
    characters.mkdir(parents=True)
    for n, name in enumerate(names):
        data = {
            "name": name,
            "description": f"{name} is one of several.",
            "first_mes": f"It is {name}.",
            "group_only_greetings": [f"{name} waits for all."],
        }
        text = base64.b64encode(json.dumps({**CARD, "data": data}).encode())
        picture = png.with_texts(png.drawn(40 + 110 * n, 40, 60), {"ccv3": text})
        (characters / f"{name}.png").write_bytes(picture)


async def size_of(part: Locator) -> FloatRect:
    """Where something stands, and how large it is."""
    box = await part.bounding_box()
    assert box
    return box


async def choose_mode(page: Page, mode: str) -> None:
    await page.click("#chat-setup-open")
    await page.select_option("#chat-setup-mode", mode)
    await expect(page.locator("#chat-setup-character")).to_be_visible()
    await page.keyboard.press("Escape")


@pytest.mark.long
async def test_a_group_chat(tmp_path: Path, environments_dir: Path):
    """Three characters, in turn, by mention, by choice, and among themselves."""
    cast(tmp_path, "Ada", "Bram", "Cleo", "Dora")
    says = tuple(f"Words {n}." for n in range(1, 30))
    async with told(tmp_path, environments_dir, says) as story:
        page = story.page
        heads = page.locator("article.chat-reply h2")
        await choose_mode(page, "chat")
        await page.click("#group_chat-open")
        for name in ("Ada", "Bram", "Cleo"):
            await page.select_option("#group_chat-character", name)
            await expect(page.locator("#group_chat-members")).to_contain_text(name)
        assert "/chat/" in page.url
        await shoot(page, "story-group-sheet")
        await page.keyboard.press("Escape")

        # The conversation's setup leads there too.
        await page.click("#chat-setup-open")
        await shoot(page, "story-group-setup")
        await page.click("#chat-setup-group")
        await expect(page.locator("#group_chat-pop")).to_be_visible()
        await expect(page.locator("#chat-setup")).to_be_hidden()
        await page.keyboard.press("Escape")

        # In the order of the list; the first one's greeting is the one for groups.
        await story.send("Is anybody here?")
        await expect(page.locator("article.chat-reply").first).to_contain_text("Ada waits for all.")
        await expect(heads).to_have_text(["Ada", "Bram"])
        await expect(heads.last.locator("img")).to_have_js_property("naturalWidth", 40)
        assert "Also there:\nAda: Ada is one of several.\nCleo:" in story.sent()
        assert story.sent().endswith("Ada: Ada waits for all.\nYou: Is anybody here?")

        # Who is spoken to answers.
        await page.click("#group_chat-open")
        await page.select_option("#group_chat-order", "mention")
        await page.keyboard.press("Escape")
        await story.send("Ada, are you well?")
        await expect(heads).to_have_text(["Ada", "Bram", "Ada"])
        again = page.locator("article.chat-reply").last
        await again.get_by_role("button", name="Regenerate").click()
        await expect(again).to_contain_text("2/2")
        await expect(heads).to_have_text(["Ada", "Bram", "Ada"])

        # By choice, which neither the choice of who joins nor that of the order is in the way of.
        await page.click("#group_chat-open")
        await page.select_option("#group_chat-order", "manual")
        await page.select_option("#group_chat-chosen", "Cleo")
        await expect(page.locator("#group_chat-chosen option[selected]")).to_have_text("Cleo")
        await page.select_option("#group_chat-character", "Dora")
        await expect(page.locator("#group_chat-members")).to_contain_text("Dora")
        await page.get_by_label("Remove Dora").click()
        await expect(page.locator("#group_chat-members")).not_to_contain_text("Dora")
        await page.select_option("#group_chat-order", "mention")
        await expect(page.locator("#group_chat-chosen")).to_have_count(0)

        # Somebody is asked to speak; then they go on by themselves.
        await page.get_by_label("Cleo speaks now").click()
        await expect(page.locator("#group_chat-pop")).to_be_hidden()
        await expect(heads).to_have_text(["Ada", "Bram", "Ada", "Cleo"])
        await story.quiet()
        await page.click("#group_chat-open")
        await page.get_by_label("Mute Bram").click()
        await expect(page.locator("#group_chat-members")).to_contain_text("(muted)")
        await page.click("#group_chat-go-2")
        await expect(page.locator("#group_chat-pop")).to_be_hidden()
        await expect(heads).to_have_text(["Ada", "Bram", "Ada", "Cleo", "Ada", "Cleo"])
        await story.quiet()
        assert story.sent().endswith("Ada: Words 5.")
        await page.keyboard.press("Escape")
        await shoot(page, "story-group")
        await page.reload()
        await expect(heads).to_have_text(["Ada", "Bram", "Ada", "Cleo", "Ada", "Cleo"])
        await page.emulate_media(color_scheme="dark")
        await shoot(page, "story-group-dark")
        await page.set_viewport_size({"width": 390, "height": 844})
        await story.fits(390)
        await page.click("#group_chat-open")
        await shoot(page, "story-group-phone-dark")

        # Whatever the style: who speaks can be read, and the text box is below the words.
        await page.keyboard.press("Escape")
        await page.set_viewport_size({"width": 1280, "height": 800})
        for style in ("terminal", "novel"):
            await dress(page, style)
            await expect(page.locator(".chat-bubble").first).to_have_css("padding-right", "0px")
            await shoot(page, f"story-group-{style}")
            for head in await heads.all():
                assert (await size_of(head))["width"] > 40
            words, box = page.locator("#chat-log"), page.locator(".chat-box")
            assert (await size_of(words))["x"] == (await size_of(box))["x"]
        await dress(page, "bubbles")
        bodies = page.locator(".chat-reply > .chat-body")
        await expect(bodies.last).to_be_visible()
        await bodies.last.evaluate(
            "body => { for (const each of body.children) each.innerHTML = ''; }"
        )
        await expect(bodies.last).to_be_hidden()


async def dress(page: Page, style: str) -> None:
    """Choose a style of conversations."""
    await page.keyboard.press("Control+k")
    await page.keyboard.type(f"Chat style: {style}")
    await expect(page.locator("#commands").get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    sheet = page.locator("#chat_styles-link")
    await expect(sheet).to_have_attribute("href", re.compile(style))


async def test_a_phone(tmp_path: Path, environments_dir: Path):
    """Everything by touch, 360 pixels wide."""
    cast(tmp_path, "Ada", "Bram", LONG)
    how = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    says = ("Good, and *you*?", "Yes.", "```\n" + "wide " * 60 + "\n```", "No.")
    async with told(tmp_path, environments_dir, says, **how) as story:
        page = story.page
        await story.fits(360)
        await shoot(page, "story-phone-first")

        # To a character by the rail, and into a conversation with her.
        await page.goto(f"{story.server.address}/characters")
        await story.fits(360)
        await page.locator("#characters-list > li").filter(has_text="Ada").locator("a").tap()
        await page.tap("#characters-start")
        await expect(page.locator("article.chat-reply")).to_contain_text("It is Ada.")
        await page.fill("#chat-text", "How are you?")
        await page.tap("#chat-submit")
        await expect(page.locator("article.chat-reply").last).to_contain_text("Good, and you?")
        await expect(page.locator("#chat-title")).to_have_text("How are you?")
        await story.quiet()
        await story.fits(360)
        await shoot(page, "story-phone-chat")

        # A version, the setup, and what is as wide as it likes.
        reply = page.locator("article.chat-reply").last
        await reply.get_by_role("button", name="Regenerate").tap()
        await expect(reply).to_contain_text("2/2")
        await story.quiet()
        await page.tap("#group_chat-open")
        await page.select_option("#group_chat-character", "Bram")
        await expect(page.locator("#group_chat-members")).to_contain_text("Bram")
        box = await page.locator("#group_chat-pop").bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        for button in await page.locator("#group_chat-pop button:visible").all():
            size = await button.bounding_box()
            assert size
            assert size["height"] >= 40, "a thumb finds it"
        await shoot(page, "story-phone-group")
        await page.locator("#group_chat-pop").get_by_label("Close").tap()
        await expect(page.locator("#group_chat-pop")).to_be_hidden()
        await page.fill("#chat-text", "And wide?")
        await page.tap("#chat-submit")
        await expect(page.locator("article.chat-reply h2").last).to_have_text("Bram")
        await story.quiet()
        await story.fits(360)

        # The list of conversations, and back.
        await page.get_by_role("button", name="Conversations", exact=True).tap()
        await expect(page.locator("#chat-conversations")).to_contain_text("How are you?")
        await shoot(page, "story-phone-list")
        await page.locator("#chat-conversations a").first.tap()
        await expect(page.locator("article.chat-reply").last).to_be_visible()
        await story.fits(360)

        # A name that is too long is cut at its end; every row of the list has its menu.
        await page.goto(f"{story.server.address}/chat")
        await page.tap("#chat-setup-open")
        await page.select_option("#chat-setup-character", LONG)
        await expect(page.locator("#chat-setup-open")).to_have_text(LONG)
        assert await page.locator("#chat-setup-open").evaluate(BEGINS) > 4
        await page.tap("#chat-setup-more summary")
        down = "sheet => (sheet.scrollTo(0, sheet.scrollHeight), sheet.scrollTop)"
        assert await page.locator("#chat-setup").evaluate(down) > 0
        await page.keyboard.press("Escape")
        await page.tap("#chat-setup-open")
        top = "() => document.querySelector('#chat-setup').scrollTop === 0"
        await page.wait_for_function(top, timeout=2000)  # Not where it was left.
        await page.tap("#chat-setup-more summary")
        await page.tap("#chat-setup [data-close]")
        await shoot(page, "story-phone-long-name")
        await page.get_by_role("button", name="Conversations", exact=True).tap()
        tools = page.locator("#chat-conversations .entry .tools button:visible")
        await expect(tools).to_have_count(1)
        assert (await size_of(tools))["height"] >= 44
        await tools.tap()
        await expect(page.locator("#conversations-sheet")).to_contain_text("Delete")

        # What begins in a sheet closes it.
        await page.locator("#conversations-sheet").get_by_label("Close").tap()
        await page.tap("#chat-incognito")
        await expect(page.locator("#chat-side")).to_be_hidden()
        await expect(page.locator("#chat-empty")).to_be_visible()
