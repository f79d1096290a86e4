"""The suite that extensions must pass finds each broken promise, and pytest runs it for authors."""

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from kernel.testing.conformance import CHECKS, Nonconforming, examine, keeps

ROOT = Path(__file__).parent.parent

GOOD = {
    "extension.toml": 'id = "paper"\nname = "Paper"\nversion = "1"\nsummary = "Tests."\napi = 1\n',
    "README.md": "# Paper\n\nFor tests.\n",
    "__init__.py": '''"""For tests."""
from typing import Annotated
from kernel.api import Extension, Meta, Panel, PANELS, Struct

WORDS = {"a": "constant"}

class Settings(Struct, frozen=True):
    """How much."""
    level: Annotated[int, Meta(ge=1, le=9, description="How much of it.")] = 3

async def setup(ext: Extension[Settings]) -> None:
    ext.add(PANELS, Panel("status", "panel.html"))
''',
    "templates/panel.html": """{# <script> in a comment is no script #}
{% set p = "paper-row" %}
<b id="paper-level">{{ level }}</b><i id="{{ p }}-1"></i><button hx-vals='{"onclick": 1}'>x</button>
""",
    "worker.py": '"""A child."""\nfrom kernel.contract import Delta\n',
    "test_paper.py": "from kernel.api import Delta\nfrom kernel.testing import running\n",
}

LEFT = {
    "Task pending": "asyncio.get_running_loop().create_task(asyncio.sleep(30))",
    "Thread(waiting": "threading.Thread(target=time.sleep, args=(9,), name='waiting',"
    " daemon=True).start()",
    "process ": "sys.kept = subprocess.Popen([sys.executable, '-c', 'input()'],"
    " stdin=-1, stderr=-3)",
    "socket ": "sys.kept = [*getattr(sys, 'kept', ()), socket.socket()]",
    "contributions to panels": "ext._kernel.registry.add(PANELS, None, 'paper', phase=1, rank=0,"
    " rewrites=False)",
    "did not start again": "sys.started = getattr(sys, 'started', 0) + 1; 1 / (sys.started < 4)",
}
"""What a setup may leave, and what its author is told of it."""
LEAKS = """
import asyncio, json, logging, os, sys
from pathlib import Path
from kernel.testing import conformance
logging.disable()
conformance.CYCLES = 3
found = {}
for folder in map(Path, sys.argv[1:]):
    try:
        asyncio.run(conformance.keeps(folder, "starts_and_stops"))
    except conformance.Nonconforming as problem:
        found[folder.parent.name] = str(problem)
    sys.kept = sys.started = None
    del sys.kept, sys.started
print(json.dumps(found), flush=True)
os._exit(0)  # with all that was left
"""
FIELD = 'level: Annotated[int, Meta(ge=1, le=9, description="How much of it.")] = 3'

BROKEN: list[tuple[str, str, str, str, str]] = [
    # the promise, the file, what in it is replaced, by what, what the author is told
    ("manifest", "extension.toml", "api = 1", "api = 7", "api = 7"),
    ("manifest", "extension.toml", "Tests.", "Tests", "full stop"),
    ("manifest", "extension.toml", 'id = "paper"', 'id = "stone"', "must equal the folder"),
    ("manifest", "extension.toml", "api = 1", "api = 1\ncolour = 3", "colour"),
    ("readme", "README.md", "# Paper", "Paper", "README.md must begin"),
    ("docstrings", "__init__.py", '"""For tests."""\n', "", "__init__.py has no docstring"),
    ("settings", "__init__.py", "How much of it.", "How much", "level has no sentence"),
    ("settings", "__init__.py", "ge=1, le=9, ", "ge=1, ", "level has no bounds"),
    ("settings", "__init__.py", FIELD, FIELD.removesuffix(" = 3"),
     "Missing required argument 'level'"),
    ("settings", "__init__.py", FIELD,
     'level: Annotated[bytes, Meta(description="How much of it.")] = b""', "no form can show"),
    ("public_api_only", "__init__.py", "WORDS", "import kernel.manager\nWORDS", "kernel.manager"),
    ("public_api_only", "__init__.py", "WORDS", "from kernel import bus\nWORDS", "kernel.bus"),
    ("public_api_only", "__init__.py", "WORDS", "def f():\n    import extensions.chat.api\nWORDS",
     "extensions.chat.api"),
    ("public_api_only", "worker.py", "kernel.contract", "kernel.api", "Use kernel.contract"),
    ("public_api_only", "worker.py", "kernel.contract", "extensions.paper.more", "more.py imports"),
    ("public_api_only", "test_paper.py", "kernel.testing", "kernel.clients", "kernel.clients"),
    ("small_files", "__init__.py", "WORDS", "\n" * 150 + "WORDS", "at most 150. Split it"),
    ("small_files", "worker.py", "from", "\n" * 500 + "from", "at most 500. Split it"),
    ("no_pickles", "__init__.py", "WORDS", "from pickle import loads\nWORDS", "imports pickle"),
    ("no_module_state", "__init__.py", "WORDS", "words", "line 5: state of a module"),
    ("no_module_state", "__init__.py", "async def", "def f():\n    global x\nasync def", "line 12"),
    *(
        ("no_module_state", "__init__.py", "async def", f"{more}\nasync def", told)
        for more, told in (
            ("def f(x):\n    WORDS[x] = 1", "line 12: state"),
            ("def f(x):\n    del WORDS[x]", "line 12: state"),
            ("def f(x):\n    WORDS['a'] += x", "line 12: state"),
            ("def f(x):\n    def g(): WORDS.setdefault(x, 1)\n    g()", "line 12: state"),
            ("TIMES = iter([1])\nclass C:\n    def f(self): return next(TIMES)", "line 13: state"),
            ("f = lambda x: WORDS.update(x)", "line 11: state"),
            ("import functools\n@functools.cache\ndef f(x): return x", "line 13: state"),
            ("from functools import lru_cache\n@lru_cache(None)\ndef f(x): ...", "line 13: state"),
        )
    ),
    ("templates", "templates/panel.html", "<b ", "<b style='x' ", "a style attribute"),
    ("templates", "templates/panel.html", "<b ", "<b onclick='x' ", "an event attribute"),
    ("templates", "templates/panel.html", "<b ", "<b hx-on:click='x' ", "hx-on"),
    ("templates", "templates/panel.html", "<b ", "<script>x</script><b ", "an inline script"),
    ("templates", "templates/panel.html", "<b ", "<style>x</style><b ", "a style element"),
    ("templates", "templates/panel.html", "paper-level", "level", "has the id level"),
    ("templates", "templates/panel.html", '"paper-row"', '"row"', "has the id row"),
]  # fmt: skip


def make(root: Path) -> Path:
    """An extension that keeps every promise."""
    folder = root / "paper"
    for name, text in GOOD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def edit(folder: Path, file: str, old: str, new: str) -> None:
    """Break it."""
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))


def run(root: Path, *arguments: str) -> tuple[int, str]:
    """Pytest as an author runs it: in a folder of their own, without this project's settings."""
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "kernel.testing.plugin",
        "-p",
        "no:cacheprovider",
    )
    done = subprocess.run(
        [*command, *arguments],
        cwd=root,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaks once leaks in three starts, too."""
    monkeypatch.setattr("kernel.testing.conformance.CYCLES", 3)


async def test_what_keeps_every_promise_passes(tmp_path: Path):
    assert await examine(make(tmp_path)) == {}


CONSTANT = """
@functools.cache
def once(): return [*WORDS]
@functools.lru_cache(8)
def few(x): return WORDS.get(x)
WORDS["b"] = "at once"
def own(words, WORDS):
    WORDS["a"] = 1
    names = dict(words)
    names.update(words)
def other():
    WORDS = {}
    WORDS["a"] = next(iter(WORDS))
"""


async def test_a_constant_and_what_only_looks_like_state_pass(tmp_path: Path):
    folder = make(tmp_path)
    edit(folder, "__init__.py", "\nasync def", f"\nimport functools{CONSTANT}\nasync def")
    assert await examine(folder) == {}


async def test_what_needs_an_extension_of_ours_passes_wherever_it_lies(tmp_path: Path):
    """The chat needs others in turn, which lie beside it and not beside this one."""
    folder = make(tmp_path)
    manifest = folder / "extension.toml"
    manifest.write_text(manifest.read_text() + '[requires]\nextensions = ["chat"]\n')
    await keeps(folder, "starts_and_stops")


@pytest.mark.parametrize(("promise", "file", "old", "new", "told"), BROKEN)
async def test_what_breaks_one_is_told_so(
    tmp_path: Path, promise: str, file: str, old: str, new: str, told: str
):
    folder = make(tmp_path)
    (folder / "more.py").write_text('"""More."""\nfrom kernel.api import INPUT\n')
    edit(folder, file, old, new)
    found = await examine(folder)
    assert told in found[promise]
    assert set(found) == {promise} or "extension.toml" in file or "Missing" in told


async def test_what_is_imported_while_it_is_off_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "extensions.paper.part", sys)
    with pytest.raises(Nonconforming, match="part was imported"):
        await keeps(make(tmp_path), "never_imported_when_off")


def test_what_is_left_behind_is_named(tmp_path: Path):
    folders = {told: make(tmp_path / str(n)) for n, told in enumerate(LEFT)}
    for told, folder in folders.items():
        line = f"    import asyncio, socket, subprocess, sys, threading, time\n    {LEFT[told]}\n"
        edit(folder, "__init__.py", "    ext.add", f"{line}    ext.add")
    command = [sys.executable, "-c", LEAKS, *map(str, folders.values())]
    said = subprocess.check_output(command, cwd=ROOT, text=True, timeout=60)
    found = json.loads(said)
    for told, folder in folders.items():
        assert told in found[folder.parent.name]


def test_every_promise_is_broken_here():
    living = {"starts_and_stops", "never_imported_when_off"}
    assert {promise for promise, *_ in BROKEN} | living == set(CHECKS)


# --- pytest -----------------------------------------------------------------------------


@pytest.mark.long
def test_an_option_examines_a_folder_without_any_test(tmp_path: Path):
    folder = make(tmp_path)
    status, said = run(tmp_path, "--spindle-extension", "paper")
    assert (status, f"{len(CHECKS)} passed" in said) == (0, True), said
    edit(folder, "README.md", "# ", "")
    status, said = run(tmp_path, "--spindle-extension", str(folder))
    assert (status, f"1 failed, {len(CHECKS) - 1} passed" in said) == (1, True), said
    assert "README.md must begin with “# Name”." in said
    assert "Traceback" not in said


def test_two_lines_are_a_test_module(tmp_path: Path):
    folder = make(tmp_path)
    (folder / "test_paper.py").write_text(
        "from kernel.testing.plugin import conformance\ntest_conformance = conformance(__file__)\n"
    )
    status, said = run(folder)
    assert (status, f"{len(CHECKS)} passed" in said) == (0, True), said
    edit(folder, "templates/panel.html", "paper-level", "level")
    status, said = run(folder)
    assert (status, "has the id level. Begin it with" in said) == (1, True), said


def test_an_installed_spindle_brings_the_plugin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module = import_module(project["entry-points"]["pytest11"]["spindle"])
    assert module.pytest_addoption
