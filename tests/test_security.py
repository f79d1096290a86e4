"""The door: attacks A1 to A14 of attacks-and-faults.md that a server can answer."""
# ruff: noqa: E501, tables are easier to read with a case a line

import asyncio
import errno
import hashlib
import json
import logging
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from kernel import keyring
from kernel.keyring import DAYS, Key, Keyring, TooMany, same
from kernel.logs import Discreet, discreet
from kernel.origins import Api
from kernel.principals import Principal
from kernel.security import Security

PORT = 7860
HOST = f"127.0.0.1:{PORT}"
OURS = f"http://{HOST}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ACCESS = {"/": "page", "/v1": "inference", "/static": "public", "/admin": "admin", "/odd": "typo"}
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


def access_of(scope: Any) -> str:
    first = "/" + scope["path"].split("/")[1]
    return ACCESS.get(first, "page")


class Door:
    """A small application behind the door, and a client that says exactly what it is told."""

    def __init__(self, folder: Path, password: str = "", **options: Any) -> None:
        self.done: list[str] = []
        self.now, self.ticks = 1_000_000.0, 1_000.0
        clocks = (lambda: self.now, lambda: self.ticks)
        self.keyring = Keyring(folder / "secrets", password, *clocks)

        async def answer(request: Request) -> Response:
            await request.body()
            self.done.append(f"{request.method} {request.url.path}")
            who: Principal = request.scope["spindle.principal"]
            return JSONResponse({"kind": who.kind, "id": who.id})

        async def talk(socket: WebSocket) -> None:
            await socket.accept()
            self.done.append("socket")
            await socket.send_text(socket.scope["spindle.principal"].kind)
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass

        async def stream(request: Request) -> Response:
            async def forever() -> AsyncIterator[bytes]:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.01)

            return StreamingResponse(forever())

        static = folder / "static"
        static.mkdir(exist_ok=True)
        (static / "app.css").write_text("body {}")
        paths = ["/", "/chat/1", "/v1/models", "/admin/x", "/odd", "/undeclared/x"]
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        app = Starlette(
            routes=[
                *(Route(path, answer, methods=methods) for path in paths),
                Route("/v1/stream", stream),
                *(WebSocketRoute(path, talk) for path in ("/ws", "/v1/ws", "/admin/ws")),
                Mount("/static", StaticFiles(directory=static)),
            ]
        )

        def sign_in(**context: Any) -> str:
            return f"<form>{context}</form>"

        options = {"port": PORT, **options}
        self.app = Security(app, self.keyring, access_of, sign_in, **options)

    def scope(
        self, kind: str, path: str, headers: Headers, client: str, server: str, **more: Any
    ) -> dict[str, Any]:
        pairs = [*(headers.items() if isinstance(headers, Mapping) else headers)]
        if not any(name.lower() == "host" for name, _ in pairs):
            pairs.insert(0, ("Host", HOST))
        path, _, query = path.partition("?")
        return {
            "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "root_path": "",
            "scheme": "http" if kind == "http" else "ws", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "client": (client, 5), "server": (server, PORT),
            "headers": [(a.lower().encode(), b.encode("latin-1")) for a, b in pairs], **more,
        }  # fmt: skip

    async def ask(
        self, method: str, path: str, headers: Headers = (), body: bytes | list[bytes] = b"",
        client: str = "127.0.0.1", server: str = "127.0.0.1",
    ) -> "Answer":  # fmt: skip
        answer = Answer()
        parts = [body] if isinstance(body, bytes) else list(body)

        async def receive() -> dict[str, Any]:
            if not parts:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        scope = self.scope("http", path, headers, client, server, method=method)
        await self.app(scope, receive, answer.hear)
        return answer

    async def open(
        self, path: str, headers: Headers = (), offers: Iterable[str] = (), first: str = "{}",
        **address: str,
    ) -> "Socket":  # fmt: skip
        address = {"client": "127.0.0.1", "server": "127.0.0.1", **address}
        scope = self.scope("websocket", path, headers, subprotocols=[*offers], **address)
        socket = Socket(first)
        socket.task = asyncio.ensure_future(self.app(scope, socket.receive, socket.send))
        while not socket.accepted and not socket.task.done():
            await asyncio.sleep(0)
        return socket

    async def signed_in(self) -> dict[str, str]:
        answer = await self.ask("GET", f"/?token={self.keyring.link()}")
        return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


class Answer:
    def __init__(self) -> None:
        self.status, self.body = 0, b""
        self.headers: dict[str, str] = {}
        self.raw: list[tuple[bytes, bytes]] = []

    async def hear(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.raw = message["status"], message["headers"]
            self.headers = {a.decode(): b.decode() for a, b in message["headers"]}
        else:
            self.body += message.get("body", b"")

    @property
    def text(self) -> str:
        return self.body.decode()


class Socket:
    """It says `first`, and no more."""

    def __init__(self, first: str = "{}") -> None:
        self.first: list[dict[str, Any]] = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": first},
        ]
        self.said: list[dict[str, Any]] = []
        self.task: asyncio.Future[None] = asyncio.Future()

    async def receive(self) -> dict[str, Any]:
        return self.first.pop(0) if self.first else await asyncio.Future()

    async def send(self, message: Any) -> None:
        self.said.append(message)

    @property
    def accepted(self) -> bool:
        """Whether the application behind the door has it."""
        return any(message["type"] == "websocket.send" for message in self.said)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


# --- A1, A2: names ----------------------------------------------------------------------

BAD_HOSTS: list[list[tuple[str, str]]] = [
    [("Host", name)]
    for name in (
        "evil.test", f"evil.test:{PORT}", "localhost", "127.0.0.1", "127.0.0.1:1", "localhost:80", "",
        f"localhost.evil.test:{PORT}", f"evil.test@{HOST}", f"0.0.0.0:{PORT}", f"localhost.:{PORT}",
        f"127.0.0.1:{PORT}:1", f"127.0.0.2:{PORT}", f"[::1%lo]:{PORT}", f" {HOST}", f"{HOST}, evil.test",
    )
] + [[("Host", HOST), ("Host", HOST)], [("Host", HOST), ("Host", "evil.test")]]  # fmt: skip


@pytest.mark.parametrize("headers", BAD_HOSTS)
async def test_a1_foreign_names_are_refused(door: Door, headers: list[tuple[str, str]]) -> None:
    signed = [*headers, *(await door.signed_in()).items()]
    for path in ("/", "/v1/models", "/static/app.css", "/login", "/admin/x"):
        answer = await door.ask("GET", path, signed)
        assert (answer.status, door.done) == (403, [])
        assert "evil" not in answer.text
    assert not (await door.open("/ws", [*signed, ("Origin", OURS)])).accepted


@pytest.mark.parametrize("host", [HOST, f"localhost:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}"])
async def test_our_names_are_taken(door: Door, host: str) -> None:
    assert (await door.ask("GET", "/v1/models", {"Host": host})).status == 200


async def test_default_ports_may_be_left_out(tmp_path: Path) -> None:
    for port, tls in ((80, False), (443, True)):
        door = Door(tmp_path, port=port, tls=tls)
        assert (await door.ask("GET", "/v1/models", {"Host": "localhost"})).status == 200
        assert (await door.ask("GET", "/v1/models", {"Host": f"localhost:{port}"})).status == 200
    door = Door(tmp_path, port=443)
    assert (await door.ask("GET", "/v1/models", {"Host": "localhost"})).status == 403


async def test_a2_a_rebound_name_is_refused(door: Door) -> None:
    name = f"evil.test:{PORT}"
    headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
    for method in ("GET", "POST"):
        assert (await door.ask(method, "/v1/models", headers)).status == 403
    assert not (await door.open("/v1/ws", headers)).accepted


async def test_names_of_a_proxy(tmp_path: Path) -> None:
    door = Door(tmp_path, hosts=["Llm.example.org", "other.org:8443"])
    cookie = await door.signed_in()
    for host, origin, status in (
        ("llm.example.org", "https://llm.example.org", 200),
        (f"llm.example.org:{PORT}", f"http://llm.example.org:{PORT}", 200),
        ("other.org:8443", "https://other.org:8443", 200),
        ("other.org", "https://other.org", 403),
        ("llm.example.org", "https://evil.test", 403),
        ("llm.example.org", OURS, 403),
    ):
        headers = {"Host": host, "Origin": origin, **cookie}
        assert (await door.ask("POST", "/", headers)).status == status, (host, origin)


# --- A3, A4, A7: pages of other sites -----------------------------------------------------

FOREIGN = [
    {"Origin": "https://evil.test"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
    {"Origin": f"http://localhost:{PORT}"}, {"Origin": f"https://{HOST}"}, {"Origin": ""},
    {"Origin": f"{OURS}/"}, {"Origin": f"{OURS}.evil.test"}, {"Origin": f"{OURS}, {OURS}"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "x"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]  # fmt: skip


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a3_a4_foreign_pages_change_nothing(door: Door, foreign: dict[str, str]) -> None:
    signed = await door.signed_in()
    for type in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            for path in ("/", "/admin/x", "/v1/models", "/undeclared/x", "/login", "/logout"):
                headers = {**foreign, **signed, "Content-Type": type}
                answer = await door.ask(method, path, headers, b"x=1")
                assert (answer.status, door.done) == (403, [])


@pytest.mark.parametrize(
    "headers",
    [{"Origin": OURS}, {"Origin": OURS.upper()}, {"Sec-Fetch-Site": "same-origin"},
     {"Sec-Fetch-Site": "none"}, {}],
)  # fmt: skip
async def test_our_own_page_may(door: Door, headers: dict[str, str]) -> None:
    answer = await door.ask("POST", "/", {**headers, **await door.signed_in()})
    assert (answer.status, door.done) == (200, ["POST /"])


async def test_reading_from_foreign_pages(door: Door) -> None:
    cookie = await door.signed_in()
    for mode, site, status in (
        ("navigate", "cross-site", 200), ("cors", "cross-site", 403), ("no-cors", "same-site", 403),
    ):  # fmt: skip
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, **cookie}
        assert (await door.ask("GET", "/", headers)).status == status
    assert (await door.ask("GET", "/", {"Origin": "https://evil.test", **cookie})).status == 403


async def test_a7_preflights_are_not_answered(door: Door) -> None:
    for origin in ("https://evil.test", "null", "http://localhost:3000"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await door.ask("OPTIONS", "/v1/models", headers)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


# --- A5, A6: WebSockets -------------------------------------------------------------------


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a5_sockets_of_foreign_pages_are_refused(door: Door, foreign: dict[str, str]) -> None:
    cookie = await door.signed_in()
    for path in ("/ws", "/v1/ws", "/admin/ws"):
        assert not (await door.open(path, {**foreign, **cookie})).accepted
    assert door.done == []


async def test_a5_an_origin_is_no_session(door: Door) -> None:
    for path in ("/ws", "/v1/ws", "/admin/ws"):
        assert not (await door.open(path, {"Origin": OURS})).accepted
    assert not (await door.open("/ws")).accepted, "nor is the lack of one"
    assert not (await door.open("/ws", await door.signed_in())).accepted, "nor a bare cookie"
    socket = await door.open("/ws", {"Origin": OURS, **await door.signed_in()})
    assert socket.said[1]["text"] == "page"
    await socket.close()


async def test_a6_programs_open_sockets_with_a_key(door: Door) -> None:
    key = door.keyring.key
    for path in ("/ws", "/v1/ws", "/admin/ws"):
        socket = await door.open(path, {"Authorization": f"Bearer {key}"})
        assert socket.said[1]["text"] == "key"
        await socket.close()
    local = await door.open("/v1/ws")
    assert local.said[1]["text"] == "local"
    await local.close()


@pytest.mark.parametrize("more", [[], ["spindle.v1"]])
async def test_a_key_as_a_subprotocol(door: Door, more: list[str]) -> None:
    offers = [*more, f"spindle.key.{door.keyring.key}"]
    socket = await door.open("/admin/ws", {"Origin": OURS}, offers)
    assert socket.said[0]["subprotocol"] == offers[0], "a browser wants one of its own back"
    await socket.close()
    assert not (await door.open("/admin/ws", {"Origin": OURS}, ["spindle.key.sk-wrong"])).accepted


# --- A8, A9: headers and cookies ----------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/v1/models", "/static/app.css", "/login", "/none", "/admin/x"]
)
async def test_a8_every_answer_is_protected(door: Door, path: str) -> None:
    for headers in ({}, await door.signed_in(), {"Host": "evil.test"}):
        has = (await door.ask("GET", path, headers)).headers
        policy = has["content-security-policy"]
        assert policy == POLICY
        assert has["x-content-type-options"] == "nosniff"
        assert has["referrer-policy"] == "same-origin"
        assert has["x-dns-prefetch-control"] == "off"
        assert has["cross-origin-resource-policy"] == "same-origin"
        assert "cache-control" in has


async def test_a_browser_is_told_nothing_that_it_complains_of(tmp_path: Path) -> None:
    """COOP counts where a browser trusts the way: by https, on its own machine, by a proxy."""
    door = Door(tmp_path, hosts=["llm.example.org"], listens=True)
    secure = Door(tmp_path, listens=True, tls=True)
    for each, host, told in (
        (door, HOST, True),
        (door, "llm.example.org", True),
        (door, f"192.0.2.7:{PORT}", False),
        (secure, f"192.0.2.7:{PORT}", True),
    ):
        answer = await each.ask("GET", "/login", {"Host": host}, server="192.0.2.7")
        assert answer.status == 200
        assert ("cross-origin-opener-policy" in answer.headers) is told, host


async def test_pages_are_not_stored_and_files_are_asked_for_again(door: Door) -> None:
    assert (await door.ask("GET", "/login")).headers["cache-control"] == "no-store"
    file = await door.ask("GET", "/static/app.css")
    assert file.headers["cache-control"] == "no-cache"
    again = await door.ask("GET", "/static/app.css", {"If-None-Match": file.headers["etag"]})
    assert again.status == 304


async def test_a_policy_of_the_application_can_only_be_stricter(tmp_path: Path) -> None:
    door = Door(tmp_path)
    answer = Answer()

    async def lax(scope: Any, receive: Any, send: Any) -> None:
        policy = {"Content-Security-Policy": "sandbox", "Cache-Control": "max-age=9"}
        await PlainTextResponse("x", headers=policy)(scope, receive, send)

    app = Security(lax, door.keyring, lambda _: "public", lambda **_: "", port=PORT)
    scope = door.scope("http", "/", {}, "127.0.0.1", "127.0.0.1", method="GET")
    await app(scope, asyncio.Future, answer.hear)
    policies = [value for name, value in answer.raw if name == b"content-security-policy"]
    assert policies[0] == b"sandbox"
    assert len(policies) == 2
    assert answer.headers["cache-control"] == "max-age=9"


async def test_a9_the_launch_link_opens_once(door: Door) -> None:
    token = door.keyring.link()
    answer = await door.ask("GET", f"/chat/1?a=1&token={token}&b=%20")
    assert (answer.status, answer.headers["location"]) == (303, "/chat/1?a=1&b=+")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(f"spindle_{PORT}=")
    for part in ("httponly", "samesite=strict", "path=/", f"max-age={DAYS * 86400}"):
        assert part in cookie
    assert "secure" not in cookie
    assert token not in f"{answer.headers}"
    again = await door.ask("GET", f"/?token={token}", {"Accept": "text/html"})
    assert again.status == 401
    assert "opened before" in again.text
    assert token not in again.text
    known = await door.ask("GET", f"/?token={token}", await door.signed_in())
    assert (known.status, known.headers["location"]) == (303, "/"), "but a signed-in page goes on"


async def test_the_cookie_is_secure_under_tls(tmp_path: Path) -> None:
    door = Door(tmp_path, tls=True)
    answer = await door.ask("GET", f"/?token={door.keyring.link()}")
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_neither_key_nor_password_belongs_into_an_address(tmp_path: Path) -> None:
    door = Door(tmp_path, "pass")
    for said in ("pass", door.keyring.key):
        assert (await door.ask("GET", f"/?token={said}")).status == 401


@pytest.mark.parametrize("path", ["//evil.test", "/\\evil.test", "///evil.test/x", "/\\/evil.test"])
async def test_the_link_leads_nowhere_else(door: Door, path: str) -> None:
    answer = await door.ask("GET", f"{path}?token={door.keyring.link()}")
    assert answer.status == 303
    assert answer.headers["location"].startswith("/evil.test")


async def test_a_head_request_does_not_use_up_the_link(door: Door) -> None:
    token = door.keyring.link()
    await door.ask("HEAD", f"/?token={token}")
    assert (await door.ask("GET", f"/?token={token}")).status == 303


async def test_a_program_on_this_machine_hears_that_the_server_lives(tmp_path: Path) -> None:
    """Ollama's command line asks so first, and gives up where it is refused."""
    door = Door(tmp_path)
    answer = await door.ask("HEAD", "/")
    assert (answer.status, answer.body, door.done) == (200, b"", [])
    unknown = {"Authorization": "Bearer sk-" + "x" * 43}
    for method, path, headers in (
        ("GET", "/", {}), ("POST", "/", {}), ("HEAD", "/chat/1", {}), ("HEAD", "/", unknown),
        ("HEAD", "/", {"Origin": OURS}), ("HEAD", "/", {"Sec-Fetch-Site": "same-origin"}),
    ):  # fmt: skip
        assert (await door.ask(method, path, headers)).status == 401, (method, path, headers)
    assert (await door.ask("HEAD", "/", {"Origin": "https://evil.test"})).status == 403
    assert (await door.ask("HEAD", "/", client="10.0.0.9")).status == 401
    assert (await Door(tmp_path, listens=True).ask("HEAD", "/")).status == 401
    assert (await Door(tmp_path, "a password").ask("HEAD", "/")).status == 401
    assert door.done == []


# --- sessions -----------------------------------------------------------------------------


async def test_a_session_survives_a_restart_but_not_the_password(tmp_path: Path) -> None:
    cookie = await Door(tmp_path).signed_in()
    assert (await Door(tmp_path).ask("GET", "/", cookie)).status == 200
    for password in ("one", "two"):
        door = Door(tmp_path, password)
        assert (await door.ask("GET", "/", cookie)).status == 401
        cookie = await door.signed_in()
        assert (await Door(tmp_path, password).ask("GET", "/", cookie)).status == 200


async def test_forged_old_and_foreign_cookies(door: Door, tmp_path: Path) -> None:
    name, _, value = (await door.signed_in())["Cookie"].partition("=")
    id, issued, signature = value.split(".")
    forged = [
        f"{id}x.{issued}.{signature}", f"{id}.{int(issued, 16) + 9:x}.{signature}", f"{id}.{issued}.",
        f"{id}.{issued}.{signature[:-1]}", "..", "", "x", ".".join("abcdef"), f"{id}.{issued}.é",
    ]  # fmt: skip
    for wrong in forged:
        assert (await door.ask("GET", "/", {"Cookie": f"{name}={wrong}"})).status == 401, wrong
    assert (await door.ask("GET", "/", {"Cookie": f"spindle_1={value}"})).status == 401
    tossed = {"Cookie": f"{name}=x; other=1; {name}={value}"}
    assert (await door.ask("GET", "/", tossed)).status == 200, "another port's page cannot lock out"
    stranger = Keyring(tmp_path / "other").begin()
    assert (await door.ask("GET", "/", {"Cookie": f"{name}={stranger}"})).status == 401
    door.now += DAYS * 86400
    assert (await door.ask("GET", "/", {"Cookie": f"{name}={value}"})).status == 401


async def test_a_page_without_a_cookie_asks_for_the_token(door: Door) -> None:
    answer = await door.ask("GET", "/chat/1", {"Accept": "text/html,*/*"})
    assert (answer.status, "<form>" in answer.text, door.done) == (401, True, [])
    assert "refresh" not in answer.headers
    link = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await door.ask("GET", "/", link)).headers["refresh"] == "0"
    program = await door.ask("GET", "/admin/x", {"Accept": "text/html"})
    assert program.headers["content-type"] == "application/json"


@pytest.mark.parametrize("field", ["token", "password"])
async def test_signing_in_with_the_key_or_a_link(door: Door, field: str) -> None:
    for said in (door.keyring.key, door.keyring.link()):
        answer = await door.ask("POST", "/login", {"Origin": OURS}, f"{field}={said}".encode())
        assert (answer.status, answer.headers["location"]) == (303, "/")
    pasted = f"{field}=+{door.keyring.key}%0A".encode()
    assert (await door.ask("POST", "/login", {"Origin": OURS}, pasted)).status == 303
    again = await door.ask("POST", "/login", {"Origin": OURS}, f"{field}=".encode())
    assert again.status == 401
    foreign = f"token={door.keyring.key}".encode()
    assert (await door.ask("POST", "/login", {"Origin": "null"}, foreign)).status == 403


@pytest.mark.parametrize(
    ("next", "then"),
    [
        ("/chat/some%20talk?x=1&y=2", "/chat/some%20talk?x=1&y=2"), ("/login", "/login"), ("", "/"),
        ("//evil.example/", "/evil.example/"), ("/\\evil.example", "/evil.example"),
        ("https://evil.example", "/https://evil.example"),
    ],
)  # fmt: skip
async def test_who_signs_in_gets_the_page_that_was_asked_for(
    door: Door, next: str, then: str
) -> None:
    fields = urlencode({"token": door.keyring.key, "next": next}).encode()
    answer = await door.ask("POST", "/login", {"Origin": OURS}, fields)
    assert (answer.status, answer.headers["location"]) == (303, then)


async def test_every_form_knows_the_page_that_was_asked_for(door: Door) -> None:
    there = "'next': '/chat/1?x=1&y=2'"
    html = {"Accept": "text/html"}
    for path in ("/chat/1?x=1&y=2", "/chat/1?x=1&token=wrong&y=2"):
        assert there in (await door.ask("GET", path, html)).text
    fields = urlencode({"token": "wrong", "next": "/chat/1?x=1&y=2"}).encode()
    tries = [await door.ask("POST", "/login", {"Origin": OURS}, fields) for _ in range(11)]
    assert [wrong.status for wrong in tries] == [401] * 10 + [429]
    assert all(there in wrong.text for wrong in tries)


async def test_signing_out(tmp_path: Path) -> None:
    door = Door(tmp_path, "pass")
    answer = await door.ask("POST", "/login", {"Origin": OURS}, b"password=pass")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    other = await door.signed_in()
    socket = await door.open("/ws", {"Origin": OURS, **cookie})
    stays = await door.open("/ws", {"Origin": OURS, **other})
    gone = await door.ask("POST", "/logout", {"Origin": OURS, **cookie})
    assert (gone.status, gone.headers["location"]) == (303, "/login")
    await asyncio.wait_for(socket.task, 1)
    assert socket.said[-1]["type"] == "websocket.close"
    assert not stays.task.done()
    await stays.close()
    for again in (door, Door(tmp_path, "pass")):
        assert (await again.ask("GET", "/", cookie)).status == 401, "a copy of the cookie is void"
        assert (await again.ask("GET", "/", other)).status == 200


async def test_a11_what_is_open_ends_with_its_right(door: Door) -> None:
    page = await door.open("/ws", {"Origin": OURS, **await door.signed_in()})
    program = await door.open("/ws", {"X-Api-Key": door.keyring.key})
    stream = asyncio.ensure_future(door.ask("GET", "/v1/stream", {"X-Api-Key": door.keyring.key}))
    await asyncio.sleep(0.03)
    old = door.keyring.key
    door.keyring.key = "sk-another"
    door.app.revoke(lambda who: who.kind == "key")
    await asyncio.wait_for(asyncio.gather(program.task, stream), 1)
    assert not page.task.done()
    assert (await door.ask("GET", "/admin/x", {"X-Api-Key": old})).status == 401
    door.keyring.set_password("new")
    door.app.revoke(lambda who: who.kind == "page")
    await asyncio.wait_for(page.task, 1)


# --- A10: guessing ------------------------------------------------------------------------


async def test_a10_guessing_gets_slow(tmp_path: Path) -> None:
    door = Door(tmp_path, "right")

    async def guess(said: str, client: str = "10.0.0.9") -> Answer:
        body = f"password={said}".encode()
        return await door.ask("POST", "/login", {"Origin": OURS}, body, client)

    waits: list[int] = []
    assert [(await guess("wrong")).status for _ in range(10)] == [401] * 10
    for _ in range(8):
        refused = await guess("right")
        assert refused.status == 429
        waits.append(int(refused.headers["retry-after"]))
        assert f"Wait {waits[-1]} seconds" in refused.text
        door.ticks += waits[-1]
        await guess("wrong")
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (2, 61)
    assert (await guess("right", "10.0.0.8")).status == 303, "another machine is not locked out"
    door.ticks += 100
    door.now -= 2_592_000  # A clock that was ahead locks nobody out.
    assert (await guess("right")).status == 303
    assert (await guess("wrong")).status == 401, "and the count begins anew"


async def test_a10_the_addresses_of_one_network_count_together(tmp_path: Path) -> None:
    """Whoever has an IPv6 network has all its addresses, however they are written."""
    door = Door(tmp_path, "right")

    async def guess(client: str) -> int:
        return (await door.ask("POST", "/login", {"Origin": OURS}, b"password=no", client)).status

    said = [await guess(f"fd00::{n:x}:b:c:d") for n in range(4)]
    said += [await guess(f"fd00:0:0:0:{n:x}::1%eth0") for n in range(6)]
    assert said == [401] * 10
    assert await guess("fd00::ffff:1") == 429
    assert await guess("fd00:0:0:1::1") == 401, "the next network"
    assert [await guess("::ffff:10.0.0.9") for _ in range(10)] == [401] * 10
    assert await guess("10.0.0.9") == 429, "the same machine by its other name"


@pytest.mark.parametrize("odd", ["\n", "\r", "\0", "\x1f", "\x7f"])
async def test_no_path_of_an_api_has_a_line_end(door: Door, odd: str) -> None:
    """Routers take `$` for the place before a last line end, too: who looks a path up would see
    another one than who serves it."""
    for path in (f"/v1/models{odd}", f"/v1/{odd}models"):
        for headers in (
            {},
            await door.signed_in(),
            {"Authorization": f"Bearer {door.keyring.key}"},
        ):
            assert (await door.ask("GET", path, headers)).status == 400
    assert door.done == []


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_what_a_proxy_hands_on_is_no_program_of_this_machine(door: Door, name: str) -> None:
    assert (await door.ask("GET", "/v1/models")).status == 200
    assert (await door.ask("GET", "/v1/models", {name: "8.8.8.8"})).status == 401


async def test_a10_parallel_guesses_count_too(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, "right")
    results = await asyncio.gather(
        *(keyring.admit(f"{n}", "1.2.3.4") for n in range(30)), return_exceptions=True
    )
    assert sum(isinstance(result, TooMany) for result in results) == 20


CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


async def test_a10_a_foreign_page_locks_nobody_out(tmp_path: Path) -> None:
    door = Door(tmp_path, "right")
    link = door.keyring.link()
    for number in range(30):
        assert (await door.ask("GET", f"/?token={number}", CROSS)).status == 401
        assert (await door.ask("POST", "/login", CROSS, b"password=x")).status == 403
    assert (await door.ask("POST", "/login", {"Origin": OURS}, b"password=right")).status == 303
    assert (await door.ask("GET", f"/?token={link}")).status == 303


async def test_a10_who_has_a_link_or_the_key_never_waits(tmp_path: Path) -> None:
    door = Door(tmp_path, "right")
    links = [door.keyring.link(), door.keyring.link()]

    async def says(said: str) -> int:
        return (await door.ask("POST", "/login", {"Origin": OURS}, f"token={said}".encode())).status

    assert [await says("wrong") for _ in range(11)] == [401] * 10 + [429]
    assert (await door.ask("GET", f"/?token={links[0]}")).status == 303
    assert [await says(links[1]), await says(door.keyring.key)] == [303, 303]
    assert [await says(links[1]), await says("right")] == [429, 429]


def test_a10_comparing_tells_nothing_by_its_time() -> None:
    right = "sk-" + "a" * 40
    wrong = {"first": "x" + right[1:], "last": right[:-1] + "x", "long": right * 100}
    times: dict[str, list[float]] = {name: [] for name in wrong}
    for _ in range(300):
        for name, guess in wrong.items():
            start = time.perf_counter()
            assert not same(guess, right)
            times[name].append(time.perf_counter() - start)
    middle = [statistics.median(samples) for samples in times.values()]
    assert max(middle) - min(middle) < 0.001


# --- A12, A13: who may what ---------------------------------------------------------------


@pytest.mark.parametrize(
    "carrier", ["Authorization", "authorization lower", "X-Api-Key", "Api-Key", "cookie"]
)
async def test_a12_every_carrier_gives_the_same_rights(door: Door, carrier: str) -> None:
    key = door.keyring.key
    headers = {
        "Authorization": {"Authorization": f"Bearer {key}"},
        "authorization lower": {"Authorization": f"bearer {key}"},
        "X-Api-Key": {"X-Api-Key": key},
        "Api-Key": {"Api-Key": key},
        "cookie": await door.signed_in(),
    }[carrier]
    for path in ("/", "/v1/models", "/admin/x", "/odd", "/undeclared/x"):
        for method in ("GET", "POST"):
            assert (await door.ask(method, path, {**headers})).status == 200
    for wrong in ("", "x", key[:-1], key + "x", "sk-"):
        bad = {name: value.replace(key, wrong) for name, value in headers.items()}
        if bad != headers:
            assert (await door.ask("GET", "/admin/x", bad)).status == 401


RULES: list[tuple[str, dict[str, Any], dict[str, str], str, list[int]]] = [
    # who, options, headers, client; the status of /, /v1/models, /admin/x, /odd, /static/app.css
    ("a program here", {}, {}, "127.0.0.1", [401, 200, 401, 401, 200]),
    ("with a made-up key", {}, {"Authorization": "Bearer none"}, "127.0.0.1", [401, 200, 401, 401, 200]),
    ("by IPv6", {}, {}, "::1", [401, 200, 401, 401, 200]),
    ("from elsewhere", {}, {}, "10.0.0.9", [401, 401, 401, 401, 200]),
    ("a browser here", {}, {"Sec-Fetch-Site": "none"}, "127.0.0.1", [401, 401, 401, 401, 200]),
    ("a page here", {}, {"Origin": OURS}, "127.0.0.1", [401, 401, 401, 401, 200]),
    ("keys required", {"rules": lambda: Api(require_key=True)}, {}, "127.0.0.1", [401, 401, 401, 401, 200]),
    ("a password", {"password": "x"}, {}, "127.0.0.1", [401, 401, 401, 401, 200]),
    ("listening", {"listens": True, "password": "x"}, {}, "127.0.0.1", [401, 401, 401, 401, 200]),
    ("no auth", {"no_auth": True, "listens": True}, {}, "10.0.0.9", [200, 200, 403, 403, 200]),
    ("far admin", {"no_auth": True, "listens": True, "far_admin": True}, {}, "10.0.0.9", [200] * 5),
]  # fmt: skip


@pytest.mark.parametrize(("who", "options", "headers", "client", "statuses"), RULES)
async def test_a13_each_class_of_access(
    tmp_path: Path, who: str, options: dict[str, Any], headers: dict[str, str], client: str,
    statuses: list[int],
) -> None:  # fmt: skip
    door = Door(tmp_path, **options)
    paths = ["/", "/v1/models", "/admin/x", "/odd", "/static/app.css"]
    assert [
        (await door.ask("GET", path, headers, client=client)).status for path in paths
    ] == statuses


async def test_without_auth_foreign_pages_are_still_refused(tmp_path: Path) -> None:
    door = Door(tmp_path, no_auth=True)
    assert (await door.ask("POST", "/", {"Origin": "https://evil.test"})).status == 403
    assert (await door.ask("GET", "/", {"Host": "evil.test"})).status == 403


async def test_a_server_that_listens_knows_its_own_addresses(tmp_path: Path) -> None:
    door = Door(tmp_path, "x", listens=True)
    cookie = await door.signed_in()
    for host, server, status in (
        (f"192.168.7.5:{PORT}", "192.168.7.5", 200),
        (f"192.168.7.6:{PORT}", "192.168.7.5", 403),
        (f"[fd00::5]:{PORT}", "fd00::5", 200),
        (f"evil.test:{PORT}", "192.168.7.5", 403),
    ):
        headers = {"Host": host, **cookie}
        assert (await door.ask("GET", "/", headers, server=server)).status == status
    alone = Door(tmp_path)
    host = {"Host": f"192.168.7.5:{PORT}"}
    assert (await alone.ask("GET", "/v1/models", host, server="192.168.7.5")).status == 403


def test_the_first_key_is_made_once_and_kept_to_oneself(tmp_path: Path) -> None:
    key = Keyring(tmp_path).key
    assert key.startswith("sk-")
    assert len(key) > 40
    assert Keyring(tmp_path).key == key
    assert {oct(file.stat().st_mode)[-3:] for file in tmp_path.iterdir()} == {"600"}


# --- bodies and logs ----------------------------------------------------------------------


async def test_bodies_are_limited(door: Door) -> None:
    cookie = await door.signed_in()
    declared = await door.ask("POST", "/", {**cookie, "Content-Length": str(9 << 20)})
    assert declared.status == 413
    parts = [b"x" * (1 << 20)] * 9
    assert (await door.ask("POST", "/", cookie, parts)).status == 413
    assert (await door.ask("POST", "/v1/models", cookie, parts)).status == 200
    assert (await door.ask("POST", "/login", {}, b"x" * (1 << 17))).status == 413
    assert door.done == ["POST /v1/models"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /?token=abc_d-e&x=1", "GET /?token=…&x=1"),
        ("Authorization: Bearer sk-abc.DEF", "Authorization: Bearer …"),
        ("key sk-AbC_1-2 was used", "key sk-… was used"),
        ("Cookie: spindle_7860=ab.cd.ef; a=1", "Cookie: spindle_7860=…; a=1"),
        ("one\r\ntwo", "one\\r\\ntwo"),
        ("\x1b[31mred\x1b]52;c;x\x07", "\\x1b[31mred\\x1b]52;c;x\\x07"),
        ("a\u202eb \u2028 \ud800 \x9b1m", "a\\u202eb \\u2028 \\ud800 \\x9b1m"),
        ("Ärger\tund 日本 🧵", "Ärger\tund 日本 🧵"),
        ("disk-full task-1", "disk-full task-1"),
    ],
)
def test_log_lines_tell_no_secrets_and_stay_lines(text: str, shown: str) -> None:
    assert discreet(text) == shown


def test_tracebacks_too() -> None:
    try:
        raise ValueError("sk-secret \x1b[2J")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", 40, "f", 1, "at %s", ("/?token=abc",), info)
    text = Discreet("%(message)s").format(record)
    assert text.startswith("at /?token=…\n  | Traceback")
    assert "secret" not in text.splitlines()[-1]
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["api_key", "session_key"])
async def test_an_emptied_secret_lets_nobody_in(tmp_path: Path, name: str) -> None:
    """As a full disk may leave it: an empty key would be said by whoever says nothing."""
    cookie = await Door(tmp_path).signed_in()
    (tmp_path / "secrets" / name).write_text("")
    door = Door(tmp_path)
    assert len((tmp_path / "secrets" / name).read_text()) > 40
    for headers in ({"X-Api-Key": ""}, {"Authorization": "Bearer "}):
        assert (await door.ask("GET", "/admin/x", headers)).status == 401
    status = 401 if name == "session_key" else 200
    assert (await door.ask("GET", "/", cookie)).status == status


# --- what changes while a request waits, and who may end what ------------------------------


async def test_a_first_frame_opens_what_is_there_by_then(tmp_path: Path) -> None:
    """An extension may have started since the socket was opened, with a stricter class."""
    door = Door(tmp_path, listens=True)
    words = "sk-" + "g" * 43
    key = Key("g", hashlib.sha256(words.encode()).hexdigest(), "generate")
    door.keyring.keep([key])
    said = iter(["inference", "admin"])
    door.app._access_of = lambda scope: next(said)
    socket = await door.open("/admin/ws", first=json.dumps({"key": words}))
    await asyncio.wait({socket.task})
    assert not door.done, "the application was reached"
    assert next(said, "") == "", "it was not asked again"


async def test_only_a_session_can_be_signed_out(door: Door) -> None:
    program = await door.open("/v1/ws")
    assert program.accepted
    assert (await door.ask("POST", "/logout")).status == 303
    await asyncio.sleep(0)
    assert not program.task.done()
    await program.close()


async def test_a_full_disk_keeps_nobody_signed_in(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cookie = await door.signed_in()
    page = await door.open("/ws", {**cookie, "Origin": OURS})
    monkeypatch.setattr(keyring, "write", full)
    assert (await door.ask("POST", "/logout", {"Origin": OURS, **cookie})).status == 303
    await asyncio.wait({page.task})
    assert (await door.ask("GET", "/", cookie)).status == 401
    assert "A sign-out counts until the next start" in caplog.text


async def test_a_key_that_cannot_be_written_stays_the_one_that_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the disappearance of a file that was there asks for a new one."""
    file, heard, tried = tmp_path / "api_key", list[str](), list[Path]()

    def full(path: Path, *_: object) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keyring, "write", full)
        ring = Keyring(tmp_path)
        printed = ring.key
        watching = asyncio.create_task(ring.watch(heard.append, every=0.01))
        while tried.count(file) < 4:
            await asyncio.sleep(0.01)
        assert (ring.key, heard) == (printed, [])
    while not file.exists():
        await asyncio.sleep(0.01)
    assert (file.read_text(), heard) == (printed, [])
    file.unlink()
    while not heard:
        await asyncio.sleep(0.01)
    assert heard == [ring.key] != [printed]
    assert file.read_text() == ring.key
    watching.cancel()
