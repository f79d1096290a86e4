"""Guidance with a negative prompt, beside what transformers itself writes with it."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernel.api import Worker, WorkerError
from tests.engines.plain import NEGATIVE, SCALES
from tests.engines.real import STORIES, STORY, ask

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="package")]
WISHES: list[dict[str, Any]] = [
    {"guidance_scale": scale, "negative_prompt": negative, "max_new_tokens": 60}
    for scale in SCALES
    for negative in (NEGATIVE, "")
]


async def test_it_writes_what_transformers_does(worker: Worker, expected: Any):
    alone = [(await ask(worker, ban_eos_token=True, **wish))[0] for wish in WISHES]
    assert [text.lstrip() for text in alone] == [text.lstrip() for text in expected["guided"]]
    assert not alone[2].startswith(STORY)
    plain = [ask(worker, max_new_tokens=40) for _ in range(2)]
    begun = [(await ask(worker, max_new_tokens=40))[0]] * 2
    guided = [ask(worker, ban_eos_token=True, **wish) for wish in WISHES]
    replies = await asyncio.gather(*plain, *guided)
    assert [text for text, _, _ in replies] == [*begun, *alone]


async def test_a_scale_of_1_changes_nothing(worker: Worker):
    assert (await ask(worker, guidance_scale=1.0, negative_prompt=NEGATIVE))[0] == STORY


async def test_it_does_not_push_out_what_conversations_left(worker: Worker):
    first = "Tom had a red ball. " * 8
    text, _, _ = await ask(worker, first)
    for wish in WISHES[:3]:
        await ask(worker, **{**wish, "negative_prompt": NEGATIVE + "my" * 40, "max_new_tokens": 2})
    _, finish, _ = await ask(worker, first + text + " The end.")
    assert finish.usage.cached > 40


async def test_a_negative_prompt_without_room_is_refused(worker: Worker):
    with pytest.raises(WorkerError, match="negative prompt has"):
        await ask(worker, guidance_scale=2.0, negative_prompt="a b c " * 400)
    with pytest.raises(WorkerError, match="negative prompt has 600,000 characters"):
        await ask(worker, guidance_scale=2.0, negative_prompt="a b c " * 100_000)
    negative = "there was " * 200
    taken = len(await worker.call("tokenize", text=negative))
    wish = {"guidance_scale": 1.2, "negative_prompt": negative, "ban_eos_token": True}
    _, finish, _ = await ask(worker, max_new_tokens=500, **wish)
    assert (finish.reason, finish.usage.completion) == ("length", 512 - taken)


async def test_a_negative_prompt_of_what_the_model_does_not_know_is_refused(
    spare: Worker, tmp_path: Path
):
    """On a graphics card a number beyond the model's would end every reply."""
    folder = Path(shutil.copytree(STORIES / "hf", tmp_path / "more"))
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text("utf-8"))
    told["added_tokens"].append({**told["added_tokens"][0], "id": 512, "content": "<pad>"})
    file.write_text(json.dumps(told), "utf-8")
    await spare.load(folder, {"dtype": "float32"})
    with pytest.raises(WorkerError, match="negative prompt has tokens that this model does"):
        await ask(spare, guidance_scale=2.0, negative_prompt="not <pad>")


async def test_beside_banned_strings_grammars_and_samplers(worker: Worker):
    wish: dict[str, Any] = {"guidance_scale": 2.0, "negative_prompt": NEGATIVE}
    plain, _, _ = await ask(worker, max_new_tokens=40, **wish)
    banned = plain[12:16]
    more: dict[str, Any] = {"extra": {"banned_strings": (banned,)}, "max_new_tokens": 40}
    text, finish, _ = await ask(worker, **wish, **more)
    assert banned.lower() not in text.lower()
    assert text.startswith(plain[:6])
    assert finish.usage.completion == 40
    answer = await ask(worker, grammar='root ::= "yes" | "no"', temperature=1.5, **wish)
    assert answer[0] in ("yes", "no")
    told = await worker.call("logits", text="Once upon a time", sampling=wish, top=512)
    assert sum(each["after"] for each in told["tokens"]) == pytest.approx(1, abs=1e-6)
    assert any(abs(each["after"] - each["before"]) > 0.001 for each in told["tokens"])
