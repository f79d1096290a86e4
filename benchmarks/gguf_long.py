"""What benchmarks.gguf measures of long prompts: a reply's first token, and the way to stop."""

import asyncio
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.common import spread, table
from benchmarks.gguf_peers import Bare, Peer, Whole, whole, worker
from benchmarks.models import prompt

TURN, USER = 30, 8
"""Tokens of the next message of a conversation, and of each user's own after a shared prompt."""
USERS = 16
WRITTEN = 8
"""Tokens of a reply where it is the first that counts."""
Kept = dict[str, dict[str, list[float]]]
"""Milliseconds, by what was measured and whose."""


def fresh(tokens: int) -> str:
    """A text that nobody has seen before, in this run or another."""
    return prompt(random.Random(), tokens)


def and_then(text: str, tokens: int) -> str:
    return f"{text} {fresh(tokens + 1)}"


@asynccontextmanager
async def under_way(peer: Peer, text: str) -> AsyncGenerator[float]:
    """A long reply that has begun; answers the seconds until it did."""
    begun, first = asyncio.get_running_loop().time(), asyncio.Event()
    pieces = peer.write(text, 4096)

    async def follow() -> None:
        async for _ in pieces:
            first.set()

    task = asyncio.create_task(follow())
    waiting = asyncio.create_task(first.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield asyncio.get_running_loop().time() - begun
    finally:
        task.cancel()
        await asyncio.wait({task})
        await pieces.aclose()
        await peer.idle()


async def long_prompts(peers: list[Peer], size: int, runs: int) -> float:
    """The first token: cold, the same beginning as another's reply that is being written, and the
    next message of a conversation. Answers the seconds that Spindle takes for a cold one."""
    kept: Kept = defaultdict(lambda: defaultdict(list))
    cold, shared, second = "cold", "shares all but 30 with one being written", "second turn"
    for _ in range(runs):
        for peer in peers:
            system = fresh(size)
            one, other = and_then(system, TURN), and_then(system, TURN)
            if peer.most > 1:
                async with under_way(peer, one) as first:
                    kept[cold][peer.name].append(first * 1000)
                    reply = await peer.reply(other, WRITTEN)
                    kept[shared][peer.name].append(reply.first * 1000)
            else:
                first = (await peer.reply(one, WRITTEN)).first
                kept[cold][peer.name].append(first * 1000)
            reply = await peer.reply(and_then(one, TURN), WRITTEN)
            kept[second][peer.name].append(reply.first * 1000)
    show(f"first token, ms, prompts of {size:,} + {TURN}", kept, peers)
    return statistics.median(kept[cold][peers[0].name]) / 1000


async def many_users(peers: list[Peer], size: int, name: str, runs: int) -> None:
    """All that is read until the last user's first token, for one user and for many with the same
    long prompt."""
    kept: Kept = defaultdict(lambda: defaultdict(list))
    one, many, ratio = "one user", f"{USERS} users", f"{USERS} users, of one"
    for _ in range(min(runs, 3 if name != "1b" else 2)):
        for peer in peers:
            if name == "1b" and not isinstance(peer, Bare | Whole):
                continue  # where each reads all of it, that is minutes
            _, first = await peer.job([and_then(fresh(size), USER)], 1)
            system = fresh(size)
            _, firsts = await peer.job([and_then(system, USER) for _ in range(USERS)], 1)
            kept[one][peer.name].append(first[0] * 1000)
            kept[many][peer.name].append(max(firsts) * 1000)
            kept[ratio][peer.name].append(max(firsts) / first[0])
    show(f"until all have begun, ms, prompts of {size:,} + {USER}", kept, peers)


async def beside_idle(peer: Peer, size: int, runs: int) -> None:
    """What a reply pays for long conversations in which nobody writes."""
    kept: Kept = defaultdict(lambda: defaultdict(list))
    for _ in range(runs):
        alone = await peer.reply(fresh(USER), 64)
        for _ in range(4):
            await peer.reply(fresh(size), 1)
        beside = await peer.reply(fresh(USER), 64)
        times = [(each.took - each.first) * 1000 / 63 for each in (alone, beside)]
        kept["no other conversation"][peer.name].append(times[0])
        kept["beside 4 idle ones"][peer.name].append(times[1])
        kept["ratio, of one"][peer.name].append(times[1] / times[0])
    show(f"a token, ms, others of {size:,}", kept, [peer])


async def cancelling(peers: list[Peer], size: int, cold: float, runs: int) -> None:
    """From the cancellation of the only reply until nothing runs."""
    kept: Kept = defaultdict(lambda: defaultdict(list))
    for _ in range(runs):
        for peer in peers:
            reading = await peer.cancel(fresh(size), cold / 3)
            await peer.reply(fresh(USER), 2)
            writing = await peer.cancel(fresh(USER), 0.5)
            kept["while it reads"][peer.name].append(reading * 1000)
            kept["while it writes"][peer.name].append(writing * 1000)
    show("cancelled until idle, ms", kept, peers)


async def restarting(python: Path, environments: Path, model: Path, data: Path, size: int) -> None:
    """The first token of a second turn when the model was loaded anew in between."""
    kept: Kept = defaultdict(lambda: defaultdict(list))
    label = "second turn, loaded anew in between"
    one = and_then(fresh(size), TURN)
    with tempfile.TemporaryDirectory() as folder:
        async with worker(python, model) as before:
            await before.reply(one, WRITTEN)
            await before.worker.call("save", folder=folder)
        async with worker(python, model) as after:
            await after.worker.call("restore", folder=folder)
            await after.reply(fresh(USER), 2)  # a warm-up
            reply = await after.reply(and_then(one, TURN), WRITTEN)
            kept[label][after.name].append(reply.first * 1000)
            kept["tokens of it known"][after.name].append(reply.cached)
    async with whole(data, environments, model) as server:
        await server.reply(one, WRITTEN)
    async with whole(data, environments, model) as again:
        reply = await again.reply(and_then(one, TURN), WRITTEN)
        kept[label][again.name].append(reply.first * 1000)
        kept["tokens of it known"][again.name].append(reply.cached)
    show(f"first token, ms, prompts of {size:,} + {TURN}", kept, [after, again])


def show(title: str, kept: Kept, peers: list[Peer]) -> None:
    rows = [(title, *(peer.name for peer in peers))]
    for what, values in kept.items():
        form = ".2f" if what.endswith("of one") else ",.0f"
        cells = [spread(found, form) if (found := values[peer.name]) else "" for peer in peers]
        rows.append((what, *cells))
    table(rows)
