"""docs/extending.md is true: the extension in it is built from its words and does what they say."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from kernel.testing import Scripted, running
from kernel.worker import Worker

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
        "loud.py",
        "diary.py",
        "worker.py",
    ]


async def test_the_first_half_runs(tmp_path: Path):
    build(folder := tmp_path / "hourglass", blocks()[:3])
    async with running(folder, model=Scripted("Hello.")) as app:
        assert re.fullmatch(r"Hello\.\n\n\*\d\.\d s\*", await app.say())
        await app.configure("hourglass", digits=3)
        assert re.fullmatch(r"Hello\.\n\n\*\d\.\d{3} s\*", await app.say())


MANIFEST = 'id = "{0}"\nname = "{0}"\nversion = "1"\nsummary = "Of the text."\napi = 1\n{1}'


def other(root: Path, name: str, requires: str = "") -> Path:
    """One of the two more forms, as an extension of its own."""
    words = dict(blocks())[f"{name}.py"]
    files = [("extension.toml", MANIFEST.format(name, requires)), ("__init__.py", words)]
    build(root / name, files)
    return root / name


async def test_what_is_shouted_is_marked(tmp_path: Path):
    folder = other(tmp_path, "loud")
    needed = ("conversations", "chat", "instruct")
    async with running(*needed, folder, model=Scripted("Do NOT shout.")) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Well?")
        await page.until("loud-word")
        assert '<span class="loud-word" title="Shouted">NOT</span>' in page.html


async def test_a_line_is_kept_for_each_reply(tmp_path: Path):
    requires = '[requires]\nextensions = ["chat", "conversations"]\n'
    folder = other(tmp_path, "diary", requires)
    data = tmp_path / "data"
    needed = ("conversations", "chat", "instruct")
    async with running(*needed, folder, model=Scripted("One."), data=data) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Well?")
        await app.until(lambda: any(data.rglob("diary.txt")))
        [diary] = data.rglob("diary.txt")
        await app.until(lambda: diary.read_text().endswith("\n"))
        assert "scripted: One. (done, " in diary.read_text()


async def test_a_garden_is_watered_in_a_process_of_its_own(tmp_path: Path):
    (tmp_path / "worker.py").write_text(dict(blocks())["worker.py"])
    worker = await Worker.start(Path(sys.executable), f"{tmp_path / 'worker.py'}:Water")
    heard = list[str]()
    assert await worker.call("water", lambda _, note: heard.append(note), beds=2, seconds=0) == 2
    assert heard == ["Bed 1", "Bed 2"]
    began = asyncio.Event()
    ask = worker.call("water", lambda *_: began.set(), beds=10**6, seconds=0.01)
    watering = asyncio.create_task(ask)
    await began.wait()
    watering.cancel()
    await asyncio.wait({watering})
    assert await worker.call("water", beds=1, seconds=0) == 1, "the one before has ended"
    await worker.close()


def test_the_whole_passes_its_own_tests_as_its_author_runs_them(tmp_path: Path):
    build(folder := tmp_path / "data" / "extensions" / "hourglass", blocks()[:-3])
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
