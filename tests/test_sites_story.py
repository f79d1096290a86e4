"""A page of another site, in a real browser that is signed in here: what it gets, and what not."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.live import chromium, live

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
ASK = """
async ([url, how]) => {
  try {
    const answer = await fetch(url, how);
    const text = await answer.text();
    return [answer.status, text.length, answer.headers.get('retry-after')];
  } catch (error) { return String(error); }
}
"""
TALK = """
([url, offers]) => new Promise(done => {
  const socket = new WebSocket(url, offers);
  socket.onopen = () => { done('open'); socket.close(); };
  socket.onerror = () => done('refused');
})
"""
BLOCKED = "TypeError: Failed to fetch"


@asynccontextmanager
async def elsewhere() -> AsyncGenerator[str]:
    """Another site on this machine, which for a browser is the same but for its port: it sends
    our cookie to us, whoever asks."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
        writer.write(head + b"Content-Length: 15\r\n\r\n<p>Elsewhere</p")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def new_key(page: Page, address: str) -> str:
    await page.goto(f"{address}/settings/api_keys")
    await expect(page.locator("html")).to_have_attribute("data-ui-link", "online")
    await page.fill("#api_keys-name", "A page elsewhere")
    await page.click("#api_keys-make-it")
    return await page.locator("#api_keys-words").text_content() or ""


async def test_a_page_elsewhere_gets_replies_with_a_key_once_its_site_is_listed(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "settings.yaml").write_text(
        "extensions:\n  models:\n    at_start: false\n"
    )
    async with (
        live(tmp_path / "data", tmp_path / "environments") as server,
        elsewhere() as site,
        chromium() as browser,
    ):
        context = await browser.new_context()
        ours, theirs = await context.new_page(), await context.new_page()
        await ours.goto(server.link)
        words = await new_key(ours, server.address)
        await theirs.goto(site)
        schema, socket = f"{server.address}/api/ws/schema.json", f"ws{server.address[4:]}/api/ws"
        key = {"headers": {"Authorization": f"Bearer {words}"}}  # A browser asks before that.
        session, reply = {"credentials": "include"}, f"{server.address}/api/reply"
        post = {"method": "POST", "body": "{}", "headers": {"Content-Type": "application/json"}}

        async def asks(url: str, **how: object) -> object:
            return await theirs.evaluate(ASK, [url, how])

        for how in (key, session, {**key, **session}, post):
            assert await asks(schema, **how) == BLOCKED
        assert await theirs.evaluate(TALK, [socket, [f"spindle.key.{words}"]]) == "refused"

        await ours.fill("#api_keys-origins", site)
        await ours.keyboard.press("Tab")
        await expect(ours.locator("#api_keys-sites")).to_contain_text(site)
        status, length, _ = await asks(schema, **key)  # type: ignore[misc]
        assert (status, length > 1000) == (200, True)
        posted = {**post, "headers": {**post["headers"], **key["headers"]}}
        assert (await asks(reply, **posted))[0] == 400  # type: ignore[index]
        assert await theirs.evaluate(TALK, [socket, [f"spindle.key.{words}"]]) == "open"

        assert (await asks(schema))[0] == 401  # type: ignore[index]
        assert (await context.cookies(server.address)) != []
        assert await asks(schema, **session) == BLOCKED, "no answer to a request with a cookie"
        assert await theirs.evaluate(TALK, [socket, []]) == "refused"
        for path in ("/", "/settings", "/ext/workshop/archive", "/static/app.css"):
            assert await asks(server.address + path, **key) == BLOCKED
        assert (
            await theirs.evaluate(TALK, [f"{socket[:-7]}/ws", [f"spindle.key.{words}"]])
            == "refused"
        )
