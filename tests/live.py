"""A real server in a process of its own, and a real browser: what the story tests drive."""

import asyncio
import itertools
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

ROOT = Path(__file__).parent.parent
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong
SHELL = "chromium-headless-shell"
SHOTS = os.environ.get("SPINDLE_SHOTS", "")
"""A folder for screenshots; none are kept without it."""


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20
FIRST = 11_000 + WORKER * 1000
PORTS = itertools.cycle(range(FIRST + os.getpid() % 500, FIRST + 1000))
"""This worker's own: of those that the system gives away another test may get the same one, and
below are some that no browser opens, the last of them 10080."""


def free_port() -> int:
    for port in PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("they come again and again")


class Live:
    """A server that can be killed and started again on the same data."""

    def __init__(self, data: Path, environments: Path, *flags: str) -> None:
        self.data, self.port, self.link = data, free_port(), ""
        self.address = f"http://127.0.0.1:{self.port}"
        self.said = ""
        self.quiet: tuple[str, ...] = ("--no-browser",)  # No page of the user's is opened.
        self._environments, self._flags = environments, flags
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait for its address."""
        command = [
            *(sys.executable, "-P", "-m", "kernel", "serve", *self.quiet),
            *("--port", str(self.port), "--data-dir", str(self.data)),
            *("--character-dir", str(self.data / "characters")),
            *("--environments-dir", str(self._environments), *self._flags),
        ]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.data,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(ready))
        await asyncio.wait_for(ready.wait(), 20)

    def interpreters(self) -> set[str]:
        """What runs the server's child processes: the Python of each one's environment."""
        assert self._process
        every = [each.info for each in psutil.process_iter(["ppid", "cmdline"])]
        mine = [each["cmdline"] or [""] for each in every if each["ppid"] == self._process.pid]
        return {command[0] for command in mine}

    async def _read(self, ready: asyncio.Event) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            self.said += line.decode(errors="replace")
            if found := re.search(r"http://\S+token=\S+", line.decode(errors="replace")):
                self.link = found.group()
            if b"Ctrl+C" in line:
                ready.set()
        ready.set()

    def tell(self, *signals: signal.Signals) -> None:
        """Send it signals, at once."""
        assert self._process
        for each in signals:
            self._process.send_signal(each)

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it; answers its exit status."""
        assert self._process
        assert self._reading
        if self._process.returncode is None:
            self._process.send_signal(how)
        status = await self._process.wait()
        await self._reading
        self._process._transport.close()  # type: ignore[attr-defined]
        return status


@asynccontextmanager
async def live(data: Path, environments: Path, *flags: str) -> AsyncGenerator[Live]:
    """A running server, ended with the block."""
    data.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  a test may wait for its disk
    server = Live(data, environments, *flags)
    await server.start()
    try:
        yield server
    finally:
        await server.kill(signal.SIGTERM)


class Kept:
    """The browser of all tests of a run, as it and its driver cost a second of a processor to
    start; without one each test starts its own."""

    browser: Browser | None = None


@asynccontextmanager
async def kept_chromium() -> AsyncGenerator[None]:
    """While this is open `chromium` gives the same browser again and again."""
    async with launched() as Kept.browser:
        yield
    Kept.browser = None


@asynccontextmanager
async def chromium(*more: str, whole: bool = False) -> AsyncGenerator[Browser]:
    """The system's Chromium, without a window and without a network of its own; `more` flags.

    Where Debian's shell of it for tests is installed that is taken, unless it is to be the `whole`
    browser: the same engine, for four fifths of the processor's time.
    """
    kept = Kept.browser
    if more or whole or not kept or not kept.is_connected():
        async with launched(*more, whole=whole) as browser:
            yield browser
        return
    try:
        yield kept
    finally:
        for context in kept.contexts:
            await context.close()


@asynccontextmanager
async def launched(*more: str, whole: bool = False) -> AsyncGenerator[Browser]:
    """As `chromium`, but always a new one."""
    path = (not whole and shutil.which(SHELL)) or shutil.which("chromium")
    assert path
    async with async_playwright() as playwright:
        flags = [
            *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update"),
            *more,
        ]
        browser = await playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """What a page complained of; a test that ends with complaints fails."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        context.on("console", lambda m: self._note(m.type, m.text))
        context.on("weberror", lambda e: self.complaints.append(str(e.error)))

    def _note(self, kind: str, text: str) -> None:
        offline = any(
            sign in text for sign in ("WebSocket connection to", "ERR_CONNECTION", "htmx:ws:error")
        )
        if kind in ("error", "warning") and not offline:
            self.complaints.append(text)


async def asks_to_leave(page: Page) -> bool:
    """Whether the page would ask before it is left: something on it would be lost."""
    return await page.evaluate("!dispatchEvent(new Event('beforeunload', {cancelable: true}))")


async def shoot(page: Page, name: str) -> None:
    """Keep a picture of the page where SPINDLE_SHOTS says."""
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png")
