"""What a modifier costs per delta: python -m benchmarks.modifiers

The floor is the same stream through no modifier. Process CPU, medians of several runs.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

from kernel.contract import Delta, Turn
from kernel.guard import Guard
from kernel.pipeline import Pipe, modified
from kernel.points import Entry, Phase

DELTAS = 20_000


async def through(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    """The cheapest modifier there is."""
    async for delta in deltas:
        yield delta


async def measure(modifiers: int) -> float:
    """Microseconds of CPU per delta, one delta per turn of the loop as an engine gives them."""
    guard, pipe = Guard(lambda failure: None), Pipe()
    entries = tuple(Entry(Phase.NORMAL, 0, n, "bench", through) for n in range(modifiers))

    async def feed() -> None:
        for _ in range(DELTAS):
            pipe.put(Delta("word "))
            await asyncio.sleep(0)
        pipe.close()

    feeding = asyncio.create_task(feed())
    begun = time.process_time()
    async for _ in modified(guard, "output", entries, pipe, Turn()):
        pass
    await feeding
    return (time.process_time() - begun) / DELTAS * 1e6


def main() -> None:
    floors = [asyncio.run(measure(0)) for _ in range(5)]
    floor = statistics.median(floors)
    print(f"{'modifiers':>9} {'us a delta':>11} {'of it each':>11}")
    print(f"{0:9} {floor:11.1f}")
    for count in (1, 5, 20):
        cost = statistics.median(asyncio.run(measure(count)) for _ in range(5))
        print(f"{count:9} {cost:11.1f} {(cost - floor) / count:11.2f}")


if __name__ == "__main__":
    main()
