"""F51 of attacks-and-faults.md: what git may be asked for, over a real https server on loopback."""

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from extensions.workshop import repository
from kernel.api import Refused

MANIFEST = 'id = "loom"\nname = "Loom"\nversion = "1"\nsummary = "Weaves."\napi = 1\n'
COMMIT = "0123456789abcdef0123456789abcdef01234567"
needs_git = pytest.mark.skipif(
    not (shutil.which("git") and shutil.which("openssl")),
    reason="THE GIT TESTS DID NOT RUN; on Debian: sudo apt install git openssl",
)


def never() -> bool:
    return False


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    run = subprocess.run(
        ["git", *name, *words], cwd=folder, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


class Host:
    """Serves the repositories of a folder as a forge would."""

    def __init__(self, root: Path) -> None:
        self.root, self.address, self.asked = root, "", list[str]()
        self.before: Callable[[BaseHTTPRequestHandler], bool] = lambda request: False

    def repository(self, name: str, fill: Callable[[Path], None]) -> str:
        """Make a repository with one commit; answers its address at that."""
        work = self.root / f"{name}.work"
        work.mkdir()
        git(work, "init", "-q")
        (work / "extension.toml").write_text(MANIFEST)
        (work / "__init__.py").write_text("async def setup(ext): pass\n")
        fill(work)
        return self.commit(name)

    def commit(self, name: str) -> str:
        work, bare = self.root / f"{name}.work", self.root / f"{name}.git"
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", "x", "--allow-empty")
        shutil.rmtree(bare, ignore_errors=True)
        git(self.root, "clone", "-q", "--bare", str(work), str(bare))
        return f"{self.address}/{name}.git@{git(work, 'rev-parse', 'HEAD')}"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    yield from serve(tmp_path, monkeypatch)


def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    root, key, cert = tmp_path / "forge", tmp_path / "key.pem", tmp_path / "cert.pem"
    root.mkdir()
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-keyout {key} -out {cert} -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost,IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("GIT_SSL_CAINFO", str(cert))
    host = Host(root)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            host.asked.append(self.path)
            if host.before(self):
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
            }
            said = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True)
            head, _, content = said.stdout.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().split("\r\n")]
            status = next((value for name, _, value in lines if name == "Status"), "200 OK")
            self.send_response(int(status.split()[0]))
            for name, _, value in lines:
                if name != "Status":
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    host.address = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "address",
    [
        f"git://host/x.git@{COMMIT}",
        f"file:///x.git@{COMMIT}",
        f"ssh://git@host/x.git@{COMMIT}",
        f"git@host:x.git@{COMMIT}",
        f"http://host/x.git@{COMMIT}",
        f"ext::sh -c touch% x@{COMMIT}",
        f"https://host/x.git --upload-pack=touch@{COMMIT}",
        f"--upload-pack=touch https://host/x.git@{COMMIT}",
        f"-c core.pager=x https://host/x@{COMMIT}",
        f"https://-oProxyCommand=x/x.git@{COMMIT}",
        f"https://host/--upload-pack=x@{COMMIT}",
        f"https://me:secret@host/x.git@{COMMIT}",
        f"https://host/../x.git@{COMMIT}",
        f"https://host/x.git?a=b@{COMMIT}",
        f"https://host/x.git#main@{COMMIT}",
        f"https://host\\@evil/x.git@{COMMIT}",
        f"https://host/x.git@{COMMIT}\n",
        f"https://host/x%2e%2e/x@{COMMIT}",
        f"HTTPS://host/x.git@{COMMIT}",
        "https://host/x.git",
        "https://host/x.git@main",
        "https://host/x.git@0123456",
        f"https://host/x.git@{COMMIT.upper()}",
        f"https:///x.git@{COMMIT}",
        "",
    ],
)
def test_f51_every_other_address_is_refused(address: str):
    with pytest.raises(Refused, match="An address is https"):
        repository.parse(address)


def test_f51_an_address_is_taken():
    assert repository.parse(f"https://git.host.org:8443/~me/a-b_c.git@{COMMIT}") == (
        "https://git.host.org:8443/~me/a-b_c.git",
        COMMIT,
    )


@needs_git
def test_a_commit_is_fetched_and_the_newest_found(host: Host, tmp_path: Path):
    first = host.repository("loom", lambda work: None)
    repository.fetch(first, tmp_path / "in" / "tree", never)
    assert (tmp_path / "in" / "tree" / "extension.toml").read_text() == MANIFEST
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["tree"]
    second = host.commit("loom")
    assert repository.newest(first, tmp_path / "ask", never) == second
    repository.fetch(first, tmp_path / "in" / "again", never)  # the older one, as it was pinned


@needs_git
def test_f51_nothing_of_a_repository_is_run_or_followed(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    canary = tmp_path / "canary"
    home = tmp_path / "home"
    hooks = home / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[init]\ntemplateDir = {home / 'template'}\n[core]\nhooksPath = {hooks}\n"
        f'[filter "evil"]\nsmudge = touch {canary}; cat\nclean = touch {canary}; cat\n'
        f'[credential]\nhelper = "!touch {canary}"\n'
        f'[url "file://{tmp_path}/elsewhere/"]\ninsteadOf = https://localhost\n'
    )
    for name, value in {"HOME": str(home), "GIT_TEMPLATE_DIR": str(home / "template"),
                        "GIT_ASKPASS": f"touch {canary}", "GIT_SSH_COMMAND": f"touch {canary}",
                        "GIT_EXTERNAL_DIFF": f"touch {canary}"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "x")

    def fill(work: Path) -> None:
        (work / ".gitattributes").write_text("*.py filter=evil\n*.bin filter=lfs diff=lfs\n")
        (work / "large.bin").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        )
        git(work, "submodule", "--quiet", "add", str(other), "sub")

    address = host.repository("loom", fill)
    assert not canary.exists()
    repository.fetch(address, tmp_path / "in" / "tree", never)
    assert not canary.exists()
    tree = tmp_path / "in" / "tree"
    assert (tree / "large.bin").read_text().startswith("version https://git-lfs")
    assert not list(tree.glob("sub/*")), "no submodule"
    assert not any("lfs" in path for path in host.asked)


@needs_git
def test_f51_a_link_in_a_repository_is_refused(host: Host, tmp_path: Path):
    def fill(work: Path) -> None:
        (work / "passwd").symlink_to("/etc/passwd")

    address = host.repository("loom", fill)
    with pytest.raises(Refused, match="link or a device"):
        repository.fetch(address, tmp_path / "in" / "tree", never)


@needs_git
def test_f51_a_redirect_and_a_question_for_a_password_are_refused(host: Host, tmp_path: Path):
    address = host.repository("loom", lambda work: None)

    def answer(status: int, name: str, value: str) -> Callable[[BaseHTTPRequestHandler], bool]:
        def send(request: BaseHTTPRequestHandler) -> bool:
            if "moved" not in request.path:
                return False
            request.send_response(status)
            request.send_header(
                name, value + request.path.removeprefix("/moved.git") * (status < 400)
            )
            request.send_header("content-length", "0")
            request.end_headers()
            return True

        return send

    for before in (
        answer(302, "location", f"{host.address}/loom.git"),
        answer(302, "location", "http://127.0.0.1:1/loom.git"),
        answer(401, "www-authenticate", 'Basic realm="x"'),
    ):
        host.before = before
        with pytest.raises(Refused, match="could not be fetched"):
            repository.fetch(address.replace("/loom.git", "/moved.git"), tmp_path / "a", never)


@needs_git
def test_f51_a_certificate_that_nobody_signed_is_refused(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    address = host.repository("loom", lambda work: None)
    monkeypatch.delenv("GIT_SSL_CAINFO")
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    with pytest.raises(Refused, match="certificate"):
        repository.fetch(address, tmp_path / "in" / "tree", never)


@needs_git
def test_f51_a_repository_that_takes_long_or_sends_much_is_ended(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fill(work: Path) -> None:
        (work / "noise").write_bytes(os.urandom(3 << 20))

    address = host.repository("loom", fill)
    monkeypatch.setattr(repository, "MOST", 1 << 20)
    with pytest.raises(Refused, match="more than 1 MB"):
        repository.fetch(address, tmp_path / "in" / "tree", never)
    ended = threading.Event()
    host.before = lambda request: ended.wait(20)
    monkeypatch.setattr(repository, "SECONDS", 0.3)
    try:
        with pytest.raises(Refused, match="took longer"):
            repository.fetch(address, tmp_path / "in" / "tree", never)
        with pytest.raises(Refused, match="cancelled"):
            repository.fetch(address, tmp_path / "in" / "tree", lambda: True)
    finally:
        ended.set()
    assert not list((tmp_path / "in").iterdir())


def test_without_git_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Refused, match="sudo apt install git"):
        repository.fetch(f"https://host/x.git@{COMMIT}", tmp_path / "in" / "tree", never)
