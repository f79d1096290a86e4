"""What the tests of this folder share: each of these takes seconds of a processor to start."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Worker
from tests.engines.real import ROOT, STORIES, engine, interpreter

NEGATIVE = "Once upon a time, there was a boy named Tim"
SCALES = (1.5, 3.0)


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
    asked = {"prompt": "Once upon a time", "negative": NEGATIVE, "scales": SCALES,
             "contrasts": (), "texts": (), "count": 200}  # fmt: skip
    said = subprocess.run(
        [interpreter(environments_dir / "torch"), ROOT / "tests" / "engines"
         / "plain_transformers.py", STORIES / "hf", STORIES.parent / "lora-stories260K"],
        input=json.dumps(asked), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(said.stdout)
