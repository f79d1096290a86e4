"""A1 to A8, A12 and A13 on every address there is, at a real server."""

from collections.abc import Iterator

import pytest

from tests.boundary.places import Place
from tests.boundary.served import CLASSES, Headers, Served

SECRET = "the canary's secret"
leaves_a_trace = pytest.mark.leaves_a_trace
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")


@pytest.fixture(autouse=True)
def untouched(request: pytest.FixtureRequest, server: Served) -> Iterator[None]:
    """Whatever is refused leaves no trace: no file changed, no canary sang."""
    before, sung = server.files(), server.sung()
    yield
    if "leaves_a_trace" not in request.keywords:
        assert server.sung() == sung
        assert server.files() == before


def foreign_names(port: int) -> list[list[str]]:
    return [
        ["evil.test"], [f"evil.test:{port}"], ["localhost"], ["127.0.0.1:1"], [""],
        [f"0.0.0.0:{port}"], [f"127.0.0.1.evil.test:{port}"], [f"127.0.0.1:{port}, evil.test"],
        [f"127.0.0.1:{port}", "evil.test"], [f"2130706433:{port}"],
    ]  # fmt: skip


def credentials(server: Served) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {server.key}"), *server.sign_in().items()]


def test_a1_a_foreign_name_is_refused_everywhere(server: Served, all_places: list[Place]):
    mine = credentials(server)
    for place in all_places:
        for names in foreign_names(server.port):
            headers = [*(("Host", name) for name in names), *mine]
            if place.kind == "websocket":
                status, text = server.upgrade(place.sample, [*headers, ours(server)]), ""
            else:
                answer = server.ask(
                    place.methods[0] if place.methods else "GET", place.sample, headers
                )
                status, text = answer.status, answer.text
            assert status in (400, 403), (place, names)
            assert SECRET not in text


def test_a2_a_rebound_name_is_refused_everywhere(server: Served, all_places: list[Place]):
    name = f"evil.test:{server.port}"
    page = [("Host", name), ("Origin", f"http://{name}"), ("Sec-Fetch-Site", "same-origin")]
    for place in all_places:
        if place.kind == "websocket":
            assert server.upgrade(place.sample, [*page, *credentials(server)]) == 403, place
        for method in place.methods:
            assert server.ask(method, place.sample, [*page, *credentials(server)]).status == 403


def ours(server: Served) -> tuple[str, str]:
    return ("Origin", server.origin)


def foreign(server: Served) -> list[Headers]:
    """What browsers add to a request of a page that is none of ours."""
    port = server.port
    return [
        {"Origin": "https://evil.test"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
        {"Origin": f"http://localhost:{port}"}, {"Origin": f"https://127.0.0.1:{port}"},
        {"Origin": f"{server.origin}.evil.test"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    ]  # fmt: skip


def test_a3_a4_pages_of_others_change_nothing(server: Served, all_places: list[Place]):
    mine = credentials(server)
    for place in all_places:
        if place.kind == "websocket":
            continue
        for number, headers in enumerate(foreign(server)):
            for method in CHANGING:
                kind = ("Content-Type", TYPES[number % len(TYPES)])
                pairs = [*dict(headers).items(), kind, *mine]
                answer = server.ask(method, place.sample, pairs, b"token=x&action=sing")
                assert answer.status == 403, (place, headers, method)
                assert SECRET not in answer.text


def test_a3_pages_of_others_read_nothing(server: Served, pages: list[Place]):
    for place in pages:
        for headers in foreign(server):
            pairs = [*dict(headers).items(), *credentials(server)]
            if dict(headers).get("Sec-Fetch-Mode") != "navigate":  # A link may lead here.
                assert server.ask("GET", place.sample, pairs).status == 403, (place, headers)


@pytest.mark.parametrize("dest", ["iframe", "frame", "object", "embed", "fencedframe"])
def test_a8_a_frame_of_another_site_reaches_nobody(server: Served, pages: list[Place], dest: str):
    """Its picture is refused by frame-ancestors anyway; this keeps it from asking at all."""
    for site in ("cross-site", "same-site"):
        framed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": dest}
        for place in pages:
            pairs = [*framed.items(), *credentials(server)]
            answer = server.ask("GET", place.sample, pairs)
            assert answer.status == 403, place
            assert SECRET not in answer.text
    link = {**framed, "Sec-Fetch-Dest": "document"}
    assert server.ask("GET", "/", [*link.items(), *credentials(server)]).status == 200


def test_a5_sockets_of_others_are_refused(server: Served, sockets: list[Place]):
    cookie = [*server.sign_in().items()]
    for place in sockets:
        for headers in foreign(server):
            for mine in (cookie, credentials(server)):
                pairs = [*dict(headers).items(), *mine]
                assert server.upgrade(place.sample, pairs) == 403, (place, headers)


def test_a5_an_origin_alone_or_none_is_no_session(server: Served, sockets: list[Place]):
    for place in sockets:
        if place.access == "public":
            continue
        assert server.upgrade(place.sample, [ours(server)]) == 403, "ours, but nobody's"
        if place.access != "inference":  # That class lets programs on this machine in.
            assert server.upgrade(place.sample) == 403, "a program without a key"
            cookie = server.sign_in()
            assert server.upgrade(place.sample, cookie) == 403, "a cookie without an Origin"


@leaves_a_trace
def test_a6_a_program_needs_only_the_key(server: Served, sockets: list[Place]):
    assert {place.access for place in sockets} == {*CLASSES}
    for place in sockets:
        assert server.upgrade(place.sample, {"Authorization": f"Bearer {server.key}"}) == 101, place
        wrong = {"Authorization": f"Bearer {server.key[:-1]}"}
        allowed = place.access in ("public", "inference")
        assert server.upgrade(place.sample, wrong) == (101 if allowed else 403), place


def test_a7_no_preflight_is_answered(server: Served, all_places: list[Place]):
    for place in all_places:
        for origin in ("https://evil.test", "null", "http://localhost:3000"):
            asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = server.ask("OPTIONS", place.sample, asks)
            assert answer.status == 403, place
            assert not [name for name, _ in answer.headers if name.startswith("access-control")]


@leaves_a_trace
def test_a8_every_answer_is_protected(server: Served, pages: list[Place]):
    elsewhere = [("Host", "evil.test")]  # Over plain http no browser lets COOP count there.
    for place in pages:
        for headers in ([], credentials(server), elsewhere):
            answer = server.ask("GET", place.sample, headers)
            policy = answer.header("content-security-policy")
            for rule in (
                "frame-ancestors 'none'", "default-src 'none'", "script-src 'self'",
                "img-src 'self' data: blob:", "connect-src 'self'", "base-uri 'none'",
            ):  # fmt: skip
                assert rule in policy, place
            assert "unsafe" not in policy
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("referrer-policy") == "same-origin"
            assert answer.header("cross-origin-resource-policy") == "same-origin"
            isolated = "" if headers is elsewhere else "same-origin"
            assert answer.header("cross-origin-opener-policy") == isolated
            assert not answer.header("access-control-allow-origin")


# --- A12, A13: who may what ---------------------------------------------------------------

ALLOWED = {
    "key": {*CLASSES},
    "program here": {"public", "inference"},
    "browser": {"public"},
    "wrong key": {"public", "inference"},
}


@leaves_a_trace
def test_a12_every_carrier_of_a_key_or_session_gives_the_same_rights(
    server: Served, pages: list[Place], sockets: list[Place]
):
    key = server.key
    carriers: dict[str, dict[str, str]] = {
        "Authorization": {"Authorization": f"Bearer {key}"},
        "small letters": {"authorization": f"bearer {key}"},
        "X-Api-Key": {"X-Api-Key": key},
        "Api-Key": {"Api-Key": key},
        "cookie": server.sign_in(),
    }
    for place in pages:
        for method in place.methods:
            got = {n: server.ask(method, place.sample, h).status for n, h in carriers.items()}
            assert len(set(got.values())) == 1, (place, method, got)
            assert not {*got.values()} & {401, 403}, (place, method, got)
    carriers["cookie"] |= dict([ours(server)])
    carriers["subprotocol"] = {"Sec-WebSocket-Protocol": f"spindle.key.{key}"}
    for place in sockets:
        got = {n: server.upgrade(place.sample, h) for n, h in carriers.items()}
        assert set(got.values()) == {101}, (place, got)


@leaves_a_trace
@pytest.mark.parametrize("who", ALLOWED)
def test_a13_each_class_lets_in_who_it_says(
    server: Served, pages: list[Place], sockets: list[Place], who: str
):
    headers: dict[str, str] = {
        "key": {"Authorization": f"Bearer {server.key}"},
        "program here": {},
        "browser": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        "wrong key": {"X-Api-Key": "sk-wrong"},
    }[who]
    for place in [*pages, *sockets]:
        if place.kind == "websocket":
            page = dict([ours(server)]) if who == "browser" else {}  # They send it with a socket.
            inside = server.upgrade(place.sample, headers | page) == 101
        else:
            inside = server.ask(place.methods[0], place.sample, headers).status not in (401, 403)
        assert inside == (place.access in ALLOWED[who]), (place, who)
