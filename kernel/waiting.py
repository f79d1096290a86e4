"""Waits for extension code: what counts is the time in which the event loop went round.

What it missed, because the machine slept or somebody else held it up, nobody could use.
"""

import asyncio
import types
from collections.abc import AsyncGenerator, Collection, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
STEPS = 8
"""In so many steps a time is waited for: no one of them that came late uses up the others."""
GRACE = 0.1
"""Seconds in which what was cancelled has to end."""


async def unfinished(work: Collection[asyncio.Future[Any]], seconds: float) -> set[Any]:
    """What of it has not ended after the seconds."""
    waiting = {*work}
    for _ in range(STEPS if waiting else 0):
        if not (waiting := (await asyncio.wait(waiting, timeout=seconds / STEPS))[1]):
            break
    return waiting


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


async def at_most(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await it in this very task; TimeoutError after the seconds, whether it ends then or not."""
    async with limited(seconds):
        return await _left_behind(work)


@types.coroutine
def _left_behind(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await it; when it was cancelled and goes on, it is closed where it stands."""
    task = asyncio.current_task()
    assert task
    over, timer, step = False, None, partial(work.send, None)

    def give_up() -> None:
        nonlocal over
        over = task.cancel()

    try:
        while True:
            try:
                waits = step()
            except StopIteration as end:
                return end.value
            try:
                step = partial(work.send, (yield waits))
            except (asyncio.CancelledError, Exception) as error:
                if over:
                    task.uncancel()
                    raise
                timer = timer or asyncio.get_running_loop().call_later(GRACE, give_up)
                step = partial(work.throw, error)
    finally:
        if timer:
            timer.cancel()
        with suppress(RuntimeError):  # It may go on even then.
            work.close()
