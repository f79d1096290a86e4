"""Replies of the prebuilt engine that together want more than its context holds."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from extensions.llama_cpp.prebuilt_shares import LEAST, Shares
from kernel.api import Request, Sampling, Worker
from tests.engines.real import STORIES, STORY, ask, engine

MODEL = STORIES / "stories260K.gguf"
LONG: dict[str, Any] = {"max_new_tokens": 1024, "ban_eos_token": True}
"""The guide's limit, used to the end."""
PAIRS = 'root ::= "[" ("ab" | "cd"){90} "]"'
"""Some 180 letters, which it cannot end before."""
MANY_PAIRS = PAIRS.replace("{90}", "{230}")
"""Nearly all of a context of 512: of two that overlap at all, one finds no room."""


def never() -> bool:
    return False


def waiting(work: Callable[[], int]) -> tuple[threading.Thread, list[int]]:
    """Something that waits on a thread of its own, and what it got."""
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(work()), daemon=True)
    thread.start()
    return thread, got


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


# --- the order, without an engine ---


def test_what_fits_a_fair_part_is_granted_whole_and_more_in_slices():
    shares = Shares(1000, 4)
    with shares.open() as small, shares.open() as large, shares.open() as same:
        assert small.take(100, 150, never) == 150
        assert large.take(100, 800, never) == 125
        assert large.take(225, 675, never) == 125, "and again when that is written"
        assert same.take(100, 151, never) == 125


def test_what_all_hold_is_never_more_than_there_is():
    shares = Shares(512, 4)
    with shares.open() as one, shares.open() as two:
        read = {one: 10, two: 150}
        for share in (one, two, one, one):
            read[share] += share.take(read[share], 512 - read[share], never)
            assert one.held + two.held <= 512
        assert (read[one], two.held) == (10 + 3 * 64, 214)
        assert one.take(read[one], 310, never) == 64
        assert one.take(read[one] + 64, 246, never) == 32, "what is left beside the other"


def test_who_waits_goes_in_its_order_and_the_youngest_makes_room_for_the_oldest():
    shares = Shares(400, 4)
    with shares.open() as first, shares.open() as second, shares.open() as third:
        assert first.take(100, 300, never) == 50
        assert second.take(100, 300, never) == 50
        small, got = waiting(lambda: third.take(150, 20, never))
        wait_until(lambda: third.need)
        assert not second.recalled, "a younger one never makes an older one stop"
        older, more = waiting(lambda: first.take(350, 50, never))
        wait_until(lambda: second.recalled)
        put_back, again = waiting(lambda: second.take(120, 280, never))
        older.join(5)
        assert (more, again, got) == ([50], [], [])
        with shares._changed:
            first.held = 0
            shares._changed.notify_all()
        put_back.join(5)
        small.join(5)
        assert (again, got) == ([50], [20])


def test_what_cannot_stop_holds_all_and_is_never_stopped():
    shares = Shares(400, 4)
    with shares.open() as first, shares.open("whole") as whole:
        assert first.take(20, 380, never) == 50
        assert whole.take(20, 200, never) == 200
        gave_up = threading.Event()
        thread, got = waiting(lambda: first.take(200, 180, gave_up.is_set))
        wait_until(lambda: not first.held)
        assert not whole.recalled
        gave_up.set()
        thread.join(5)
        assert got == [0], "cancelled while it waited"
        assert not first.need


def test_what_nobody_knows_the_length_of_grows_and_ends_where_no_room_is():
    shares = Shares(400, 4)
    with shares.open("growing") as one, shares.open("growing") as two, shares.open() as usual:
        assert one.take(50, 350, never) == 350, "no more than it holds, which grows"
        assert two.take(50, 350, never) == 350
        assert usual.take(60, 300, never) == 50
        assert (one.held, two.held) == (100, 100)
        for used in (50, 60):
            assert one.may_write(used)
        assert one.held == 164
        assert two.may_write(50)
        assert two.held == 126, "all that is left"
        assert usual.recalled, "one that can go on later makes room"
        assert one.may_write(131)
        assert not one.may_write(132), "what is written unheard still finds room"
        assert one.held + two.held + usual.held == 400
        usual.give()
        thread, got = waiting(lambda: usual.take(60, 300, never))
        wait_until(lambda: usual.need)
        assert one.may_write(132)
        assert one.held == 196
        assert two.may_write(90)
        assert (two.held, usual.held, got) == (158, 0, []), "they come before those that can wait"
        one.give()
        assert two.may_write(90)
        thread.join(5)
        assert got == [50]


def test_one_under_way_takes_what_is_left_before_it_makes_another_stop():
    shares = Shares(400, 4)
    with shares.open() as first, shares.open() as second:
        assert first.take(100, 300, never) == 50
        assert second.take(160, 300, never) == 50
        assert first.take(150, 250, never) == 400 - 210 - 150 >= LEAST
        assert not second.recalled


def test_a_share_that_is_closed_is_free_at_once():
    shares = Shares(100, 1)

    def next_one() -> int:
        with shares.open() as share:
            return share.take(50, 50, never)

    with shares.open() as share:
        assert share.take(50, 50, never) == 50
        thread, got = waiting(next_one)
        wait_until(lambda: any(each.need for each in shares._open))
        assert got == []
    thread.join(5)
    assert got == [50]


# --- the real engine ---


@pytest.fixture(scope="module")
def environment(environments_dir: Path) -> Path:
    return environments_dir / "xllamacpp"


@asynccontextmanager
async def loaded(environment: Path, model: Path = MODEL, **options: Any) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environment) as worker:
        await worker.load(model, options)
        yield worker


@pytest.mark.engine
async def test_long_replies_that_fill_the_context_all_end_as_they_should(environment: Path):
    async with loaded(environment, context_length=2048) as worker:
        prompts = [f"{name} had a cat." for name in ("Tom", "Lily", "Ben", "Sue")]
        replies = await asyncio.gather(*(ask(worker, prompt, **LONG) for prompt in prompts))
        assert [(f.reason, f.usage.completion) for _, f, _ in replies] == [("length", 1024)] * 4
        assert all(len(text) > 1500 for text, _, _ in replies)
        assert (await ask(worker))[0] == STORY


@pytest.mark.engine
async def test_more_than_fits_gets_the_same_words_one_after_another(environment: Path):
    """Eight conversations in a context for one and a half: some wait, some go on later."""
    async with loaded(environment, context_length=256) as worker:
        prompts = [f"Tom had {n} cats. " * 3 for n in range(8)]
        more = {"max_new_tokens": 120, "ban_eos_token": True}
        alone = [await ask(worker, prompt, **more) for prompt in prompts]
        together = await asyncio.gather(*(ask(worker, prompt, **more) for prompt in prompts))
        assert {f.reason for _, f, _ in together} == {"length"}
        assert [text for text, _, _ in together] == [text for text, _, _ in alone]


@pytest.mark.engine
async def test_replies_without_a_limit_are_written_at_once(environment: Path):
    """Nobody knows that they are short: none waits for another as long as there is room."""
    async with loaded(environment, context_length=1024) as worker:
        began = asyncio.Barrier(4)

        async def reply(name: str) -> str:
            sampling = Sampling(temperature=0.0, ban_eos_token=True, auto_max_new_tokens=True)
            words = worker.generate(Request(prompt=f"{name} had a cat.", sampling=sampling))
            await anext(words)
            async with asyncio.timeout(30):
                await began.wait()
            words.cancel()
            return name

        assert await asyncio.gather(*map(reply, ("Tom", "Lily", "Ben", "Sue")))


@pytest.mark.engine
async def test_who_waits_for_room_can_be_cancelled_and_the_next_one_comes(environment: Path):
    async with loaded(environment, context_length=2048) as worker:

        def long(most: int) -> Any:
            sampling = Sampling(max_new_tokens=most, ban_eos_token=True, temperature=0.0)
            return worker.generate(Request(token_ids=(1, *[403] * 1200), sampling=sampling))

        first = long(800)  # It writes for so long that the next one has to wait.
        await anext(first)
        second, third = long(800), long(200)
        second.cancel()
        assert [delta async for delta in second] == []
        assert not first.finish, "it did not wait for its turn"
        assert second.finish
        assert second.finish.reason == "cancelled"
        for reply, most in ((first, 800), (third, 200)):
            async for _ in reply:
                pass
            assert (reply.finish.reason, reply.finish.usage.completion) == ("length", most)


@pytest.mark.engine
@pytest.mark.parametrize("limit", [{"max_new_tokens": 400}, {"auto_max_new_tokens": True}])
async def test_a_grammar_is_followed_to_its_end_in_a_full_context(
    environment: Path, limit: dict[str, Any]
):
    """With a limit each waits until all that it may need is free; without one, it grows."""
    async with loaded(environment, context_length=1024) as worker:
        prompts = [f"{name} had a cat." for name in ("Tom", "Lily", "Ben", "Sue")]
        asked = (ask(worker, prompt, grammar=PAIRS, **limit) for prompt in prompts[:3])
        fourth = asyncio.create_task(ask(worker, prompts[3], **LONG))
        for text, finish, _ in await asyncio.gather(*asked):
            assert (len(text), text[0], text[-1]) == (182, "[", "]")
            assert finish.reason == "stop"
        assert (await fourth)[1].reason == "length"


@pytest.mark.engine
async def test_only_those_that_find_no_room_end_early(environment: Path):
    async with loaded(environment, context_length=512) as worker:
        prompts = [f"{name} had a cat." for name in ("Tom", "Lily", "Ben", "Sue")]
        more: dict[str, Any] = {"grammar": MANY_PAIRS, "auto_max_new_tokens": True}
        ends = [
            f.reason for _, f, _ in await asyncio.gather(*(ask(worker, p, **more) for p in prompts))
        ]
        assert set(ends) == {"stop", "length"}
        assert (await ask(worker, **more))[1].reason == "stop"


@pytest.mark.engine
async def test_what_may_come_next_is_asked_beside_a_full_context(environment: Path):
    async with loaded(environment, context_length=512) as worker:
        replies = [asyncio.create_task(ask(worker, **LONG)) for _ in range(2)]
        await asyncio.sleep(0)
        ids = [1, *[403] * 450]
        answer = await worker.call("logits", token_ids=ids, top=3)
        assert len(answer["tokens"]) >= 3
        for _, finish, _ in await asyncio.gather(*replies):
            assert finish.reason == "length"
