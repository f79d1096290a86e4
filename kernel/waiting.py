"""Waits for extension code: what counts is the time in which the event loop went round.

What it missed, because the machine slept or somebody else held it up, nobody could use.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

STEPS = 8
"""In so many steps a time is waited for: no one of them that came late uses up the others."""
GRACE = 0.1
"""Seconds in which what was cancelled has to end."""
PAUSE = 0.005


async def unfinished(work: Collection[asyncio.Future[Any]], seconds: float) -> set[Any]:
    """What of it has not ended after the seconds."""
    waiting = {*work}
    for _ in range(STEPS if waiting else 0):
        if not (waiting := (await asyncio.wait(waiting, timeout=seconds / STEPS))[1]):
            break
    return waiting


async def comes_true(what: Callable[[], bool], seconds: float) -> bool:
    """Look until it is so, for the seconds."""
    loop = asyncio.get_running_loop()
    for _ in range(STEPS):
        end = loop.time() + seconds / STEPS
        while not what() and loop.time() < end:  # noqa: ASYNC110, nobody tells it
            await asyncio.sleep(PAUSE)
    return what()


@asynccontextmanager
async def limited(seconds: float) -> AsyncGenerator[None]:
    """`asyncio.timeout` of the seconds."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def step(left: int) -> None:
            nonlocal timer
            if not left:
                return limit.reschedule(loop.time())
            timer = loop.call_later(seconds / STEPS, step, left - 1)

        timer = loop.call_later(seconds / STEPS, step, STEPS - 1)
        try:
            yield
        finally:
            timer.cancel()
