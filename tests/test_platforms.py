"""What other systems do otherwise, as far as it can be played on this one."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extensions.conversations.forms.moments import seconds
from extensions.engine_kit.room import of_macos
from extensions.engine_kit.templates import ChatTemplate
from extensions.writing import files as texts
from kernel import environments, files, flags, rescue
from kernel.child import Process
from kernel.contract import Message, Text
from kernel.worker_host import failure

VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                              100000.
Pages active:                            300000.
Pages inactive:                          200000.
Pages speculative:                        20000.
Pages wired down:                        150000.
Pages purgeable:                           5000.
"""


def test_macos_says_how_much_memory_is_free():
    assert of_macos(VM_STAT, "16384\n") == 325_000 * 16384
    assert of_macos("", "16384") is None
    assert of_macos(VM_STAT, "") is None


def test_a_backslash_of_windows_stays_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    line = "--model-dir C:\\models \\\n--lora-dir 'D:\\my loras'"
    (tmp_path / "CMD_FLAGS.txt").write_text(line)
    monkeypatch.setattr(flags, "os", type("Windows", (), {"name": "nt"}))
    read: list[list[str]] = []
    monkeypatch.setattr(flags, "dashed", lambda words: read.append([*words]) or [])
    flags.parse([], tmp_path)
    assert read[0] == ["--model-dir", "C:\\models", "--lora-dir", "D:\\my loras"]


def test_a_file_that_a_guard_has_open_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tries, real = [PermissionError(13, "Access is denied")] * 2, os.replace

    def held(source: Any, target: Any) -> None:
        if tries:
            raise tries.pop()
        real(source, target)

    monkeypatch.setattr(os, "replace", held)
    with pytest.raises(PermissionError):
        files.write(tmp_path / "a", b"new")
    monkeypatch.setattr(files, "HELD", True)
    files.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_crash_on_windows_is_called_one():
    process = Process(lambda _: None, lambda _: None)
    transport: Any = type("Transport", (), {"get_returncode": lambda _: 0xC0000005})()
    process.transport = transport
    assert process.autopsy("loading") == "The engine crashed (0xC0000005) while loading."


def test_what_windows_lacks_for_an_engine_is_named(capfd: pytest.CaptureFixture[str]):
    said = failure(1, ImportError("DLL load failed while importing xllamacpp: not found"))
    assert "install the Visual C++ Redistributable" in said.error


def test_a_package_that_no_system_like_this_has_is_named(tmp_path: Path):
    (tmp_path / "log").write_text("ERROR: No matching distribution found for torch==2.13.0\n")
    said = environments._reason(tmp_path / "log")
    assert said.startswith("There is no torch==2.13.0 for this system and Python 3.")


def test_the_command_of_a_rescue_is_quoted_as_windows_reads_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rescue, "os", type("Windows", (), {"name": "nt"}))
    monkeypatch.setattr(sys, "argv", ["kernel", "serve", "--data-dir", "C:\\my data"])
    said = rescue.in_words("bad")
    assert said == 'python server.py --data-dir "C:\\my data" --without bad'


def test_a_moment_that_some_systems_cannot_tell_is_none():
    assert seconds("0001-01-01T00:00:00Z") == 0
    assert seconds(-5) == 0
    assert seconds("9999-12-31T00:00:00Z") == 0
    assert seconds(1_700_000_000) == 1_700_000_000


def test_names_that_are_one_file_on_some_disks_are_the_same():
    assert texts.same("Foo") == texts.same("foo")
    assert texts.same("Caf\u00e9") == texts.same("Cafe\u0301")
    assert texts.same("Foo") != texts.same("Foo 2")


def test_a_machine_that_starts_slowly_is_not_the_templates_fault(monkeypatch: pytest.MonkeyPatch):
    """Its sandbox sleeps for longer than a template may take before it reads a line."""
    from extensions.engine_kit import templates  # noqa: PLC0415 - what is patched

    def slow() -> "subprocess.Popen[str]":
        code = "import runpy, time; time.sleep(1.5); runpy.run_path('sandbox.py', {}, '__main__')"
        return subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(templates.__file__).parent,
        )  # fmt: skip

    monkeypatch.setattr(templates, "start", slow)
    monkeypatch.setattr(templates, "SECONDS", 1.0)
    template = ChatTemplate("{{ messages[0].content }}")
    try:
        assert template.render([Message("user", (Text("Hi."),))]) == "Hi."
    finally:
        template.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
def test_a_signal_is_still_named():
    process = Process(lambda _: None, lambda _: None)
    transport: Any = type("Transport", (), {"get_returncode": lambda _: -signal.SIGSEGV})()
    process.transport = transport
    assert process.autopsy("loading") == "The engine crashed (SIGSEGV) while loading."
