"""What a start made of its files is there at the next one, if they are the same."""

from collections.abc import Callable
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kernel.remembered import NAME, Remembered
from kernel.settings import SettingsFile


class Counting:
    """A function of a text that counts its calls."""

    def __init__(self, made: Callable[[str], Any] = lambda text: {"text": text}) -> None:
        self.calls = list[str]()

        def parsed(text: str) -> Any:
            self.calls.append(text)
            return made(text)

        self.of = parsed


def start(data: Path, function: Counting, *texts: str) -> list[Any]:
    """One start, and what it got."""
    memory = Remembered()
    memory.begin(data)
    got = [memory.made(function.of, text) for text in texts]
    memory.keep()
    return got


def test_the_same_text_is_read_once(tmp_path: Path):
    function = Counting()
    assert start(tmp_path, function, "a", "b") == [{"text": "a"}, {"text": "b"}]
    assert start(tmp_path, function, "a", "c") == [{"text": "a"}, {"text": "c"}]
    assert function.calls == ["a", "b", "c"]


def test_nobody_gets_what_another_may_have_changed(tmp_path: Path):
    function = Counting()
    start(tmp_path, function, "a")
    first, second = start(tmp_path, function, "a", "a")
    first["text"] = "changed"
    assert second == {"text": "a"}


def test_what_was_not_asked_for_is_dropped(tmp_path: Path):
    function = Counting()
    start(tmp_path, function, "a", "b")
    size = (tmp_path / NAME).stat().st_size
    start(tmp_path, function, "a")
    assert (tmp_path / NAME).stat().st_size < size
    start(tmp_path, function, "b")
    assert function.calls == ["a", "b", "b"]


def test_a_start_that_finds_nothing_new_writes_nothing(tmp_path: Path):
    function = Counting()
    start(tmp_path, function, "a")
    written = (tmp_path / NAME).stat()
    start(tmp_path, function, "a")
    assert (tmp_path / NAME).stat() == written


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, date(2026, 1, 1), {1: "a", "1": "b"}, 1 << 80])
def test_what_would_come_back_as_something_else_is_made_again(tmp_path: Path, value: Any):
    function = Counting(lambda _: value)
    assert start(tmp_path, function, "a") == start(tmp_path, function, "a") == [value]
    if value != {1: "a", "1": "b"}:
        assert function.calls == ["a", "a"]


@pytest.mark.parametrize("data", [b"", b"\xff" * 99, sha256(b"[]").digest() + b"[]"])
def test_a_file_that_is_damaged_is_as_none(tmp_path: Path, data: bytes):
    (tmp_path / NAME).write_bytes(data)
    function = Counting()
    assert start(tmp_path, function, "a") == [{"text": "a"}]
    assert start(tmp_path, function, "a") == [{"text": "a"}]
    assert function.calls == ["a"]


def test_a_letter_that_changed_on_the_disk_changes_nothing(tmp_path: Path):
    function = Counting()
    start(tmp_path, function, "a")
    file = tmp_path / NAME
    file.write_bytes(file.read_bytes()[:-1] + b"b")
    assert start(tmp_path, function, "a") == [{"text": "a"}]
    assert function.calls == ["a", "a"]


def test_a_folder_that_takes_nothing_does_no_harm(tmp_path: Path):
    (tmp_path / "file").touch()
    function = Counting()
    assert start(tmp_path / "file", function, "a") == [{"text": "a"}]


def test_what_raises_raises_again(tmp_path: Path):
    def bad(text: str) -> Any:
        raise ValueError(text)

    function = Counting(bad)
    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            start(tmp_path, function, "a")
    assert function.calls == ["a", "a"]


def test_within_one_start_it_is_read_once_too(tmp_path: Path):
    function = Counting()
    start(tmp_path, function, "a", "a")
    assert function.calls == ["a"]


def test_before_it_begins_and_once_it_is_kept_each_call_is_made(tmp_path: Path):
    function, memory = Counting(), Remembered()
    memory.made(function.of, "a")
    memory.begin(tmp_path)
    memory.keep()
    memory.made(function.of, "a")
    memory.made(function.of, "a")
    assert function.calls == ["a", "a", "a"]
    memory.keep()
    assert not (tmp_path / NAME).exists()


def test_settings_with_what_no_json_has_are_read_as_ever(tmp_path: Path):
    for text in ('server: {note: "\\ud83d\\ude00"}', "server: &x [*x]"):
        (file := tmp_path / "settings.yaml").write_text(text)
        memory = Remembered()
        memory.begin(tmp_path)
        settings = SettingsFile(file, tmp_path, memory)
        assert "" not in settings.problems
        assert repr(settings._tree) == repr(SettingsFile(file, tmp_path)._tree)
