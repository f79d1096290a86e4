"""C27: the whole page is used; nothing in it breaks its policy or asks elsewhere."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from kernel.testing import ROOT
from tests.boundary.served import Served
from tests.boundary.watching import watching

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
BUILT_IN = sorted(p.parent.name for p in (ROOT / "extensions").glob("*/extension.toml"))
SAID = """# A reply

It has **words**, a [link](https://example.com/), `code`, and:

```python
def spin(wheel: str) -> str:
    return f"{wheel} spins"
```

| Wheel | Spindle |
|:------|--------:|
| left  | right   |

1. One
2. Two

> And that is all.
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """Everything is switched on; the model tells how sure it was of each word."""
    models = tmp_path / "models"
    models.mkdir()
    for name in ("polly", "jacob"):
        (models / f"{name}.parrot").write_text(SAID, "utf-8")
    data = tmp_path / "data"
    shutil.copytree(ROOT / "tests" / "data" / "parrot", data / "extensions" / "parrot")
    on = (
        "--extensions",
        *BUILT_IN,
        "parrot",
        "--model-dir",
        str(models),
        "--model",
        "polly.parrot",
    )
    server = Served(tmp_path, *on)
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def go(page: Page, address: str) -> None:
    """Open an address, and wait until the page is live."""
    await page.goto(address)
    await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")


async def addresses(page: Page, within: str) -> list[str]:
    return await page.locator(f"{within} a").evaluate_all("links => links.map(a => a.href)")


async def tabs_and_sections(page: Page, server: Served, every: int) -> None:
    """All tabs, and one in so many sections of Settings: they have one form."""
    await go(page, f"{server.origin}/settings")
    tabs, sections = await addresses(page, "#rail"), await addresses(page, "#settings-sections")
    assert len(tabs) >= 2
    assert {section.rpartition("/")[2] for section in sections} >= {"appearance", "about", "access"}
    for address in dict.fromkeys([*tabs, *sections[::every]]):
        await go(page, address)
        await page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    await go(page, f"{server.origin}/settings/appearance")
    for theme in ("Dark", "Light"):
        await page.get_by_label(theme).click()
        await expect(page.locator("html")).to_have_attribute("data-theme", theme.lower())
    await go(page, f"{server.origin}/settings")
    card = page.locator("#settings-word_count")
    await card.get_by_role("button", name="Move up").click()
    toggle = page.locator("#settings-word_count-toggle")
    for state in ("false", "true"):  # Its style sheets and its panels go and come.
        await toggle.click()
        await expect(toggle).to_have_attribute("aria-checked", state)


async def palette_and_shortcuts(page: Page, server: Served) -> None:
    await go(page, f"{server.origin}/chat")
    await page.keyboard.press("Control+k")
    await expect(page.locator("#commands").get_by_role("option").first).to_be_visible()
    await page.keyboard.type("theme")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Escape")
    await page.locator("#main").click(position={"x": 5, "y": 5})
    await page.keyboard.press("?")
    await expect(page.locator("#commands-keys dt").first).to_be_visible()
    await page.keyboard.press("Escape")


async def models_and_parameters(page: Page, server: Served) -> None:
    await page.wait_for_selector("#models-open .dot[data-state=ready]")
    await page.click("#models-open")
    await page.locator("#models-list button").filter(has_text="jacob").click()
    await page.click("#models-options > summary")
    await expect(page.locator("#models-options input").first).to_be_visible()
    await page.get_by_role("button", name="Load", exact=True).click()
    await expect(page.locator("#models-status")).to_contain_text("jacob")
    await page.keyboard.press("Escape")
    await page.click("#parameters-open")
    for value, state in (("x", "true"), ("0.5", None)):
        await page.fill("#parameters-pop-temperature", value)
        await page.keyboard.press("Tab")
        wrong = page.locator("#parameters-pop-temperature[aria-invalid=true]")
        await expect(wrong).to_have_count(1 if state else 0)
    await page.keyboard.press("Escape")


async def a_reply_and_what_is_done_with_it(page: Page, server: Served) -> None:
    await page.fill("#chat-text", "Say it")
    await page.keyboard.press("Enter")
    reply = page.locator("article.chat-reply")
    await expect(page.locator("#chat-go[data-busy=false]")).to_be_attached(timeout=15_000)
    await expect(reply.locator("[class*=token_probabilities]").first).to_be_visible()
    await expect(page.locator("#word_count-figures")).not_to_be_empty()
    async with page.expect_response("**/ext/tts/clips/*"):
        await reply.get_by_role("button", name="More").click()
        await page.get_by_role("button", name="Read aloud").click()
    await expect(page.locator("#tts-stop")).to_be_visible()
    await page.click("#tts-stop")
    off = '{"action": "settings.toggle", "id": "token_probabilities", "on": false}'
    before = await page.locator("link[data-style]").get_attribute("href")
    await page.evaluate("said => spindleSocket.send(said)", off)  # Coloured words are plain words.
    await expect(page.locator(f'link[data-style][href="{before}"]')).to_have_count(0)
    mine = page.locator("article.chat-user")
    await mine.hover()
    await mine.get_by_role("button", name="Edit").click()
    await mine.locator("textarea").fill("Say it again")
    await mine.get_by_role("button", name="Send again").click()
    await expect(mine).to_contain_text("2/2")
    await expect(reply.locator(".code code span").first).to_be_visible()
    await expect(reply.locator("td.right").first).to_be_visible()
    await reply.locator(".code [data-copy]").click()
    await expect(page.locator("#chat-go[data-busy=false]")).to_be_attached()
    await page.locator("#chat-conversations .entry").first.hover()
    await page.get_by_label("Rename:").first.click()
    await page.keyboard.type("Brass")
    await page.keyboard.press("Enter")
    await expect(page.locator("#chat-conversations a").first).to_have_text("Brass")


async def notices_and_jobs(page: Page, server: Served) -> None:
    await page.click("#example-start")
    await page.click("#tray-open")
    await expect(page.locator("#tray-list .job progress")).to_be_visible()
    await page.locator("#tray-list .job button").click()
    await page.keyboard.press("Escape")
    await page.locator("#chat-conversations .entry").first.hover()
    await page.get_by_label("Delete:").first.click()
    await expect(page.locator(".toast").first).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("#chat-conversations a").first).to_have_text("Brass")


async def pages_that_stand_alone(page: Page, server: Served) -> None:
    await page.goto(f"{server.origin}/no/such/page")
    await expect(page.locator("h1")).to_have_text("This page does not exist")
    cookies = await page.context.cookies()
    await page.context.clear_cookies()
    await page.goto(f"{server.origin}/chat")
    await expect(page.locator("#token")).to_be_visible()
    await page.fill("#token", "wrong")
    await page.click("button.primary")
    await expect(page.locator("body")).to_contain_text("That is not it.")
    await page.context.add_cookies(cookies)  # type: ignore[arg-type]


async def safe_mode(page: Page, server: Served) -> None:
    await page.goto("about:blank")
    server.stop()
    server._flags = ("--safe-mode",)
    server.start()
    await go(page, f"{server.origin}/settings")
    await expect(page.locator("#safe-mode")).to_be_visible()


STEPS = (
    palette_and_shortcuts, models_and_parameters,
    a_reply_and_what_is_done_with_it, notices_and_jobs, pages_that_stand_alone, safe_mode,
)  # fmt: skip


def refused(sign: str) -> bool:
    """Chromium tells of every page that is not there, or asks for the key: it was asked for."""
    return "Failed to load resource" in sign and ("404" in sign or "401" in sign)


async def test_c27_the_whole_page_keeps_to_its_policy(server: Served, pytestconfig: pytest.Config):
    whole = bool(pytestconfig.getoption("--long"))
    every = 1 if whole else 4
    async with watching(server.origin, server.key, whole=whole) as (watch, page):
        await tabs_and_sections(page, server, every)
        for step in STEPS:
            assert not [sign for sign in watch.signs if not refused(sign)], (
                f"before {step.__name__}"
            )
            await step(page, server)
        assert not [sign for sign in watch.signs if not refused(sign)]
