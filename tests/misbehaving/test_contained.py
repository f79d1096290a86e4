"""E4, honestly: what ends a process ends the server, unless it is a worker's."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from kernel.contract import Turn
from kernel.testing import App, Scripted, running
from tests.live import live

from .test_watchdog import press
from .zoo import WORDS, write

ENGINE = f"{Path(__file__).parent / 'engine.py'}:Engine"
LOADER = f"""
import sys
from pathlib import Path
from kernel.api import LOADERS, Struct
from kernel.worker import Worker
from kernel.workers import WorkerModel
class Loader:
    id = label = "worst"
    Options = Struct
    def accepts(self, path): return path.suffix == ".worst"
    async def open(self, path, options, report):
        worker = await Worker.start(Path(sys.executable), {ENGINE!r})
        return WorkerModel(worker, await worker.load(path, {{}}, report))
async def setup(ext): ext.add(LOADERS, Loader())
"""


@asynccontextmanager
async def worst(root: Path) -> AsyncIterator[App]:
    """A server whose model runs in a worker that can be asked for the worst."""
    write(root, "bad", LOADER)
    async with running("settings", "bad", folders=[root]) as app:
        await app.kernel.slot().load(Path("a.worst"))
        yield app


async def said(app: App, prompt: str) -> tuple[str, str]:
    reply = app.run(Turn(prompt=prompt))
    _ = [delta async for delta in reply]
    assert reply.finish
    return reply.text, reply.finish.error


@pytest.mark.parametrize("what", ["segfault", "end", "exit"])
async def test_what_ends_a_worker_costs_its_reply_alone(tmp_path: Path, what: str):
    async with worst(tmp_path) as app:
        text, error = await said(app, what)
        assert text == "One"
        assert error.startswith("The engine ")
        await app.until(lambda: app.kernel.slot().state.state == "ready", 20)  # it came back
        assert await said(app, "more") == ("Onemore", "")
        assert app.kernel.trouble == {}


async def test_the_memory_and_files_that_a_worker_leaks_are_not_the_servers(tmp_path: Path):
    """E7: its engine is one process away, and gives all back when it is unloaded."""
    there = {*psutil.Process().children()}
    async with worst(tmp_path) as app:
        before, files = psutil.Process().memory_info().rss, psutil.Process().num_fds()
        assert (await said(app, "files"))[0].startswith("One")
        assert psutil.Process().num_fds() <= files + 3
        for _ in range(3):
            assert await said(app, "leak") == ("Oneleak", "")
        assert psutil.Process().memory_info().rss - before < 50_000_000
        assert {*psutil.Process().children()} > there
        await app.kernel.slot().unload()
        assert {*psutil.Process().children()} == there


async def test_sys_exit_in_the_server_is_caught(tmp_path: Path):
    code = (
        "import sys\nfrom kernel.api import INPUT\nasync def setup(ext):\n"
        "    @ext.on(INPUT)\n    async def leave(turn): sys.exit(3)\n"
    )
    write(tmp_path, "bad", code)
    async with running("bad", model=Scripted(WORDS), folders=[tmp_path]) as app:
        assert await said(app, "x") == (WORDS, "")
        assert app.kernel.trouble["bad"] == ["input: RuntimeError: called sys.exit"]


ENDS = """
import os
from kernel.api import Action
class Press(Action, frozen=True): pass
async def setup(ext):
    @ext.on(Press)
    async def press(action, client): os._exit(9)
"""


async def test_os_exit_ends_the_server_and_what_was_said_is_kept(tmp_path: Path):
    """It cannot be contained in the server's process, as the card says; nothing is lost by it."""
    data = tmp_path / "data"
    write(data / "extensions", "bad", ENDS)
    async with (
        live(data, tmp_path, "--extensions", "chat", "bad") as server,
        httpx.AsyncClient() as web,
    ):
        await web.get(server.link)
        await press(server, web, "chat.send", text="Remember me")
        await press(server, web, "bad.press")
        assert server._process
        assert await asyncio.wait_for(server._process.wait(), 5) == 9
        await server.kill()
        await server.start()
        assert (await web.get(server.address + "/chat")).status_code == 200
    chats = sqlite3.connect(data / "chats.sqlite3")
    assert "Remember me" in str(chats.execute("SELECT * FROM messages").fetchall())
    chats.close()
