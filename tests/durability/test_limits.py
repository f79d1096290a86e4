"""K2 to K4: a folder that is read only, too few files, threads or bytes, and a log nobody takes."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import websockets

from extensions.conversations.api import Erased, Store
from kernel.testing import Scripted, running
from tests.durability.test_chats import mounted
from tests.live import free_port, live

ROOT = Path(__file__).parents[2]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that even root cannot write to."""
    with mounted(folder, folder):
        remount(folder, "ro")
        yield


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{how}", str(folder)], check=True)


async def test_k2_a_folder_that_is_read_only_from_the_start(tmp_path: Path):
    """Old conversations can be read, new ones written in memory, and saved once that works."""
    data = tmp_path / "data"
    async with running("conversations", "chat", model=Scripted("Yes."), data=data) as app:
        page = app.page("/chat")
        await page.act("chat.send", conversation="", text="before")
        await page.until("Yes.")
    with read_only(data):
        async with running("conversations", "chat", model=Scripted("No."), data=data) as app:
            page = app.page("/chat")
            await app.web.snapshot(page.client)
            await page.until("Kept in memory only")
            await page.until("before")
            await page.act("chat.send", conversation="", text="meanwhile")
            await page.until("No.")
            with closing(
                sqlite3.connect(f"file:{data}/chats.sqlite3?immutable=1", uri=True)
            ) as old:
                assert old.execute("SELECT count(*) FROM messages").fetchone() == (2,)
            told, _ = app.kernel.bus.open(Erased)
            remount(data, "rw")
            await page.until("The conversations are saved again")
            assert [told.get_nowait(), told.qsize()] == [Erased(), 0]
    async with Store.open(data / "chats.sqlite3") as store:
        assert [c.title for c in await store.list()] == ["meanwhile", "before"]


async def test_k2_the_server_starts_on_a_folder_that_is_read_only(tmp_path: Path):
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    flags = ("--model-dir", str(models))
    async with live(data, tmp_path / "environments", *flags):
        pass
    with read_only(data):
        async with live(data, tmp_path / "environments", *flags) as server:
            assert server.link, server.said
            assert "kept in memory" in server.said


async def test_k2_a_first_start_on_a_folder_that_is_read_only(tmp_path: Path):
    (data := tmp_path / "data").mkdir()
    (models := tmp_path / "models").mkdir()
    with read_only(data):
        flags = ("--model-dir", str(models))
        async with live(data, tmp_path / "environments", *flags) as server:
            assert server.link, server.said
            assert "kept in memory" in server.said
            assert "Traceback" not in server.said


@pytest.mark.parametrize("limit", ["files", "threads", "memory"])
def test_k3_little_of_something(limit: str, tmp_path: Path):
    command = [sys.executable, "-m", "tests.durability.failing_limits", str(tmp_path), limit]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


async def test_k3_a_server_with_96_files_and_more_pages_than_that(tmp_path: Path):
    """A page that finds no file left waits; those that are open go on; nothing is lost."""
    (models := tmp_path / "models").mkdir()
    started = live(tmp_path / "data", tmp_path / "environments", "--model-dir", str(models))
    async with started as server:
        assert server._process
        process = psutil.Process(server._process.pid)
        key = (tmp_path / "data" / "secrets" / "api_key").read_text()
        headers = {"Authorization": f"Bearer {key}"}
        address = f"ws://127.0.0.1:{server.port}/ws?path=/chat"

        async def opened() -> websockets.ClientConnection:
            return await websockets.connect(
                address, additional_headers=headers, open_timeout=2, max_queue=None
            )  # what nobody reads must not hold up its end

        pages = [await opened()]
        process.rlimit(resource.RLIMIT_NOFILE, (96, 96))
        with suppress(TimeoutError, OSError):
            while len(pages) < 100:
                pages.append(await opened())
        assert 30 < len(pages) < 64
        send = '{"action": "chat.send", "conversation": "", "text": "said with no file left"}'
        await pages[0].send(send)
        async with asyncio.timeout(10):
            while "said with no file left" not in str(await pages[0].recv()):
                pass
        for page in pages:
            await page.close()
        assert "No file is left for a new connection" in server.said
        assert "failed" not in server.said
        async with asyncio.timeout(20):
            while True:
                try:
                    await (await opened()).close()
                    break
                except (TimeoutError, OSError):
                    await asyncio.sleep(0.1)
    with closing(sqlite3.connect(tmp_path / "data" / "chats.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT text FROM messages WHERE role = 'user'").fetchall()
        assert rows == [("said with no file left",)]


@pytest.mark.parametrize("stderr", ["closed", "full"])
async def test_k4_a_log_that_takes_nothing_costs_no_chat(stderr: str, tmp_path: Path):
    """Spindle logs to stderr alone: there is no folder of logs that could fill."""
    (data := tmp_path / "data").mkdir()
    port = free_port()
    (models := tmp_path / "models").mkdir()
    command = [
        *(sys.executable, "-P", "-m", "kernel", "serve", "--no-browser", "--port", str(port)),
        *("--data-dir", str(data), "--environments-dir", str(tmp_path / "environments")),
        *("--model-dir", str(models), "--verbose"),
    ]
    if stderr == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    out = os.open("/dev/full" if stderr == "full" else os.devnull, os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=out,
    )
    os.close(out)
    try:
        address = f"ws://127.0.0.1:{port}/ws?path=/chat"
        key_file = data / "secrets" / "api_key"
        async with asyncio.timeout(20):
            while True:
                try:
                    headers = {
                        "Authorization": f"Bearer {await asyncio.to_thread(key_file.read_text)}"
                    }
                    socket = await websockets.connect(address, additional_headers=headers)
                    break
                except OSError:
                    await asyncio.sleep(0.1)
        send = '{"action": "chat.send", "conversation": "", "text": "said without a log"}'
        for text in ("nonsense", '{"action": "nothing.there"}', '{"action": "chat.send"}', send):
            await socket.send(text)
        async with asyncio.timeout(10):
            while "said without a log" not in str(await socket.recv()):
                pass
        await socket.close()
        assert process.returncode is None
    finally:
        process.terminate()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
    with closing(sqlite3.connect(data / "chats.sqlite3")) as database:
        rows = database.execute("SELECT text FROM messages WHERE role = 'user'").fetchall()
        assert ("said without a log",) in rows
