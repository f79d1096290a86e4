"""Made keys and listed sites on every address there is, at a real server: A3, A5, A7, A9, A11 to
A13; E47, E49 and E50 between two keys."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from kernel.testing import ROOT, Scripted, running
from tests.boundary.places import Place
from tests.boundary.served import CLASSES, QUIET, Served, served
from tests.sockets import Served as Nearby
from tests.sockets import hear, said, serving, tell, until

SITE = "https://app.example.org"
GENERATE, ADMIN = "sk-for-replies-" + "g" * 30, "sk-for-everything-" + "a" * 30
OPEN = {"generate": {"public", "inference"}, "admin": {*CLASSES}}
WORDS = {"generate": GENERATE, "admin": ADMIN}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def kept() -> bytes:
    """The file of both keys."""
    digest = lambda words: hashlib.sha256(words.encode()).hexdigest()  # noqa: E731
    keys = [{"name": n, "hash": digest(w), "scope": n, "made": 1} for n, w in WORDS.items()]
    return json.dumps(keys).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with both keys, and one site on its list."""
    folder: Path = tmp_path_factory.mktemp("keys")
    (folder / "data" / "secrets").mkdir(parents=True)
    (folder / "data" / "secrets" / "keys.json").write_bytes(kept())
    settings = f"api:\n  require_key: true\n  origins: [{SITE}]\n{QUIET}"
    (folder / "data" / "settings.yaml").write_text(settings, "utf-8")
    with served(folder, "--verbose") as server:
        yield server


def carriers(words: str) -> dict[str, dict[str, str]]:
    return {
        "Bearer": {"Authorization": f"Bearer {words}"},
        "x-api-key": {"X-Api-Key": words},
        "api-key": {"Api-Key": words},
        "subprotocol": {"Sec-WebSocket-Protocol": f"spindle.key.{words}"},
    }


def sung(server: Served, place: Place) -> list[str]:
    """What the canary of an address told so far."""
    return [line for line in server.sung().splitlines() if line.startswith(f"{place.owner}:")]


def shared(answer: Any) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("scope", WORDS)
def test_a12_a13_a_key_reaches_what_its_scope_says_and_leaves_no_trace_elsewhere(
    server: Served, all_places: list[Place], scope: str
):
    for place in all_places:
        if place.path in ("/login", "/logout"):
            continue
        before = sung(server, place)
        allowed = place.access in OPEN[scope]
        for carrier, headers in carriers(WORDS[scope]).items():
            if place.kind == "websocket":
                status = server.upgrade(place.sample, headers)
                assert status == (101 if allowed else 403), (place, carrier)
                continue
            for method in place.methods if carrier != "subprotocol" else ():
                answer = server.ask(method, place.sample, headers)
                assert (answer.status not in (401, 403)) == allowed, (place, carrier, method)
                if not allowed and method != "HEAD":
                    error = json.loads(answer.text)["error"]
                    assert error["code"] == "insufficient_scope"
                    assert str(ROOT) not in answer.text
        assert allowed or sung(server, place) == before, place


def test_a3_a5_a7_a_listed_site_reaches_replies_alone(server: Served, all_places: list[Place]):
    session = server.sign_in()
    for place in all_places:
        if place.access == "inference":
            continue
        before = sung(server, place)
        for words in (GENERATE, ADMIN, server.key):
            for number, headers in enumerate(carriers(words).values()):
                sent = {"Origin": SITE, **headers, **session}
                if place.kind == "websocket":
                    assert server.upgrade(place.sample, sent) == 403, place
                    continue
                asks = {"Access-Control-Request-Method": "POST"}
                method = METHODS[number % len(METHODS)]
                for answer in (
                    server.ask(method, place.sample, sent, b"token=x"),
                    server.ask("OPTIONS", place.sample, {**sent, **asks}),
                ):
                    assert (answer.status, shared(answer)) == (403, []), (place, method)
        assert sung(server, place) == before, place


def test_a3_a5_a_listed_site_needs_a_key_where_it_may_ask(server: Served, all_places: list[Place]):
    places = [place for place in all_places if place.access == "inference"]
    assert {place.kind for place in places} == {"http", "websocket"}
    session = server.sign_in()
    for place in places:
        before = sung(server, place)
        site = {"Origin": SITE, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}
        for wrong in ({}, session, {**session, "X-Api-Key": "sk-wrong"}):
            if place.kind == "websocket":
                assert server.upgrade(place.sample, {**site, **wrong}) == 403, place
                continue
            for method in place.methods:
                answer = server.ask(method, place.sample, {**site, **wrong})
                assert answer.status == 401, (place, method)
                assert answer.header("access-control-allow-origin") == SITE, "it can read why"
        assert sung(server, place) == before, place
        if place.kind == "websocket":
            offer = carriers(GENERATE)["subprotocol"]
            assert server.upgrade(place.sample, {**site, **offer}) == 101, place
            assert server.upgrade(place.sample, {**offer, "Origin": f"{SITE}.evil.test"}) == 403
            continue
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
        preflight = server.ask("OPTIONS", place.sample, {**site, **asks})
        assert (preflight.status, preflight.body) == (204, b""), place
        assert preflight.header("access-control-allow-headers") == "x-a"
        assert sung(server, place) == before, "a preflight does nothing"
        answer = server.ask(place.methods[0], place.sample, {**site, "X-Api-Key": GENERATE})
        assert answer.status not in (401, 403), place
        for name, value in (
            ("access-control-allow-origin", SITE),
            (
                "access-control-expose-headers",
                "Retry-After, X-Request-Id, Request-Id, X-Queue-Position",
            ),
            ("vary", "Origin"),
        ):
            assert answer.header(name) == value, place
        assert not answer.header("access-control-allow-credentials")


def test_a9_no_key_is_logged_or_kept(server: Served):
    for words in WORDS.values():
        for headers in carriers(words).values():
            server.ask("GET", f"/no?key={words}", headers)
            server.upgrade("/api/ws", headers)
        files = server.files()
        assert "secrets/keys.json" in files
        assert not [name for name, data in files.items() if words.encode() in data]
        assert words not in server.said


async def test_a11_revoking_in_the_page_closes_what_is_open_at_once(server: Served):
    page = {"Origin": server.origin, **server.sign_in()}
    ws, talk = f"ws://{server.name}/ws?path=/settings/api_keys", "/ext/canary_admin/talk"
    mine, other = {"X-Api-Key": ADMIN}, {"X-Api-Key": GENERATE}
    id = hashlib.sha256(ADMIN.encode()).hexdigest()[:12]
    async with (
        connect(ws, additional_headers=page) as panel,
        connect(f"ws://{server.name}{talk}", additional_headers=mine) as gone,
        connect(f"ws://{server.name}/api/ws", additional_headers=other) as stays,
    ):
        await gone.recv()
        await panel.send(json.dumps({"action": "api_keys.revoke", "id": id}))
        async with asyncio.timeout(2):
            await gone.wait_closed()
        await stays.ping()
        assert await asyncio.to_thread(server.upgrade, talk, mine) == 403
        await panel.send(json.dumps({"action": "api_keys.bring_back", "id": id}))
        async with asyncio.timeout(2):
            while await asyncio.to_thread(server.upgrade, talk, mine) != 101:
                await asyncio.sleep(0.02)


# --- between two keys -----------------------------------------------------------------------

ASK = {"messages": [{"role": "user", "content": "Hi"}]}
REPLY = "One two three four"


@pytest.fixture
async def gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(0)


@pytest.fixture
async def nearby(gate: asyncio.Semaphore, tmp_path: Path) -> AsyncIterator[Nearby]:
    """A server in this process whose model says one word for each release of the gate."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "keys.json").write_bytes(kept())
    ids = ("websocket_api", "conversations", "chat", "api_keys")
    model = Scripted(REPLY, gate=gate)
    async with running(*ids, model=model, data=tmp_path) as app, serving(app) as served:
        yield served


async def test_e47_e50_one_key_neither_hears_nor_stops_what_another_asked(
    nearby: Nearby, gate: asyncio.Semaphore
):
    async with (
        nearby.connect(additional_headers={"X-Api-Key": GENERATE}) as mine,
        nearby.connect(additional_headers={"X-Api-Key": ADMIN}) as other,
        nearby.connect() as nobodys,
    ):
        await tell(mine, type="start", id="secret", **ASK)
        await until(mine, "started")
        for stranger in (other, nobodys):
            for frame in ("cancel", "resume"):
                await tell(stranger, type=frame, stream="secret")
                assert (await hear(stranger))["error"]["code"] == "stream_not_found"
        for _ in range(100):
            gate.release()
        assert said(await until(mine, "done")) == REPLY


async def test_a11_what_a_site_has_open_ends_when_it_is_taken_off_the_list(nearby: Nearby):
    page = await nearby.app.open("/settings/api_keys")
    await page.act("api_keys.admit", origins=f"{SITE}\nhttps://other.example")
    key = {"X-Api-Key": GENERATE}
    async with (
        nearby.connect(additional_headers=key, origin=SITE) as gone,
        nearby.connect(additional_headers=key, origin="https://other.example") as listed,
        nearby.connect(additional_headers=key) as program,
    ):
        await page.act("api_keys.admit", origins="https://other.example")
        async with asyncio.timeout(2):
            await gone.wait_closed()
        for stays in (listed, program):
            await (await stays.ping())
        with pytest.raises(InvalidStatus, match="403"):
            await nearby.connect(additional_headers=key, origin=SITE)


async def test_a11_a_reply_that_is_streamed_ends_with_its_key(nearby: Nearby):
    """E49: and says nothing of files or code."""
    headers = {"X-Api-Key": GENERATE}
    async with nearby.connect(additional_headers=headers) as mine:
        await tell(mine, type="start", id="secret", **ASK)
        await until(mine, "started")
        page = await nearby.app.open("/settings/api_keys")
        id = hashlib.sha256(GENERATE.encode()).hexdigest()[:12]
        await page.act("api_keys.revoke", id=id)
        async with asyncio.timeout(2):
            await mine.wait_closed()
        assert (mine.close_code, mine.close_reason) == (1008, "signed out")
