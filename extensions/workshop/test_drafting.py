"""`new` makes what `check` passes; and `check` finds what is broken."""

import re
from pathlib import Path

import pytest

from extensions.workshop import checking, command_line
from kernel.api import Refused
from kernel.testing import running


async def test_what_new_makes_passes_the_suite_and_its_own_tests_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    async with running("workshop", data=tmp_path / "data") as app:
        await command_line.new(app.kernel, "my_words")
        folder = tmp_path / "data" / "extensions" / "my_words"
        assert str(folder) in capfd.readouterr().out
        await command_line.check(app.kernel, str(folder))
        said = capfd.readouterr().out
        assert "2 passed" in said
        assert "All is well." in said
        assert said.count("  ok  ") >= 10
    texts = [f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()]
    assert len(texts) == 6
    assert not re.search("starter", "".join(texts), re.IGNORECASE), "nothing of the pattern is left"


async def test_check_finds_what_is_broken_and_says_what_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    async with running("workshop", data=tmp_path / "data") as app:
        await command_line.new(app.kernel, "words", tmp_path)
        (tmp_path / "words" / "README.md").unlink()
        panel = tmp_path / "words" / "templates" / "_count.html"
        panel.write_text("<p onclick='x()' id='mine'>{{ replies }} replies, not 1 reply</p>")
        code = tmp_path / "words" / "__init__.py"
        code.write_text(code.read_text("utf-8").replace("✓", "✗"), "utf-8")
        with pytest.raises(Refused, match="not keep all"):
            await command_line.check(app.kernel, str(tmp_path / "words"))
    said = capfd.readouterr().out
    assert "README.md must begin with" in said
    assert "_count.html has an event attribute" in said
    assert "1 failed" in said, "and its own test"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My Words", "Try my_words"),
        ("../x", "cannot be a name"),
        ("9lives", "Try lives"),
        ("x", "2 to 31"),
        ("", "cannot be a name"),
        ("a" * 32, "2 to 31"),
        ("settings", "already"),
        ("static", "the server's own"),
        ("taken", "is there already"),
    ],
)
async def test_f52_a_bad_name_gets_a_clear_sentence(tmp_path: Path, name: str, words: str):
    (tmp_path / "taken").mkdir()
    async with running("workshop", data=tmp_path / "data") as app:
        with pytest.raises(Refused, match=words):
            await command_line.new(app.kernel, name, tmp_path)
        left = {file.name for file in tmp_path.iterdir()}  # noqa: ASYNC240
    assert left == {"taken", "data"}


async def test_check_wants_an_extension(tmp_path: Path):
    with pytest.raises(Refused, match=r"no extension\.toml"):
        await checking.check(tmp_path)
