"""A browser that notices every sign of a script that ran, a request that left, a page that went."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Dialog, Page, Request, Route

from kernel.testing import ROOT
from tests.boundary.allowed import ALLOWED
from tests.boundary.served import HERE
from tests.live import chromium

SPY = """
window.pwned = () => spindleSign('a script ran: ' + new Error().stack.slice(0, 300));
for (const name of ['alert', 'confirm', 'prompt', 'open', 'print'])
  window[name] = (...said) => spindleSign(`${name}(${said})`);
addEventListener('securitypolicyviolation', event =>
  spindleSign(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.spindleSent = []; window.spindleGot = [];
window.WebSocket = class extends WebSocket {
  constructor(...how) {
    super(...how);
    window.spindleSocket = this;
    this.addEventListener('message', ({data}) => spindleGot.push(data));
  }
  send(text) { spindleSent.push(text); super.send(text); }
};
"""

AUDIT = """
({tags, names, allowed}) => {
  const wrong = [];
  const address = /^(https?:|mailto:|\\/(?!\\/)|#|data:,$|data:image\\/svg\\+xml,%3Csvg)/i;
  for (const e of document.querySelectorAll('*')) {
    if (!tags.includes(e.localName)) wrong.push(`<${e.localName}>`);
    for (const {name, value} of e.attributes) {
      const known = names.includes(name.toLowerCase());
      if (!known) wrong.push(`<${e.localName} ${name}="${value.slice(0, 80)}">`);
      if (['href', 'src', 'action', 'formaction', 'srcset', 'poster', 'data'].includes(name)
          && !address.test(value)) wrong.push(`<${e.localName} ${name}="${value.slice(0, 80)}">`);
    }
  }
  for (const e of document.querySelectorAll('.prose [id$=-closed] *, .prose [id$=-open] *')) {
    const folded = e.matches('.chat-thought, .chat-thought > summary, .chat-thought > div');
    if (folded && /^chat-m\\w+-(thinking|took|thought)-\\d+$/.test(e.id)) continue;
    if (e.closest('.chat-thought')) wrong.push(`a thought became <${e.localName}>`);
    const rules = allowed[e.localName];
    if (!rules) { wrong.push(`words became <${e.localName}>`); continue; }
    for (const {name, value} of e.attributes)
      if (!(name in rules) || !RegExp(`^(${rules[name].replace('?i:', '?:')})$`, 'is').test(value))
        wrong.push(`words became <${e.localName} ${name}="${value}">`);
  }
  return wrong.slice(0, 20);
}
"""


class Written(HTMLParser):
    """Collects the elements and attributes that templates are written with."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.names = (
            {"tbody", *ALLOWED},
            {n for rules in ALLOWED.values() for n in rules},
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}


def in_templates() -> tuple[list[str], list[str]]:
    """What templates of kernel and extensions are written with, and what scripts of ours add."""
    written = Written()
    folders = [
        ROOT / "templates",
        *(ROOT / "extensions").glob("*/templates"),
        HERE / "hostile/templates",
    ]
    for file in (file for folder in folders for file in folder.glob("*.html")):
        source = re.sub(r"{[#%].*?[#%]}", " ", file.read_text("utf-8"), flags=re.DOTALL)
        written.names |= set(re.findall(r'\s([a-z][a-z-]*)="', source))  # in macros, too
        written.feed(re.sub(r"{{.*?}}", "x", source, flags=re.DOTALL))
    scripts = [*ROOT.glob("static/page/*.js"), *(ROOT / "extensions").glob("*/static/*.js")]
    page = "".join(file.read_text("utf-8") for file in scripts)
    ui = {f"data-ui-{n.lower()}" for n in re.findall(r"dataset\.ui([A-Z]\w*)", page)}
    ui |= set(re.findall(r"data-ui-[a-z]+", page))
    ui |= {"data-htmx-powered", "aria-busy", "aria-current"}
    return sorted(written.tags), sorted(written.names | ui)


class Watch:
    """The signs that were seen; a test asks for them, and they must be none."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.signs: list[str] = []
        self.actions: list[tuple[str, str, list[str]]] = []
        """What a page may ask for: name, a field that holds text, the fields that must be there."""
        self.context, self.origin = context, origin
        self._tags, self._names = in_templates()

    async def begin(self) -> None:
        await self.context.expose_function("spindleSign", lambda said: self.signs.append(said))
        await self.context.add_init_script(SPY)
        self.context.on("request", self._asked)
        self.context.on("console", lambda said: self._said(said.type, said.text))
        self.context.on("weberror", lambda error: self.signs.append(f"error: {error.error}"))
        self.context.on("dialog", self._asks)
        await self.context.route("**/*", self._let)

    async def _asks(self, dialog: Dialog) -> None:
        """Spindle asks before what was typed is left behind; nobody else has a dialog."""
        if dialog.type == "beforeunload":
            return await dialog.accept()
        self.signs.append("a dialog")
        await dialog.dismiss()

    def follow(self, page: Page) -> None:
        page.on("framenavigated", lambda frame: self._moved(page, frame))
        page.on("download", lambda _: self.signs.append("a download"))
        page.on("popup", lambda other: self.signs.append(f"a window: {other.url}"))

    def _ours(self, url: str) -> bool:
        parts = urlsplit(url)
        if parts.scheme == "data":
            return url.startswith(("data:,", "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org"))
        return f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}" == self.origin

    def _asked(self, request: Request) -> None:
        if not self._ours(request.url):
            self.signs.append(f"asked {request.url[:120]}")

    def _moved(self, page: Page, frame: Any) -> None:
        if frame is not page.main_frame or not (
            self._ours(frame.url) or frame.url == "about:blank"
        ):
            self.signs.append(f"went to {frame.url[:120]}")

    def _said(self, kind: str, text: str) -> None:
        drawing = "<path> attribute d:" in text  # The icon of a tab is a vector like all else.
        if kind in ("error", "warning") and not drawing:
            self.signs.append(f"{kind}: {text[:300]}")

    async def _let(self, route: Route) -> None:
        await (route.continue_() if self._ours(route.request.url) else route.abort())

    async def look(self, page: Page) -> list[str]:
        """The signs so far, and what stands on a page that no template wrote."""
        await page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        rules = {"tags": self._tags, "names": self._names, "allowed": ALLOWED}
        return [*self.signs, *await page.evaluate(AUDIT, rules)]

    async def act(self, page: Page, action: str, **values: Any) -> None:
        """Ask for something as the page would, through its own socket."""
        said = {"action": action, **values}
        await page.evaluate("said => spindleSocket.send(JSON.stringify(said))", said)


@asynccontextmanager
async def watching(
    origin: str, key: str, *, whole: bool = True
) -> AsyncGenerator[tuple[Watch, Page]]:
    """A signed-in page, watched; see `chromium` for `whole`."""
    async with chromium(whole=whole) as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        watch, page = Watch(context, origin), await context.new_page()
        await page.goto(f"{origin}/login")
        await page.fill("#token", key)
        await page.click("button.primary")
        await page.wait_for_selector("#rail")
        await watch.begin()
        watch.follow(page)
        yield watch, page
