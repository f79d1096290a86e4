"""Strings that a reply of Transformers must not say; see extensions/llama_cpp/test_bans.py."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from kernel.api import SAMPLERS, Worker, check
from kernel.testing import running
from tests.engines import banned
from tests.engines.banned import PARTS, bans
from tests.engines.real import STORIES, ask

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]


@pytest.mark.parametrize("at", PARTS)
async def test_no_part_of_a_story_comes_when_it_is_banned(worker: Worker, at: int):
    await banned.no_part_of_a_story_comes(worker, at)


async def test_who_writes_beside_it_is_not_disturbed(worker: Worker):
    await banned.who_writes_beside_is_not_disturbed(worker)


async def test_it_goes_on_as_if_the_words_had_never_been_there(worker: Worker):
    """After words were taken back, the model sees what it would have seen without them."""
    text, _, _ = await ask(worker, max_new_tokens=60, **bans("girl"))
    ids = await worker.call("tokenize", text="Once upon a time" + text)
    for begun in range(12, len(ids) - 12, 5):
        again, _, _ = await ask(worker, token_ids=tuple(ids[:begun]), max_new_tokens=8)
        assert again in text or "girl" in again


async def test_beside_stop_strings_grammars_and_samplers_that_remember(worker: Worker):
    await banned.stop_strings_and_grammars_count_too(worker)
    _, finish, _ = await ask(worker, max_new_tokens=400, **bans("Lily"))
    assert finish.reason == "stop"


async def test_a_model_that_forgets_only_all_reads_again(spare: Worker, tmp_path: Path):
    """One whose layers see a window: what left it does not come back."""
    folder = Path(shutil.copytree(STORIES / "hf", tmp_path / "window"))
    config = folder / "config.json"
    told = json.loads(config.read_text())
    told |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 16}
    config.write_text(json.dumps(told))
    await spare.load(folder, {"dtype": "float32"})
    plain, _, _ = await ask(spare, max_new_tokens=40)
    part = plain[20:24]
    beside = [ask(spare, max_new_tokens=40) for _ in range(2)]
    (text, finish, _), *others = await asyncio.gather(
        ask(spare, max_new_tokens=40, **bans(part)), *beside
    )
    assert part.lower() not in text.lower()
    assert text.startswith(plain[:14])
    assert finish.usage.completion == 40
    assert [other[0] for other in others] == [plain] * 2


async def test_the_form_has_them():
    async with running("transformers") as app:
        values = app.kernel.registry.values(SAMPLERS)
        [added] = [each for each in values if each.loader == "Transformers"]
        assert check(added.kind, {"banned_strings": "a mat"})[0] == {"banned_strings": ("a mat",)}
