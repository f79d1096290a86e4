"""Banned strings: never shown, wherever their tokens begin and end, and a reply always ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kernel.api import SAMPLERS, Worker, WorkerError, check
from kernel.testing import running
from tests.engines import banned
from tests.engines.banned import PARTS, bans
from tests.engines.real import STORIES, STORY, ask, engine


async def test_the_form_takes_one_a_line_and_its_limits_are_kept():
    async with running("llama_cpp") as app:
        registry = app.kernel.registry
        [added] = [each for each in registry.values(SAMPLERS) if each.loader == "llama.cpp"]
        good, problems = check(added.kind, {"banned_strings": "a mat\nthe end"})
        assert (good, problems) == ({"banned_strings": ("a mat", "the end")}, {})
        for wrong, why in (
            (("x",) * 1001, "There are 1,001 banned strings, and 1,000 are the most."),
            (("a", "x" * 201), "Banned string 2 has 201 characters, and 200 are the most."),
            (("a", ""), "Banned string 2 is empty. Take it out."),
            ((1,), "Banned strings must be a list, each text."),
        ):
            [said] = check(added.kind, {"banned_strings": wrong})[1].values()
            assert said.startswith(why)
        for nothing in ("", (), None, "\n"):
            assert check(added.kind, {"banned_strings": nothing}) == ({"banned_strings": ()}, {})


# --- with the engine ---

with_engine = pytest.mark.engine
in_module = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        await worker.load(STORIES / "stories260K.gguf", {})
        yield worker


@with_engine
@in_module
@pytest.mark.parametrize("at", PARTS)
async def test_no_part_of_a_story_comes_when_it_is_banned(worker: Worker, at: int):
    await banned.no_part_of_a_story_comes(worker, at)


@with_engine
@in_module
async def test_frequent_letters_are_avoided_all_along_and_others_are_not_disturbed(worker: Worker):
    await banned.who_writes_beside_is_not_disturbed(worker)


@with_engine
@in_module
async def test_bans_beside_stop_strings_grammars_and_samplers_that_remember(worker: Worker):
    await banned.stop_strings_and_grammars_count_too(worker)


@with_engine
@in_module
async def test_a_thousand_banned_strings(worker: Worker):
    text, _, _ = await ask(worker, max_new_tokens=200, **bans(*(f"girl{at}" for at in range(1000))))
    assert text.startswith(STORY)


@with_engine
@in_module
async def test_the_prebuilt_engine_says_that_it_cannot(environments_dir: Path):
    async with engine("llama_cpp", environments_dir / "xllamacpp") as worker:
        await worker.load(STORIES / "stories260K.gguf", {})
        way = r"cannot do this: banned_strings\. Leave it out\. The native engine can: build"
        with pytest.raises(WorkerError, match=way):
            await ask(worker, **bans("girl"))
