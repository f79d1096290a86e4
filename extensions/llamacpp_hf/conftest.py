"""The engine that the tests of this folder share: it takes seconds of a processor to start."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kernel.api import Worker
from tests.engines.real import engine, interpreter


@pytest.fixture(scope="package")
def environment(environments_dir: Path) -> Path:
    """The one that is shared with the Transformers loader, where it has llama.cpp too."""
    interpreter(environments_dir / "torch", "llama_cpp")
    return environments_dir / "torch"


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def spare(environment: Path) -> AsyncIterator[Worker]:
    """For loading otherwise."""
    async with engine("llamacpp_hf", environment) as worker:
        yield worker
