"""A real server in a process of its own, and a client that says exactly what it is told."""

import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.live import ROOT, free_port

HERE = Path(__file__).parent
CLASSES = ("public", "page", "files", "inference", "admin")
QUIET = "extensions:\n  models:\n    at_start: false\n"
"""No engine is needed where nothing is generated."""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
Headers = Mapping[str, str] | Sequence[tuple[str, str]]
KEPT: dict[tuple[int, int], http.client.HTTPConnection] = {}
"""Connections that are open, by port and thread; conftest.py closes them after each test."""


def let_go() -> None:
    """Close what is kept open."""
    while KEPT:
        KEPT.popitem()[1].close()


class Answer(NamedTuple):
    """What came back, with names of headers in small letters."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Served:
    """A server on its own data; what it prints lies in `log`."""

    def __init__(self, folder: Path, *flags: str, host: str = "127.0.0.1") -> None:
        self.data, self.log, self.port = folder / "data", folder / "log", free_port()
        self.name = f"{host}:{self.port}"
        self.origin = f"http://{self.name}"
        self.key = self.link = ""
        self._flags, self._process = flags, None

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        settings = self.data / "settings.yaml"
        if not settings.exists():
            settings.write_text(QUIET, "utf-8")
        command = [sys.executable, "-P", "-m", "kernel", "serve", "--no-browser"]
        command += ["--port", str(self.port), "--data-dir", str(self.data)]
        command += ["--character-dir", str(self.data / "characters"), *self._flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.data,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PIP_NO_INDEX": "1"},
            )
        begun = self.log.stat().st_size
        deadline = time.monotonic() + 30
        while b"Ctrl+C" not in self.log.read_bytes()[begun:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it did not start:\n{self.said}")
            time.sleep(0.02)
        found = re.findall(r"https?://\S+token=\S+", self.said)
        self.link = found[-1] if found else ""
        self.key = re.findall(r"sk-\S+", self.said)[-1]

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        let_go()
        if self._process:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def ask(
        self,
        method: str,
        path: str,
        headers: Headers = (),
        body: bytes = b"",
    ) -> Answer:
        """One request with these headers and no others but Host, unless that is among them."""
        pairs = [*(headers.items() if isinstance(headers, Mapping) else headers)]
        if not any(name.lower() == "host" for name, _ in pairs):
            pairs.insert(0, ("Host", self.name))
        if body or method in ("POST", "PUT", "PATCH", "DELETE"):
            pairs.append(("Content-Length", str(len(body))))
        try:
            return self._asked(self._connection(), method, path, pairs, body)
        except (http.client.RemoteDisconnected, ConnectionError):  # It was closed meanwhile.
            return self._asked(self._connection(), method, path, pairs, body)

    def _connection(self) -> http.client.HTTPConnection:
        """The one of the request before, where that may be used again: half of what one costs."""
        made = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        return KEPT.pop((self.port, threading.get_ident()), made)

    def _asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        pairs: Sequence[tuple[str, str]],
        body: bytes,
    ) -> Answer:
        answer = None
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in pairs:
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            said = b"" if answer.status == 101 else answer.read()
            return Answer(answer.status, [(k.lower(), v) for k, v in answer.getheaders()], said)
        finally:
            if answer and answer.isclosed() and not answer.will_close:
                KEPT[self.port, threading.get_ident()] = connection
            else:
                connection.close()

    def upgrade(self, path: str, headers: Headers = ()) -> int:
        """The status of a WebSocket's beginning: 101, or a refusal."""
        pairs = [*(headers.items() if isinstance(headers, Mapping) else headers)]
        return self.ask("GET", path, [*pairs, *UPGRADE.items()]).status

    def sign_in(self) -> dict[str, str]:
        """The cookie of a new session."""
        body = f"token={self.key}".encode()
        form = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        answer = self.ask("POST", "/login", form, body)
        assert answer.status == 303, answer
        return {"Cookie": answer.header("set-cookie").partition(";")[0]}

    def sung(self) -> str:
        """What was asked of the canaries."""
        file = self.data / "canary.log"
        return file.read_text("utf-8") if file.exists() else ""

    def until(self, name: str, seconds: float = 30) -> None:
        """Wait for a file that it keeps by itself, soon after its start."""
        deadline = time.monotonic() + seconds
        while not (self.data / name).exists():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def files(self) -> dict[str, bytes]:
        """Everything it keeps, but for the database's own housekeeping."""
        kept = (file for file in self.data.rglob("*") if file.is_file())
        names = {file.relative_to(self.data).as_posix(): file for file in kept}
        odd = (".lock", "-wal", "-shm", ".pyc")
        return {name: f.read_bytes() for name, f in names.items() if not name.endswith(odd)}


def canaries(data: Path) -> None:
    """An extension for each class of access, in the user's own folder."""
    for access in CLASSES:
        folder = data / "extensions" / f"canary_{access}"
        shutil.copytree(HERE / "canary", folder, ignore=shutil.ignore_patterns("__pycache__"))
        manifest = folder / "extension.toml"
        text = manifest.read_text("utf-8").replace("canary_page", folder.name)
        manifest.write_text(text, "utf-8")


@contextmanager
def served(folder: Path, *flags: str, host: str = "127.0.0.1") -> Iterator[Served]:
    """A server with every built-in extension and a canary for each class of access."""
    server = Served(folder, *flags, host=host)
    canaries(server.data)
    try:
        server.start()
        yield server
    finally:
        server.stop()
