"""A1 to A5, A7, A8 by a hostile page in a real browser that is signed in to a real server."""

import asyncio
import base64
import io
import zipfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, Response

from tests.boundary.places import Place
from tests.boundary.served import HERE, Served
from tests.live import chromium

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(120)]
EVIL = "evil.test"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<!doctype html><body>"
)
SECRET = "the canary's secret"
AT_ONCE = 20
"""Addresses whose frames a page has. Under hundreds of them Chromium lets other pages wait, too."""
BLOCKED = "chrome-error://chromewebdata/"

FETCHED = """
async urls => {
  const form = new FormData();
  form.append('archive', new Blob(['x']), 'x.zip');
  const post = (body, type) =>
    ({method: 'POST', body, ...(type && {headers: {'Content-Type': type}})});
  const seen = async answer => {                     // an opaque answer tells nothing by itself
    const text = await answer.text().catch(() => '');
    return answer.type === 'opaque' && !text ? '' : `${answer.status} ${text}`;
  };
  const ways = {
    'get': {},
    'post text': post('{"action": "canary_page.sing"}', 'text/plain'),
    'post urlencoded': post('action=sing&token=x', 'application/x-www-form-urlencoded'),
    'post multipart': post(form),
    'post json': post('{}', 'application/json'),
    'put': {method: 'PUT', body: 'x'},
    'delete': {method: 'DELETE'},
    'with a header': {headers: {'X-Api-Key': 'sk-x'}},
  };
  const tries = [];
  for (const url of urls)
    for (const [way, how] of Object.entries(ways))
      for (const mode of ['cors', 'no-cors'])
        tries.push(fetch(url, {credentials: 'include', mode, ...how})
          .then(seen, () => '')
          .then(read => [`fetch ${way} ${mode} ${url}`, read]));
  for (const url of urls) navigator.sendBeacon(url, 'token=x');
  return (await Promise.all(tries)).filter(([, read]) => read);
}
"""

INCLUDED = """
async urls => {
  const tags = {img: 'src', script: 'src', link: 'href', audio: 'src'};
  const late = new Promise(end => setTimeout(end, 3000, ''));
  const settled = (name, work) => Promise.race([work, late]).then(read => [name, read]);
  const tries = [];
  for (const url of urls) {
    for (const [tag, attribute] of Object.entries(tags))
      tries.push(settled(`<${tag}> ${url}`, new Promise(end => {
        const e = document.createElement(tag);
        if (tag === 'link') e.rel = 'stylesheet';
        e.onload = e.onloadeddata = () => end('it loaded');
        e.onerror = () => end('');
        e[attribute] = url;
        document.body.append(e);
        if (tag === 'audio') setTimeout(end, 300, '');
      })));
    tries.push(settled(`EventSource ${url}`, new Promise(end => {
      const source = new EventSource(url, {withCredentials: true});
      source.onopen = source.onmessage = () => end('it opened');
      source.onerror = () => { source.close(); end(''); };
    })));
  }
  return (await Promise.all(tries)).filter(([, read]) => read);
}
"""

SOCKETS = """
async urls => {
  const tries = urls.map(url => new Promise(end => {
    const socket = new WebSocket(url);
    socket.onopen = () => {
      socket.send('{"action": "canary_page.sing", "text": "pwned"}');
      setTimeout(end, 500, [url, 'it opened']);
    };
    socket.onmessage = ({data}) => end([url, data]);
    socket.onerror = () => end([url, '']);
  }));
  return (await Promise.all(tries)).filter(([, read]) => read);
}
"""

FRAMED = """
async urls => {
  const tags = {iframe: 'src', object: 'data', embed: 'src'};
  const tries = urls.flatMap(url => Object.entries(tags).map(([tag, attribute]) =>
    new Promise(end => {
      const frame = document.createElement(tag);
      frame[attribute] = url;
      const read = () => frame.contentDocument?.documentElement?.textContent.trim() ?? '';
      frame.onload = frame.onerror = () => end(read());
      setTimeout(end, 1000, '');
      document.body.append(frame);
    })));
  return (await Promise.all(tries)).filter(read => read);
}
"""

OPENED = """
async urls => {
  const held = urls.map(url => [url, open(url)]);
  const until = performance.now() + 30000;             // it ends sooner when all are let go
  while (performance.now() < until && held.some(([, w]) => !w.closed))
    await new Promise(next => setTimeout(next, 20));
  return held.map(([url, w]) => {
    if (w.closed) return [url, ''];
    try { return [url, 'read ' + w.document.documentElement.outerHTML]; }
    catch { return [url, 'is held: it can be watched and sent elsewhere']; }
  }).filter(([, read]) => read);
}
"""

SUBMITTED = """
async ([urls, archive, target]) => {
  const bytes = Uint8Array.from(atob(archive), c => c.charCodeAt());
  const form = (url, multipart, target) => {
    const form = document.createElement('form'), file = document.createElement('input');
    Object.assign(form, {method: 'POST', action: url, target});
    Object.assign(file, {type: 'file', name: 'archive'});
    if (multipart) {
      const files = new DataTransfer();
      files.items.add(new File([bytes], 'x.zip'));
      file.files = files.files;
      form.enctype = 'multipart/form-data';
      form.append(file);
    } else for (const name of ['action', 'token', 'source'])
      form.append(Object.assign(document.createElement('input'), {name, value: 'sing'}));
    document.body.append(form);
    return form;
  };
  if (target) return form(urls[0], true, target).submit();
  const answers = urls.flatMap(url => [true, false].map(multipart => new Promise(end => {
    const frame = document.createElement('iframe');
    frame.name = url + multipart;
    document.body.append(frame);
    frame.onload = () => end('');
    setTimeout(end, 30000, frame.name);
    form(url, multipart, frame.name).submit();
  })));
  return (await Promise.all(answers)).filter(name => name);
}
"""


async def tried(page: Page, script: str, given: Any) -> Any:
    """What a script of the page got; one that does not end is named."""
    name = next(name for name, value in globals().items() if value is script)
    try:
        async with asyncio.timeout(60):
            return await page.evaluate(script, given)
    except TimeoutError:
        raise AssertionError(f"{name} did not end in a minute at {page.url}") from None


@asynccontextmanager
async def site() -> AsyncGenerator[int]:
    """The port of a site that is none of ours, and has one empty page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def archive() -> str:
    """An extension that the workshop would take in."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for part in ("__init__.py", "extension.toml"):
            packed.write(HERE / "canary" / part, f"x/{part}")
    return base64.b64encode(file.getvalue()).decode()


def moved(server: Served, before: str) -> list[str]:
    """What the canaries were asked since then, but for what a link may ask."""
    asked = server.sung().removeprefix(before).splitlines()
    return [line for line in asked if ": GET /" not in line]


def addresses(all_places: list[Place], at: str) -> list[str]:
    """Each once, whatever methods it takes: a form finds the first frame of a name alone."""
    return list(dict.fromkeys(at + p.sample for p in all_places if p.kind == "http"))


def batched(urls: list[str]) -> Iterator[list[str]]:
    """As many as a browser opens in seconds."""
    yield from (urls[first : first + AT_ONCE] for first in range(0, len(urls), AT_ONCE))


def sockets(all_places: list[Place], at: str) -> list[str]:
    return [at + place.sample for place in all_places if place.kind == "websocket"]


async def submit(page: Page, at: str, urls: list[str]) -> list[str]:
    """Forms of both kinds to every address, in frames, and one that takes the whole window."""
    answers: list[Response] = []

    def answered(answer: Response) -> None:
        if answer.url != at:
            answers.append(answer)

    page.on("response", answered)
    for some in batched(urls):
        await page.goto(at)
        assert await tried(page, SUBMITTED, [some, archive(), ""]) == [], "it never ended"
    assert len(answers) >= 2 * len(urls)
    taken = next(url for url in urls if "archive" in url)
    async with page.expect_navigation(wait_until="commit"):
        await tried(page, SUBMITTED, [[taken], archive(), "_self"])
    page.remove_listener("response", answered)
    assert all(answer.request.method == "POST" for answer in answers)
    return [f"{answer.status} {answer.url}" for answer in answers if answer.status != 403]


async def close(window: Page) -> None:
    """Close a window; Chromium now and then never answers for one that was becoming a download."""
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await window.close()


async def shown_in_frames(page: Page, wanted: int) -> list[str]:
    """What its frames show, but for nothing and what the browser shows in place of a refusal."""
    assert len(page.frames) > wanted
    async with asyncio.timeout(60):
        while not all(shown := [frame.url for frame in page.frames[1:]]):
            await page.wait_for_timeout(10)  # The browser tells of a frame a moment later.
    return [url for url in shown if url not in (BLOCKED, "about:blank")]


async def attack(page: Page, server: Served, at: str, all_places: list[Place]) -> dict[str, Any]:
    """Everything that a page can do with an address; what it got by it, by the way it went."""
    got: dict[str, Any] = {}
    urls = addresses(all_places, server.origin)
    there, before = page.context.pages, server.sung()
    await page.goto(at)
    got["fetched"] = await tried(page, FETCHED, urls)
    got["included"] = await tried(page, INCLUDED, urls)
    got["talked"] = await tried(page, SOCKETS, sockets(all_places, f"ws://{server.name}"))
    got["reached"] = server.sung().removeprefix(before)
    got["read in frames"], got["shown in frames"], got["held"] = [], [], []
    for some in batched(urls):
        await page.goto(at)
        got["read in frames"] += await tried(page, FRAMED, some)
        got["shown in frames"] += await shown_in_frames(page, len(some))
    for some in batched(urls):
        got["held"] += await tried(page, OPENED, some)
        await asyncio.gather(*(close(each) for each in page.context.pages if each not in there))
    got["let in by a form"] = await submit(page, at, urls)
    got["changed"] = moved(server, before)
    return got


async def own(context: BrowserContext, server: Served) -> Page:
    """The page of who is signed in, with its socket open."""
    page = await context.new_page()
    await page.goto(f"{server.origin}/login")
    await page.fill("#token", server.key)
    await page.click("button.primary")
    await page.wait_for_selector("#rail")
    await page.goto(f"{server.origin}/chat")
    await page.wait_for_selector("html[data-ui-link=online]")
    return page


async def rebound(page: Page, server: Served, all_places: list[Place]) -> dict[str, Any]:
    """A2: a name of the attacker's that now leads to this server, so that all is of one origin."""
    at, before = f"http://{EVIL}:{server.port}", server.sung()
    found: dict[str, Any] = {}
    answer = await page.goto(f"{at}/")
    assert answer
    assert answer.status == 403
    urls = addresses(all_places, at)
    answers = await tried(page, FETCHED, urls)
    assert len(answers) > len(urls), "what is of one origin can be read"
    found |= {name: read for name, read in answers if not read.startswith("403 ")}
    found |= dict(await tried(page, SOCKETS, sockets(all_places, at.replace("http", "ws", 1))))
    assert server.sung() == before
    return found


@pytest.mark.timeout(900)
async def test_a_hostile_page_reads_nothing_and_changes_nothing(
    server: Served, some_places: list[Place]
):
    async with (
        site() as port,
        chromium(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1", whole=True) as browser,
    ):
        context = await browser.new_context()
        mine = await own(context, server)
        secret = f"{server.origin}/ext/canary_page/do"
        assert SECRET in str(await tried(mine, FETCHED, [secret])), "a session opens it"
        talk = secret.replace("http", "ws", 1).replace("/do", "/talk")
        assert await tried(mine, SOCKETS, [talk]) == [[talk, SECRET]]
        before, files = server.sung(), server.files()

        page = await context.new_page()
        # Another site gets no cookie of ours; another port of this machine is the same site to a
        # browser, and gets it: there the door alone stands between.
        for name in (EVIL, "127.0.0.1"):
            got = await attack(page, server, f"http://{name}:{port}/", some_places)
            assert not any(got.values()), (name, {how: what for how, what in got.items() if what})
        assert not await rebound(page, server, some_places)
        assert not moved(server, before)
        now = server.files()
        del now["canary.log"], files["canary.log"]  # What links asked stands there, see `moved`.
        assert now == files

        # Whoever is signed in still is, and noticed nothing.
        assert await mine.get_attribute("html", "data-ui-link") == "online"
        assert not await mine.locator(".toast").count()
        assert SECRET in str(await tried(mine, FETCHED, [secret]))
