"""The traits of the architecture that can be read off the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from kernel.manifest import Manifest

ROOT = Path(__file__).parent.parent
KERNEL = sorted((ROOT / "kernel").glob("*.py"))
EXTENSIONS = sorted(p.parent for p in (ROOT / "extensions").glob("*/extension.toml"))


def imports(file: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module)
    return found


def mutable_globals(file: Path) -> list[int]:
    """Lines that make state of a module: `global`, or a list, dict or set at its top level."""
    tree = ast.parse(file.read_text("utf-8"))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        name = target.id if isinstance(target, ast.Name) else ""
        made = isinstance(node.value, ast.List | ast.Dict | ast.Set) or (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in ("list", "dict", "set", "defaultdict", "deque")
        )
        if made and not (name.isupper() or name.strip("_").isupper() or name == "__all__"):
            lines.append(node.lineno)
    return lines


def files_of(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.rglob("*.py")) if not f.name.startswith("test_")]


def worker_files(folder: Path) -> set[Path]:
    """worker.py and what it imports of its own extension."""
    todo, seen = [folder / "worker.py"], set[Path]()
    while todo:
        file = todo.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        mine = f"extensions.{folder.name}."
        todo += [
            folder / (m.removeprefix(mine).replace(".", "/") + ".py")
            for m in imports(file)
            if m.startswith(mine)
        ]
    return seen


def test_the_kernel_imports_no_extension_and_no_heavy_library():
    heavy = {"torch", "transformers", "numpy", "huggingface_hub", "pydantic", "extensions"}
    for file in KERNEL:
        assert not {m.split(".")[0] for m in imports(file)} & heavy, file


def test_the_kernel_does_not_grow():
    """docs/decisions/0006 tells why it is not smaller; this number only goes down."""
    lines = [len(f.read_text("utf-8").splitlines()) for f in KERNEL if f.name != "testing.py"]
    assert sum(lines) <= 6_950


def test_a_kernel_file_has_one_idea_and_says_it():
    for file in KERNEL:
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), file
        if file.name != "testing.py":
            assert len(file.read_text("utf-8").splitlines()) <= 300, file


@pytest.mark.parametrize("folder", EXTENSIONS, ids=lambda p: p.name)
def test_an_extension_uses_only_the_public_surface(folder: Path):
    manifest = Manifest.read(folder)
    public = {f"extensions.{need}.api" for need in manifest.requires.extensions}
    workers = worker_files(folder)
    for file in files_of(folder):
        foreign = {
            m
            for m in imports(file)
            if m.split(".")[0] in ("kernel", "extensions")
            and not (m + ".").startswith(f"extensions.{folder.name}.")
        }
        worker_side = file in workers or folder.name == "engine_kit"
        allowed = public | ({"kernel.contract"} if worker_side else {"kernel.api"})
        if folder.name == "engine_kit":
            allowed |= {"kernel.api"}
        assert foreign <= allowed, f"{file.name} imports {foreign - allowed}"


@pytest.mark.parametrize(
    "file",
    [*KERNEL, *(f for folder in EXTENSIONS for f in files_of(folder))],
    ids=lambda f: f"{f.parent.name}/{f.name}",
)
def test_no_module_holds_state(file: Path):
    assert not mutable_globals(file)


def test_the_check_for_module_state_can_fail(tmp_path: Path):
    file = tmp_path / "bad.py"
    file.write_text("cache = {}\nNAMES = {'a': 1}\ndef f():\n    global cache\n")
    assert mutable_globals(file) == [4, 1]


def test_nothing_is_pickled():
    for file in [*KERNEL, *(f for folder in EXTENSIONS for f in files_of(folder))]:
        assert not imports(file) & {"pickle", "shelve", "dill", "cloudpickle", "marshal"}, file


def test_the_server_starts_without_heavy_libraries():
    code = (
        "import kernel.__main__, kernel.api, sys;"
        "print(sorted({m.split('.')[0] for m in sys.modules} &"
        " {'torch','numpy','transformers','pydantic','huggingface_hub','httpx','playwright'}))"
    )
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert said.strip() == "[]"


@pytest.mark.parametrize("folder", EXTENSIONS, ids=lambda p: p.name)
def test_an_extension_is_presentable(folder: Path):
    manifest = Manifest.read(folder)
    assert manifest.summary.endswith(".")
    assert (folder / "README.md").read_text("utf-8").startswith("# ")
    for file in files_of(folder):
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), f"{file}: say what it is for"
    entry = (folder / "__init__.py").read_text("utf-8").splitlines()
    assert len(entry) <= 150, f"{folder.name}/__init__.py is a table of contents, not a store"
