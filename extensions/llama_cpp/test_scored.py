"""How likely each token of a text is, beside replies and with the room that they leave."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Worker, WorkerError
from tests.engines.real import ROOT, STORIES, STORY, ask, engine
from tests.engines.tiny import make_rwkv

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
MODEL = STORIES / "stories260K.gguf"
LORA = STORIES.parent / "lora-stories260K" / "lora-shakespeare-f32.gguf"
COUNTED = ROOT / "tests" / "engines" / "counted.py"
ABORTED = 2
TEXT = "Once upon a time, there was a little girl named Lily. " * 16


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def worker(shared: Worker) -> Worker:
    """It remembers nothing."""
    await shared.load(MODEL, {"context_length": 512})
    return shared


def same(said: dict[str, Any], other: dict[str, Any]) -> bool:
    """Read in other parts, it may be rounded otherwise."""
    return said["logprobs"][1:] == pytest.approx(other["logprobs"][1:], abs=2e-2)


async def test_they_are_those_of_single_steps(worker: Worker):
    said = await worker.call("scores", text="Once upon a time", top=3)
    assert said["token_ids"] == [1, 403, 407, 261, 378]
    assert said["logprobs"][0] is None
    for at in range(1, 5):
        asked = {"token_ids": said["token_ids"][:at], "top": 512}
        step = {t["id"]: t["logprob"] for t in await following(worker, asked)}
        assert said["logprobs"][at] == pytest.approx(step[said["token_ids"][at]], abs=2e-3)
        best = sorted(step, key=lambda id: -step[id])[:3]
        assert [id for id, _ in said["top"][at - 1]] == best
    assert len(said["top"]) == 5, "also what may follow the last"


async def following(worker: Worker, asked: dict[str, Any]) -> list[dict[str, float]]:
    """What may come next, by the engine's other call."""
    said = await worker.call("logits", **asked)
    tokens = said["tokens"]
    return [{"id": t["id"], "logprob": math.log(max(t["before"], 1e-300))} for t in tokens]


async def test_what_was_read_already_is_scored_from_its_beginning(worker: Worker):
    first = await worker.call("scores", text=TEXT)
    _, finish, _ = await ask(worker, TEXT)
    assert finish.usage.cached, "a reply takes up what was scored"
    again = await worker.call("scores", text=TEXT)
    assert len(again["logprobs"]) == len(again["token_ids"]) > 128
    assert same(again, first)
    assert first["top"] == []


async def test_beside_replies_all_stay_what_they_are_alone(worker: Worker):
    alone = await worker.call("scores", text=TEXT)
    told = {n: (await ask(worker, f"Tom had {n} cats.", max_new_tokens=60))[0] for n in range(4)}
    asked = [ask(worker, f"Tom had {n} cats.", max_new_tokens=60) for n in told]
    scores = [worker.call("scores", text=TEXT) for _ in range(3)]
    replies, scored = await asyncio.gather(asyncio.gather(*asked), asyncio.gather(*scores))
    assert [text for text, _, _ in replies] == [*told.values()]
    assert all(same(each, alone) for each in scored)


async def test_without_room_they_are_read_again(shared: Worker):
    """Each takes most of a context that they share with each other and with a long reply."""
    await shared.load(MODEL, {"context_length": 256, "cache_ram": 0})
    text = TEXT[: len(TEXT) // 2]
    alone = await shared.call("scores", text=text)
    reply = ask(shared, "Tom had a cat.", max_new_tokens=150, ban_eos_token=True)
    scores = [shared.call("scores", text=text) for _ in range(4)]
    (_, finish, _), scored = await asyncio.gather(reply, asyncio.gather(*scores))
    assert finish.reason == "length"
    assert all(same(each, alone) for each in scored)


async def test_with_an_adapter_they_are_others(worker: Worker):
    plain = await worker.call("scores", text=TEXT)
    adapted = await worker.call("scores", text=TEXT, adapters=[(str(LORA), 1.0)])
    assert not same(adapted, plain)
    assert same(await worker.call("scores", text=TEXT), plain)


async def test_what_cannot_be_scored_is_refused(worker: Worker):
    with pytest.raises(WorkerError, match=r"5,000 tokens, and the context .* 512. Read it in") as e:
        await worker.call("scores", token_ids=[403] * 5000)
    assert e.value.refused == "prompt"
    with pytest.raises(WorkerError, match="invalid tokens"):
        await worker.call("scores", token_ids=[1, 512])
    with pytest.raises(WorkerError, match="The text is empty"):
        await worker.call("scores", token_ids=[])
    for top in (-1, 513):
        with pytest.raises(WorkerError, match=r"There are no .* tokens to tell of"):
            await worker.call("scores", text="Once", top=top)
    whole = await worker.call("scores", token_ids=[1, *[403] * 511])
    assert len(whole["logprobs"]) == 512
    assert (await ask(worker))[0] == STORY


@pytest.mark.asyncio(loop_scope="function")
async def test_a_cancel_ends_the_reading(environments_dir: Path):
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", COUNTED) as worker:
        await worker.load(MODEL, {"context_length": 512})
        await worker.call("hold")
        task = asyncio.create_task(worker.call("scores", token_ids=[1, *[403] * 500]))
        assert await worker.call("stepping")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await ask(worker))[0] == STORY
        assert (await worker.call("codes"))[0] == ABORTED


@pytest.mark.asyncio(loop_scope="function")
async def test_a_stop_that_comes_too_late_costs_no_score(environments_dir: Path, tmp_path: Path):
    """What cannot forget a part begins again."""
    make_rwkv(tmp_path / "rwkv.gguf")
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", COUNTED) as worker:
        for model, ids in ((MODEL, [1, *[403] * 200]), (tmp_path / "rwkv.gguf", [5, 9, 30] * 60)):
            await worker.load(model, {"context_length": 512})
            alone = await worker.call("scores", token_ids=ids)
            await worker.call("disturb")
            assert same(await worker.call("scores", token_ids=ids), alone)
            assert (await worker.call("codes")).count(ABORTED) == 2


async def test_a_model_that_forgets_only_all(shared: Worker, tmp_path: Path):
    make_rwkv(tmp_path / "rwkv.gguf")
    await shared.load(tmp_path / "rwkv.gguf", {"context_length": 512})
    ids = [5, 9, 30, 7] * 40
    first = await shared.call("scores", token_ids=ids)
    await ask(shared, token_ids=ids, prompt=None, max_new_tokens=4)
    assert same(await shared.call("scores", token_ids=ids), first)
