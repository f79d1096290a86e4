"""docs/extending.md, docs/loaders.md and the README are true: the extensions in them are built from
their words and do what those say."""

import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from kernel.api import Kernel, Loader, Model, fields
from kernel.testing import Scripted, running
from kernel.testing.conformance import keeps
from kernel.worker import Worker, WorkerDied
from tests.sockets import serving
from tools import reference

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")
LOADERS = (ROOT / "docs" / "loaders.md").read_text("utf-8")


def blocks(text: str = TEXT) -> list[tuple[str, str]]:
    """Every file of the text with its words, in order; the last of one name is the final one."""
    found: list[tuple[str, str]] = []
    name = ""
    parts = re.split(r"^```(\w*)\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
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
        "kinds.py",
        "sundial.py",
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
    """One of the forms that are a single file, as an extension of its own."""
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


DEAF = """
import time

class Deaf:
    def call(self, name, report, cancelled):
        report(0, "It began.")
        time.sleep(9999)
"""


async def test_a_worker_that_looks_at_nothing_ends_with_its_process_alone(tmp_path: Path):
    (tmp_path / "worker.py").write_text(DEAF)
    worker = await Worker.start(Path(sys.executable), f"{tmp_path / 'worker.py'}:Deaf")
    began = asyncio.Event()
    hung = asyncio.create_task(worker.call("anything", lambda *_: began.set()))
    await began.wait()
    hung.cancel()
    behind = asyncio.create_task(worker.call("anything"))
    assert not (await asyncio.wait({behind}, timeout=0.1))[0]
    await worker.close()
    with pytest.raises(WorkerDied, match="stopped"):
        await behind


KINDS = {
    "loud": "switch", "digits": "range", "port": "number", "pause": "range", "title": "text",
    "letter": "area", "place": "text", "look": "choice", "tags": "list", "weights": "list",
    "seed": "number", "token": "secret",
}  # fmt: skip


async def test_each_setting_has_the_field_that_is_promised(tmp_path: Path):
    folder, data = other(tmp_path, "kinds"), tmp_path / "data"
    await keeps(folder, "settings")
    async with running(folder, data=data) as app:
        await app.configure("kinds", token="abc", weights="one: 0.5", tags="a\nb", seed="")
        now = app.extension("kinds").settings
        assert {f.name: f.kind for f in fields(type(now), now)} == KINDS
        assert (now.token.reveal(), now.weights, now.seed) == ("abc", {"one": 0.5}, None)
        assert now.tags == ("a", "b")
        assert "abc" not in (data / "settings.yaml").read_text()


async def test_a_setting_that_an_update_took_away_is_told_until_its_line_is_deleted(tmp_path: Path):
    folder, data = other(tmp_path, "kinds"), tmp_path / "data"
    settings = {"kinds": {"gone": 1, "digits": 2}}

    def told(kernel: Kernel) -> str:
        return kernel.settings.problems.get("extensions.kinds.gone", "")

    async with running(folder, data=data, settings=settings) as app:
        assert app.extension("kinds").settings.digits == 2
        assert told(app.kernel) == "There is no setting “gone”."
        lines = (data / "settings.yaml").read_text().splitlines(keepends=True)
        (data / "settings.yaml").write_text("".join(each for each in lines if "gone" not in each))
        app.kernel.settings.reload()
        assert not told(app.kernel)

    [modern] = re.findall(r"^```\n(@staticmethod\n.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    words = (folder / "__init__.py").read_text()
    words = words.replace("\n\n\nasync", f"\n\n{textwrap.indent(modern, '    ')}\n\nasync")
    (folder / "__init__.py").write_text(words)
    async with running(folder, data=data, settings=settings) as app:
        assert app.extension("kinds").settings.digits == 2
        assert not told(app.kernel)


async def test_programs_are_told_the_hour_and_the_page_alone_turns_it(tmp_path: Path):
    async with running(other(tmp_path, "sundial")) as app:
        hour, turn = "/ext/sundial/hour", "/ext/sundial/turn?hour=3"
        async with serving(app) as served, httpx.AsyncClient(base_url=served.http) as web:
            assert (await web.get(hour)).json() == {"hour": 12}
            refused = await web.post(turn)
            assert (refused.status_code, [*refused.json()]) == (401, ["no"])
        assert (await app.fetch(turn, "POST")).json() == {"hour": 3}
        assert (await app.fetch(hour, who="key")).json() == {"hour": 3}


def passed(folder: Path, files: list[tuple[str, str]]) -> str:
    """What the tests of an extension say, run as its author runs them."""
    build(folder, files)
    command = re.search(r"^python (-m pytest .*)$", TEXT, re.MULTILINE)
    assert command
    done = subprocess.run(
        [sys.executable, *command.group(1).replace("hourglass", folder.name).split()],
        cwd=folder.parents[2],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_whole_passes_its_own_tests_as_its_author_runs_them(tmp_path: Path):
    folder = tmp_path / "data" / "extensions" / "hourglass"
    assert "14 passed" in passed(folder, blocks()[:7])


def test_the_loader_passes_its_own_tests(tmp_path: Path):
    files = blocks(LOADERS)
    names = ["extension.toml", "__init__.py", "worker.py", "test_parrot.py"]
    assert [name for name, _ in files] == names
    folder = tmp_path / "data" / "extensions" / "parrot"
    assert "14 passed" in passed(folder, [*files, ("README.md", "# Parrot\n")])


def test_a_loader_without_a_process_has_the_parts_that_are_named():
    loader, model = reference.promised("Loader", Loader), reference.promised("Model", Model)
    for part in ("id: ", "label: ", "Options: ", "accepts(", "await open(path, options, report)`"):
        assert f"`{part}" in loader, part
    for part in ("info: ", "died: ", "generate(", "await call(", "await close("):
        assert f"`{part}" in model, part


async def test_what_a_model_thinks_is_not_shouted(tmp_path: Path):
    """The extension of README.md, beside a model that thinks."""
    readme = (ROOT / "README.md").read_text("utf-8")
    [words] = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    manifest = MANIFEST.format("shouter", "")
    build(tmp_path / "shouter", [("extension.toml", manifest), ("__init__.py", words)])
    ids = ("instruct", "reasoning", "openai_api", tmp_path / "shouter")
    async with running(*ids, model=Scripted("<think>secret thoughts</think>The answer.")) as app:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        answer = await app.fetch("/v1/chat/completions", "POST", who="key", json=body)
        [choice] = answer.json()["choices"]
        assert choice["message"]["content"] == "THE ANSWER."
        assert choice["message"]["reasoning_content"] == "secret thoughts"


def test_the_reference_says_what_is_awaited():
    said = "\n".join(reference.methods())
    for name in ("push", "worker", "listen", "generate", "panels", "install", "missing"):
        assert f"| `await ext.{name}(" in said, name
    for name in ("tell", "push_html", "job", "spawn"):
        assert f"| `ext.{name}(" in said, name


@pytest.mark.parametrize("text", [TEXT, LOADERS], ids=["extending", "loaders"])
def test_its_links_lead_somewhere(text: str):
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / link).exists(), link
    assert set(re.findall(r"\]\((?:extending\.md)?#([\w-]+)\)", text)) <= places(TEXT)
    assert set(re.findall(r"\]\(reference\.md#([\w-]+)\)", text)) <= places(reference.text())


def places(text: str) -> set[str]:
    """What a link may name in a page: its headings, as they stand in an address."""
    return {h.lower().replace(" ", "-") for h in re.findall(r"^#+ ([\w -]+)$", text, re.MULTILINE)}
