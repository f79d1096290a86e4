"""What holds for strings that a reply must not say, on each engine that goes back from them."""

import asyncio
from typing import Any

from kernel.worker import Worker
from tests.engines.real import STORY, ask

PARTS = range(0, 60, 5)
"""Where a part of the story begins."""


def bans(*strings: str) -> dict[str, Any]:
    return {"extra": {"banned_strings": strings}}


async def no_part_of_a_story_comes(worker: Worker, at: int) -> None:
    banned = STORY[at : at + 6]
    text, finish, deltas = await ask(worker, logprobs=1, max_new_tokens=48, **bans(banned))
    assert banned.lower() not in text.lower()
    assert text.startswith(STORY[: max(0, at - 6)])
    assert finish.usage.completion == 48
    tokens = [token for delta in deltas for token in delta.tokens]
    assert b"".join(token.bytes for token in tokens).decode() == text
    assert not any(delta.replace for delta in deltas)
    assert (await ask(worker))[0] == STORY


async def who_writes_beside_is_not_disturbed(worker: Worker) -> None:
    hot = {"temperature": 1.0, "max_new_tokens": 120, "repetition_penalty": 1.2}
    learns: dict[str, Any] = {"mirostat_mode": 2, "mirostat_tau": 4.0}
    asked = [ask(worker, seed=seed, **hot, **bans("e", "th", "Lily")) for seed in range(3)]
    asked.append(ask(worker, seed=3, **hot, **learns, **bans("e", "th", "Lily")))
    prompts = ["Once upon a time" + " there was a big dog" * n for n in (0, 3, 9)]
    alone = [(await ask(worker, prompt, max_new_tokens=90))[0] for prompt in prompts]
    plain = [ask(worker, prompt, max_new_tokens=90) for prompt in prompts]
    replies = await asyncio.gather(*asked, *plain)
    for text, finish, _ in replies[:4]:
        assert not [word for word in ("e", "th", "lily") if word in text.lower()], text
        assert finish.usage.completion == 120 or finish.reason == "stop"
    assert [text for text, _, _ in replies[4:]] == alone


async def stop_strings_and_grammars_count_too(worker: Worker) -> None:
    text, finish, _ = await ask(
        worker, custom_stopping_strings=("named",), max_new_tokens=60, **bans("girl")
    )
    assert "girl" not in text
    assert finish.cut_by in ("named", "")
    only = {"grammar": 'root ::= "yes" | "no"', "temperature": 2.0}
    assert {(await ask(worker, **only, seed=s, **bans("yes")))[0] for s in range(6)} == {"no"}
    assert (await ask(worker, **{**only, "grammar": 'root ::= "yes"'}, **bans("yes")))[0] == "yes"
    more = {"dry_multiplier": 0.8, "no_repeat_ngram_size": 3, "tfs": 0.9, "temperature": 0.9}
    text, _, _ = await ask(worker, seed=2, max_new_tokens=80, **more, **bans("she", "was"))
    assert not [word for word in ("she", "was") if word in text.lower()]
