"""What the tests of this folder share: each of these takes seconds of a processor to start."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Worker
from tests.engines.plain import plain
from tests.engines.real import STORIES, engine


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    """It has the model of stories; no test may load another into it."""
    async with engine("transformers", environments_dir / "torch") as worker:
        info = await worker.load(STORIES / "hf", {"dtype": "float32"})
        assert "lora" in info.capabilities
        yield worker


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def spare(environments_dir: Path) -> AsyncIterator[Worker]:
    """For loading otherwise."""
    async with engine("transformers", environments_dir / "torch") as worker:
        yield worker


@pytest.fixture(scope="package")
def expected(environments_dir: Path) -> Any:
    """What transformers itself writes."""
    return plain(environments_dir / "torch")
