"""The traits of the architecture that can be read off the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert sum(lines) <= 8_395


def test_a_kernel_file_has_one_idea_and_says_it():
    for file in (*KERNEL, *TESTING):
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), file
        assert len(file.read_text("utf-8").splitlines()) <= 300, file


@pytest.mark.parametrize("file", KERNEL, ids=lambda f: f.name)
def test_no_module_holds_state(file: Path):
    assert not state_lines(file)


def test_nothing_is_pickled():
    for file in KERNEL:
        bytecode = {"marshal"} if file.name == "compiled.py" else set[str]()  # as Python's own
        assert not imports(file) & FORBIDDEN - bytecode, file


def test_the_server_starts_without_heavy_libraries():
    code = (
        "import kernel.__main__, kernel.api, sys;"
        "print(sorted({m.split('.')[0] for m in sys.modules} &"
        " {'torch','numpy','transformers','pydantic','huggingface_hub','httpx','playwright'}))"
    )
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert said.strip() == "[]"
