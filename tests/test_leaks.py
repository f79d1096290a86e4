"""A test that leaves something behind fails, and is told what it left."""

import re
import subprocess
import sys
from pathlib import Path

LEAKING = """
import asyncio, socket, subprocess, sys, threading, time

kept = []

async def test_task():
    kept.append(asyncio.create_task(asyncio.sleep(60), name="a task"))

def test_thread():
    threading.Thread(target=time.sleep, args=(3,), name="a thread", daemon=True).start()

def test_process():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(9)"]))

def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_forgotten_socket():
    socket.create_server(("127.0.0.1", 0))

async def test_clean():
    await asyncio.to_thread(time.sleep, 0)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await child.wait()
"""


def test_leaks_are_found(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    pytest = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", root / "pyproject.toml"]
    pytest += ["--rootdir", tmp_path, "-p", "no:cacheprovider", tmp_path / "test_leaking.py"]
    ran = subprocess.run(pytest, cwd=root, capture_output=True, text=True, check=False)
    for what in (
        r"name='a task'",
        r"a thread",
        r"\n\S* +process \d+\n",
        r"\n\S* +socket \d+ \(inode",
    ):
        assert re.search(what, ran.stdout), ran.stdout
    assert "unclosed <socket" in ran.stdout
    assert "1 failed, 5 passed, 4 errors" in ran.stdout
