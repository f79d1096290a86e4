"""What a modifier costs per delta: python -m benchmarks.modifiers

The floor is the same stream through no modifier. Process CPU; the counts in turn.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator

from benchmarks.common import arguments, header, load, spread, table
from kernel.contract import Delta, Turn
from kernel.guard import Guard
from kernel.pipe import Pipe
from kernel.pipeline import modified
from kernel.points import Entry, Phase

DELTAS = 20_000
COUNTS = (0, 1, 5, 20)


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
    args = arguments(__doc__)
    header("Modifiers")
    kept: dict[int, list[float]] = defaultdict(list)
    for _ in range(args.runs):
        for count in COUNTS:
            kept[count].append(asyncio.run(measure(count)))
    rows = [("modifiers", "us a delta", "of it each")]
    for count, costs in kept.items():
        pairs = zip(costs, kept[0], strict=True)
        each = spread((cost - bare) / count for cost, bare in pairs) if count else ""
        rows.append((str(count or "floor: none"), spread(costs), each))
    table(rows)
    print(f"At the end: {load()}")


if __name__ == "__main__":
    main()
