"""Replies are as long as asked for, whatever the engine can do, or it is said that it cannot."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.api import REQUEST, Draft, Generated, Phase, Reply, Sampling, Turn
from kernel.testing import Scripted, running

BANS = ("temperature", "max_new_tokens", "ban_eos_token")
SHORT = {"long_replies": {"least": 3}}


async def test_an_engine_that_knows_a_least_length_is_asked_for_it():
    model = Scripted("Yes.", samplers=("min_length",))
    async with running("long_replies", model=model, settings=SHORT) as app:
        assert await app.say() == "Yes."
        assert [request.sampling.min_length for request in model.asked] == [3]
        await app.say(sampling=Sampling(max_new_tokens=2))
        assert model.asked[-1].sampling.min_length == 2


async def test_one_that_can_only_be_kept_from_ending_writes_two_parts():
    model = Scripted("One two three four", " five.", samplers=BANS)
    async with running("long_replies", model=model, settings=SHORT) as app:
        reply = app.run(Turn(prompt="Count: ", sampling=Sampling(temperature=0.5)))
        text = "".join([delta.text async for delta in reply])
        assert text == reply.raw == "One two three five."
        first, second = model.asked
        assert (first.sampling.ban_eos_token, first.sampling.max_new_tokens) == (True, 3)
        assert second.prompt == "Count: One two three"
        assert second.sampling == Sampling(temperature=0.5)
        assert reply.finish
        assert (reply.finish.reason, reply.finish.usage.completion) == ("stop", 4)


async def test_the_second_part_draws_other_lots():
    """Each has a seed by now; with the same one the same random numbers would come again."""
    model = Scripted("One two three four", " five.", samplers=(*BANS, "seed"))
    async with running("long_replies", model=model, settings=SHORT) as app:
        await app.say(sampling=Sampling(seed=2**32 - 1))
        assert [request.sampling.seed for request in model.asked] == [2**32 - 1, 2]


async def test_the_most_is_kept_to():
    model = Scripted("One two three four five six", samplers=BANS)
    async with running("long_replies", model=model, settings=SHORT) as app:
        assert await app.say(sampling=Sampling(max_new_tokens=3)) == "One two three"
        assert len(model.asked) == 1
        assert await app.say(sampling=Sampling(max_new_tokens=5)) == "One two threeOne two"


async def test_a_call_ends_where_it_ends():
    """Also where the model is told of the tools in words, and the request has none."""
    model = Scripted("One two three four", " five.", samplers=BANS)
    async with running("long_replies", model=model, settings=SHORT) as app:
        offered = {"type": "function", "function": {"name": "now"}}
        reply = app.run(Turn(prompt="?", tools=(offered,)))
        assert "".join([delta.text async for delta in reply]) == "One two three four"
        assert len(model.asked) == 1


async def test_what_keeps_to_a_grammar_ends_where_that_ends():
    """A second part would begin the grammar, or the JSON of a schema, anew."""
    model = Scripted("One two three four", " five.", samplers=BANS, capabilities=("grammar",))
    async with running("long_replies", model=model, settings=SHORT) as app:

        async def constrain(draft: Draft) -> Draft:
            return replace(draft, request=replace(draft.request, grammar="root ::= [a-z ]*"))

        add = app.kernel.registry.add
        add(REQUEST, constrain, "kernel", phase=Phase.EARLY, rank=0, rewrites=False)
        assert await app.say() == "One two three four"
        assert len(model.asked) == 1


async def test_in_a_chat_it_goes_on_with_the_reply():
    model = Scripted("One two three and", " four.", samplers=BANS)
    async with running("long_replies", "chat", model=model, settings=SHORT) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Count.")
        await page.until("One two three four")
        second: Any = model.asked[1]
        assert second.continue_
        assert [m.text for m in second.messages] == ["Count.", "One two three"]


async def test_a_stop_ends_both():
    model = Scripted("word " * 99, pause=0.002, samplers=BANS)
    async with running("long_replies", model=model, settings=SHORT) as app:
        reply = app.run(Turn(prompt="?"))
        async for _ in reply:
            if len(reply.text) > 20:
                reply.cancel()
        assert reply.finish
        assert reply.finish.reason == "cancelled"


@pytest.mark.parametrize("replies", [1, 3])
async def test_a_model_that_can_do_neither_says_so_once(replies: int):
    async with running("long_replies", model=Scripted("Yes.")) as app:
        page = app.page()
        for _ in range(replies):
            assert await app.say() == "Yes."
        assert page.html.count("scripted in scripted cannot be kept from ending") == 1


async def test_its_figures_are_those_of_the_model_and_told_once():
    model = Scripted("One two three four", " five.", samplers=BANS)
    async with running("long_replies", model=model, settings=SHORT) as app:
        heard, dispose = app.kernel.bus.open(Generated)
        reply = app.run(Turn(prompt="?"))
        assert len([delta async for delta in reply]) == 4
        assert reply.model == "scripted"
        assert heard.get_nowait().finish.usage.completion == 4
        assert heard.empty()
        dispose()


@pytest.mark.parametrize(("words", "steps"), [(0, 0), (1, 1), (4, 5)])
async def test_a_model_that_goes_away_is_not_its_fault(words: int, steps: int):
    model = Scripted("One two three and", " four five.", samplers=BANS)
    async with running("long_replies", model=model, settings=SHORT) as app:
        slot = app.kernel.slot()
        for _ in range(4):  # More often than a guilty one would be let go on.
            model.gate = asyncio.Semaphore(steps)
            model.asked.clear()
            reply = app.run(Turn(prompt="?"))

            async def read(reply: Reply = reply) -> None:
                async for _ in reply:
                    pass

            reading = asyncio.create_task(read())
            await app.until(lambda r=reply: bool(model.asked) and len(r.text.split()) == words)
            await slot.unload("The engine was switched off.")
            await reading
            assert reply.finish
            assert reply.finish.error == "The engine was switched off."
            await slot.reload()
        assert not app.kernel.trouble.get("long_replies")
        assert app.kernel.records["long_replies"].status == "running"
