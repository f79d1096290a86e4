"""The traits of the architecture that can be read off the source."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from kernel.testing.conformance import changing_lines
from kernel.testing.source import FORBIDDEN, imports, state_lines

ROOT = Path(__file__).parent.parent
KERNEL = sorted((ROOT / "kernel").glob("*.py"))
TESTING = sorted((ROOT / "kernel" / "testing").glob("*.py"))


def test_the_kernel_imports_no_extension_and_no_heavy_library():
    heavy = {"torch", "transformers", "numpy", "huggingface_hub", "pydantic", "extensions"}
    for file in (*KERNEL, *TESTING):
        assert not {m.split(".")[0] for m in imports(file)} & heavy, file


def test_the_kernel_does_not_grow():
    """docs/decisions/0006 tells why it is not smaller, and what it may grow by."""
    lines = [len(f.read_text("utf-8").splitlines()) for f in KERNEL if f.name != "testing.py"]
    assert sum(lines) <= 10_623


def test_a_kernel_file_has_one_idea_and_says_it():
    for file in (*KERNEL, *TESTING):
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), file
        assert len(file.read_text("utf-8").splitlines()) <= 300, file


KEPT = {
    "kept.py": {"MODULES", "MANIFESTS", "PACKAGED"},  # for tests alone: what no test changes
    "source.py": {"def _imported"},  # for tests alone: by a file's text, and says the same of it
}
"""State all the same, and why: the words in each line that has some."""


@pytest.mark.parametrize("file", [*KERNEL, *TESTING], ids=lambda f: f.name)
def test_no_module_holds_state(file: Path):
    lines = file.read_text("utf-8").splitlines()
    state = [lines[number - 1] for number in (*state_lines(file), *changing_lines(file))]
    allowed = KEPT.get(file.name, set()) if file in TESTING else set[str]()
    assert [line for line in state if not any(word in line for word in allowed)] == []
    assert all(any(word in line for line in state) for word in allowed), "or take it out of KEPT"


BUILT = {"kernel/contract.py", "kernel/sampling.py", "kernel/flags.py", "kernel/jobs.py"}
"""Whose structs lie in others that are built; what is read there is read once, at the start."""


def sources(folder: Path) -> list[Path]:
    return [each for each in folder.glob("*.py") if not each.name.startswith("test_")]


@cache
def read_names(folder: Path) -> set[str]:
    """The names in what msgspec is told to read, in the files of a folder."""
    calls = (
        node
        for file in sources(folder)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    )
    told = (
        given
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("decode", "convert", "Decoder")
        for given in (*call.args, *(key.value for key in call.keywords))
    )
    return {name.id for each in told for name in ast.walk(each) if isinstance(name, ast.Name)}


def test_what_msgspec_reads_is_built_before_threads_read_it():
    """Two first reads of a struct that meet end the process, as they did here once."""
    folders = {file.parent for file in (ROOT / "extensions").rglob("*.py")}
    structs = {
        f"{file.relative_to(ROOT)} {node.name}": [ast.unparse(each) for each in node.decorator_list]
        for folder in (ROOT / "kernel", *folders)
        for file in sources(folder)
        if str(file.relative_to(ROOT)) not in BUILT
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name in read_names(folder)
        if any("Struct" in ast.unparse(base) for base in node.bases)
    }
    assert len(structs) > 25
    assert [name for name, worn in structs.items() if "built" not in worn] == []


def test_nothing_is_pickled():
    for file in KERNEL:
        bytecode = {"marshal"} if file.name == "compiled.py" else set[str]()  # as Python's own
        assert not imports(file) & FORBIDDEN - bytecode, file


def test_what_could_unpickle_is_told_not_to():
    """Bandit's B614 sees to that, a rule that ruff has not: torch.load can run what a file says."""
    folders = ("kernel", "extensions", "tests", "tools", "benchmarks")
    files = [file for each in folders for file in (ROOT / each).rglob("*.py")]
    asked = [
        (file.name, name, {each.arg: ast.unparse(each.value) for each in call.keywords})
        for file in files
        if re.search(r"\b(torch|np|numpy)\.load\b", text := file.read_text("utf-8"))
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        if (name := ast.unparse(call.func)) in ("torch.load", "np.load", "numpy.load")
    ]
    assert ("writing.py", "torch.load") in {each[:2] for each in asked}
    for file, name, said in asked:
        assert said.get("weights_only") == "True" or name != "torch.load", file
        assert said.get("allow_pickle", "False") == "False", file


def test_the_server_starts_without_heavy_libraries():
    code = (
        "import kernel.__main__, kernel.api, sys;"
        "print(sorted({m.split('.')[0] for m in sys.modules} &"
        " {'torch','numpy','transformers','pydantic','huggingface_hub','httpx','playwright'}))"
    )
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert said.strip() == "[]"
