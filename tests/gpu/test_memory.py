"""A card's memory comes back whatever ends an engine; too little of it is told in a sentence."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.bus import Bus
from kernel.contract import Report, Request, Sampling, Struct
from kernel.loaders import LOADERS
from kernel.model import Slot
from kernel.points import Phase, Registry
from kernel.worker import Worker, WorkerDied, WorkerError
from kernel.workers import WorkerModel
from tests.engines.real import FAULTY, STORIES, STORY, ask, engine
from tests.gpu.card import given_back, nearly_full, taken

pytestmark = pytest.mark.gpu
ENDLESS = Request(
    token_ids=(5, 6, 7), sampling=Sampling(max_new_tokens=5000, ban_eos_token=True, seed=1)
)
LARGE = r"graphics card ran out of memory while loading the model\. Its files have 1\.0 GB\. Choose"
LONG = r"^The graphics card ran out of memory while reading a prompt\. Send a shorter prompt"
BROKEN = r"^The graphics card failed while .{15,16} \(CUDA error: device-side assert triggered\)"


@pytest.fixture
def environment(python: Path) -> Path:
    return python.parents[1]


async def test_unloading_gives_all_memory_back(environment: Path, large: Path):
    before = taken()
    async with engine("transformers", environment) as worker:
        await worker.load(large, {"device": "cuda"})
        await ask(worker, token_ids=(5, 6, 7))
        held = taken() - before
        assert held > 900
    assert await given_back(before)
    print(f"{held} MB were held, {taken() - before} MB are")


async def test_a_kill_in_mid_reply_gives_all_memory_back(environment: Path, large: Path):
    before = taken()
    async with engine("transformers", environment) as worker:
        await worker.load(large, {"device": "cuda"})
        reply = worker.generate(ENDLESS)
        await anext(reply)
        begun = time.monotonic()
        os.kill(worker._process.transport.get_pid(), signal.SIGKILL)
        with pytest.raises(WorkerDied, match="was killed"):
            [delta async for delta in reply]
        assert time.monotonic() - begun < 2
        assert await given_back(before)


@pytest.mark.parametrize("leaves", [1000, 32], ids=["not for the weights", "not even for CUDA"])
async def test_too_little_memory_to_load(environment: Path, large: Path, leaves: int):
    python = environment / "bin" / "python"
    async with nearly_full(python, leaves), engine("transformers", environment) as worker:
        with pytest.raises(WorkerError, match=LARGE):
            await worker.load(large, {"device": "cuda"})


async def test_too_little_memory_for_a_prompt(environment: Path, large: Path):
    async with engine("transformers", environment) as worker:
        await worker.load(large, {"device": "cuda"})
        before, _, _ = await ask(worker, token_ids=(5, 6, 7), logprobs=0)
        async with nearly_full(environment / "bin" / "python", 32):
            with pytest.raises(WorkerError, match=LONG):
                await ask(worker, token_ids=(5, 6, 7) * 7000)
        after, finish, _ = await ask(worker, token_ids=(5, 6, 7), logprobs=0)
        assert (after, finish.usage.completion) == (before, 24)
        _, finish, _ = await ask(worker, token_ids=(5, 6, 7) * 7000)
        assert finish.usage.completion == 24, "now there is room for it"


class NoOptions(Struct, frozen=True):
    """It has none."""


class Loader:
    """Starts the engine that can be broken."""

    id = label = "card"
    Options: type[msgspec.Struct] = NoOptions

    def __init__(self, python: Path) -> None:
        self._python = python

    def accepts(self, path: Path, /) -> bool:
        return True

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        worker = await Worker.start(self._python, f"{FAULTY}:Engine")
        info = await worker.load(path, {"dtype": "float32", "device": "cuda"})
        return WorkerModel(worker, info)


async def test_a_broken_card_costs_one_reply_and_the_engine_is_replaced(python: Path):
    """M8: after such an error every later call of CUDA in that process fails."""
    before, bus = taken(), Bus()
    registry = Registry(bus.emit)
    registry.add(LOADERS, Loader(python), "test", phase=Phase.NORMAL, rank=0, rewrites=False)
    slot = Slot("chat", bus, registry, lambda owner, point, error: None)
    try:
        await slot.load(STORIES / "hf")
        assert isinstance(slot.model, WorkerModel)
        first = slot.model.worker
        reply = await slot.generate(ENDLESS)
        await anext(reply)
        with suppress(WorkerError):
            await first.call("break")
        with pytest.raises(WorkerDied, match=BROKEN):
            [delta async for delta in reply]
        sampling = Sampling(temperature=0.0, max_new_tokens=24)
        again = await slot.generate(Request(prompt="Once upon a time", sampling=sampling))
        assert "".join([delta.text async for delta in again]) == STORY
        assert slot.model.worker is not first
        assert slot.state.state == "ready"
        assert "torch" not in sys.modules, "the server's Python knows nothing of CUDA"
    finally:
        await slot.unload()
    assert await given_back(before)


async def test_two_engines_do_not_know_of_each_other(python: Path):
    """One that breaks the card for itself leaves another one's words as they are."""
    workers = [await Worker.start(python, f"{FAULTY}:Engine") for _ in range(2)]
    try:
        for worker in workers:
            await worker.load(STORIES / "hf", {"dtype": "float32", "device": "cuda"})
        reply = asyncio.create_task(ask(workers[1], max_new_tokens=300))
        await workers[0].call("break")
        with pytest.raises(WorkerDied, match=BROKEN):
            await ask(workers[0])
        text, _, _ = await reply
        assert text.startswith(STORY)
    finally:
        for worker in workers:
            await worker.close()
