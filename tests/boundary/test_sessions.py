"""A9 to A11, A14, A15 at a real server: cookies, guessing, what ends with its right, exposure."""

import asyncio
import hmac
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from kernel.hosts import LOOPBACK
from kernel.keyring import Keyring
from kernel.listener import own_names
from kernel.testing import ROOT
from tests.boundary.places import Place
from tests.boundary.served import Served, served

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def log_in(server: Served, said: str) -> tuple[int, str]:
    """The status of a try, and the cookie it got."""
    answer = server.ask("POST", "/login", {"Origin": server.origin, **FORM}, said.encode())
    return answer.status, answer.header("set-cookie")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that other machines reach, with a password."""
    with served(tmp_path_factory.mktemp("guarded"), "--listen", "--password", "one two") as server:
        yield server


# --- A9 -----------------------------------------------------------------------------------


def test_a9_the_launch_link_becomes_a_cookie_and_is_gone(server: Served):
    path = server.link.removeprefix(server.origin)
    token = path.partition("token=")[2]
    answer = server.ask("GET", path, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"})
    assert (answer.status, answer.header("location")) == (303, "/")
    cookie = answer.header("set-cookie").lower()
    for part in ("httponly", "samesite=strict", "path=/", "max-age="):
        assert part in cookie
    assert "domain" not in cookie
    assert token not in str(answer)
    again = server.ask("GET", path, {"Accept": "text/html"})
    assert again.status == 401
    assert token not in str(again)


def test_a9_nothing_secret_is_logged_or_kept_readable(tmp_path: Path):
    with served(tmp_path, "--verbose") as server:
        cookie = server.sign_in()["Cookie"].partition("=")[2]
        begun = len(server.said)
        for path in (f"/?token={server.key}", f"/no?key={server.key}", "/ext/canary_page/do"):
            server.ask("GET", path, {"Cookie": f"spindle_{server.port}={cookie}"})
            server.ask("GET", path, {"Authorization": f"Bearer {server.key}"})
        server.upgrade("/ws", {"Sec-WebSocket-Protocol": f"spindle.key.{server.key}"})
        said = server.said[begun:]
        assert "/ws" in said, "a verbose log tells of what is asked"
        for secret in (server.key, cookie, cookie.rpartition(".")[2]):
            assert secret not in said
        modes = [f.stat().st_mode & 0o77 for f in (server.data / "secrets").iterdir()]
        assert modes
        assert not any(modes)


# --- A10 ----------------------------------------------------------------------------------


def test_a10_guessing_gets_slow_but_not_for_who_has_the_key(tmp_path: Path):
    with served(tmp_path, "--password", "one two") as server:
        statuses = [log_in(server, f"password={n}")[0] for n in range(10)]
        assert statuses == [401] * 10
        while 429 not in statuses:  # On a busy machine the first wait, a second, may be over.
            assert len(statuses) < 20
            statuses.append(log_in(server, f"password={len(statuses)}")[0])
        assert log_in(server, f"token={server.key}")[0] == 303
        assert log_in(server, "password=one+two")[0] in (303, 429)


@pytest.mark.long
@pytest.mark.parametrize("carrier", ["Authorization", "X-Api-Key", "Cookie"])
def test_a10_answers_take_the_same_time_however_close_a_guess_is(server: Served, carrier: str):
    right = server.sign_in()["Cookie"].partition("=")[2] if carrier == "Cookie" else server.key
    before = {"Cookie": f"spindle_{server.port}=", "Authorization": "Bearer "}.get(carrier, "")
    guesses = {"first": "~" + right[1:], "last": right[:-1] + "~", "short": "x"}
    took: dict[str, list[float]] = {name: [] for name in guesses}
    for _ in range(40):
        for name, guess in guesses.items():
            begun = time.perf_counter()
            status = server.ask("GET", "/ext/canary_admin/do", {carrier: before + guess}).status
            took[name].append(time.perf_counter() - begun)
            assert status == 401
    quick = [min(times) for times in took.values()]  # What else runs only adds to a time.
    assert max(quick) - min(quick) < 0.001


async def test_a10_every_secret_is_compared_in_a_time_that_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keyring = Keyring(tmp_path, "one two")
    compared: list[tuple[bytes, bytes]] = []
    digest = hmac.compare_digest
    watched = lambda a, b: compared.append((a, b)) or digest(a, b)  # noqa: E731
    monkeypatch.setattr("kernel.keyring.hmac.compare_digest", watched)
    link, cookie = keyring.link(), keyring.begin()
    assert keyring.knows(keyring.key)
    assert keyring.session(cookie)
    assert keyring.opens(link)
    assert len(compared) == 3
    assert await keyring.admit("one two", "127.0.0.1")
    assert len(compared) == 5, "the key, and then the password"
    assert {len(text) for pair in compared for text in pair} == {32}, "their lengths are hidden"


# --- A11 ----------------------------------------------------------------------------------


async def ends(socket: ClientConnection, seconds: float = 2) -> None:
    """Wait until a socket is closed by the server."""
    async with asyncio.timeout(seconds):
        await socket.wait_closed()


async def test_a11_signing_out_closes_the_sockets_of_that_session_alone(
    server: Served, sockets: list[Place]
):
    mine, other = server.sign_in(), server.sign_in()
    for place in sockets:
        url = f"ws://{server.name}{place.sample}"
        headers = {"Origin": server.origin}
        async with (
            connect(url, additional_headers={**headers, **mine}) as gone,
            connect(url, additional_headers={**headers, **other}) as stays,
        ):
            ask = {"Origin": server.origin, **mine}
            assert (await asyncio.to_thread(server.ask, "POST", "/logout", ask)).status == 303
            await ends(gone)
            await stays.ping()
            again = server.upgrade(place.sample, {**headers, **mine})
            assert again == (101 if place.access == "public" else 403)
        mine = server.sign_in()


async def test_a11_another_key_closes_what_the_old_one_opened(tmp_path: Path):
    """The key is changed by putting another file in its place, or taking it away."""
    with served(tmp_path) as server:
        url = f"ws://{server.name}/ext/canary_admin/talk"
        old, file = server.key, server.data / "secrets" / "api_key"
        page = {"Origin": server.origin, **server.sign_in()}
        async with (
            connect(url, additional_headers={"X-Api-Key": old}) as gone,
            connect(f"ws://{server.name}/ws", additional_headers=page) as stays,
        ):
            await gone.recv()
            file.write_text("sk-another-key-of-the-user")
            await ends(gone)
            await stays.ping()
            assert server.upgrade("/ext/canary_admin/talk", {"X-Api-Key": old}) == 403
            new = {"X-Api-Key": "sk-another-key-of-the-user"}
            assert server.upgrade("/ext/canary_admin/talk", new) == 101


def test_a11_another_password_ends_every_session(tmp_path: Path):
    with served(tmp_path, "--password", "one") as server:
        cookie = server.sign_in()
        assert server.ask("GET", "/", cookie).status == 200
        server.stop()
        for flags, status in (("--password", "two"), 401), (("--password", "one"), 200):
            server._flags = flags
            server.start()
            assert server.ask("GET", "/", cookie).status == status
            server.stop()


# --- A14, A15 -----------------------------------------------------------------------------


@pytest.mark.parametrize("listen", [["--listen"], ["--listen", "0.0.0.0"], ["--listen", "::"]])
def test_a14_without_a_password_nothing_is_exposed(tmp_path: Path, listen: list[str]):
    command = [sys.executable, "-P", "-m", "kernel", "serve", "--no-browser", "--port", "0"]
    command += ["--data-dir", str(tmp_path / "data"), *listen]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "--password" in ended.stderr
    assert "--insecure-no-auth" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


def far(server: Served) -> str:
    """A name of this machine by which other machines reach it."""
    names = (name for name in own_names() if "[" not in name and name not in LOOPBACK)
    return f"{min(names)}:{server.port}"


def test_a15_what_runs_code_is_refused_from_elsewhere(guarded: Served, all_places: list[Place]):
    admin = [place for place in all_places if place.access == "admin"]
    assert {"workshop", "canary_admin"} <= {place.owner for place in admin}
    host = far(guarded)
    cookie = guarded.sign_in()
    for place in admin:
        for who in ({"Authorization": f"Bearer {guarded.key}"}, cookie):
            headers = {"Host": host, "Origin": f"http://{host}", **who}
            if place.kind == "websocket":
                assert guarded.upgrade(place.sample, headers) == 403
                continue
            for method in place.methods:
                answer = guarded.ask(method, place.sample, headers)
                assert answer.status == 403, place
                assert "--allow-remote-install" in answer.text or method in ("HEAD", "OPTIONS")
    assert guarded.ask("GET", "/", {"Host": host, **cookie}).status == 200
    assert guarded.ask("GET", "/ext/canary_admin/do", cookie).status == 200, "it may, from here"


def test_a15_a_flag_of_its_own_allows_it(tmp_path: Path):
    flags = ("--listen", "--password", "one", "--allow-remote-install")
    with served(tmp_path, *flags) as server:
        headers = {"Host": far(server), "Authorization": f"Bearer {server.key}"}
        assert server.ask("GET", "/ext/canary_admin/do", headers).status == 200
