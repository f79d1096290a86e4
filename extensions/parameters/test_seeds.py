"""A seed that nobody gave is drawn here, so that it is known."""

from typing import Any

from kernel.api import Sampling
from kernel.testing import Scripted, running


async def test_each_reply_without_a_seed_gets_one_of_its_own():
    model = Scripted(*["Hi."] * 9, samplers=("seed",))
    async with running("parameters", model=model) as app:
        for sampling in (Sampling(), Sampling(seed=-1)):
            for who in ({"client": "page"}, {}):  # A page, and a program.
                await app.say(sampling=sampling, **who)
        seeds: list[Any] = [request.sampling.seed for request in model.asked]
        assert len(set(seeds)) == 4
        assert all(0 <= seed < 2**31 for seed in seeds)
        await app.say(sampling=Sampling(seed=7))
        assert model.asked[-1].sampling.seed == 7


async def test_an_engine_without_seeds_gets_none():
    model = Scripted("Hi.", samplers=("temperature",))
    async with running("parameters", model=model) as app:
        await app.say(client="page")
        assert model.asked[-1].sampling == Sampling()
