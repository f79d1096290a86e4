"""Keys that a person makes, and pages of other sites that come with one: A3, A5, A7, A11, A12."""
# ruff: noqa: E501, tables are easier to read with a case a line

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from kernel import firstframe
from kernel.keyring import Key, Keyring
from kernel.origins import Api
from kernel.principals import Principal
from kernel.security import Security
from tests.test_security import OURS, PORT, Answer, Door, Socket

SITE = "https://app.example.org"
WORDS = {"generate": "sk-for-replies-alone", "admin": "sk-for-everything", "other": "sk-of-another"}
PATHS = ["/", "/v1/models", "/admin/x", "/odd", "/undeclared/x", "/static/app.css"]


def made(words: str, scope: Literal["generate", "admin"], **more: Any) -> Key:
    return Key(f"My {len(words)}", hashlib.sha256(words.encode()).hexdigest(), scope, **more)


KEYS = [made(WORDS["generate"], "generate"), made(WORDS["admin"], "admin"), made(WORDS["other"], "generate")]  # fmt: skip


@pytest.fixture
def door(tmp_path: Path) -> Door:
    door = Door(tmp_path, rules=lambda: Api(require_key=True, origins=(SITE,)))
    door.keyring.keep(KEYS)
    return door


def carried(words: str) -> dict[str, dict[str, str]]:
    return {
        "Bearer": {"Authorization": f"Bearer {words}"},
        "x-api-key": {"X-Api-Key": words},
        "api-key": {"Api-Key": f" {words} "},
    }


CARRIERS = list(carried(""))


# --- what each key may --------------------------------------------------------------------


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a12_each_scope_gives_its_rights_by_every_carrier(door: Door, carrier: str) -> None:
    for words, statuses in (
        (door.keyring.key, [200] * 6),
        (WORDS["admin"], [200] * 6),
        (WORDS["generate"], [403, 200, 403, 403, 403, 200]),
        ("sk-unknown", [401, 401, 401, 401, 401, 200]),
    ):
        headers = carried(words)[carrier]
        assert [(await door.ask("GET", path, headers)).status for path in PATHS] == statuses, words


async def test_a12_the_same_as_a_subprotocol(door: Door) -> None:
    for words, opened in (
        (door.keyring.key, [True, True, True]),
        (WORDS["admin"], [True, True, True]),
        (WORDS["generate"], [False, True, False]),
        ("sk-unknown", [False, False, False]),
    ):
        sockets = [
            await door.open(path, {}, [f"spindle.key.{words}"])
            for path in ("/ws", "/v1/ws", "/admin/ws")
        ]
        assert [socket.accepted for socket in sockets] == opened, words
        for socket in sockets:
            await socket.close()


def saying(key: str) -> str:
    return json.dumps({"type": "hello", "key": key})


async def test_a12_the_same_in_the_first_frame(door: Door) -> None:
    """But for /ws, which belongs to pages and their sessions."""
    for words, opened in (
        (door.keyring.key, [False, True, True]),
        (WORDS["admin"], [False, True, True]),
        (WORDS["generate"], [False, True, False]),
        ("sk-unknown", [False, False, False]),
    ):
        for path, lets_in in zip(("/ws", "/v1/ws", "/admin/ws"), opened, strict=True):
            socket = await door.open(path, first=saying(words))
            assert socket.accepted == lets_in, (path, words)
            await socket.close()
            end = ("text", "key") if lets_in else ("code", 1008)
            assert end in socket.said[-1].items(), (path, words)


async def test_a_page_brings_no_key_in_its_first_frame(door: Door) -> None:
    """It can offer a subprotocol; and so no page is heard before it is known whose it is."""
    for origin in (SITE, OURS, "https://other.test"):
        socket = await door.open("/v1/ws", {"Origin": origin}, first=saying(WORDS["admin"]))
        assert [message["type"] for message in socket.said] == ["websocket.close"], origin


async def test_a_key_of_a_first_frame_that_is_revoked_ends_its_socket(door: Door) -> None:
    socket = await door.open("/v1/ws", first=saying(WORDS["admin"]))
    assert socket.accepted
    door.app.revoke(lambda who: who.id == KEYS[1].id)
    await asyncio.wait_for(socket.task, 1)
    assert socket.said[-1]["code"] == 1008


@pytest.mark.parametrize(
    ("addresses", "heard"), [(99, firstframe.MOST), (1, firstframe.EACH)], ids=["all", "one"]
)
async def test_who_says_nothing_is_not_waited_for(
    door: Door, monkeypatch: pytest.MonkeyPatch, addresses: int, heard: int
) -> None:
    """And keeps nobody else out for long: so many wait, and one more is sent away at once."""
    monkeypatch.setattr(firstframe, "PATIENCE", 0.5)
    silent = [Socket() for _ in range(heard + 1)]
    ends: list[asyncio.Future[None]] = []
    for n, socket in enumerate(silent):
        socket.first.pop()
        client = f"10.0.0.{n % addresses}"
        scope = door.scope("websocket", "/v1/ws", (), client, "127.0.0.1", subprotocols=[])
        scope["extensions"] = {"websocket.http.response": {}}
        ends.append(asyncio.ensure_future(door.app(scope, socket.receive, socket.send)))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    assert [end.done() for end in ends] == [False] * heard + [True]
    await asyncio.gather(*ends)
    assert {socket.said[-1].get("code") for socket in silent[:-1]} == {1008}
    assert silent[-1].said[0]["status"] == 503
    socket = await door.open("/v1/ws", first=saying(WORDS["generate"]), client="10.0.0.0")
    assert socket.accepted
    await socket.close()


async def test_who_is_gone_before_its_first_frame_is_not_told_so(door: Door) -> None:
    socket = Socket()
    socket.first[1] = {"type": "websocket.disconnect", "code": 1009}
    scope = door.scope("websocket", "/v1/ws", (), "10.0.0.1", "127.0.0.1", subprotocols=[])
    await door.app(scope, socket.receive, socket.send)
    assert [message["type"] for message in socket.said] == ["websocket.accept"]


async def test_who_comes_with_too_little_is_told_so(door: Door) -> None:
    answer = await door.ask("POST", "/admin/x", {"X-Api-Key": WORDS["generate"]})
    error = json.loads(answer.text)["error"]
    assert (answer.status, door.done) == (403, [])
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == "insufficient_scope"
    assert "for replies alone" in error["message"]


async def test_every_key_is_somebody(door: Door) -> None:
    said = [
        json.loads((await door.ask("GET", "/v1/models", {"X-Api-Key": words})).text)
        for words in (door.keyring.key, *WORDS.values())
    ]
    assert {who["kind"] for who in said} == {"key"}
    assert len({who["id"] for who in said}) == 4
    assert [who["id"] for who in said[1:]] == [key.id for key in KEYS]
    assert not Principal("key", "x", "generate").may("admin")
    assert Principal("key", "x").may("admin")


@pytest.mark.parametrize("field", ["token", "password"])
async def test_a_made_key_begins_no_session_that_would_outlive_it(door: Door, field: str) -> None:
    for words in WORDS.values():
        answer = await door.ask("POST", "/login", {"Origin": OURS}, f"{field}={words}".encode())
        assert (answer.status, "set-cookie" in answer.headers) == (401, False)
        assert (await door.ask("GET", f"/?token={words}")).status == 401


# --- what is kept -------------------------------------------------------------------------


def test_keys_are_kept_as_hashes_and_for_oneself(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    keyring.keep(KEYS)
    file = tmp_path / "keys.json"
    assert not any(words[3:] in file.read_text() for words in WORDS.values())
    assert oct(file.stat().st_mode)[-3:] == "600"
    again = Keyring(tmp_path)
    assert again.made == KEYS
    assert again.find(WORDS["generate"]) == KEYS[0]


def test_a_hash_opens_nothing(tmp_path: Path) -> None:
    """Who reads the file cannot come in with what stands there."""
    keyring = Keyring(tmp_path)
    keyring.keep(KEYS)
    assert not any(
        keyring.find(said) for key in KEYS for said in (key.hash, key.id, key.name + "x")
    )


def test_when_a_key_was_used_last_is_known(tmp_path: Path) -> None:
    now = [1000.0]
    keyring = Keyring(tmp_path, clock=lambda: now[0])
    keyring.keep(KEYS)
    now[0] = 2000.0
    keyring.find(WORDS["other"])
    assert [key.used for key in keyring.made] == [0.0, 0.0, 2000.0]
    keyring.keep(keyring.made)
    assert Keyring(tmp_path).made[2].used == 2000.0


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[1]", b'[{"name": "x"}]', b"\xff\0",
     b'[{"name": "x", "hash": "ab", "scope": "everything"}]'],
)  # fmt: skip
async def test_a_damaged_file_lets_nobody_in(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "keys.json").write_bytes(damage)
    door = Door(tmp_path, rules=lambda: Api(require_key=True))
    for words in ("", "x", *WORDS.values()):
        assert (await door.ask("GET", "/v1/models", {"X-Api-Key": words})).status == 401
    assert (tmp_path / "secrets" / "keys.json.damaged").read_bytes() == damage
    door.keyring.keep(KEYS)
    assert Keyring(tmp_path / "secrets").made == KEYS


def test_what_a_later_version_adds_to_a_key_costs_it_nothing(tmp_path: Path) -> None:
    entry = {**msgspec.to_builtins(KEYS[0]), "colour": "green"}
    (tmp_path / "keys.json").write_bytes(msgspec.json.encode([entry]))
    assert Keyring(tmp_path).made == KEYS[:1]


# --- revoking -----------------------------------------------------------------------------


async def test_a11_revoking_closes_what_is_open_of_a_key_and_nothing_else(door: Door) -> None:
    mine, other = {"X-Api-Key": WORDS["generate"]}, {"X-Api-Key": WORDS["other"]}
    owner = {"X-Api-Key": door.keyring.key}
    sockets = [await door.open("/v1/ws", who) for who in (mine, other, owner)]
    page = await door.open("/ws", {"Origin": OURS, **await door.signed_in()})
    stream = asyncio.ensure_future(door.ask("GET", "/v1/stream", mine))
    await asyncio.sleep(0.03)
    door.keyring.keep(KEYS[1:])
    door.app.drop_keys()
    await asyncio.wait_for(asyncio.gather(sockets[0].task, stream), 1)
    assert sockets[0].said[-1]["type"] == "websocket.close"
    assert not any(still.task.done() for still in (*sockets[1:], page))
    assert (await door.ask("GET", "/v1/models", mine)).status == 401
    assert not (await door.open("/v1/ws", mine)).accepted
    assert (await door.ask("GET", "/v1/models", other)).status == 200
    door.keyring.key = "sk-another"
    door.app.drop_keys()
    await asyncio.wait_for(sockets[2].task, 1)
    assert not any(still.task.done() for still in (sockets[1], page))
    for still in (sockets[1], page):
        await still.close()


async def test_a_key_is_revoked_even_if_the_disk_is_full(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kernel.keyring.write", full)
    new = made("sk-new", "admin")
    with pytest.raises(OSError, match="No space"):
        door.keyring.keep([*KEYS[1:], new])
    for words, status in ((WORDS["generate"], 401), (WORDS["other"], 200), ("sk-new", 401)):
        assert (await door.ask("GET", "/v1/models", {"X-Api-Key": words})).status == status
    assert Keyring(tmp_path / "secrets").made == KEYS, "it would be back after a restart"


# --- pages of other sites -----------------------------------------------------------------


def cors(answer: Answer) -> dict[str, str]:
    return {name: v for name, v in answer.headers.items() if name.startswith("access-control-")}


def key(words: str = WORDS["generate"]) -> dict[str, str]:
    return {"Authorization": f"Bearer {words}"}


async def test_a_page_that_was_let_in_may_ask_for_replies_with_a_key(door: Door) -> None:
    for words in (WORDS["generate"], WORDS["admin"], door.keyring.key):
        answer = await door.ask("POST", "/v1/models", {"Origin": SITE, **key(words)}, b"{}")
        assert answer.status == 200
        assert cors(answer) == {
            "access-control-allow-origin": SITE,
            "access-control-expose-headers": "Retry-After, X-Request-Id, Request-Id, X-Queue-Position",
        }
        assert answer.headers["vary"] == "Origin"
    assert door.done == ["POST /v1/models"] * 3


async def test_a7_a_preflight_is_answered_for_replies_alone(door: Door) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }
    answer = await door.ask("OPTIONS", "/v1/models", {"Origin": SITE, **asks})
    assert (answer.status, answer.body, door.done) == (204, b"", [])
    has = cors(answer)
    assert has["access-control-allow-origin"] == SITE
    assert has["access-control-allow-headers"] == "authorization,content-type,x-stainless-os"
    assert "POST" in has["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in has
    for path in ("/", "/admin/x", "/odd", "/login", "/logout", "/static/app.css", "/undeclared/x"):
        answer = await door.ask("OPTIONS", path, {"Origin": SITE, **asks})
        assert (answer.status, cors(answer)) == (403, {}), path


@pytest.mark.parametrize("path", ["/", "/admin/x", "/odd", "/login", "/logout", "/static/app.css"])
async def test_a3_it_may_nothing_else_whatever_its_key(door: Door, path: str) -> None:
    for words in (WORDS["generate"], WORDS["admin"], door.keyring.key):
        for method in ("GET", "POST", "DELETE"):
            who = {**key(words), **await door.signed_in()}
            answer = await door.ask(method, path, {"Origin": SITE, **who}, b"token=x")
            assert (answer.status, cors(answer), door.done) == (403, {}, [])
    link = door.keyring.link()
    assert (await door.ask("GET", f"{path}?token={link}", {"Origin": SITE})).status == 403


SESSIONS: list[tuple[str, Mapping[str, str]]] = [
    ("a cookie", {}),
    (
        "a cookie of a page on this machine",
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ),
    ("a cookie and a wrong key", {"Authorization": "Bearer sk-wrong"}),
]


@pytest.mark.parametrize(("what", "headers"), SESSIONS)
@pytest.mark.parametrize("options", [{}, {"no_auth": True}, {"no_auth": True, "far_admin": True}])
async def test_a3_a_session_never_works_cross_site(
    tmp_path: Path, what: str, headers: dict[str, str], options: dict[str, Any]
) -> None:
    door = Door(tmp_path, rules=lambda: Api(origins=(SITE, "http://127.0.0.1:3000")), **options)
    cookie = {"Cookie": f"spindle_{PORT}={door.keyring.begin()}"}
    for origin in (SITE, "http://127.0.0.1:3000"):
        sent = {"Origin": origin, **cookie, **headers}
        answer = await door.ask("POST", "/v1/models", sent, b"{}")
        assert (answer.status, door.done) == (401, []), what
        assert answer.headers["access-control-allow-origin"] == origin, "so that it can read why"
        assert not (await door.open("/v1/ws", sent)).accepted


STRANGERS = [
    "https://evil.test", "null", "*", f"{SITE}/", f"{SITE}.evil.test", "https://app.example.org:444",
    "http://app.example.org", "https://example.org", "https://APP.example.org", f"{SITE}, {SITE}",
    "https://evil.test#app.example.org", "",
]  # fmt: skip


@pytest.mark.parametrize("origin", STRANGERS)
async def test_a7_nobody_else_is_let_in(door: Door, origin: str) -> None:
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for method, headers in (("OPTIONS", asks), ("POST", {"Origin": origin, **key()})):
        answer = await door.ask(method, "/v1/models", headers)
        assert (answer.status, cors(answer), door.done) == (403, {}, [])
    assert not (await door.open("/v1/ws", {"Origin": origin, **key()})).accepted


async def test_a7_two_origins_are_none(door: Door) -> None:
    for second in (SITE, OURS, "https://evil.test"):
        answer = await door.ask("POST", "/v1/models", [("Origin", SITE), ("Origin", second), *key().items()])  # fmt: skip
        assert (answer.status, cors(answer), door.done) == (403, {}, [])


async def test_a7_off_by_default(tmp_path: Path) -> None:
    door = Door(tmp_path)
    assert Api().origins == ()
    answer = await door.ask("POST", "/v1/models", {"Origin": SITE, **key(door.keyring.key)})
    assert (answer.status, cors(answer), door.done) == (403, {}, [])


async def test_a2_a_rebound_name_is_refused_to_a_site_that_was_let_in(door: Door) -> None:
    headers = {"Host": "app.example.org", "Origin": SITE, **key()}
    assert (await door.ask("POST", "/v1/models", headers)).status == 403


async def test_a5_sockets_of_a_page_that_was_let_in(door: Door) -> None:
    offers = [f"spindle.key.{WORDS['admin']}"]
    for path, accepted in (("/v1/ws", True), ("/ws", False), ("/admin/ws", False)):
        socket = await door.open(path, {"Origin": SITE, **await door.signed_in()}, offers)
        assert socket.accepted is accepted, path
        await socket.close()
    assert not (await door.open("/v1/ws", {"Origin": SITE, **await door.signed_in()})).accepted


async def test_its_answers_are_its_own_even_if_an_extension_is_generous(tmp_path: Path) -> None:
    async def lax(scope: Any, receive: Any, send: Any) -> None:
        generous = [
            (b"Access-Control-Allow-Origin", b"*"),
            (b"access-control-allow-credentials", b"true"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": generous})
        await send({"type": "http.response.body", "body": b""})

    door = Door(tmp_path)
    rules = lambda: Api(origins=(SITE,))  # noqa: E731
    door.app = Security(
        lax, door.keyring, lambda _: "inference", lambda **_: "", port=PORT, rules=rules
    )
    answer = await door.ask("GET", "/v1/models", {"Origin": SITE, **key(door.keyring.key)})
    assert [v for n, v in answer.raw if n.lower() == b"access-control-allow-origin"] == [
        SITE.encode()
    ]
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_site_that_is_taken_off_the_list_can_be_cut_off(door: Door) -> None:
    here = await door.open("/v1/ws", key())
    there = await door.open("/v1/ws", {"Origin": SITE, **key()})
    door.app.revoke(lambda who: who.origin == SITE)
    await asyncio.wait_for(there.task, 1)
    assert not here.task.done()
    await here.close()


async def test_who_comes_with_a_key_brings_its_name_and_limits(door: Door) -> None:
    """So that they hold whether the extension that keeps them runs or not."""
    seen: list[Principal] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["spindle.principal"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    door.app._app = look
    door.keyring.keep([made("sk-limited", "generate", at_once=2, tokens=500)])
    for headers in (
        key("sk-limited"),
        {"Origin": SITE, **key("sk-limited")},
        key(door.keyring.key),
    ):
        await door.ask("GET", "/v1/models", headers)
    assert [(who.name, who.at_once, who.tokens) for who in seen] == [
        ("My 10", 2, 500), ("My 10", 2, 500), ("", 0, 0),
    ]  # fmt: skip


async def test_what_a_page_with_all_rights_asks_counts_as_for_replies(door: Door) -> None:
    """So that an extension that looks at rights itself gives it no more."""
    seen: list[Principal] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["spindle.principal"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    door.app._app = look
    await door.ask("GET", "/v1/models", {"Origin": SITE, **key(WORDS["admin"])})
    await door.ask("GET", "/v1/models", key(WORDS["admin"]))
    assert [who.may("admin") for who in seen] == [False, True]


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        (SITE, True), ("http://localhost:3000", True), ("http://[::1]:8080", True),
        ("chrome-extension://abcdefghijklmnop", True), ("app://obsidian.md", True),
        ("*", False), ("null", False), ("https://*", False), ("https://*.example.org", False),
        (f"{SITE}/", False), (f"{SITE}/path", False), ("app.example.org", False), ("https://", False),
        ("HTTPS://APP.EXAMPLE.ORG", False), ("https://a b", False), ("https://a\nhttps://b", False),
    ],
)  # fmt: skip
def test_what_can_be_listed(origin: str, good: bool) -> None:
    try:
        msgspec.convert({"origins": [origin]}, Api)
    except msgspec.ValidationError:
        assert not good
    else:
        assert good
