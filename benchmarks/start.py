"""From process start to the first byte of the page, memory, weight: python -m benchmarks.start

Floors: an interpreter that does nothing, and a page of one word on the same web server. CPU is the
server process's, whatever else the machine does; wall time on a busy machine says little. Python
keeps its bytecode in a folder of our own here, so that it is there whatever the environment says.
The set-up compiles Spindle's sources, so "the first start" finds their bytecode, but not that of
templates; "after an update" is a start that finds no bytecode of Spindle's at all.
"""

import asyncio
import gzip
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Response

from benchmarks.common import (
    ROOT,
    arguments,
    children,
    cpu,
    header,
    load,
    resident,
    sign_in,
    spread,
    table,
)
from tests.live import chromium, free_port

USUAL, FIRST = "python server.py, no model", "the same, the first start"
UPDATED = "the same, after an update"
PYTHON = str(Path(sys.executable).resolve())
"""The one outside the environment, which a user types."""
HELLO = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

async def page(request):
    return HTMLResponse("hello")

app = Starlette(routes=[Route("/", page)])
uvicorn.run(app, port=int(sys.argv[1]), http="httptools", log_config=None, lifespan="off")
"""


@dataclass
class Start:
    """One start: seconds to the first byte, then megabytes when all is quiet."""

    cpu: float
    wall: float = 0.0
    resident: float = 0.0
    engine: float = 0.0
    """Of all processes below the server."""


class Servers:
    """Starts the same server again and again, on one port and one data folder."""

    def __init__(self, scratch: Path, environments: Path) -> None:
        self.port, self.cookie = free_port(), ""
        (scratch / "data").mkdir()
        (scratch / "empty").mkdir()
        self._base = [PYTHON, str(ROOT / "server.py"), "--no-browser", "--port", str(self.port)]
        self._base += ["--data-dir", str(scratch / "data")]
        self._base += ["--environments-dir", str(environments)]
        empty = [*self._base, "--model-dir", str(scratch / "empty")]
        self.kinds = {
            UPDATED: empty,
            FIRST: empty,
            USUAL: empty,
            "python server.py, the guide": self._base,
            "a page of one word": [sys.executable, "-P", "-c", HELLO, str(self.port)],
        }
        usual = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._bytecode = scratch / "bytecode"
        self.environment = usual | {"PYTHONPYCACHEPREFIX": str(self._bytecode)}

    def first_visit(self) -> str:
        """Start once, uncounted; remember the cookie that its link gives."""
        env, quiet = self.environment, subprocess.DEVNULL
        with subprocess.Popen(
            self.kinds[USUAL], stdout=subprocess.PIPE, stderr=quiet, text=True, env=env
        ) as process:
            assert process.stdout
            said = ""
            while "Ctrl+C" not in said:
                said += process.stdout.readline()
            link = re.search(r"http://\S+token=\S+", said)
            assert link, said
            self.cookie = sign_in(self.port, link.group())
            process.send_signal(signal.SIGTERM)
        return self.cookie

    def page(self) -> bytes:
        """Ask for the page until somebody answers; stops after the first byte."""
        while True:
            with socket.socket() as asking:
                try:
                    asking.connect(("127.0.0.1", self.port))
                except ConnectionRefusedError:
                    time.sleep(0.001)
                    continue
                host = f"Host: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}"
                asking.sendall(f"GET / HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
                if byte := asking.recv(1):
                    self.answered = time.perf_counter()
                    return byte + b"".join(iter(lambda: asking.recv(65536), b""))

    def run(self, kind: str) -> "subprocess.Popen[bytes]":
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.kinds[kind], stdout=quiet, stderr=quiet, env=self.environment)

    def start(self, kind: str) -> Start:
        if kind in (FIRST, UPDATED):
            for folder in ("kernel", "extensions", "templates"):  # pip makes that of .venv
                shutil.rmtree(f"{self._bytecode}{ROOT / folder}", ignore_errors=True)
        if kind == FIRST:
            command = [
                PYTHON,
                "-c",
                "from kernel.first_start import compiling\nwith compiling(): pass",
            ]
            subprocess.run(command, cwd=ROOT, env=self.environment, check=True)
        begun = time.perf_counter()
        process = self.run(kind)
        try:
            page = self.page()
            start = Start(cpu(process.pid), self.answered - begun)
            assert page.startswith(b"HTTP/1.1 200"), page[:200]
            deadline = time.monotonic() + 60
            while "guide" in kind and b'data-state="ready"' not in self.page():
                assert time.monotonic() < deadline, "the guide did not load"
                time.sleep(0.3)
            time.sleep(1)
            start.resident = resident(process.pid)
            start.engine = sum(map(resident, children(process.pid)))
            return start
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def nothing(env: dict[str, str]) -> Start:
    """An interpreter that starts and ends."""
    begun = time.perf_counter()
    process = subprocess.Popen([PYTHON, "-c", "pass"], env=env)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return Start(used.ru_utime + used.ru_stime, time.perf_counter() - begun)


async def weigh(address: str, cookie: str) -> dict[str, tuple[int, int, int]]:
    """What a first visit fetches: path, bytes with headers on the wire, body, body in gzip."""
    found: dict[str, tuple[int, int, int]] = {}
    async with chromium() as browser:
        context = await browser.new_context()
        name, _, value = cookie.partition("=")
        await context.add_cookies([{"name": name, "value": value, "url": address}])
        page = await context.new_page()
        responses: list[Response] = []
        page.on("response", lambda response: responses.append(response))
        await page.goto(address, wait_until="networkidle")
        for response in responses:
            if response.url.startswith(address):
                sizes, body = await response.request.sizes(), await response.body()
                wire = sizes["responseHeadersSize"] + sizes["responseBodySize"]
                path = response.url.removeprefix(address).partition("?")[0]
                found[path] = wire, len(body), len(gzip.compress(body, 6))
    return found


def main() -> None:
    args = arguments(__doc__)
    header("Start, memory and weight")
    with tempfile.TemporaryDirectory() as scratch:
        servers = Servers(Path(scratch), args.environments_dir)
        cookie = servers.first_visit()
        starts: dict[str, list[Start]] = defaultdict(list)
        for kind in servers.kinds:
            servers.start(kind)  # uncounted
        for _ in range(args.runs):
            starts["python -c pass"].append(nothing(servers.environment))
            for kind in reversed(servers.kinds):
                starts[kind].append(servers.start(kind))
        rows = [["to the first byte of the page", "CPU ms", "wall ms", "resident MB", "engine MB"]]
        for kind, known in starts.items():
            cpus, walls = [each.cpu * 1e3 for each in known], [each.wall * 1e3 for each in known]
            sizes = [each.resident for each in known], [each.engine for each in known]
            memory = [spread(size, ".1f") if any(size) else "" for size in sizes]
            rows.append([kind, spread(cpus, ".0f"), spread(walls, ".0f"), *memory])
        table(rows)
        process = servers.run(USUAL)
        try:
            servers.page()
            files = asyncio.run(weigh(f"http://127.0.0.1:{servers.port}", cookie))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(Path(scratch) / "data")
    sums = {"in all": tuple(map(sum, zip(*files.values(), strict=True)))}
    rows = [[f"{len(files)} requests", "on the wire", "bytes", "gzip"]]
    rows += [[name, *(f"{n:,}" for n in sizes)] for name, sizes in (files | sums).items()]
    table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    main()
