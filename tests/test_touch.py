"""A finger on a phone: every control of every tab and sheet is 44 pixels; what it drags follows."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.live import shoot
from tests.stories import Told, told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(280)]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SAYS = ("Some `code`:\n\n```python\nprint(1)\n```\n\n- a list\n\n> “a quote”", "Two.", "Three.")
CARDS = {
    "Ada": {"first_mes": "One.", "alternate_greetings": ["Two.", "Three."], "tags": ["a tag"]},
    "Bo": {"first_mes": "Yip.", "character_book": {"entries": [
        {"keys": ["den"], "content": "Red.", "extensions": {}, "enabled": True,
         "insertion_order": 1}]}},
}  # fmt: skip
MISSED = """
root => {
  const controls = 'button, summary, select, textarea, input:not([type=hidden]), [role=option],'
    + ' a.button, .rail a, .rail-rest a, .entry > a, .strip a';
  const seen = [], half = 21;
  const words = e => (e.ariaLabel ?? e.innerText ?? '').slice(0, 30).replaceAll('\\n', ' ');
  const name = e => `${e.localName}#${e.id}.${e.className} “${words(e)}”`;
  const labels = e => [...e.labels ?? [], e.closest('label')].filter(Boolean);
  for (const e of document.querySelector(root).querySelectorAll(controls)) {
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (e.matches('.inline, .skip') || e.closest('.out-of-sight, [aria-hidden=true]')) continue;
    if (e.disabled || getComputedStyle(e).pointerEvents === 'none') continue;
    if (e.matches('input') && e.type === 'file' && e.closest('label')) continue;
    e.scrollIntoView({block: 'center', inline: 'center'});
    let box = e.getBoundingClientRect();
    const label = labels(e).find(label => label.contains(e) || box.width < 2);
    const small = e.matches('[type=checkbox], [type=radio]') || box.width < 2;
    if (label && small) box = label.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    const hits = (dx, dy) => {
      const at = document.elementFromPoint(x + dx, y + dy);
      if (at?.closest('.chat-jump')) return true;                // it lies above what is scrolled
      return at && (e.contains(at) || labels(e).some(label => label.contains(at)));
    };
    const places = [[0, -half], [0, half], [-half, 0], [half, 0]];
    const wrong = places.filter(([dx, dy]) => !hits(dx, dy));
    if (wrong.length) {
      const at = document.elementFromPoint(x + wrong[0][0], y + wrong[0][1]);
      const size = `${box.width.toFixed(0)}x${box.height.toFixed(0)}`;
      seen.push(`${name(e)} ${size} not at ${wrong.join(' / ')}, there: ${at && name(at)}`);
    }
  }
  return seen;
}
"""
"""What a finger misses that comes down within 44 pixels of a control's middle."""


SAME = ("commands", "models-picker", "rail-rest", "chat-do", "chat-side", "parameters-pop")
"""Sheets that are the same wherever they are opened."""


def put(data: Path) -> None:
    folder = data / "characters"
    folder.mkdir(parents=True)
    for name, card in CARDS.items():
        whole = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {"name": name, **card}}
        (folder / f"{name}.json").write_text(json.dumps(whole), "utf-8")


async def sheets(page: Page, wrong: dict[str, list[str]], at: str) -> None:
    """Open everything that this page can open, and look at it."""
    await page.evaluate(
        "document.querySelectorAll('main details').forEach(d => { d.open = true; })"
    )
    wrong[at] = await page.evaluate(MISSED, "body")
    openers = "[popovertarget]:not([popovertargetaction]), [data-open]"
    found = await page.locator(openers).evaluate_all(
        "all => all.filter(e => e.checkVisibility())"
        ".map(e => e.getAttribute('popovertarget') ?? e.dataset.open)"
    )
    for id in dict.fromkeys(found):
        if id in SAME and any(each.endswith(f" {id}") for each in wrong):
            continue
        opener = page.locator(f'[popovertarget="{id}"]:visible, [data-open="{id}"]:visible').last
        sheet = page.locator(f"#{id}")
        await opener.scroll_into_view_if_needed()
        await opener.tap()
        await expect(sheet).to_be_visible()
        await page.wait_for_timeout(100)
        await page.evaluate(
            "id => document.querySelectorAll(`#${id} details`).forEach(d => { d.open = true; })", id
        )
        await shoot(page, f"touch-{at.strip('/').replace('/', '-')}-{id}")
        wrong[f"{at} {id}"] = await page.evaluate(MISSED, f"#{id}")
        await page.keyboard.press("Escape")
        await expect(sheet).to_be_hidden()


async def converse(story: Told) -> None:
    """A conversation with all that may stand in one."""
    page = story.page
    await page.fill("#chat-text", "Hello")
    await page.locator("#chat-submit").tap()
    await expect(page.locator("article.chat-reply")).to_have_count(1)
    await story.quiet()
    await page.locator("#chat-do-open").tap()
    await page.locator("#chat-do-again").tap()
    await expect(page.locator(".chat-versions")).to_contain_text("2/2")
    await story.quiet()
    await page.get_by_role("button", name="Version before").tap()
    await expect(page.locator(".code [data-copy]")).to_be_visible()


async def passing(page: Page, wrong: dict[str, list[str]]) -> None:
    """What is there for a moment: an edit, what a search found, a notice with its button."""
    await page.locator("article.chat-user .chat-body").tap()  # Its row comes with a touch.
    await expect(page.locator("article.chat-user .chat-tools button").first).to_have_css(
        "opacity", "1"
    )
    wrong["question"] = await page.evaluate(MISSED, "article.chat-user")
    await page.locator("article.chat-reply [data-edit]").first.tap()
    await shoot(page, "touch-edit")
    wrong["edit"] = await page.evaluate(MISSED, "article.chat-reply")
    await page.keyboard.press("Escape")
    await page.locator("[popovertarget=chat-side]").tap()
    await page.fill("#chat-find-text", "Hello")
    await expect(page.locator(".chat-found")).to_have_count(1)
    await shoot(page, "touch-found")
    wrong["found"] = await page.evaluate(MISSED, "#chat-side")
    await page.fill("#chat-find-text", "")
    await expect(page.locator("#chat-side .chat-found")).to_have_count(0)
    await page.keyboard.press("Escape")
    await page.locator("#chat-do-open").tap()
    await page.locator("#chat-do-remove").tap()
    await expect(page.locator(".toast button").first).to_be_visible()
    await page.wait_for_timeout(300)
    wrong["toast"] = await page.evaluate(MISSED, "#toasts")


async def cast(story: Told, wrong: dict[str, list[str]]) -> None:
    """A character with greetings, a group, and the editor of a card."""
    page = story.page
    await page.goto(f"{story.server.address}/chat")
    await page.locator("#chat-setup-open").tap()
    await page.select_option("#chat-setup-mode", "chat")
    await page.select_option("#chat-setup-character", "Ada")
    await expect(page.locator("#chat-setup-open")).to_have_text("Ada")
    await page.locator("#chat-setup [data-close]").tap()
    await expect(page.locator("#chat-greet-after")).to_be_visible()
    await sheets(page, wrong, "/chat Ada")
    await page.locator("#chat-greet").tap()
    await expect(page.locator("article")).to_have_count(1)
    await page.locator("#group_chat-open").tap()
    await page.select_option("#group_chat-character", "Bo")
    await expect(page.locator(".group_chat-member")).to_have_count(2)
    await page.select_option("#group_chat-order", "manual")
    await expect(page.locator("#group_chat-chosen")).to_be_visible()
    await page.keyboard.press("Escape")
    await sheets(page, wrong, "/chat group")
    await page.goto(f"{story.server.address}/characters/Bo")
    await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
    await shoot(page, "touch-editor")
    await sheets(page, wrong, "/characters Bo")


async def test_every_control_is_hit_by_a_finger(
    tmp_path: Path, environments_dir: Path, pytestconfig: pytest.Config
):
    """In a conversation and all tabs; without --long in one section of Settings in four."""
    every = 1 if pytestconfig.getoption("--long") else 4
    put(tmp_path / "data")
    wrong = dict[str, list[str]]()
    async with told(tmp_path, environments_dir, SAYS, **PHONE) as story:
        page = story.page
        await sheets(page, wrong, "/chat new")
        await converse(story)
        conversation = await page.evaluate("location.pathname")
        hrefs = "all => all.map(a => a.getAttribute('href'))"
        tabs = await page.locator("#rail a[href], .rail-rest a[href]").evaluate_all(hrefs)
        await page.goto(f"{story.server.address}/settings")
        tabs += (await page.locator("main .strip a[href]").evaluate_all(hrefs))[::every]
        for tab in dict.fromkeys([conversation, *tabs]):
            await page.goto(f"{story.server.address}{tab}")
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
            await shoot(page, f"touch{tab.replace('/', '-')}")
            # The parts of a page scroll, the page itself never: its bars would swim away.
            assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight"), tab
            await sheets(page, wrong, tab)
        await page.goto(f"{story.server.address}{conversation}")
        await passing(page, wrong)
        await cast(story, wrong)
    found = [f"{at}: {what}" for at, all_ in wrong.items() for what in all_]
    assert not found, "\n".join(found)


async def carry(
    page: Page, what: Locator, to: Locator, rest: int = 0, how: str = "touchEnd"
) -> None:
    """A finger comes down on something, rests, goes to the lower half of another, and leaves."""
    await what.scroll_into_view_if_needed()
    start, end = await what.bounding_box(), await to.bounding_box()
    assert start
    assert end
    session = await page.context.new_cdp_session(page)

    async def touch(kind: str, *point: float) -> None:
        points = [{"x": point[0], "y": point[1]}] if point else []
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        await page.wait_for_timeout(16)

    x, y = start["x"] + start["width"] / 2, start["y"] + start["height"] / 2
    last = end["x"] + end["width"] / 2, end["y"] + end["height"] * 0.75
    await touch("touchStart", x, y)
    await page.wait_for_timeout(rest)
    for step in range(1, 13):
        await touch("touchMove", x + (last[0] - x) * step / 12, y + (last[1] - y) * step / 12)
    await touch(how)
    await session.detach()


async def items(page: Page, at: str) -> list[str]:
    return await page.locator(f"{at} [data-item]").evaluate_all(
        "all => all.map(e => e.dataset.item)"
    )


@pytest.mark.long
async def test_what_is_dragged_follows_a_finger(tmp_path: Path, environments_dir: Path):
    put(tmp_path / "data")
    async with told(tmp_path, environments_dir, SAYS, **PHONE) as story:
        page = story.page

        # The order of samplers; a touch that the system takes away changes nothing.
        await page.goto(f"{story.server.address}/parameters")
        await page.locator("#parameters-otheroptions > summary").tap()
        before = await items(page, "#parameters-order")
        first, third = (page.locator(f"#parameters-at-{before[n]}") for n in (0, 2))
        await carry(page, first.locator(".handle"), third, how="touchCancel")
        assert await items(page, "#parameters-order") == before
        await carry(page, first.locator(".handle"), third)
        after = [before[1], before[2], before[0]]
        await expect(page.locator("#parameters-sampler_priority-reset")).to_be_visible()
        assert (await items(page, "#parameters-order"))[:3] == after

        # Who is in a group.
        await page.goto(f"{story.server.address}/chat")
        await page.locator("#chat-setup-open").tap()
        await page.select_option("#chat-setup-mode", "chat")
        await expect(page.locator("#chat-setup-character")).to_be_visible()
        await page.locator("#chat-setup [data-close]").tap()
        await page.locator("#group_chat-open").tap()
        for number, name in enumerate(("Ada", "Bo"), 1):
            if not await page.locator("#group_chat-pop").is_visible():
                await page.locator("#group_chat-open").tap()
            await page.select_option("#group_chat-character", name)
            await expect(page.locator(".group_chat-member")).to_have_count(number)
        if not await page.locator("#group_chat-pop").is_visible():
            await page.locator("#group_chat-open").tap()
        members = page.locator(".group_chat-member")
        await page.wait_for_timeout(300)
        await carry(page, members.first.locator(".handle"), members.last)
        await expect(members.first).to_contain_text("Bo")
        await expect(page.locator("#group_chat-m1-up")).to_be_disabled()  # Drawn by the server.
        await page.reload()
        await page.locator("#group_chat-open").tap()
        await expect(members.first).to_contain_text("Bo")
        await page.keyboard.press("Escape")

        # A conversation goes into a folder; a quick touch scrolls, and a tap opens.
        await page.locator("[popovertarget=chat-side]").tap()
        await page.locator("#chat-new-folder").tap()
        await page.locator("#chat-begin input[name=name]").fill("Den")
        await page.keyboard.press("Enter")
        folder = page.locator(".chat-folder")
        await expect(folder).to_have_count(1)
        row = page.locator("[data-conversation]")
        await page.wait_for_timeout(300)
        await carry(page, row.locator("a"), folder)
        assert await page.locator(".chat-held [data-conversation]").count() == 0
        address = page.url
        await carry(page, row.locator("a"), folder, rest=600)
        await expect(page.locator(".chat-held [data-conversation]")).to_have_count(1)
        await shoot(page, "touch-folder")
        assert page.url == address
        assert await page.locator("#chat-side").is_visible()
