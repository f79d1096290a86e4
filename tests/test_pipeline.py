"""Modifiers at work: whatever one does, the reply's text arrives."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from kernel.contract import Delta, Turn
from kernel.guard import Failure, Guard
from kernel.pipe import Pipe
from kernel.pipeline import Stage, Transcript, modified
from kernel.points import Entry, Phase
from kernel.turn import OutputModifier, whole_text

WORDS = ["One", " two", " three", " four"]


def entry(modifier: OutputModifier, owner: str = "mod", rewrites: bool = False):
    return Entry(Phase.NORMAL, 0, 0, owner, modifier, rewrites)


def source(words: list[str] = WORDS) -> Pipe:
    pipe = Pipe()
    for word in words:
        pipe.put(Delta(word))
    pipe.close()
    return pipe


class Bench:
    """A guard that remembers failures, and a way to run modifiers over a reply."""

    def __init__(self, budget: float = 0.2) -> None:
        self.failures: list[Failure] = []
        self.guard = Guard(self.failures.append, budget=budget)

    async def run(
        self, *entries: Entry[OutputModifier], upstream: AsyncIterator[Delta] | None = None
    ) -> str:
        heard = Transcript()
        stream = modified(self.guard, "output", entries, upstream or source(), Turn())
        async for delta in stream:
            heard.add(delta)
        return heard.get()


async def shout(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for delta in deltas:
        yield Delta(delta.text.upper())


async def test_modifiers_apply_in_order():
    async def quote(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        yield Delta("<")
        async for delta in deltas:
            yield delta
        yield Delta(">")

    assert await Bench().run(entry(shout), entry(quote)) == "<ONE TWO THREE FOUR>"


async def test_no_modifier_costs_nothing():
    assert await Bench().run() == "One two three four"


def nothing(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    return deltas


async def test_one_that_answers_what_it_was_given_takes_no_part_and_costs_nothing():
    bench, pipe, stages = Bench(), Pipe(), list[Stage]()
    entries = (entry(nothing, "a"), entry(shout, "b"), entry(nothing, "c"), entry(nothing, "d"))
    pipe.put(Delta("One"))
    stream = modified(bench.guard, "output", entries, pipe, Turn(), watch=stages)
    assert (await anext(stream)).text == "ONE"
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "b:output" in names
    assert not names & {"a:output", "c:output", "d:output"}
    assert [stage.idle for stage in stages] == [True, False, True, True]
    for word in WORDS[1:]:
        pipe.put(Delta(word))
    pipe.close()
    heard = [(await anext(stream)).text for _ in WORDS[1:]]
    assert heard == [" TWO", " THREE", " FOUR"]
    assert not any(one.leases for one in entries if one.owner != "b")
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert await bench.run(entry(nothing), entry(nothing)) == "One two three four"
    broken = source()
    broken.close(LookupError("the source is gone"))
    with pytest.raises(LookupError, match="the source is gone"):
        await bench.run(entry(nothing), entry(nothing), upstream=broken)
    assert not bench.failures


async def test_whole_text_streams_and_then_replaces():
    async def reverse(text: str) -> str:
        return text[::-1]

    bench = Bench()
    assert await bench.run(entry(whole_text(reverse), rewrites=True)) == "ruof eerht owt enO"
    assert not bench.failures


async def raises(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    yield Delta("changed ")
    async for _ in deltas:
        raise ZeroDivisionError("on purpose")


async def hangs(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for delta in deltas:
        yield Delta(delta.text.lower())
        await asyncio.Event().wait()


async def ends_early(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for delta in deltas:
        yield delta
        return


async def wrong_type(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for _ in deltas:
        yield "text"  # type: ignore[misc]


async def surrogate(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for _ in deltas:
        yield Delta("\ud800")


async def exits(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for delta in deltas:
        yield delta
        raise SystemExit(3)


async def huge(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for _ in deltas:
        yield Delta("x" * 5_000_000)


async def endless(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for _ in deltas:
        while True:
            yield Delta("x" * 1000)


async def rewrites_unasked(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    async for _ in deltas:
        yield Delta("gone", replace=True)


async def not_a_generator(deltas: AsyncIterator[Delta], turn: Turn) -> int:
    return 3


BAD = [raises, hangs, ends_early, wrong_type, surrogate, exits, huge, endless, rewrites_unasked]


@pytest.mark.parametrize("bad", [*BAD, not_a_generator], ids=lambda f: f.__name__)
async def test_a_bad_modifier_costs_only_its_own_change(bad: OutputModifier):
    bench = Bench()
    assert await bench.run(entry(shout, "good"), entry(bad, "bad")) == "ONE TWO THREE FOUR"
    assert [f.owner for f in bench.failures] == ["bad"]
    bench = Bench()
    assert await bench.run(entry(bad, "bad"), entry(shout, "good")) == "ONE TWO THREE FOUR"
    assert [f.owner for f in bench.failures] == ["bad"]


async def test_a_slow_model_is_not_charged_to_the_modifier():
    bench, pipe = Bench(budget=0.05), Pipe()

    async def feed() -> None:
        for word in WORDS[:2]:
            await asyncio.sleep(0.12)
            pipe.put(Delta(word))
        pipe.close()

    feeding = asyncio.create_task(feed())
    assert await bench.run(entry(shout), upstream=pipe) == "ONE TWO"
    await feeding
    assert not bench.failures


async def test_switched_off_midway_it_leaves_at_once_and_no_text_is_lost():
    bench, pipe, modifier = Bench(), Pipe(), entry(shout)
    heard = Transcript()

    async def read() -> None:
        stream = modified(bench.guard, "output", (modifier,), pipe, Turn())
        async for delta in stream:
            heard.add(delta)

    reading = asyncio.create_task(read())
    pipe.put(Delta("One"))
    while heard.get() != "ONE":
        await asyncio.sleep(0)
    stage = next(iter(modifier.leases))
    assert isinstance(stage, Stage)
    stage.leave()  # It waits for the model just now.
    while modifier.leases:
        await asyncio.sleep(0)
    pipe.put(Delta(" two"))
    pipe.close()
    await reading
    assert heard.get() == "One two"
    assert not bench.failures


async def test_what_it_said_elsewhere_goes_with_it():
    """As the thought of a reply: what had found it brings it back into the text."""

    async def thinks(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield structs.replace(delta, channel="reasoning")

    bench, pipe, modifier, heard = Bench(), Pipe(), entry(thinks), Transcript()

    async def read() -> None:
        async for delta in modified(bench.guard, "output", (modifier,), pipe, Turn()):
            heard.add(delta)

    reading = asyncio.create_task(read())
    pipe.put(Delta("One"))
    while heard.get("reasoning") != "One":
        await asyncio.sleep(0)
    for stage in list(modifier.leases):
        stage.leave()
    pipe.close()
    await reading
    assert (heard.get("reasoning"), heard.get()) == ("", "One")


async def test_a_source_that_fails_fails_its_reader():
    bench = Bench()

    async def failing() -> AsyncIterator[Delta]:
        yield Delta("One")
        raise ValueError("mine")

    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="mine"):
            await bench.run(entry(shout), upstream=failing())


async def test_a_reader_who_leaves_takes_the_stages_along():
    bench, modifier = Bench(), entry(shout)
    stream = modified(bench.guard, "output", (modifier,), source(), Turn())
    assert (await anext(stream)).text == "ONE"
    await stream.aclose()
    assert not modifier.leases
    assert [t for t in asyncio.all_tasks() if t is not asyncio.current_task()] == []


async def test_each_choice_and_channel_is_replayed():
    transcript = Transcript()
    for delta in [Delta("a"), Delta("r", "reasoning"), Delta("b", choice=1), Delta("c")]:
        transcript.add(delta)
    again = Transcript()
    for delta in transcript.replay():
        again.add(delta)
    assert (again.get(), again.get("reasoning"), again.get(choice=1)) == ("ac", "r", "b")


async def test_a_display_stage_that_leaves_does_not_end_the_reply_behind_it():
    bench, modifier, gate = Bench(), entry(shout), asyncio.Semaphore(0)

    async def reply() -> AsyncIterator[Delta]:
        for word in WORDS:
            await gate.acquire()
            yield Delta(word)

    heard = Transcript()

    async def read() -> None:
        stream = modified(bench.guard, "display", (modifier,), reply(), Turn())
        async for delta in stream:
            heard.add(delta)

    reading = asyncio.create_task(read())
    gate.release()
    while heard.get() != "ONE":
        await asyncio.sleep(0)
    for stage in list(modifier.leases):
        stage.leave()
    for _ in WORDS:
        gate.release()
    await reading
    assert heard.get() == "One two three four"
