"""The native engine: prefixes that are read once, full contexts, adapters, states, cancels."""

import asyncio
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernel.api import Request, Sampling, Worker, WorkerError
from tests.engines.real import ROOT, STORIES, STORY, ask, engine
from tests.engines.tiny import make_rwkv

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
MODEL = STORIES / "stories260K.gguf"
LORA = STORIES.parent / "lora-stories260K" / "lora-shakespeare-f32.gguf"
LONG = " ".join(f"Lily saw {n} birds and she was happy." for n in range(40))
"""Many hundred tokens."""
COUNTED = ROOT / "tests" / "engines" / "counted.py"
ABORTED = 2
"""What llama.cpp answers for a step that was told to stop."""
BACK = 3
"""Tokens that may be read again though they are known, see prefixes.py."""


@pytest.fixture(scope="module")
def environment(environments_dir: Path) -> Path:
    return environments_dir / "xllamacpp-native"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(environment: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environment) as worker:
        yield worker


async def loaded(shared: Worker, **options: Any) -> Worker:
    """It remembers nothing of what was loaded before."""
    await shared.load(MODEL, options)
    return shared


@asynccontextmanager
async def restarted(environment: Path, **options: Any) -> AsyncIterator[Worker]:
    """Another process, as after a restart."""
    async with engine("llama_cpp", environment) as worker:
        yield await loaded(worker, **options)


async def test_many_users_with_one_long_beginning_read_it_once(shared: Worker):
    worker = await loaded(shared)
    prompts = [f"{LONG} Then user {n} said" for n in range(16)]
    replies = await asyncio.gather(*(ask(worker, p, max_new_tokens=4) for p in prompts))
    usages = [finish.usage for _, finish, _ in replies]
    read = sum(usage.prompt - usage.cached for usage in usages)
    assert read <= 1.15 * max(usage.prompt for usage in usages)


async def test_an_early_edit_is_read_again_from_there_only(shared: Worker):
    worker = await loaded(shared)
    begin, end = LONG[:1500], LONG[1500:]
    _, first, _ = await ask(worker, begin + end)
    text, edited, _ = await ask(worker, f"{begin} And then{end}")
    common = len(await worker.call("tokenize", text=begin))
    assert abs(edited.usage.cached - common) <= 3 + BACK
    _, again, _ = await ask(worker, begin + end)
    assert again.usage.cached == first.usage.prompt - 1, "the first one was not given up for it"
    other = await loaded(shared)
    anew, finish, _ = await ask(other, f"{begin} And then{end}")
    assert (anew, finish.usage.cached) == (text, 0)


async def test_the_second_turn_reads_what_is_new(shared: Worker):
    worker = await loaded(shared)
    text, first, _ = await ask(worker, LONG)
    _, second, _ = await ask(worker, f"{LONG}{text} The end.")
    known = first.usage.prompt + first.usage.completion - 1
    assert abs(second.usage.cached - known) <= 2 + BACK


@pytest.mark.parametrize(("new", "read"), [(12, 12), (13, 16), (15, 16), (16, 16), (31, 32)])
async def test_sixteen_are_read_where_some_fewer_are_new(shared: Worker, new: int, read: int):
    """As that is done sooner."""
    worker = await loaded(shared)
    ids = (1, *range(300, 340))
    await ask(worker, token_ids=ids, max_new_tokens=1)
    asked = (*ids, *range(400, 400 + new))
    text, finish, _ = await ask(worker, token_ids=asked, max_new_tokens=8)
    assert finish.usage.prompt - finish.usage.cached == read
    anew, finish, _ = await ask(await loaded(shared), token_ids=asked, max_new_tokens=8)
    assert (anew, finish.usage.cached) == (text, 0)


async def test_more_than_fits_gets_the_same_words_one_after_another(shared: Worker):
    """Sixteen conversations in a context for two: some wait, or read again what they had."""
    worker = await loaded(shared, **{"context_length": 256, "cache_ram": 0})
    prompts = [f"Tom had {n} cats. " * 6 for n in range(16)]
    alone = [await ask(worker, p, max_new_tokens=80, ban_eos_token=True) for p in prompts]
    asked = (ask(worker, p, max_new_tokens=80, ban_eos_token=True) for p in prompts)
    together = await asyncio.gather(*asked)
    assert [text for text, _, _ in together] == [text for text, _, _ in alone]
    assert {finish.reason for _, finish, _ in together} == {"length"}


async def test_what_is_pushed_out_is_kept_in_memory(shared: Worker):
    worker = await loaded(shared, **{"context_length": 2048, "cache_ram": 64})
    prompts = [f"{name} went out. {LONG}" for name in ("Tom", "Lily", "Ben", "Sue")]
    texts = [(await ask(worker, prompt))[0] for prompt in prompts]
    text, finish, _ = await ask(worker, prompts[0])
    assert text == texts[0]
    assert finish.usage.cached == finish.usage.prompt - 1


async def test_making_a_place_may_push_out_what_was_wanted(shared: Worker):
    """Two sequences, and memory for two more: the one that is asked for would go first."""
    more: dict[str, Any] = {"context_length": 2048, "parallel": 1, "cache_ram": 1}
    worker = await loaded(shared, **more)
    prompts = [f"{name} went out. {LONG}" for name in ("Tom", "Lily", "Ben", "Sue", "Max")]
    texts = [(await ask(worker, prompt))[0] for prompt in prompts]
    for number in (1, 2, 3, 4, 1, 0):
        text, finish, _ = await ask(worker, prompts[number])
        assert (text, finish.reason) == (texts[number], "length")


async def test_a_full_context_ends_the_reply_or_forgets_its_middle(shared: Worker):
    more: dict[str, Any] = {"max_new_tokens": 600, "ban_eos_token": True}
    worker = await loaded(shared, **{"context_length": 256})
    _, finish, _ = await ask(worker, **more)
    assert finish.reason == "length"
    assert finish.usage.prompt + finish.usage.completion == 257
    shifting = await loaded(shared, **{"context_length": 256, "streaming_llm": True})
    text, finish, _ = await ask(shifting, **more)
    assert finish.usage.completion == 600
    assert len(text) > 1000
    assert (await ask(shifting))[0] == STORY


@pytest.mark.parametrize("options", [{}, {"context_length": 820}, {"parallel": 1}], ids=str)
async def test_a_chat_that_lost_its_oldest_messages_is_moved_not_read_again(
    shared: Worker, options: dict[str, Any]
):
    """Also where there is no room for both of what it was and what it is: in a full context."""
    first, second = LONG.index(" Lily saw 10"), LONG.index(" Lily saw 20")
    begin, oldest, rest = LONG[:first], LONG[first:second], LONG[second:]
    known: list[int] = []
    for streaming, others in ((False, ()), (True, ()), (True, ("Tom had a dog. " * 40,) * 2)):
        worker = await loaded(shared, streaming_llm=streaming, **options)
        await ask(worker, begin + oldest + rest)
        for other in others:  # What idles beside one that runs is moved out.
            await ask(worker, other)
        text, finish, _ = await ask(worker, begin + rest)
        assert len(text) > 20
        known.append(finish.usage.cached)
    assert known[0] < known[1] == known[2]
    assert finish.usage.prompt - known[1] < 10


async def test_what_cannot_forget_a_part_is_not_moved(environment: Path, tmp_path: Path):
    """An RWKV has one state of all that it read."""
    model, texts = make_rwkv(tmp_path / "rwkv.gguf"), list[str]()
    for streaming in (False, True):
        async with engine("llama_cpp", environment) as worker:
            await worker.load(model, {"streaming_llm": streaming})
            await ask(worker, LONG)
            texts.append((await ask(worker, LONG[:-40] + " Tom had a dog."))[0])
            texts.append((await ask(worker, LONG[200:]))[0])
    assert texts[:2] == texts[2:]


async def test_adapters_change_the_words_of_those_who_want_them(shared: Worker):
    worker = await loaded(shared)
    wants = [(), ((str(LORA), 1.0),), ((str(LORA), 0.5),), ()] * 3
    alone = [(await ask(worker, adapters=each))[0] for each in wants[:4]]
    assert alone[0] == STORY == alone[3]
    assert len({*alone}) == 3
    together = await asyncio.gather(*(ask(worker, adapters=each) for each in wants))
    assert [text for text, _, _ in together] == alone * 3
    assert (await ask(worker, adapters=((str(LORA), 0.0),)))[0] == STORY


async def test_an_adapter_that_is_none_is_refused(shared: Worker, tmp_path: Path):
    worker = await loaded(shared)
    (other := tmp_path / "other.gguf").write_bytes(LORA.read_bytes()[:5000])
    for path, words in (
        (tmp_path / "none.gguf", "There is no adapter"),
        (MODEL, "no LoRA adapter"),
        (other, "other.gguf"),
    ):
        with pytest.raises(WorkerError, match=words):
            await ask(worker, adapters=((str(path), 1.0),))
        assert (await ask(worker))[0] == STORY


async def test_what_was_read_is_known_after_the_next_load(
    shared: Worker, environment: Path, tmp_path: Path
):
    worker = await loaded(shared)
    text, first, _ = await ask(worker, LONG)
    adapted, _, _ = await ask(worker, LONG, adapters=((str(LORA), 1.0),))
    assert await worker.call("save", folder=str(tmp_path)) == 2
    async with restarted(environment) as later:
        assert await later.call("restore", folder=str(tmp_path)) == 2
        again, finish, _ = await ask(later, LONG)
        assert (again, finish.usage.cached) == (text, first.usage.prompt - 1)
        more, finish, _ = await ask(later, LONG, adapters=((str(LORA), 1.0),))
        assert (more, finish.usage.cached) == (adapted, first.usage.prompt - 1)


async def test_what_is_incognito_is_known_and_never_saved(shared: Worker, tmp_path: Path):
    worker = await loaded(shared)
    text, first, _ = await ask(worker, LONG, incognito=True)
    again, finish, _ = await ask(worker, LONG, incognito=True)
    assert (again, finish.usage.cached) == (text, first.usage.prompt - 1)
    assert await worker.call("save", folder=str(tmp_path)) == 0
    await ask(worker, LONG)  # Another who says the same may be remembered.
    assert await worker.call("save", folder=str(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "head", "tokens", "foreign"])
async def test_a_damaged_state_is_not_used(
    shared: Worker, environment: Path, tmp_path: Path, damage: str
):
    worker = await loaded(shared)
    text, _, _ = await ask(worker, LONG)
    await worker.call("save", folder=str(tmp_path))
    [file] = tmp_path.iterdir()  # noqa: ASYNC240
    data = bytearray(file.read_bytes())
    options: dict[str, Any] = {}
    if damage == "cut":
        del data[-1000:]
    elif damage == "changed":
        data[len(data) // 2] ^= 1
    elif damage == "tokens":
        data[100] ^= 1
    elif damage == "head":
        data[5] ^= 1
    else:
        options = {"rope_freq_base": 20_000.0}
    file.write_bytes(data)
    async with restarted(environment, **options) as later:
        assert await later.call("restore", folder=str(tmp_path)) == 0
        again, finish, _ = await ask(later, LONG)
        assert finish.usage.cached == 0
        assert damage == "foreign" or again == text


async def test_what_an_adapter_left_goes_with_its_file(
    shared: Worker, environment: Path, tmp_path: Path
):
    adapter = tmp_path / "mine.gguf"
    shutil.copyfile(LORA, adapter)
    worker = await loaded(shared)
    await ask(worker, LONG, adapters=((str(adapter), 1.0),))
    assert await worker.call("save", folder=str(tmp_path / "states")) == 1
    os.utime(adapter, (1, 1))  # another file, as far as anybody can tell
    async with restarted(environment) as later:
        assert await later.call("restore", folder=str(tmp_path / "states")) == 0


async def test_what_other_models_left_makes_room(environment: Path, tmp_path: Path):
    code = """
import os, sys
from pathlib import Path
from kernel.worker_host import load_code
load_code(f"{sys.argv[2]}:Engine")
from extensions.llama_cpp.native.states import save
folder = Path(sys.argv[1])
for number, name in enumerate(("old", "new")):
    (folder / f"{name}.states").write_bytes(bytes(1000))
    os.utime(folder / f"{name}.states", (number, number))
(folder / ".gone.states.draft").write_bytes(bytes(10))
os.utime(folder / ".gone.states.draft", (0, 0))
(folder / ".live.states.draft").write_bytes(bytes(10))
save(folder / "mine.states", [], most=1500)
"""
    worker = Path(__file__).with_name("worker.py")
    run = [str(environment / "bin" / "python"), "-c", code, str(tmp_path), str(worker)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    await asyncio.to_thread(subprocess.run, run, check=True, env=env)
    left = sorted(file.name for file in tmp_path.iterdir())  # noqa: ASYNC240
    assert left == [".live.states.draft", "mine.states", "new.states"]


@pytest.mark.asyncio(loop_scope="function")
async def test_a_cancel_ends_the_reading_of_a_prompt(environment: Path):
    """Within one node of the graph, not when the step is done."""
    async with engine("llama_cpp", environment, COUNTED) as worker:
        await worker.load(MODEL, {"batch_size": 2048, "ubatch_size": 2048})
        await worker.call("hold")
        reply = worker.generate(Request(prompt=LONG, sampling=Sampling(max_new_tokens=1)))
        assert await worker.call("stepping")
        reply.cancel()
        assert [delta async for delta in reply] == []
        assert reply.finish
        assert reply.finish.reason == "cancelled"
        assert await worker.call("codes") == [ABORTED]
        assert (await ask(worker))[0] == STORY
        said = [*worker.log_tail]
        assert any("failed to decode" in line for line in said)
        assert not any(line.startswith(("error:", "warning: decode")) for line in said)


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("writing", [False, True])
async def test_after_a_stop_what_cannot_forget_a_part_reads_again(
    environment: Path, tmp_path: Path, writing: bool
):
    """The state of an RWKV is half computed then, and may not count as known."""
    model = make_rwkv(tmp_path / "rwkv.gguf")
    async with engine("llama_cpp", environment, COUNTED) as worker:
        await worker.load(model, {})
        ids = tuple(await worker.call("tokenize", text=LONG))
        sampling = Sampling(temperature=0.0, max_new_tokens=400, ban_eos_token=True)
        reply = worker.generate(Request(token_ids=ids, logprobs=0, sampling=sampling))
        said: tuple[int, ...] = ()
        if writing:
            said = tuple(token.id for token in (await anext(reply)).tokens)
        await worker.call("hold")
        assert await worker.call("stepping")
        reply.cancel()
        said += tuple([token.id async for delta in reply for token in delta.tokens])
        assert (await worker.call("codes"))[-1] == ABORTED
        turn = (*ids, *said, 300, 301)
        stopped, _, _ = await ask(worker, token_ids=turn, ban_eos_token=True)
        await worker.load(model, {})
        afresh, _, _ = await ask(worker, token_ids=turn, ban_eos_token=True)
        assert stopped == afresh


@pytest.mark.asyncio(loop_scope="function")
async def test_a_slow_model_reads_a_prompt_in_steps_of_a_second(environment: Path):
    """Who comes meanwhile is read beside it in the next step, and does not wait for all of it."""
    async with engine("llama_cpp", environment, COUNTED) as worker:
        await worker.load(MODEL, {})
        await worker.call("slow", speed=100)
        await ask(worker, token_ids=tuple([300] * 400), max_new_tokens=1)
        assert await worker.call("steps") == [64, 100, 100, 100, 36]


@pytest.mark.parametrize(
    "count", [80, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_a_storm_of_requests_gets_the_words_that_each_gets_alone(shared: Worker, count: int):
    """Shared beginnings, adapters, cancels, in a context that holds few of them."""
    chance = random.Random(count)
    begins = [LONG[: 200 * n] for n in range(5)]
    kinds = [
        (f"{chance.choice(begins)} Tom had {n} cats.", chance.choice(((), ((str(LORA), 1.0),))))
        for n in range(24)
    ]
    more: dict[str, Any] = {"max_new_tokens": 30, "ban_eos_token": True}
    worker = await loaded(shared, context_length=768, cache_ram=4, parallel=8)
    alone = {kind: (await ask(worker, kind[0], adapters=kind[1], **more))[0] for kind in kinds}

    async def one() -> None:
        kind = chance.choice(kinds)
        sampling = Sampling(temperature=0.0, **more)
        reply = worker.generate(Request(prompt=kind[0], adapters=kind[1], sampling=sampling))
        stops_at, text, number = chance.choice((None, None, 0, 3, 12)), "", 0
        if stops_at == 0:
            reply.cancel()
        async for delta in reply:
            text, number = text + delta.text, number + 1
            if number == stops_at:
                reply.cancel()
        assert reply.finish
        assert alone[kind].startswith(text)
        if reply.finish.reason != "cancelled":
            assert (reply.finish.reason, text) == ("length", alone[kind])

    at_once = asyncio.Semaphore(20)

    async def soon() -> None:
        async with at_once:
            await one()

    await asyncio.gather(*(soon() for _ in range(count)))
