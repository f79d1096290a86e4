"""docs/extending.md is true: the extension in it is built from its words and does what they say."""

import re
import subprocess
import sys
from pathlib import Path

from kernel.testing import Scripted, running

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")


def blocks() -> list[tuple[str, str]]:
    """Every file of the text with its words, in order; the last of one name is the final one."""
    found: list[tuple[str, str]] = []
    name = ""
    parts = re.split(r"^```(\w*)\n(.*?)^```\n", TEXT, flags=re.DOTALL | re.MULTILINE)
    for prose, kind, words in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        names = re.findall(r"`((?:templates/)?\w+\.(?:toml|md|py|html))`", prose)
        name = names[-1] if names else name
        if kind:
            found.append((name, words))
    return found


def build(folder: Path, files: list[tuple[str, str]]) -> None:
    for name, words in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)


def test_each_file_is_there_and_none_twice_but_the_one_that_grows():
    names = [name for name, _ in blocks()]
    assert names == [
        "extension.toml",
        "README.md",
        "__init__.py",
        "__init__.py",
        "templates/status.html",
        "templates/_times.html",
        "test_hourglass.py",
    ]


async def test_the_first_half_runs(tmp_path: Path):
    build(folder := tmp_path / "hourglass", blocks()[:3])
    async with running(folder, model=Scripted("Hello.")) as app:
        assert re.fullmatch(r"Hello\.\n\n\*\d\.\d s\*", await app.say())
        await app.configure("hourglass", digits=3)
        assert re.fullmatch(r"Hello\.\n\n\*\d\.\d{3} s\*", await app.say())


def test_the_whole_passes_its_own_tests_as_its_author_runs_them(tmp_path: Path):
    build(folder := tmp_path / "data" / "extensions" / "hourglass", blocks())
    command = re.search(r"^python (-m pytest .*)$", TEXT, re.MULTILINE)
    assert command
    done = subprocess.run(
        [sys.executable, *command.group(1).split()],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 passed" in done.stdout
    assert folder.is_dir()


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
