"""What is computed of a model's memory against what llama.cpp allocates, and its failures."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.engine_kit.api import check_gguf
from extensions.llama_cpp.memory import Plan, need
from kernel.api import Worker, WorkerError
from tests.engines.larger import make
from tests.engines.real import STORIES, STORY, ask, engine

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="limits of addresses are Linux's"),
]
HERE = Path(__file__).parent
MODEL = STORIES / "stories260K.gguf"
CLOSE = 0.01
"""The share by which the sums may differ."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def measured(environments_dir: Path) -> AsyncIterator[Worker]:
    file = HERE / "measured.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        await worker.load("", {})
        yield worker


@pytest.mark.parametrize(
    ("cells", "more"),
    [
        (2048, {}),
        (8192, {"n_ubatch": 128}),
        (8192, {"flash_attn_type": 1}),
        (4000, {"sequences": 4}),
        (256, {}),
    ],
)
@pytest.mark.parametrize(
    "name", ["stories260K", "15m", pytest.param("110m", marks=pytest.mark.long)]
)
async def test_the_sums_are_those_of_llama_cpp(
    measured: Worker,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    cells: int,
    more: dict[str, Any],
):
    folder = tmp_path_factory.getbasetemp() / "models"
    path = MODEL if name == "stories260K" else make(folder, name)
    options = {
        "cells": cells, "sequences": 32, "n_batch": 512, "n_ubatch": 512, "flash_attn_type": 0,
        "swa_full": True, **more,
    }  # fmt: skip
    found = await measured.call("measure", path=str(path), options=options, mapped=True)
    plan = Plan(
        cells,
        "f16",
        options["n_ubatch"],
        options["sequences"],
        bool(options["flash_attn_type"]),
    )
    wanted = need(check_gguf(path), plan)
    print(name, cells, more, found, wanted)
    assert wanted.weights == pytest.approx(found["weights"], rel=CLOSE)
    assert wanted.cache == pytest.approx(found["cache"], rel=CLOSE, abs=6000)  # it rounds to 10 kB
    assert wanted.compute == pytest.approx(found["compute"], rel=0.07)
    total = found["weights"] + found["cache"] + found["compute"]
    assert wanted.total == pytest.approx(total, rel=0.05)


async def starved(environments_dir: Path, **options: Any) -> tuple[Worker, str]:
    """A worker that could not load, and what it said."""
    async with engine(
        "llama_cpp", environments_dir / "xllamacpp-native", HERE / "starved.py"
    ) as worker:
        with pytest.raises(WorkerError) as refusal:
            await worker.load(MODEL, {"context_length": 2048, **options})
        assert not worker.died.done(), "it can load another model"
        return worker, str(refusal.value)


async def test_what_surely_does_not_fit_never_reaches_llama_cpp(environments_dir: Path):
    worker, said = await starved(environments_dir, moment="known", room=20)
    assert said.startswith("This model needs 41 MB of memory with a context of 2,048 tokens (1 MB")
    assert "and 2" in said
    assert said.endswith(
        " MB are free. It fits with a context of 768 tokens or with a ubatch_size of 64."
    )
    assert not [line for line in worker.log_tail if "llama_model_load" in line]


async def test_memory_that_is_gone_when_the_context_is_made_is_told_with_numbers(
    environments_dir: Path,
):
    _, said = await starved(environments_dir, moment="context", room=32)
    assert said.startswith("The memory ran out while making room for a context of 2,048 tokens")
    assert "1 MB of weights, 1 MB for conversations, 39 MB to compute in" in said
    assert "It fits with a context of " in said


async def test_memory_that_is_gone_when_the_weights_are_read_is_told(environments_dir: Path):
    _, said = await starved(environments_dir, moment="weights", room=0, mmap=False)
    assert said.startswith("The memory ran out while loading the weights (1 MB of weights")
    assert "smaller" in said


@pytest.mark.parametrize(
    ("after", "words"), [(0, "while reading a prompt"), (3, "while writing a reply")]
)
async def test_memory_that_is_gone_in_a_step_ends_its_replies_and_no_more(
    environments_dir: Path, after: int, words: str
):
    file = HERE / "starved.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        await worker.load(MODEL, {})
        await worker.call("starve", after=after)
        with pytest.raises(WorkerError, match=f"The memory ran out {words}.* with a context of"):
            await ask(worker)
        assert (await ask(worker))[0] == STORY, "the next one is written"


async def test_what_finds_no_room_outside_the_context_ends_no_reply(environments_dir: Path):
    """It is read again when it is wanted."""
    file = HERE / "starved.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        await worker.load(MODEL, {})
        await worker.call("keep")
        await ask(worker, "Ben had a dog. " * 20)
        assert (await ask(worker))[0] == STORY


async def test_the_prebuilt_engine_tells_it_in_numbers_too(environments_dir: Path):
    file = HERE / "starved.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp", file) as worker:
        with pytest.raises(WorkerError, match=r"The memory ran out while loading the model \(1 MB"):
            await worker.load(MODEL, {"context_length": 2048, "moment": "server", "room": 24})


async def test_llama_cpp_answers_minus_two_where_logits_find_no_memory(
    measured: Worker, tmp_path: Path, environments_dir: Path
):
    model = make(tmp_path, "15m")
    file = HERE / "measured.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        await worker.load("", {})
        with pytest.raises(WorkerError, match="OutOfMemory: writing a reply"):
            await worker.call("starve", path=str(model), room=200 << 20, moment="writing")
