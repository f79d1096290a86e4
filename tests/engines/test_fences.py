"""Calls that end the process inside llama.cpp: each is refused before, and the context goes on.

`test_without_its_fence…` (--long) shows that the library still dies of them: where one does not
any more, its fence may go.
"""

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Worker, WorkerError
from kernel.worker import WorkerDied
from tests.engines.mutations import rewritten, text
from tests.engines.real import STORIES, ask, engine
from tests.engines.tiny import make_lora

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
FENCED = Path(__file__).parent / "fenced.py"
MODEL = STORIES / "stories260K.gguf"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fenced(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", FENCED) as worker:
        await worker.load(MODEL, {})
        yield worker


CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("row", {"at": 3}, "a row without logits"),
    ("row", {"at": 60}, "a row without logits"),
    ("row", {"at": 70}, "IndexError"),
    ("stale_row", {}, "a row without logits"),
    ("row_of_a_failed_step", {}, "a row without logits"),
    ("tokens", {"count": 65}, "a step of 65 tokens"),
    ("tokens", {"count": 0}, "a step of 0 tokens"),
    ("tokens", {"count": -1}, "a step of -1 tokens"),
    ("long_prompt", {"count": 65}, "ValueError"),
    *[
        ("sequence", {"at": at, "how": how}, f"there is no sequence {at}")
        for at in (-1, 4, 300)
        for how in ("forget", "copy", "copied", "cut", "length", "state", "restore")
    ],
    ("another", {"sequences": 257}, "1 to 256 sequences"),
    ("another", {"sequences": 100_000}, "1 to 256 sequences"),
    ("another", {"cells": 2**30}, "beyond all memory"),
    ("another", {"cells": 0}, "beyond all memory"),
    ("adapter", {"path": "/nowhere/missing.gguf"}, "no adapter at"),
    ("adapter", {"path": str(MODEL)}, "is no LoRA adapter"),
]


@pytest.mark.parametrize(("name", "data", "words"), CALLS)
async def test_a_deadly_call_is_refused(
    fenced: Worker, name: str, data: dict[str, Any], words: str
):
    with pytest.raises(WorkerError, match=words):
        await fenced.call(name, **data)
    assert not fenced.died.done()
    assert (await fenced.call("read", count=8))[1] > 0, "and the context goes on"


@pytest.mark.parametrize(
    "more",
    [
        {"n_threads": 100_000, "n_threads_batch": 100_000},
        {"n_threads": 0, "n_threads_batch": -5},
        {"n_batch": 0, "n_ubatch": 0},
        {"n_batch": 2**31 - 1, "n_ubatch": 2**31 - 1},
        {"n_batch": 32, "n_ubatch": 8, "sequences": 64},
        {"cells": 4, "sequences": 64},
    ],
)
async def test_a_number_that_kills_is_brought_into_its_bounds(fenced: Worker, more: dict[str, Any]):
    assert (await fenced.call("another", **more))[0] == 0


async def test_two_threads_never_step_at_once(fenced: Worker):
    said, _ = await fenced.call("two_threads")
    assert said == "two threads asked for a step of one context"


def foreign(folder: Path) -> Path:
    """An adapter whose alpha is a double: llama.cpp asserts that it is none."""
    key = text(b"adapter.lora.alpha")
    sound = make_lora(folder / "sound.gguf")
    alpha = struct.unpack_from("<f", sound.read_bytes().partition(key)[2], 4)[0]
    old = key + struct.pack("<If", 6, alpha)
    return rewritten(sound, folder / "foreign.gguf", (old, key + struct.pack("<Id", 12, alpha)))


async def test_an_adapter_that_ends_the_process_is_refused(fenced: Worker, tmp_path: Path):
    with pytest.raises(WorkerError, match="its alpha is no number"):
        await fenced.call("adapter", path=str(foreign(tmp_path)))
    assert isinstance((await fenced.call("adapter", path=str(tmp_path / "sound.gguf")))[0], int)


async def test_a_missing_adapter_is_a_null_pointer_that_is_not_none(fenced: Worker):
    said, _ = await fenced.call("null_adapter", path="/nowhere/missing.gguf")
    assert said == "True False False"


@pytest.mark.long
@pytest.mark.usefixtures("fenced")  # Its loop, which is not the first one's to close.
@pytest.mark.parametrize(
    "what",
    ["adapter", "row", "no row", "tokens", "threads", "sequence", "copied sequence", "two threads",
     "a batch smaller than the sequences"],
)  # fmt: skip
async def test_without_its_fence_the_process_dies(
    environments_dir: Path, tmp_path: Path, what: str
):
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", FENCED) as worker:
        await worker.load(MODEL, {})
        with pytest.raises(WorkerDied, match=r"crashed|ended|memory"):
            await worker.call("raw", what=what, path=str(foreign(tmp_path)))


async def test_a_context_beyond_memory_and_a_long_prompt_are_refused_by_the_engine(
    environments_dir: Path,
):
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        await worker.load(MODEL, {"context_length": 10_000_000, "threads": 256})
        assert (await ask(worker))[1].reason == "length"
        with pytest.raises(WorkerError, match="the context of this model 2,048"):
            await ask(worker, token_ids=(403,) * 5000)
        with pytest.raises(WorkerError, match=r"for this model\. Shorten it"):
            await ask(worker, prompt="x" * 4_000_000)
