"""What idle conversations left: each step looks at all of it, so it leaves the context in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel.api import Worker
from tests.engines.real import ROOT, STORIES, ask, engine

pytestmark = pytest.mark.engine
LONG = " ".join(f"Lily saw {n} birds and she was happy." for n in range(30))
COUNTED = ROOT / "tests" / "engines" / "counted.py"


@asynccontextmanager
async def loaded(environments: Path, **options: Any) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments / "xllamacpp-native", COUNTED) as worker:
        await worker.load(STORIES / "stories260K.gguf", options)
        yield worker


async def held(worker: Worker) -> int:
    """Tokens in the context, those counted twice that are shared."""
    return sum(await worker.call("held"))


async def rested(worker: Worker) -> list[int]:
    """Tokens of what lies outside the context, once the engine copied something there."""
    async with asyncio.timeout(10):
        while not (outside := await worker.call("outside")):
            await asyncio.sleep(0.5)  # A question is something to do, so not too often.
    return outside


async def test_it_leaves_when_another_begins_and_is_known_again(environments_dir: Path):
    async with loaded(environments_dir) as worker:
        text, first, _ = await ask(worker, LONG)
        assert await held(worker) > first.usage.prompt
        await ask(worker, "Ben had a dog")
        assert await held(worker) < 60
        again, second, _ = await ask(worker, LONG)
        assert again == text
        assert second.usage.cached == first.usage.prompt - 1


async def test_what_is_shared_with_the_other_stays(environments_dir: Path):
    async with loaded(environments_dir) as worker:
        _, first, _ = await ask(worker, f"{LONG} Tom said", max_new_tokens=60)
        _, second, _ = await ask(worker, f"{LONG} Ben asked", max_new_tokens=4)
        assert second.usage.cached > first.usage.prompt - 10
        assert await held(worker) > 2 * second.usage.cached


async def test_it_stays_where_memory_would_have_to_forget_for_it(environments_dir: Path):
    async with loaded(environments_dir, cache_ram=0) as worker:
        _, first, _ = await ask(worker, LONG)
        await ask(worker, "Ben had a dog")
        assert await held(worker) > first.usage.prompt
        _, second, _ = await ask(worker, LONG)
        assert second.usage.cached == first.usage.prompt - 1


async def test_who_shares_only_its_beginning_does_not_take_it_away(environments_dir: Path):
    async with loaded(environments_dir) as worker:
        tale = f"{LONG} Tom said. {LONG[:600]}"
        _, first, _ = await ask(worker, tale)
        await ask(worker, "Ben had a dog")
        _, other, _ = await ask(worker, f"{LONG} Sue ran")
        assert other.usage.cached > 300
        await ask(worker, "Ben had a cat")
        _, again, _ = await ask(worker, tale)
        assert again.usage.cached == first.usage.prompt - 1


TOM, BEN = f"{LONG} Tom said", f"{LONG} Ben asked"
"""What they share lets both stay in the context, though one comes after the other."""


async def test_it_is_copied_out_while_nobody_asks_for_anything(environments_dir: Path):
    async with loaded(environments_dir) as worker:
        text, first, _ = await ask(worker, TOM, max_new_tokens=60)
        await ask(worker, BEN, max_new_tokens=4)
        [copied] = await rested(worker)  # and not the last one that was used
        assert copied == first.usage.prompt + first.usage.completion - 1
        assert await held(worker) > 2 * first.usage.prompt, "it stays where it is, too"
        assert await worker.call("copies") == 1
        await ask(worker, "Ben had a dog")
        assert await held(worker) < 60
        assert await worker.call("copies") == 2, "only the other had to be copied then"
        again, second, _ = await ask(worker, TOM, max_new_tokens=60)
        assert (again, second.usage.cached) == (text, first.usage.prompt - 1)


async def test_who_goes_on_leaves_no_older_copy(environments_dir: Path):
    async with loaded(environments_dir) as worker:
        text, _, _ = await ask(worker, TOM, max_new_tokens=60)
        await ask(worker, BEN, max_new_tokens=4)
        [copied] = await rested(worker)
        _, more, _ = await ask(worker, f"{TOM}{text} And")
        assert more.usage.cached > copied - 32, "it goes on, though read in other tokens"
        assert copied not in await worker.call("outside")


async def test_a_copy_is_saved_once(environments_dir: Path, tmp_path: Path):
    async with loaded(environments_dir) as worker:
        _, first, _ = await ask(worker, TOM, max_new_tokens=60)
        await ask(worker, BEN, max_new_tokens=4)
        await rested(worker)
        assert await worker.call("save", folder=str(tmp_path)) == 2
    async with loaded(environments_dir) as worker:
        assert await worker.call("restore", folder=str(tmp_path)) == 2
        _, again, _ = await ask(worker, TOM)
        assert again.usage.cached == first.usage.prompt - 1
