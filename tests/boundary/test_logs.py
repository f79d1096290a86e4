"""C30: nothing that is named or said moves a cursor, ends a line or rings in terminal and log."""
# ruff: noqa: E501, a name a line would be long

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kernel.logs import discreet
from kernel.testing import ROOT
from tests.boundary.planted import toml
from tests.boundary.served import Served, served

ODD = (
    "\x1b[31mred", "\x1b]52;c;aGk=\x07", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "a\r\nFAKE line", "a\nFAKE line",
    "\x9b31m", "\x9d0;x\x9c", "\x08\x08\x08", "\x07", "\x7f", "\u202egnp.exe", "\u2066x", "\u2028FAKE line", "\x85x",
    "\x0b\x0cx", "\x1bP1$r\x1b\\", "\x1b_x\x1b\\", "\ud800", "\u200bx", "\ufeffx", "\x00x",
)  # fmt: skip
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What must not reach a terminal: everything that is no letter, but for ends of our own lines."""


def calm(said: str) -> None:
    assert not BAD.search(said.replace("\r\n", "\n")), repr(said)[:2000]


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
    for odd in ODD[:8]:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "kernel", "serve", f"--{odd}", "--data-dir", str(tmp_path)],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}, capture_output=True, timeout=30,
        )  # fmt: skip
        assert ended.returncode == 2
        calm(ended.stderr.decode())


def test_c30_the_check_can_fail():
    for text in ODD:
        if text != "\ud800":
            with pytest.raises(AssertionError):
                calm(f"before {text}\r after")
