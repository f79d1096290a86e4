"""Templates as bytecode: taken while they are the same, made anew when they are not, or broken."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from kernel.pages import Pages


class Counted(Pages):
    """Pages that count how often Jinja reads a template."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lambda _: None)
        self.compiled = 0
        jinja: Any = self._jinja
        compile = jinja.compile

        def counted(*args: Any) -> Any:
            self.compiled += 1
            return compile(*args)

        jinja.compile = counted


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "cache"))
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "x.html").write_text("Hello {{ name }}")
    return folder


def drawn(folder: Path) -> tuple[str, int]:
    """What a start makes of it, and how many templates it compiled for that."""
    pages = Counted(folder)
    return pages.render("x.html", name="<b>"), pages.compiled


def kept(folder: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(folder / "x.html")))


def test_the_second_start_compiles_nothing(folder: Path):
    assert drawn(folder) == ("Hello &lt;b&gt;", 1)
    assert drawn(folder) == ("Hello &lt;b&gt;", 0)
    assert [file.name for file in kept(folder).parent.iterdir()] == [kept(folder).name]


def test_another_source_is_compiled_though_its_time_is_the_same(folder: Path):
    drawn(folder)
    (folder / "x.html").write_text("Good day {{ name }}")
    assert drawn(folder) == ("Good day &lt;b&gt;", 1)


@pytest.mark.parametrize("cut", [0, 10, 60, 200])
def test_half_a_file_is_made_anew(folder: Path, cut: int):
    drawn(folder)
    kept(folder).write_bytes(kept(folder).read_bytes()[:cut])
    assert drawn(folder) == ("Hello &lt;b&gt;", 1)
    assert drawn(folder) == ("Hello &lt;b&gt;", 0)


def test_another_python_or_jinja_is_not_believed(folder: Path):
    drawn(folder)
    kept(folder).write_bytes(b"\0" + kept(folder).read_bytes()[1:])
    assert drawn(folder) == ("Hello &lt;b&gt;", 1)


def test_a_folder_that_takes_nothing_costs_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "pycache_prefix", str(folder / "x.html"))  # A file is no folder.
    assert drawn(folder) == drawn(folder) == ("Hello &lt;b&gt;", 1)


def test_python_s_own_switch_holds(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert drawn(folder) == drawn(folder) == ("Hello &lt;b&gt;", 1)
    assert not kept(folder).exists()
