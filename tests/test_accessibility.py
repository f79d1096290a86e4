"""What keeps people with screen readers, keyboards or weak eyes out, as axe finds it in every place
of the page and in what opens there (WCAG 2.2 AA and axe's best practices)."""

from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.stories import told

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
LINKS = "links => links.map(link => link.getAttribute('href'))"
UNFOLD = "all => all.forEach(each => { each.open = true; })"
FOCUS = """
() => {
  const e = document.activeElement, words = (e.ariaLabel ?? e.textContent).trim().slice(0, 30);
  if (e === document.body) return null;
  const name = `${e.localName}#${e.id}.${e.className} “${words}”`;
  const there = e.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const {outlineStyle, outlineWidth, outlineColor} = getComputedStyle(e);
  const drawn = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1;
  if (there && drawn && !/, 0\\)/.test(outlineColor)) return [name, true];
  const around = [e, e.parentElement, e.parentElement.parentElement].slice(there ? 0 : 1);
  const look = () => JSON.stringify(around.map(at => {
    const {outlineStyle, outlineColor, boxShadow, borderColor} = getComputedStyle(at);
    return [outlineStyle, outlineColor, boxShadow, borderColor];
  }));
  const focused = look();
  e.blur();
  const blurred = look();
  e.focus({focusVisible: true, preventScroll: true});
  return [name, focused !== blurred];
}
"""
"""What has the focus, and whether that is seen: by a line around it, or what it lies in."""
RULES = {
    "runOnly": [
        "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice",
    ],
    "resultTypes": ["violations"],
}  # fmt: skip
CASES: list[Any] = [
    ("light", 1280),
    pytest.param("dark", 1280, marks=pytest.mark.long),
    pytest.param("light", 390, marks=pytest.mark.long),
    pytest.param("dark", 390, marks=pytest.mark.long),
]


async def found(page: Page) -> list[str]:
    """What axe finds in the page as it is: the rule and what breaks it."""
    results: Any = (await Axe().run(page, options=RULES)).response
    return [
        f"{rule['help']}: {node['html'][:200]}"
        for rule in results["violations"]
        for node in rule["nodes"]
    ]


async def places(page: Page, address: str) -> list[str]:
    """The paths of all tabs, and of the sections of those that have some."""
    paths = dict.fromkeys(await page.eval_on_selector_all("#rail > a", LINKS))
    for path in [*paths]:
        await page.goto(address + path)
        paths |= dict.fromkeys(await page.eval_on_selector_all(f'main a[href^="{path}/"]', LINKS))
    return [*paths]


async def unseen(page: Page, steps: int) -> list[str]:
    """Which of the next places that Tab leads to do not look as if they had the focus."""
    wrong, met = list[str](), set[str]()
    for _ in range(steps):
        await page.keyboard.press("Tab")
        if at := await page.evaluate(FOCUS):
            met.add(at[0])
            wrong += [] if at[1] else [f"the focus is not seen: {at[0]}"]
    assert len(met) > steps / 2
    return wrong


@pytest.mark.parametrize(("scheme", "width"), CASES)
async def test_axe_finds_nothing(
    tmp_path: Path, environments_dir: Path, scheme: Literal["light", "dark"], width: int
):
    says = ("Some **words**, a [link](https://example.org) and\n\n```python\nprint(1)\n```\n",)
    how: dict[str, Any] = {
        "viewport": {"width": width, "height": 800},
        "color_scheme": scheme,
        "reduced_motion": "reduce",  # What fades in has no contrast yet.
    }
    async with told(tmp_path, environments_dir, says, **how) as story:
        page, wrong = story.page, dict[str, list[str]]()
        await story.send("Hello")
        wrong["a reply"] = await found(page)
        wrong["a reply by Tab"] = await unseen(page, 40)
        for opener, opened in (
            ("#models-open", "#models-picker"),
            ("#commands-open", "#commands"),
            ("article:last-of-type button[popovertarget=chat-menu]", "#chat-menu"),
            ("#chat-setup-open", "#chat-setup"),
        ):
            await page.locator(opener).last.click()
            await expect(page.locator(opened)).to_be_visible()
            wrong[opened] = await found(page)
            if opened == "#commands":
                assert (await page.evaluate(FOCUS))[1], "it is seen where one types"
            await page.keyboard.press("Escape")
            await expect(page.locator(opened)).to_be_hidden()
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("?")
        await expect(page.locator("#commands-keys-list dl").first).to_be_visible()
        wrong["the shortcuts"] = await found(page)
        paths = await places(page, story.server.address)
        assert {"/notebook", "/settings/appearance", "/models/hardware"} <= {*paths}
        for path in paths:
            await page.goto(story.server.address + path)
            await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
            await page.eval_on_selector_all("main details", UNFOLD)
            wrong[path] = await found(page)
            if path == "/settings":
                wrong["/settings by Tab"] = await unseen(page, 40)
        assert not any(wrong.values()), "\n".join(
            f"{at}: {what}" for at, many in wrong.items() for what in many
        )
