"""Memory that runs out and a card that is lost cost what they must, and are told in a sentence."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kernel.api import Worker, WorkerDied, WorkerError
from kernel.contract import Request, Sampling
from tests.engines.real import FAULTY, STORIES, STORY, ask, engine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
READING = r"^The engine ran out of memory while reading a prompt\. Send a shorter prompt"
WRITING = r"^The engine ran out of memory while writing a reply\. Send a shorter prompt"
LONG = "Tom had a red ball. " * 8
LOST = r"^The graphics card failed while writing a reply \(CUDA error: device-side assert"


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def shared(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("transformers", environments_dir / "torch", FAULTY) as worker:
        await worker.load(STORIES / "hf", {"dtype": "float32"})
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def worker(shared: Worker) -> Worker:
    """It remembers no conversation."""
    await shared.call("forget")
    return shared


async def test_a_prompt_without_room_costs_no_other_reply(worker: Worker):
    sampling = Sampling(temperature=0.0, max_new_tokens=100)
    other = worker.generate(Request(prompt="Tom", sampling=sampling))
    text = (await anext(other)).text
    await worker.call("starve", reading=True)
    with pytest.raises(WorkerError, match=READING):
        await ask(worker)
    text += "".join([delta.text async for delta in other])
    assert text == (await ask(worker, "Tom", max_new_tokens=100))[0]
    assert (await ask(worker))[0] == STORY


async def test_a_prompt_that_finds_no_room_beside_others_costs_no_other_reply(worker: Worker):
    others = [worker.generate(asked(prompt)) for prompt in ("Tom", LONG)]
    texts = [(await anext(other)).text for other in others]
    await worker.call("crowd")
    with pytest.raises(WorkerError, match=READING):
        await ask(worker)
    for at, other in enumerate(others):
        texts[at] += "".join([delta.text async for delta in other])
    assert texts == [(await ask(worker, p, max_new_tokens=300))[0] for p in ("Tom", LONG)]


async def test_what_is_remembered_gives_way_to_a_prompt_beside_others(worker: Worker):
    await ask(worker, LONG)
    other = worker.generate(asked("Tom"))
    await anext(other)
    await worker.call("crowd")
    assert (await ask(worker))[0] == STORY
    other.cancel()


def asked(prompt: str) -> Request:
    """A long reply."""
    return Request(prompt=prompt, sampling=Sampling(temperature=0.0, max_new_tokens=300))


async def test_a_step_without_room_ends_the_replies_in_it(worker: Worker):
    sampling = Sampling(temperature=0.0, max_new_tokens=100)
    replies = [worker.generate(Request(prompt=p, sampling=sampling)) for p in (LONG, "Tom")]
    for reply in replies:
        await anext(reply)
    await worker.call("starve", reading=False)
    for reply in replies:
        with pytest.raises(WorkerError, match=WRITING):
            [delta async for delta in reply]
    after, finish, _ = await ask(worker, LONG)
    assert not finish.usage.cached, "what was broken off is of no use"
    await worker.call("forget")
    assert after == (await ask(worker, LONG))[0]


@pytest.mark.parametrize("reading", [True, False])
async def test_conversations_that_are_only_remembered_give_way_first(worker: Worker, reading: bool):
    before, _, _ = await ask(worker, LONG)
    _, finish, _ = await ask(worker, LONG)
    assert finish.usage.cached > 40
    await worker.call("starve", reading=reading)
    text, _, _ = await ask(worker, LONG + "The dog ran to him.")
    await ask(worker, LONG)
    expected, _, _ = await ask(worker, LONG + "The dog ran to him.")
    assert text == expected
    assert (await ask(worker, LONG))[0] == before


async def test_a_token_that_no_model_has_is_no_fault(worker: Worker):
    text, _, _ = await ask(worker, logit_bias={-9999: 5.0, 9999: 5.0})
    assert text == STORY


async def test_a_lost_card_ends_the_process(worker: Worker):
    # The last one: nothing runs in this worker any more.
    await worker.call("lose")
    with pytest.raises(WorkerDied, match=LOST):
        await ask(worker)
    assert re.match(LOST, await worker.died)
