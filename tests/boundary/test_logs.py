"""C30: nothing that is named or said moves a cursor, ends a line or rings in terminal and log."""
# ruff: noqa: E501, a name a line would be long

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from kernel.logs import Crowded, Discreet, discreet
from kernel.rescue import Rescue
from kernel.testing import ROOT, running
from kernel.watchdog import Block
from kernel.worker import Worker, WorkerError
from tests.boundary.planted import toml
from tests.boundary.served import Served, served

ODD = (
    "\x1b[31mred", "\x1b]52;c;aGk=\x07", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "a\r\nFAKE line", "a\nFAKE line",
    "\x9b31m", "\x9d0;x\x9c", "\x08\x08\x08", "\x07", "\x7f", "\u202egnp.exe", "\u2066x", "\u2028FAKE line", "\x85x",
    "\x0b\x0cx", "\x1bP1$r\x1b\\", "\x1b_x\x1b\\", "\ud800", "\u200bx", "\ufeffx", "\x00x",
)  # fmt: skip
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What must not reach a terminal: everything that is no letter, but for ends of our own lines."""
OURS = re.compile(r"\d\d:\d\d:\d\d [A-Z]+ [\w.]+: |  \| ")
"""How every line of a log begins."""
FORGED = "12:00:00 WARNING kernel.security: all is well"


def calm(said: str) -> None:
    assert not BAD.search(said.replace("\r\n", "\n")), repr(said)[:2000]


def test_every_step_is_logged_but_nothing_that_is_said(tmp_path: Path):
    with served(tmp_path, "--verbose") as server:
        with connect(f"ws://{server.name}/api/ws") as socket:
            asked = {"type": "start", "id": "r1", "messages": [{"role": "user", "content": "Psst"}]}
            socket.send(json.dumps(asked))
            assert json.loads(socket.recv(20))["stream"] == "r1"
        assert "connection open" in server.said
        assert "Psst" not in server.said


@pytest.mark.parametrize("text", ODD)
def test_c30_a_line_of_a_log_stays_one(text: str):
    calm(discreet(f"before {text} after"))
    assert "\n" not in discreet(text)


def test_c30_what_is_logged_by_anybody(server: Served):
    """Requests with odd addresses, hosts and headers, refused or not."""
    for text in ODD:
        path = "".join(f"%{b:02x}" for b in text.encode("utf-8", "replace"))
        server.ask("GET", f"/{path}?q={path}", {"Authorization": f"Bearer {server.key}"})
        server.ask("GET", f"/?token={path}")
        server.ask("POST", "/login", {"Origin": server.origin}, f"password={path}".encode())
    calm(server.said)


def test_c30_names_of_files_and_keys_of_settings(tmp_path: Path):
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    names = [t for t in ODD if "\0" not in t and "\ud800" not in t]
    for number, name in enumerate(names):
        (models / f"{name}.gguf").touch()
        for folder, id in ((f"odd_{number}", f"odd_{number}"), (name, "wrong")):
            at = data / "extensions" / folder
            at.mkdir(parents=True)
            (at / "extension.toml").write_text(
                f'id = "{id}"\nname = {toml(name)}\nsummary = {toml(name)}\nversion = {toml(name)}\n'
                f'api = 1\n[[flags]]\nname = "odd-{id.replace("_", "-")}"\nhelp = {toml(name)}\n'
                f'metavar = {toml(name)}\ntype = "str"\n',
                "utf-8",
            )
            (at / "__init__.py").write_text(
                "async def setup(ext):\n    ext.log.error('%s', ext.folder)\n"
                f"    raise RuntimeError({name!a})\n"
            )
    settings = {"extensions": {"chat": {n: n for n in names}}, **{n: n for n in names}}
    (data / "settings.yaml").write_text(json.dumps(settings))
    with served(tmp_path, "--model-dir", str(models), "--verbose") as server:
        server.ask("GET", "/settings", {"Authorization": f"Bearer {server.key}"})
    said = server.said
    assert "red" in said
    calm(said)
    flags = ["--data-dir", str(data), "--help"]
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "kernel", "serve", *flags],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}, capture_output=True, timeout=30,
    )  # fmt: skip
    calm(ended.stdout.decode() + ended.stderr.decode())


def test_c30_a_flag_that_is_not_one(tmp_path: Path):
    odd = [f"--{text}" for text in ODD[:8]]
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "kernel", "serve", *odd, "--data-dir", str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}, capture_output=True, timeout=30,
    )  # fmt: skip
    assert ended.returncode == 2
    calm(ended.stderr.decode())


def test_c30_the_check_can_fail():
    for text in ODD:
        if text != "\ud800":
            with pytest.raises(AssertionError):
                calm(f"before {text}\r after")


def raised() -> None:
    """An exception whose message, notes and cause end lines."""
    try:
        raise KeyError(f"x\n{FORGED}")
    except KeyError as cause:
        error = RuntimeError(f"a\n{FORGED}\r\n{FORGED}\n\n{FORGED}")
        error.add_note(f"\n{FORGED}")
        raise error from cause


def test_c30_what_an_exception_says_begins_no_line(capsys: pytest.CaptureFixture[str]):
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    log = logging.Logger("spindle.test")
    log.addHandler(handler)
    try:
        raised()
    except RuntimeError as error:
        log.exception("It failed: %s", error, stack_info=True)
        log.error(FORGED.join("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
    said = capsys.readouterr().err
    calm(said)
    assert said.count(FORGED) > 10
    lines = said.splitlines()
    assert "  | Stack (most recent call last):" in lines
    for line in lines:
        assert OURS.match(line), line
        assert not line.startswith(FORGED)


def test_c30_an_extension_that_fails_writes_no_line_of_ours(tmp_path: Path):
    folder = tmp_path / "data" / "extensions" / "odd"
    folder.mkdir(parents=True)
    manifest = 'id = "odd"\nname = "Odd"\nsummary = "x"\nversion = "1"\napi = 1\n'
    (folder / "extension.toml").write_text(manifest, "utf-8")
    code = f"async def setup(ext):\n    raise RuntimeError({'a' + chr(10) + FORGED!a})\n"
    (folder / "__init__.py").write_text(code, "utf-8")
    with served(tmp_path) as server:
        server.ask("GET", "/settings", {"Authorization": f"Bearer {server.key}"})
    assert FORGED in server.said
    assert not [line for line in server.said.splitlines() if line.startswith(FORGED)]


async def test_c30_the_name_of_what_holds_everything_up(capsys: pytest.CaptureFixture[str]):
    """It goes straight to the terminal, past the log."""
    untouched: Any = None
    async with running() as app:
        rescue = Rescue(app.kernel, untouched, untouched, untouched, untouched, serves=False)
        free = threading.Event()
        free.set()
        for odd in ODD:
            app.kernel.name = lambda id, odd=odd: f"Name {odd}"
            rescue(Block("odd", f"a place {odd}", ""), free)
            said = capsys.readouterr().err
            assert "holds everything up, at a place" in said
            calm(said)
            assert "FAKE" not in [line[:4] for line in said.splitlines()]


ENGINE = f"""
class Engine:
    def load(self, path, options, report):
        for text in {ODD!a}:
            text = text.encode("utf-8", "surrogatepass")
            __import__("os").write(2, b"loading " + text + b"\\n")
        raise RuntimeError("cannot: " + "".join({ODD!a}))
"""


async def test_c30_what_an_engine_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In the log, and in the last lines that tell why it ended."""
    (tmp_path / "odd.py").write_text(ENGINE, "utf-8")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    log = logging.Logger("spindle.worker")
    log.addHandler(handler)
    worker = await Worker.start(
        Path(sys.executable), f"{tmp_path / 'odd.py'}:Engine", on_log=log.debug
    )
    try:
        with pytest.raises(WorkerError):
            await worker.load("model", {})
        async with asyncio.timeout(10):
            while "Traceback" not in "\n".join(worker.log_tail):
                await asyncio.sleep(0.01)
    finally:
        await worker.close()
    said = capsys.readouterr().err
    assert said.count("loading ") >= len(ODD)
    assert len(worker.log_tail) > 20
    for text in (said, *worker.log_tail):
        calm(text)
    assert all(OURS.match(line) for line in said.splitlines())


def test_who_went_away_is_no_news_and_a_lack_of_files_is_said_rarely():
    def said(text: str, crowded: Crowded) -> str:
        record = logging.LogRecord("asyncio", logging.WARNING, "", 0, text, (), None)
        return record.getMessage() if crowded.filter(record) else ""

    crowded = Crowded()
    assert said("socket.send() raised exception.", crowded) == ""
    assert said("Another warning", crowded) == "Another warning"
    lack = "socket.accept() out of system resource"
    assert said(lack, crowded).startswith("No file is left for a new connection")
    assert said(lack, crowded) == ""
