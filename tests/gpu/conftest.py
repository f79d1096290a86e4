"""What these tests share: the engine's Python, if it sees a card, and models."""

import subprocess
from pathlib import Path

import pytest

from kernel.environments import python_of
from tests.gpu.card import reason_to_skip

LLAMA = Path(__file__).parent / "llama.py"


@pytest.fixture(scope="session")
def python(environments_dir: Path) -> Path:
    python = python_of(environments_dir / "torch")
    if reason := reason_to_skip(python):
        pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def large(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights take about 1 GB, and 16 KB more for each token."""
    folder = tmp_path_factory.mktemp("models") / "large"
    subprocess.run([python, LLAMA, folder, "8", "512"], check=True)
    return folder
