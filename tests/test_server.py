"""The server as a process: how it starts, what it says when it cannot, and how it ends."""

import asyncio
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from kernel import server
from kernel.contract import Refused
from kernel.flags import Flags
from tests.live import ROOT, Live, free_port, live

WITNESS = """
async def setup(ext):
    file = ext.data_root / "ended"
    file.unlink(missing_ok=True)
    ext.defer(lambda: file.write_text("in peace"))
"""


def witness(data: Path) -> None:
    """An extension that leaves a file when it is stopped properly."""
    folder = data / "extensions" / "witness"
    folder.mkdir(parents=True)
    (folder / "extension.toml").write_text(
        'id = "witness"\nname = "Witness"\nversion = "1"\nsummary = "Ends."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(WITNESS)


@pytest.mark.parametrize(
    "how",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGTERM)],
)
async def test_a_signal_ends_it_in_peace(tmp_path: Path, how: tuple[signal.Signals, ...]):
    """The third is what a terminal sends that is closed; some send two at once."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Whom nohup began hears none.
    data = tmp_path / "data"
    witness(data)
    flags = ("--extensions", "witness", "conversations")
    async with live(data, tmp_path, *flags) as server:
        signal.signal(signal.SIGHUP, before)
        server.tell(*how[:-1])
        assert await server.kill(how[-1]) == 0, server.said
    assert (data / "ended").read_text() == "in peace"
    assert not (data / "chats.sqlite3-wal").exists()


async def test_what_flags_leave_out_is_told_at_the_start(tmp_path: Path):
    data = tmp_path / "data"
    witness(data)
    flags = ("--extensions", "witness", "--chat", "--wbits", "4")
    async with live(data, tmp_path, *flags) as server:
        assert await server.kill(signal.SIGTERM) == 0, server.said
    left_out = "--chat (the page has all of it); --wbits (for a loader that is not here)"
    assert f"Left out, as it means nothing here: {left_out}.\n" in server.said
    assert "By --extensions only these and what they need run: witness\n" in server.said


async def test_what_starts_and_stops_is_logged_and_a_stranger_in_the_settings_told(tmp_path: Path):
    data = tmp_path / "data"
    witness(data)
    (data / "settings.yaml").write_text("extensions:\n  witnes:\n    enabled: true\n")
    for verbose in ((), ("--verbose",)):
        async with live(data, tmp_path, "--extensions", "witness", *verbose) as server:
            assert await server.kill(signal.SIGTERM) == 0, server.said
        stranger = "In settings.yaml, extensions.witnes: There is no extension “witnes”; did you"
        assert f"{stranger} mean “witness”?" in server.said
        states = re.findall(r"Extension witness: (\w+)", server.said)
        assert states == (["starting", "running", "stopping", "off"] if verbose else [])


@pytest.mark.skipif(sys.platform == "win32", reason="$BROWSER is for others")
@pytest.mark.parametrize(
    ("flags", "settings", "opens"),
    [
        ((), "", True),
        (("--no-browser",), "", False),
        ((), "server:\n  open_browser: false\n", False),
    ],
    ids=["usually", "by flag", "by setting"],
)
async def test_the_page_is_opened_unless_that_is_not_wanted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    settings: str,
    opens: bool,
):
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f"#!/bin/sh\necho once >> '{opened}'\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    data = tmp_path / "data"
    data.mkdir()
    (data / "settings.yaml").write_text(settings)
    server = Live(data, tmp_path, "--safe-mode")
    server.quiet = flags
    try:
        await server.start()
    finally:
        assert await server.kill(signal.SIGTERM) == 0, server.said
    assert (opened.exists() and opened.read_text()) == (opens and "once\n"), "all it began is done"


@pytest.mark.parametrize("browser", ["w3m", "elinks"])
async def test_no_browser_that_would_take_the_terminal_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: str
):
    """As are found where nothing shows a window; Python knows them as two kinds."""
    opened, folder = tmp_path / "opened", tmp_path / "bin"
    folder.mkdir()
    (folder / browser).write_text(f"#!/bin/sh\necho once >> '{opened}'\n")
    (folder / browser).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    server = Live(tmp_path / "data", tmp_path, "--safe-mode")
    server.quiet = ()
    try:
        await server.start()
    finally:
        assert await server.kill(signal.SIGTERM) == 0, server.said
    assert not opened.exists()


async def test_the_page_needs_the_link_and_then_no_more(tmp_path: Path):
    async with (
        live(tmp_path / "data", tmp_path, "--safe-mode") as server,
        httpx.AsyncClient() as web,
    ):
        assert (await web.get(server.address)).status_code == 401
        answer = await web.get(server.link)
        assert answer.status_code == 303
        page = await web.get(server.address)
        assert page.status_code == 200
        assert "Settings" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await web.get(server.address, headers={"host": "evil.test"})).status_code == 403
        for path in ("/static/app.css", "/static/page.js", "/static/vendor/htmx.min.js"):
            asset = await web.get(server.address + path)
            assert asset.status_code == 200


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key, and a certificate for this machine that is signed with it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-keyout {key} -out {cert} -subj /CN=localhost "
        "-addext subjectAltName=IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    return key, cert


@pytest.mark.skipif(not shutil.which("openssl"), reason="on Debian: sudo apt install openssl")
async def test_with_a_certificate_it_speaks_https_alone(tmp_path: Path):
    key, cert = certificate(tmp_path)
    flags = ("--safe-mode", "--tls-cert", str(cert), "--tls-key", str(key))
    trusts = ssl.create_default_context(cafile=str(cert))
    async with (
        live(tmp_path / "data", tmp_path, *flags) as server,
        httpx.AsyncClient(verify=trusts) as web,
    ):
        address = f"https://127.0.0.1:{server.port}"
        (link,) = re.findall(rf"{address}/\?token=\S+", server.said)
        assert (await web.get(address)).status_code == 401
        answer = await web.get(link)
        assert (answer.status_code, "; Secure" in answer.headers["set-cookie"]) == (303, True)
        page = await web.get(f"{address}/")
        assert (page.status_code, "Settings" in page.text) == (200, True)
        with pytest.raises(httpx.TransportError):
            await web.get(server.address)


@pytest.mark.skipif(not shutil.which("openssl"), reason="on Debian: sudo apt install openssl")
def test_a_key_with_a_passphrase_is_told_as_such(tmp_path: Path):
    key, cert = certificate(tmp_path)
    locked = tmp_path / "locked.pem"
    command = f"openssl ec -aes256 -in {key} -out {locked} -passout pass:secret"
    subprocess.run(command.split(), check=True, capture_output=True)
    flags = Flags(data_dir=tmp_path / "data", tls_cert=cert, tls_key=locked)
    with pytest.raises(Refused, match="has a passphrase, which nobody may be there to type"):
        server.kernel_of(flags)


async def test_a_password_is_asked_for_and_who_said_it_signs_out(tmp_path: Path):
    flags = ("--safe-mode", "--password", "hunter2")
    async with (
        live(tmp_path / "data", tmp_path, *flags) as server,
        httpx.AsyncClient(headers={"Accept": "text/html", "Origin": server.address}) as web,
    ):
        asked = await web.get(f"{server.address}/settings/access")
        assert asked.status_code == 401
        assert "This server asks for its password." in asked.text
        assert '<label for="token">Password</label>' in asked.text
        box = re.search(r'<input id="token" [^>]*>', asked.text)
        assert box
        assert 'name="password" type="password"' in box[0]
        assert 'autocomplete="current-password"' in box[0]
        (next,) = re.findall(r'<input type="hidden" name="next" value="([^"]*)">', asked.text)
        wrong = await web.post(f"{server.address}/login", data={"password": "hunter"})
        assert wrong.status_code == 401
        assert re.search(r'aria-invalid="true".*role="alert">[^<]+</p>', wrong.text, re.DOTALL)
        said = {"password": "hunter2", "next": next}
        page = await web.post(f"{server.address}/login", data=said, follow_redirects=True)
        assert (page.status_code, page.url.path) == (200, "/settings/access")
        (way,) = re.findall(r'<form method="post" action="(\S+)"><button[^>]*>Sign out<', page.text)
        assert (await web.post(server.address + way)).status_code == 303
        assert (await web.get(f"{server.address}/settings/access")).status_code == 401


def test_settings_that_do_not_fit_on_the_disk_are_copied_when_there_is_room(tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        server.kernel_of(Flags(data_dir=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    server.kernel_of(Flags(data_dir=tmp_path))
    shipped = server.ROOT / "settings.default.yaml"
    assert (tmp_path / "settings.yaml").read_bytes() == shipped.read_bytes()


@pytest.mark.parametrize("closed", ["", "secrets", "secrets/session_key"])
def test_what_a_start_with_sudo_left_is_named(tmp_path: Path, closed: str):
    if not os.geteuid() and not shutil.which("setpriv"):
        pytest.skip("Nothing is closed to root.")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "session_key").touch()
    (tmp_path / closed).chmod(0)
    meek = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    command = [*(meek * (not os.geteuid())), sys.executable, "-m", "kernel", "serve"]
    command += ["--no-browser", "--safe-mode", "--port", "0", "--data-dir", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    (tmp_path / closed).chmod(0o700)
    assert ran.returncode == 1
    assert ran.stderr.startswith(str(tmp_path / closed))
    assert "Make it and all that lies with it yours, then start again." in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="It has no such device.")
def test_it_starts_though_nobody_can_be_told(tmp_path: Path):
    """What it prints goes to a file on a full disk, or into a pipe that is closed."""
    port = free_port()
    (tmp_path / "settings.yaml").write_text("nothing: 1\n")
    command = [sys.executable, "-m", "kernel", "serve", "--no-browser", "--safe-mode"]
    command += ["--port", str(port), "--data-dir", str(tmp_path)]
    with (
        open("/dev/full", "wb") as full,
        subprocess.Popen(command, stdout=full, stderr=full, cwd=ROOT) as server,
    ):
        try:
            answered(server, port)
            while not (tmp_path / "remembered").exists():  # It has started to the end.
                assert server.poll() is None
                time.sleep(0.05)
        finally:
            server.terminate()


def answered(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until a page is answered, if only with a box for the token."""
    while server.poll() is None:
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/")
            return
        time.sleep(0.05)
    raise AssertionError(f"It ended with {server.returncode}")


async def test_what_listens_at_ipv6_names_an_address_that_answers(tmp_path: Path):
    flags = ("--safe-mode", "--listen", "::", "--insecure-no-auth")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("This machine has no IPv6.")
    async with live(tmp_path / "data", tmp_path, *flags) as server, httpx.AsyncClient() as web:
        (link,) = re.findall(r"^ +(http://\S+)$", server.said, re.MULTILINE)
        assert (await web.get(link)).status_code == 200
        told = re.search("Other machines reach it, .* at (.*)", server.said)
        assert not told or not re.search(r"//[\d.]+:", told[1])


async def test_who_lets_everybody_in_is_not_told_of_a_password(tmp_path: Path):
    flags = ("--safe-mode", "--listen", "--insecure-no-auth")
    async with live(tmp_path / "data", tmp_path, *flags) as server, httpx.AsyncClient() as web:
        assert "Other machines reach it, and nobody needs a password, at" in server.said
        page = await web.get(server.address + "/settings/access")
        assert "Nobody but pages of other sites needs it" in page.text
        assert "Sign out" not in page.text


async def test_others_are_told_names_that_lead_here(tmp_path: Path):
    flags = ("--safe-mode", "--listen", "--password", "x")
    async with live(tmp_path / "data", tmp_path, *flags) as server:
        told = re.search("Other machines reach it, with the password, at (.*)", server.said)
        assert told
        places = told[1].split(", ")
        names = {place.removeprefix("http://").rpartition(":")[0] for place in places}
        assert all(place.startswith("http://") for place in places)
        assert not [name for name in names if name.startswith(("127.", "[::1]"))]
        assert socket.gethostname().lower() in names
        # A machine without a network has no such address.
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect(("198.51.100.1", 9))
            assert way.getsockname()[0] in names


async def test_a_start_loads_nothing_that_the_first_page_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    flags = ("--model-dir", str(tmp_path))
    async with live(tmp_path / "data", tmp_path, *flags) as server, httpx.AsyncClient() as web:
        assert (await web.get(server.link, follow_redirects=True)).status_code == 200
        loaded = set(re.findall(r"\| +(\S+)$", server.said, re.MULTILINE))
    assert {"kernel.app", "extensions.workshop.bisect"} <= loaded
    late = {"markdown_it", "pygments", "tarfile", "importlib.metadata", "websockets"}
    assert not loaded & late, "each takes more than a hundredth of a start"
    heavy = {"torch", "transformers", "numpy", "huggingface_hub", "pydantic", "httpx", "orjson"}
    assert not loaded & heavy, "they are the engines', the downloads' or the tests'"


async def test_two_servers_never_share_a_data_folder_or_a_port(tmp_path: Path):
    async with live(tmp_path / "data", tmp_path, "--safe-mode") as server:
        for flags, sentence in (
            (
                ("--data-dir", str(server.data), "--port", str(free_port())),
                f"runs already at {server.address}, with",
            ),
            (("--data-dir", str(tmp_path / "b"), "--port", str(server.port)), "is taken"),
        ):
            told = await asyncio.to_thread(run, *flags)
            assert told.returncode == 1
            assert sentence in told.stderr


def run(*flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kernel", "serve", "--no-browser", *flags]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--data-dir", "/proc/nope"), "cannot be the data folder"),
        (("--tls-cert", "/nope.pem", "--tls-key", "/nope.key"), "There is no /nope.pem"),
        (("--tls-cert", "README.md", "--tls-key", "README.md"), "README.md are no certificate and"),
        (("--settings", "/nope/settings.yaml"), "There is no /nope"),
        (("--model-dir", "/nope/models"), "There is no folder /nope/models for models. Make it"),
        (("--extensions", "chta"), "did you mean “chat”"),
        (("--extensions", "openai"), "the API of OpenAI is on by itself. --extensions runs those"),
        (("--extensions", "chta", "gallery"), "“gallery”: the page Characters has one"),
        (("--without", "chta", "gallery"), "did you mean “chat”"),
        (("--listen",), "needs --password"),
        (("--listen", "192.0.2.77", "--password", "x"), "requested address). Give another"),
        (("--prot", "1"), "Did you mean --port?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_start_that_cannot_be_says_so_without_a_traceback(
    tmp_path: Path, flags: tuple[str, ...], sentence: str
):
    data = () if "--data-dir" in flags else ("--data-dir", str(tmp_path / "data"))
    told = run(*flags, *data, "--port", str(free_port()))
    assert told.returncode != 0
    assert sentence in told.stderr
    assert "Traceback" not in told.stderr


def test_a_checkout_stays_clean_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "ROOT", tmp_path)
    shipped = (ROOT / "settings.default.yaml").read_bytes()
    (tmp_path / "settings.default.yaml").write_bytes(shipped)
    server.kernel_of(Flags())
    mine = tmp_path / "settings.yaml"
    assert mine.read_bytes() == shipped
    mine.write_text("appearance:\n  theme: dark\n")
    assert server.kernel_of(Flags()).theme == "dark"
    assert (tmp_path / "settings.default.yaml").read_bytes() == shipped
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert "/settings.yaml" in ignored
    assert "/data/" in ignored
