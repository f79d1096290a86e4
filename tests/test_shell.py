"""The shell of the page: what it weighs, and how what extensions bring for it comes and goes.

Issue 2: "Page shell ≤ 150 KB gzip in all, ≤ 8 requests".
"""

import asyncio
import gzip
import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, Response, Route, expect

from extensions.conversations.api import Store
from kernel.assets import joins
from kernel.testing import App, running
from tests.live import Live, Watched, chromium, live
from tests.misbehaving.zoo import write

PARTS = Path(__file__).parent.parent / "static" / "page"
BROWSER = [pytest.mark.browser, pytest.mark.timeout(120)]
PANEL = """
from kernel.api import *
async def setup(ext):
    ext.add(PANELS, Panel({region!r}, "it.html", title="It"))
"""


def bringing(root: Path, id: str, html: str, css: str = "", js: str = "", tab: bool = False):
    """An extension `id` with a panel, a style and a script."""
    write(root, id, PANEL.format(region="tab" if tab else "status"))
    (root / id / "templates" / "it.html").write_text(html)
    (root / id / "static").mkdir()
    for suffix, text in ((".css", css), (".js", js)):
        if text:
            (root / id / "static" / (id + suffix)).write_text(text)


def web(app: App) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.web), base_url="http://test")


def links(html: str) -> list[str]:
    return re.findall(r'<link rel="stylesheet" href="(/ext/[^"]+)" data-style>', html)


# --- which styles can stand in one file ------------------------------------------------------


@pytest.mark.parametrize(
    "css",
    [
        "",
        "p { color: red }",
        "/* a } */ p::before { content: '}' }",
        r"p::before { content: 'it\'s }' }",
        "@media (width < 9rem) { p { margin: 0 } }",
        "@layer a, b;",
        "@font-face { src: url(/ext/a/static/a.woff2) }",
        "p { background: url('data:image/svg+xml,<svg>)</svg>') }",
        "p { clip-path: inset(1px); background: linear-gradient(red, blue) }",
    ],
)
def test_a_whole_style_joins(css: str):
    assert joins(css)


@pytest.mark.parametrize(
    "css",
    [
        "p {",
        "p { }}",
        "p { } q",
        "color: red;",
        "(p { }",
        "p[a { } ]",
        "/* p { }",
        "/*/",
        "p { content: '\n}' }",
        "@import 'a.css';",
        "@charset 'utf-8'; p { }",
        "@namespace svg url(/x);",
        "p { background: url(a.png) }",
        "p { background: url('a.png') }",
        "p { background: image-set('a.png' 1x) }",
        r"p\{ { }",
        "p { } 'x'",
        "p { } --x",
        "\0",
        "p { } " * 50_000,
        "{" * 100 + "}" * 100,
    ],
)
def test_what_would_spoil_others_does_not(css: str):
    assert not joins(css)


@pytest.mark.parametrize("part", ["{", "/*", "url(/", '"\\', "'\n", "@", "@;", ";", "([", " "])
def test_a_style_made_to_be_slow_is_looked_at_in_no_time(part: str):
    loop = asyncio.new_event_loop()
    begun = loop.time()
    joins(part * (250_000 // len(part)))
    assert loop.time() - begun < 10, "it grows with the square of its length: minutes"
    loop.close()


# --- what is served ---------------------------------------------------------------------------


async def test_one_style_of_all_and_a_bad_one_by_itself(tmp_path: Path):
    for id, css in (("ann", ".ann { color: red }"), ("bad", ".bad {"), ("cid", ".cid { top: 0 }")):
        bringing(tmp_path, id, "<i>it</i>", css, tab=id == "ann")
    async with running("ann", "bad", "cid", folders=[tmp_path]) as app, web(app) as http:
        bundle, alone = links((await http.get("/")).text)
        both = await http.get(bundle)
        assert both.text == ".ann { color: red }\n.cid { top: 0 }"
        assert both.headers["content-type"].startswith("text/css")
        assert "immutable" in both.headers["cache-control"]
        old = await http.get("/ext/styles.css?v=0")
        assert (old.text, old.headers["cache-control"]) == (both.text, "no-cache")
        assert alone.startswith("/ext/bad/static/bad.css?v=")
        assert (await http.get(alone)).text == ".bad {"

        await app.kernel.changes.toggle("cid", on=False)
        now = links((await http.get("/")).text)
        assert now[0] != bundle
        assert (await http.get(now[0])).text == ".ann { color: red }"
        await app.kernel.changes.toggle("cid", on=True)
        assert links((await http.get("/")).text) == [bundle, alone]


async def test_the_parts_of_the_page_s_script_are_small_and_served_as_one():
    parts = [part.read_text("utf-8") for part in sorted(PARTS.glob("*.js"))]
    assert max(part.count("\n") for part in parts) <= 60
    assert sum(part.count("\n") for part in parts) < 400
    async with running() as app, web(app) as http:
        script = await http.get("/static/page.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.text == "\n".join(["'use strict';{", *parts, "}"])
        told = {"If-None-Match": script.headers["etag"]}
        again = await http.get("/static/page.js", headers=told)
        assert (again.status_code, again.content) == (304, b"")
        assert (await http.post("/static/page.js")).status_code == 405
        assert (await http.get("/static/page/keys.js")).status_code == 200
        assert (await http.get("/static/page.css")).status_code == 404


async def test_a_style_that_was_read_while_it_was_empty_is_read_again(tmp_path: Path):
    """Whoever saves empties a file first, and a coarse clock gives both the same time."""
    bringing(tmp_path, "ann", "<i>it</i>", " ", tab=True)
    file = tmp_path / "ann" / "static" / "ann.css"
    file.write_text("")
    os.utime(file, ns=(10**18, 10**18))
    async with running("ann", folders=[tmp_path]) as app, web(app) as http:
        assert (await http.get(links((await http.get("/")).text)[0])).text == ""
        file.write_text(".ann { color: red }")
        os.utime(file, ns=(10**18, 10**18))
        css = (await http.get(links((await http.get("/")).text)[0])).text
        assert css == ".ann { color: red }"


async def test_a_style_that_leads_out_of_its_folder_is_not_read(tmp_path: Path):
    bringing(tmp_path, "ann", "<i>it</i>", tab=True)
    (tmp_path / "secret").write_text(".secret { }")
    (tmp_path / "ann" / "static" / "ann.css").symlink_to(tmp_path / "secret")
    async with running("ann", folders=[tmp_path]) as app, web(app) as http:
        (bundle,) = links((await http.get("/")).text)
        assert (await http.get(bundle)).text == ""


async def test_a_page_that_comes_is_told_what_there_is_by_now(tmp_path: Path):
    """It may have been made before a change, or by the server before this one."""
    bringing(tmp_path, "ann", "<i>it</i>", ".ann { top: 0 }", "customElements.define('ann-a', A);")
    async with running("ann", "settings", folders=[tmp_path]) as app, web(app) as http:
        (bundle,) = links((await http.get("/")).text)
        page = await app.page("/settings").connect()
        assert f'data-styles="{bundle}"' in page.html
        assert 'data-scripts="ann:/ext/ann/static/ann.js?v=' in page.html


async def test_a_script_is_there_with_its_element_or_without_any(tmp_path: Path):
    element = "customElements.define('{0}-it', class extends HTMLElement {{}});"
    bringing(tmp_path, "ann", "<ann-it></ann-it>", js=element.format("ann"), tab=True)
    bringing(tmp_path, "bea", "<i>not now</i>", js=element.format("bea"))
    bringing(tmp_path, "cid", "<cid-it></cid-it>", js=element.format("cid"))
    bringing(tmp_path, "dan", "<i>no element</i>", js="document.title = 'Dan';")
    async with running("ann", "bea", "cid", "dan", folders=[tmp_path]) as app, web(app) as http:
        html = (await http.get("/ann")).text
        assert re.findall(r'<script src="/ext/(\w+)/', html) == ["ann", "cid", "dan"]
        (waiting,) = re.findall(r'data-scripts="([^"]*)"', html)
        assert [pair.partition(":")[0] for pair in waiting.split()] == ["ann", "bea", "cid"]


# --- in a real browser ------------------------------------------------------------------------


@asynccontextmanager
async def opened(tmp_path: Path, *flags: str) -> AsyncGenerator[tuple[Live, Page]]:
    """A signed-in page that has come to rest."""
    (tmp_path / "models").mkdir()
    data, models = tmp_path / "data", ("--model-dir", str(tmp_path / "models"))
    async with live(data, tmp_path, *models, *flags) as server, chromium() as browser:
        context = await browser.new_context()
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link, wait_until="networkidle")
        yield server, page
        assert [said for said in watched.complaints if "nowhere" not in said] == []


async def requests(server: Live, page: Page, path: str) -> dict[str, int]:
    """What a page without a cache asks for, and its bytes in gzip."""
    fresh = await page.context.new_page()
    responses: list[Response] = []
    fresh.on("response", lambda response: responses.append(response))
    await fresh.goto(server.address + path, wait_until="networkidle")
    await expect(fresh.locator("html")).to_have_attribute("data-ui-link", "online")
    if path.startswith("/chat/"):
        await expect(fresh.locator("article.chat-reply pre")).to_be_visible()
    sizes = {}
    for response in responses:
        if response.url.startswith(server.address):
            assert response.status == 200, response.url
            sizes[response.url] = len(gzip.compress(await response.body(), 6))
    assert len(sizes) == len(responses)
    assert await fresh.evaluate(WITHOUT) == [], "an element without its script"
    await fresh.close()
    return sizes


async def conversation(data: Path) -> str:
    """One with a reply, as it was kept."""
    data.mkdir()  # noqa: ASYNC240  a test may wait for its disk
    async with Store.open(data / "chats.sqlite3") as store:
        asked = await store.add_user("", "How do I print something?")
        reply = await store.begin_reply(asked.id)
        words = "Like **this**:\n\n```python\nprint('Hello.')\n```\n\n- And\n- so on.\n"
        await store.finish(reply.id, "done", words, words)
    return asked.conversation


async def late(route: Route) -> None:
    await asyncio.sleep(0.2)  # Many frames: time enough to see the page undressed.
    await route.continue_()


class TestInTheBrowser:
    pytestmark = BROWSER

    async def test_the_shell_is_small(self, tmp_path: Path):
        id = await conversation(tmp_path / "data")
        async with opened(tmp_path) as (server, page):
            tabs = {"/settings", "/characters", "/notebook", "/parameters", "/models", "/default"}
            listed = await page.locator("#rail > a").evaluate_all(
                "all => all.map(link => link.pathname)"
            )
            assert tabs < set(listed)
            paths = ("/", "/chat", f"/chat/{id}", *sorted(tabs))
            each = await asyncio.gather(*(requests(server, page, path) for path in paths))
            for path, sizes in zip(paths, each, strict=True):
                assert len(sizes) <= 8, (path, sizes)
                assert sum(sizes.values()) <= 150_000, (path, sizes)

    async def test_toggling_undresses_nobody_and_a_tab_pushed_has_all_it_needs(
        self, tmp_path: Path
    ):
        folder = tmp_path / "data" / "extensions"
        bringing(folder, "ann", "<b id='ann-b'>Ann</b>", "#ann-b { color: rgb(1, 2, 3) }")
        bringing(folder, "bea", "<i id='bea-i'>Bea</i>", "#bea-i { color: rgb(4, 5, 6) }")
        bringing(folder, "cid", "<cid-it>", "cid-it { color: rgb(7, 8, 9) }", CID, tab=True)
        only = ("--extensions", "ann", "bea", "cid", "settings", "chat")
        async with opened(tmp_path, *only) as (server, page):
            await page.goto(server.address + "/")
            await page.evaluate(WATCHING, "ann-b")
            await page.route("**/ext/styles.css*", late)
            other = await page.context.new_page()
            await other.goto(server.address + "/settings", wait_until="networkidle")
            for _ in range(3):
                for on in (False, True):
                    await other.click("#settings-bea-toggle")
                    await expect(page.locator("#bea-i")).to_have_count(int(on))
                    if on:
                        await expect(page.locator("#bea-i")).to_have_css("color", "rgb(4, 5, 6)")
                    await expect(page.locator("link[data-style]")).to_have_count(1)
            assert await page.evaluate("[looks > 10, colours.size]") == [True, 1]

            # The first tab goes: the page is given the next one, with its script and style.
            it = page.locator("cid-it")
            await expect(it).to_have_count(0)
            assert await page.evaluate("!customElements.get('cid-it')")
            await other.click("#settings-chat-toggle")
            await expect(it).to_have_text("It is here.")
            await expect(it).to_have_css("color", "rgb(7, 8, 9)")
            assert await page.evaluate("window.times") == 1

    async def test_a_script_fetched_for_its_element_fails_by_id_and_line(self, tmp_path: Path):
        folder = tmp_path / "data" / "extensions"
        bringing(folder, "bad", "<bad-it></bad-it>", js="\n\nnowhere.to();\n" + CID)
        async with opened(tmp_path, "--extensions", "bad", "settings") as (server, page):
            card = page.locator("#settings-bad")
            await expect(card).to_contain_text("nowhere is not defined (line 3)")
            await page.click("#settings-bad-toggle")
            await expect(page.locator("bad-it")).to_have_count(0)
            fresh = await page.context.new_page()
            await fresh.goto(server.address, wait_until="networkidle")
            assert await fresh.locator("script[src*=bad]").count() == 0
            await fresh.click("#settings-bad-toggle")  # Now it comes by push.
            await expect(fresh.locator("script[src*=bad]")).to_have_count(1)
            await expect(fresh.locator("#settings-bad")).to_contain_text("(line 3)")


WITHOUT = """() => [...document.querySelectorAll(':not(:defined)')].map(it => it.localName)
  .filter(name => !document.querySelector(`script[src*="/ext/${name.split('-')[0]}/"]`))"""
CID = """
customElements.define('cid-it', class extends HTMLElement {
  connectedCallback() { this.textContent = 'It is here.'; }
});
window.times = (window.times ?? 0) + 1;
"""
WATCHING = """id => {
  window.looks = 0; window.colours = new Set();
  setInterval(() => {       // no frames: a page behind another one draws none
    looks++; colours.add(getComputedStyle(document.getElementById(id)).color);
  }, 10);
}"""
