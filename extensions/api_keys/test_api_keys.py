"""Keys in Settings: made, shown once, changed, revoked and taken back; other sites."""
# ruff: noqa: E501, tables are easier to read with a case a line

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import astuple

from extensions.api_keys.api import KEYS, Limits
from extensions.api_keys.sites import origin
from kernel.api import Principal, Refused
from kernel.testing import App, running
from kernel.testing.page import Page

SITE = "https://app.example.org"
WORDS = r"sk-[\w-]{43}"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running("api_keys", "settings", "websocket_api", data=tmp_path) as app:
        await app.fetch("/")  # The door is there.
        yield app


async def opened(app: App) -> Page:
    page = await app.open("/settings/api_keys")
    await page.until("api_keys-admit")
    return page


async def made(page: Page, name: str = "Tavern", **values: Any) -> str:
    """The words of a new key."""
    page.html = ""
    await page.act("api_keys.make", name=name, **values)
    return re.findall(WORDS, await page.until(f'api_keys-words"[^>]*>{WORDS}<'))[0]


async def asks(app: App, words: str, path: str = "/api/ws/schema.json") -> int:
    headers = {"x-api-key": words, "sec-fetch-site": "none"}  # no program of this machine
    return (await app.fetch(path, who="local", headers=headers)).status


def limits(app: App, who: Principal) -> Limits:
    """As another extension hears it. (The extension's own class is another in each test.)"""
    return Limits(*astuple(app.kernel.registry.values(KEYS)[0].limits(who)))


def name(app: App, id: str) -> str:
    return app.kernel.registry.values(KEYS)[0].name(id)


def id_of(page: Page, name: str) -> str:
    """Of the key with this name, as the page has it."""
    return re.findall(rf'id="api_keys-(\w{{12}})-title">{name}<', page.html)[-1]


# --- making -----------------------------------------------------------------------------


async def test_a_key_is_shown_once_to_who_made_it(app: App, tmp_path: Path):
    page, other = await opened(app), await opened(app)
    words = await made(page)
    await other.until("Tavern")
    assert words not in other.html
    page.html = ""
    await page.act("api_keys.put_away")
    await page.until("api_keys-make")
    again = await opened(app)
    assert words not in page.html + again.html
    assert "Tavern" in again.html
    files = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())  # noqa: ASYNC240
    assert b"Tavern" in files
    assert words[3:].encode() not in files


async def test_the_words_of_a_new_key_outlast_the_connection(app: App):
    page, other = await opened(app), await opened(app)
    words, others = await made(page), await made(other, "Other")
    for each in (page, other):
        each.lose()
        await each.connect()
    assert words in await page.until("api_keys-done.*api_keys-admit")
    page.html = ""
    await page.act("api_keys.change", id=id_of(other, "Other"), name="Another")
    await page.act("api_keys.revoke", id=id_of(other, "Other"))
    await other.until("api_keys-make-it")
    for each in (page, other):
        each.html = ""
        each.lose()
        await each.connect()
        await each.until("api_keys-admit")
    assert words in page.html
    assert others not in page.html + other.html
    await page.act("api_keys.put_away")
    assert words not in (await opened(app)).html


async def test_each_right_is_what_it_says(app: App):
    page = await opened(app)
    for name, values, statuses in (
        ("One", {}, [200, 403, 403]),
        ("Two", {"scope": "generate"}, [200, 403, 403]),
        ("Three", {"scope": "admin"}, [200, 200, 200]),
    ):
        words = await made(page, name, **values)
        paths = ("/api/ws/schema.json", "/settings", "/settings/api_keys")
        assert [await asks(app, words, path) for path in paths] == statuses
    page.html = ""
    await page.act("api_keys.make", name="Four", scope="everything")
    await page.until("one of generate, admin")
    assert "Four" not in page.html


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "needs a name"), (" \n ", "needs a name"), ("tavern", "already"), ("x" * 61, "at most")],
)
async def test_names_that_are_none(app: App, name: str, says: str):
    page = await opened(app)
    await made(page)
    page.html = ""
    await page.act("api_keys.make", name=name)
    assert says in await page.until("toast error.*?</p>")
    assert not re.search(WORDS, page.html)


async def test_keys_count_while_the_extension_is_off(app: App):
    words = await made(await opened(app))
    await app.toggle("api_keys", on=False)
    assert not app.kernel.registry.values(KEYS)
    assert await asks(app, words) == 200
    assert await asks(app, words, "/settings") == 403
    await app.toggle("api_keys", on=True)
    assert "Tavern" in (await opened(app)).html


# --- revoking ---------------------------------------------------------------------------


async def test_revoked_is_revoked_until_it_is_taken_back(app: App):
    page = await opened(app)
    words, others = await made(page), await made(page, "Other")
    id = id_of(page, "Tavern")
    page.html = ""
    await page.act("api_keys.revoke", id=id)
    await page.until("“Tavern” was revoked.*Undo")
    assert [await asks(app, words), await asks(app, others)] == [401, 200]
    assert f"api_keys-{id}-title" not in page.html
    await page.act("api_keys.bring_back", id=id)
    await page.until(f"api_keys-{id}-title")
    assert await asks(app, words) == 200


async def test_what_is_gone_says_so(app: App):
    page = await opened(app)
    for action, says in (
        ("revoke", "no such key"),
        ("change", "no such key"),
        ("bring_back", "cannot"),
    ):
        page.html = ""
        await page.act(f"api_keys.{action}", id="0" * 12, name="x")
        assert says in await page.until("toast error.*?</p>")


async def test_a_full_disk_is_told_and_made_good_later(app: App, monkeypatch: pytest.MonkeyPatch):
    page = await opened(app)
    words = await made(page)
    id = id_of(page, "Tavern")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kernel.keyring.write", full)
        page.html = ""
        await page.act("api_keys.make", name="Late")
        assert "not made: No space left" in await page.until("toast error.*?</p>")
        page.html = ""
        await page.act("api_keys.revoke", id=id)
        assert "forgotten at a restart: No space" in await page.until("toast error.*?</p>")
        assert "Tavern" not in (await opened(app)).html
    assert await asks(app, words) == 401
    file = app.kernel.data / "secrets" / "keys.json"
    assert b"Tavern" in file.read_bytes()
    await app.toggle("api_keys", on=False)  # It writes down what is not yet written.
    assert b"Tavern" not in file.read_bytes()


# --- limits and use ---------------------------------------------------------------------


async def test_limits_and_names_for_other_extensions(app: App):
    page = await opened(app)
    await made(page, at_once="2", tokens="5000")
    id = id_of(page, "Tavern")
    assert limits(app, Principal("key", id)) == Limits(2, 5000)
    assert name(app, id) == "Tavern"
    await page.act("api_keys.change", id=id, name=" The  tavern ", at_once="", tokens="7")
    assert limits(app, Principal("key", id)) == Limits(0, 7)
    assert name(app, id) == "The tavern"
    for other in (Principal("page", id), Principal("local", "local"), Principal("key", "x")):
        assert limits(app, other) == Limits()
    assert name(app, "x") == ""


async def test_a_limit_below_nothing_is_none(app: App):
    page = await opened(app)
    await made(page, at_once="2")
    id = id_of(page, "Tavern")
    page.html = ""
    await page.act("api_keys.change", id=id, name="Tavern", at_once="-1")
    assert "At once must be a whole number from 0" in await page.until("toast error.*?</p>")
    assert limits(app, Principal("key", id)) == Limits(2, 0)


async def test_when_it_was_used_is_shown_and_kept(app: App, tmp_path: Path):
    page = await opened(app)
    words = await made(page)
    assert "Not used yet" in page.html
    await asks(app, words)
    assert "Last used on" in (await opened(app)).html
    await app.toggle("api_keys", on=False)
    assert b'"used":0.0' not in (tmp_path / "secrets" / "keys.json").read_bytes()


# --- other sites ------------------------------------------------------------------------


async def test_a_site_may_ask_while_it_is_listed(app: App):
    page = await opened(app)
    words = await made(page)
    headers = {"origin": SITE, "x-api-key": words}

    async def status() -> int:
        return (await app.fetch("/api/ws/schema.json", who="local", headers=headers)).status

    assert await status() == 403
    page.html = ""
    await page.act("api_keys.admit", require_key="false", origins=f"{SITE}/some/page?x=1\n")
    await page.until(f">\n{SITE}</textarea>")
    assert await status() == 200
    file = app.kernel.settings.path.read_text("utf-8")
    assert SITE in file
    await page.act("api_keys.admit", require_key="false", origins="")
    assert await status() == 403


async def test_a_key_may_be_asked_of_programs_here(app: App):
    page = await opened(app)
    for say, status in (("true", 401), ("false", 200)):
        await page.act("api_keys.admit", require_key=["false", say], origins="")
        assert (await app.fetch("/api/ws/schema.json", who="local")).status == status


@pytest.mark.parametrize(
    ("text", "site"),
    [
        (SITE, SITE), (f"{SITE}/", SITE), (f"{SITE}:443/a?b#c", SITE), ("HTTPS://App.Example.ORG/", SITE),
        ("http://localhost:3000", "http://localhost:3000"), ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"), ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("app://obsidian.md", "app://obsidian.md"), ("*", ""), ("https://*.example.org", ""),
        ("null", ""), ("app.example.org", ""), ("localhost:3000", ""), ("https://a@b.example", ""),
        ("https://[x", ""), ("https://x:port", ""), ("https://", ""),
    ],
)  # fmt: skip
def test_the_site_of_an_address(text: str, site: str):
    if site:
        assert origin(text) == site
    else:
        with pytest.raises(Refused, match=r"Write scheme and name"):
            origin(text)


async def test_an_address_of_no_site_changes_nothing(app: App):
    page = await opened(app)
    await page.act("api_keys.admit", require_key="false", origins=SITE)
    for bad in ("*", f"{SITE} null"):
        page.html = ""
        await page.act("api_keys.admit", require_key="false", origins=bad)
        await page.until("toast error.*is not the address of a site")
    assert app.kernel.access.door
    assert app.kernel.access.door.rules().origins == (SITE,)
