"""Several replies of one request at once, as `n` asks for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec import structs

from kernel.api import UNSET, Delta

from .calls import Call
from .problems import CANCELLED, Problem
from .programs import Programs
from .runs import Run
from .wishes import Wish

Hear = Callable[[int, Delta], Awaitable[None]]
"""Is awaited for each piece of each reply."""


def times(wish: Wish, n: int) -> list[Wish]:
    """The wish `n` times; each with a seed of its own where one is given, so that they differ."""
    seed = wish.sampling.seed
    if seed is UNSET or seed < 0:
        return [wish] * n
    samplings = (structs.replace(wish.sampling, seed=(seed + each) % 2**32) for each in range(n))
    return [structs.replace(wish, sampling=sampling) for sampling in samplings]


async def make(
    programs: Programs, call: Call, wishes: Sequence[Wish], hear: Hear, *, hold: bool = False
) -> list[Run]:
    """Make these replies, and answer their runs when all have ended. Raises Problem when one of
    them fails, and stops the others; one that is stopped while it waits for others is empty."""

    async def one(index: int, wish: Wish) -> Run:
        try:
            async with programs.run(call, wish, hold=hold) as run:
                async for delta in run:
                    await hear(index, delta)
                await programs.finished(run)
                return run
        except Problem as problem:
            if problem.fault.code != CANCELLED or not call.entered:
                raise
            return Run(call, wish, hold=hold)

    if len(wishes) == 1:
        return [await one(0, wishes[0])]
    tasks = [asyncio.create_task(one(n, wish)) for n, wish in enumerate(wishes)]
    try:
        return [*await asyncio.gather(*tasks)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
