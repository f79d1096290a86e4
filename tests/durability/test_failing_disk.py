"""R1, K1: each write, sync and rename fails once, of the store and of every file people edit."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.durability.shim import built, run

MEMORY = Path("/dev/shm")
MODES = pytest.mark.parametrize(
    ("error", "how"),
    [("ENOSPC", "once"), ("EIO", "once"), pytest.param("ENOSPC", "cut", marks=pytest.mark.long)],
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield Path(folder)


@MODES
def test_r1_k1_the_store(shim: Path, folder: Path, error: str, how: str):
    """Every operation, and every twenty-third of its disk calls after the first six."""
    run(shim, "failing_store", str(folder), error, how, "23")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("how", ["once", "cut"])
def test_r1_k1_the_store_at_every_call(shim: Path, folder: Path, error: str, how: str):
    run(shim, "failing_store", str(folder), error, how, "1")


@MODES
def test_r1_k1_every_file_that_a_person_edits(shim: Path, folder: Path, error: str, how: str):
    run(shim, "failing_files", str(folder), error, how)
