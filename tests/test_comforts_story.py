"""The comforts of a conversation, by keys and menus; and every tab in a hand, in a real browser."""

import shutil
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from extensions.conversations.api import Store
from tests.live import Watched, chromium, live, shoot

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(280)]
HERE = Path(__file__).parent
LONG = "give me the long tour"
TABS = ("Chat", "Characters", "Notebook", "Default", "Parameters", "Models", "Settings")

WIDE = """
() => {
  const all = document.documentElement, width = all.clientWidth, seen = [];
  const shown = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const name = e => `${e.localName}#${e.id}.${e.className}`.slice(0, 80);
  if (all.scrollWidth > width) seen.push(`the page scrolls to ${all.scrollWidth}`);
  for (const e of document.querySelectorAll('body *')) {
    const box = e.getBoundingClientRect();
    if (!shown(e) || box.width < 2 || box.height < 2 || e.matches('.skip')) continue;
    let inside = false;
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
      if (getComputedStyle(p).overflowX !== 'visible') inside = true;
    if (!inside && (box.right > width + 1 || box.left < -1))
      seen.push(`${name(e)} ${box.left} to ${box.right}`);
  }
  for (const e of document.querySelectorAll('main, main > *, chat-log, .chat-main, .split > *'))
    if (e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !e.matches('.strip'))
      seen.push(`${name(e)} scrolls ${e.scrollWidth} in ${e.clientWidth}`);
  return seen;
}
"""
"""What does not fit the width of the page."""
CODE = "**So** it goes:\n\n```python\nif 1 < 2:\n    go()\n```\n\n&amp; on"
LINES = """
() => {
  const places = {
    text: ['main :is(.chat-body, .prose, .writing-box > textarea)', 44],  // --measure
    parts: ['main .page > :not(header, section, characters-gallery)', 50],
    pages: ['main .page > *', 60],
  };
  const read = e => {
    const {paddingLeft, paddingRight} = getComputedStyle(e);
    return (e.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight)) / 16;
  };
  const found = Object.entries(places).flatMap(([kind, [where, most]]) =>
    [...document.querySelectorAll(where)].map(e => [kind, e.id || e.className, read(e), most]));
  const wide = found.filter(([, , width, most]) => width > most + 0.1);
  return [[...new Set(found.map(([kind]) => kind))], wide.map(each => each.join(' '))];
}
"""
"""What kinds of things there are to read, and which of them are too wide for that, in rem."""
SMALL = """
() => {
  const touched = 'button, summary, select, textarea, #rail a, input:not([type=hidden])';
  const seen = [];
  for (const e of document.querySelectorAll(touched)) {
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (e.matches('.switch, [type=checkbox], [type=radio], [type=range]')) continue;
    if (e.closest('.out-of-sight, .inline')) continue;
    const {width, height} = e.getBoundingClientRect();
    const row = e.closest('label, .field, .chat-box')?.getBoundingClientRect().height ?? 0;
    if (width > 1 && height > 1 && Math.max(height, row) < 43.5)
      seen.push(`${e.outerHTML.slice(0, 100)} ${height}`);
  }
  return seen;
}
"""
"""What a finger would miss: less than 44 pixels high, and not its label or row either."""


async def ready(page: Page) -> None:
    await page.wait_for_selector("#models-open .dot[data-state=ready]", timeout=120_000)


def bodies(page: Page) -> Locator:
    return page.locator("#chat-log article .chat-body")


async def idle(page: Page) -> None:
    await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")


async def ask(page: Page, text: str) -> None:
    before = await page.locator("article").count()
    await page.fill("#chat-text", text)
    await page.keyboard.press("Enter")
    await expect(page.locator("article")).to_have_count(before + 2)
    await idle(page)


async def unfocus(page: Page) -> None:
    await page.evaluate("document.activeElement.blur()")


async def test_comforts_by_keys_and_menus(tmp_path: Path, environments_dir: Path):
    async with live(tmp_path / "data", environments_dir) as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        watched, page = Watched(context), await context.new_page()
        await page.goto(server.link)
        await ready(page)
        await ask(page, "Hello")

        # Swiping: a new version after the last one, and back; not while something has the focus.
        versions = page.locator(".chat-versions")
        await page.keyboard.press("ArrowRight")  # In the text box.
        await expect(versions).to_have_count(0)
        await unfocus(page)
        await page.keyboard.press("ArrowRight")
        await expect(versions).to_contain_text("2/2")
        await idle(page)
        await page.keyboard.press("ArrowLeft")
        await expect(versions).to_contain_text("1/2")
        await page.keyboard.press("Control+Enter")
        await expect(versions).to_contain_text("3/3")
        await idle(page)

        # Replaced, copied, removed: the question is in the box again, and Undo brings both back.
        await page.fill("#chat-text", "Words of my own.")
        await page.keyboard.press("Control+Shift+L")
        await expect(bodies(page).last).to_have_text("Words of my own.")
        await expect(page.locator("#chat-text")).to_have_value("")
        await page.keyboard.press("Control+Shift+K")
        await expect(page.locator("#say")).to_have_text("Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == "Words of my own."
        await page.fill("#chat-text", "Typed meanwhile")
        await page.keyboard.press("Control+Shift+Backspace")
        await expect(bodies(page)).to_have_count(0)
        await expect(page.locator("#chat-text")).to_have_value("Hello\n\nTyped meanwhile")
        await page.get_by_role("button", name="Undo").click()
        await expect(bodies(page)).to_have_text(["Hello", "Words of my own."])
        await expect(page.locator("#chat-text")).to_have_value("Typed meanwhile")

        # Dummies by the menu of the conversation; nothing is generated.
        for name, words in (("Send dummy message", "B"), ("Send dummy reply", "C")):
            await page.fill("#chat-text", words)
            await page.click("#chat-do-open")
            await shoot(page, "comforts-do")
            await page.get_by_role("button", name=name).click()
            await expect(bodies(page).last).to_have_text(words)
        await expect(page.locator("#chat-do")).to_be_hidden()
        await expect(page.locator("#chat-text")).to_have_value("")

        # The menu of a message: opened by the keyboard, others' choices in it, insert and move.
        more = page.locator("article").nth(2).get_by_role("button", name="More")
        await more.focus()
        await page.keyboard.press("Enter")
        menu = page.get_by_role("dialog", name="More for this message")
        await expect(menu.get_by_role("button", name="Send to notebook")).to_be_visible()
        await shoot(page, "comforts-more")
        await page.keyboard.press("Escape")
        await expect(menu).to_be_hidden()
        await more.click()
        await menu.get_by_text("Insert a message").click()
        await menu.get_by_label("The new message's text").fill("Between")
        await menu.get_by_label("Where").select_option("before")
        await menu.get_by_role("button", name="Insert", exact=True).click()
        own = "Words of my own."
        await expect(bodies(page)).to_have_text(["Hello", own, "Between", "B", "C"])
        await expect(menu).to_be_hidden()
        await page.locator("article").nth(2).get_by_role("button", name="More").click()
        await menu.get_by_role("button", name="Move up").click()
        await expect(bodies(page)).to_have_text(["Hello", "Between", own, "B", "C"])

        # An edit is kept by Enter.
        await page.locator("article").last.get_by_role("button", name="Edit").click()
        await page.keyboard.type("!")
        await page.keyboard.press("Enter")
        await expect(bodies(page).last).to_have_text("C!")

        # Copied by their buttons: a message as it was written, and a block of code in it.
        last = page.locator("article").last
        await last.get_by_role("button", name="Edit").click()
        await last.locator("textarea").fill(CODE)
        await page.keyboard.press("Enter")
        await expect(last.locator(".code")).to_be_visible()
        for button, words in (
            (last.locator(".chat-tools").get_by_role("button", name="Copy"), CODE),
            (last.locator(".code").get_by_role("button", name="Copy"), "if 1 < 2:\n    go()\n"),
            (page.locator(".chat-user .chat-tools").get_by_text("Copy").first, "Hello"),
        ):
            await page.evaluate("navigator.clipboard.writeText('')")
            await button.click()
            await expect(button).to_have_attribute("data-ui-done", "")
            assert await page.evaluate("navigator.clipboard.readText()") == words

        # Branch here; the palette knows the rest; the sheet of keys tells of all.
        at = page.url
        await page.locator("article").nth(1).get_by_role("button", name="More").click()
        await menu.get_by_role("button", name="Branch here").click()
        await expect(bodies(page)).to_have_text(["Hello", "Between"])
        assert page.url != at
        await page.keyboard.press("Control+K")
        await page.keyboard.type("dummy reply")
        await expect(
            page.get_by_role("option", name="Send dummy reply", selected=True)
        ).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(page.locator(".toast p").last).to_contain_text("The text box is empty.")
        await unfocus(page)
        await page.keyboard.press("?")
        await expect(page.locator("#commands-keys")).to_contain_text("Remove the last reply")
        await page.keyboard.press("Escape")
        await page.keyboard.press("Control+s")
        await expect(page.locator("#chat-setup")).to_be_visible()
        await page.keyboard.press("Escape")

        # On a very wide screen lines are no longer than can be read.
        await page.set_viewport_size({"width": 2560, "height": 1440})
        kinds, wrong = set[str](), dict[str, list[str]]()
        for path in (page.url.removeprefix(server.address), *(f"/{tab.lower()}" for tab in TABS)):
            await page.goto(server.address + path)
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
            seen, long = await page.evaluate(LINES)
            kinds |= {*seen}
            wrong[path] = await page.evaluate(WIDE) + long
            await shoot(page, f"wide{path.replace('/', '-')}")
        assert not any(wrong.values()), wrong
        assert kinds == {"text", "parts", "pages"}
        assert not watched.complaints


async def test_a_reply_that_grows_above_the_fold_moves_nothing(
    tmp_path: Path, environments_dir: Path
):
    data = tmp_path / "data"
    shutil.copytree(HERE / "data" / "slow_motion", data / "extensions" / "slow_motion")
    (data / "settings.yaml").write_text("extensions:\n  slow_motion:\n    pause: 0.02\n")
    async with live(data, environments_dir) as server, chromium() as browser:
        page = await browser.new_page(viewport={"width": 800, "height": 500})
        await page.goto(server.link)
        await ready(page)
        await page.fill("#chat-text", LONG)
        await page.keyboard.press("Enter")
        log = page.locator("chat-log")
        grown = "e => e.scrollHeight > e.clientHeight + 200"
        for _ in range(600):
            if await log.evaluate(grown):
                break
            await page.wait_for_timeout(50)
        await log.hover()
        await page.mouse.wheel(0, -150)
        await expect(page.locator(".chat-jump")).to_be_visible()
        first = page.locator("article.chat-reply .chat-body p").first
        before, height = await first.bounding_box(), await log.evaluate("e => e.scrollHeight")
        for _ in range(600):
            if await log.evaluate("e => e.scrollHeight") > height + 40:
                break
            await page.wait_for_timeout(50)
        assert await log.evaluate("e => e.scrollHeight") > height
        after = await first.bounding_box()
        assert before
        assert after
        assert abs(after["y"] - before["y"]) < 1


@pytest.mark.parametrize("width", [pytest.param(360, marks=pytest.mark.long), 390])
async def test_every_tab_fits_a_hand(tmp_path: Path, environments_dir: Path, width: int):
    async with live(tmp_path / "data", environments_dir) as server, chromium() as browser:
        context = await browser.new_context(
            viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True
        )
        page = await context.new_page()
        await page.goto(server.link)
        await ready(page)
        assert (await page.locator("#rail > a").all_text_contents())[: len(TABS)] == [*TABS]
        wrong = dict[str, list[str]]()
        for tab in TABS:
            await page.goto(f"{server.address}/{tab.lower()}")
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
            await shoot(page, f"hand-{width}-{tab.lower()}")
            wrong[tab] = await page.evaluate(WIDE) + await page.evaluate(SMALL)

        # A conversation: its menus are sheets that close, and the box stays above the keyboard.
        await page.goto(f"{server.address}/chat")
        await page.fill("#chat-text", "Hello")
        await page.click("#chat-submit")
        await expect(page.locator("article.chat-reply")).to_be_visible()
        await idle(page)
        for opener, sheet in (
            ("#chat-do-open", "#chat-do"),
            ("article:last-child button[popovertarget=chat-menu]", "#chat-menu"),
            ("#chat-setup-open", "#chat-setup"),
        ):
            await page.locator(opener).tap()
            await expect(page.locator(sheet)).to_be_visible()
            await page.wait_for_timeout(300)
            await shoot(page, f"hand-{width}{sheet.replace('#', '-')}")
            wrong[sheet] = await page.evaluate(WIDE) + await page.evaluate(SMALL)
            close = page.locator(f"{sheet} [data-close]")
            await close.tap()
            await expect(page.locator(sheet)).to_be_hidden()
        await page.set_viewport_size({"width": width, "height": 380})  # The keyboard is open.
        box = await page.locator("#chat-text").bounding_box()
        assert box
        assert box["y"] + box["height"] <= 380
        assert not any(wrong.values()), "\n".join(f"{at}: {what}" for at, what in wrong.items())


async def long_talk(data: Path) -> str:
    """A conversation of 300 messages."""
    data.mkdir()  # noqa: ASYNC240  a test may wait for its disk
    (data / "settings.yaml").write_text("extensions:\n  models:\n    at_start: false\n")
    async with Store.open(data / "chats.sqlite3") as store:
        id = ""
        for number in range(150):
            asked = await store.add_user(id, f"Question {number}.")
            reply = await store.begin_reply(asked.id)
            await store.finish(reply.id, "done", f"Answer {number}.", f"Answer {number}.")
            id = asked.conversation
    return id


@pytest.mark.long
async def test_who_reads_old_messages_is_there_again_after_a_lost_connection(
    tmp_path: Path, environments_dir: Path
):
    id = await long_talk(tmp_path / "data")
    async with live(tmp_path / "data", environments_dir) as server, chromium() as browser:
        page = await browser.new_page()
        await page.goto(server.link)
        await page.goto(f"{server.address}/chat/{id}")
        online = page.locator("html[data-ui-link=online]")
        await expect(online).to_be_attached()
        old, last = page.get_by_text("Question 80."), page.get_by_text("Question 149.")
        for read in (last, old):
            if read is old:
                await page.get_by_role("button", name="Show earlier messages").click()
                await expect(old).to_be_attached()
                await page.locator("chat-log").hover()
                await page.mouse.wheel(0, -100)
                await old.evaluate("e => e.scrollIntoView({block: 'center'})")
            await expect(read).to_be_in_viewport()
            await server.kill()
            await expect(online).to_have_count(0)
            await server.start()
            await expect(online).to_be_attached(timeout=30_000)
            if read is old:  # It has the messages around, not all that follow.
                await expect(last).to_have_count(0)
            await expect(read).to_be_in_viewport()
            await expect(page.locator(".toast")).to_have_count(0)
