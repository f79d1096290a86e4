"""Banned strings: never shown, wherever their tokens begin and end, and a reply always ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.llama_cpp.native.bans import MOST_TRIES, Bans
from kernel.api import SAMPLERS, Worker, WorkerError, check
from kernel.testing import running
from tests.engines.real import STORIES, STORY, ask, engine

Choose = Callable[[str, frozenset[int]], int]
PIECES = ["The ", "cat ", "sat", " on", " a ", "mat", ". ", "c", "at ", "CAT", "dog "]


def reply(bans: Bans, choose: Choose, most: int = 200) -> tuple[str, str, int]:
    """What was shown, all of it at the end, and how many choices that took."""
    written: list[int] = []
    shown, choices = "", 0
    while len(written) < most:
        token = choose("".join(PIECES[each] for each in written), bans.not_next)
        choices += 1
        if token < 0:
            break
        written.append(token)
        if count := bans.feed(token, PIECES[token].encode()):
            del written[-count:]
        else:
            shown += b"".join(each.piece for each in bans.release()).decode()
        assert "".join(PIECES[each] for each in written).startswith(shown), "nothing is taken back"
    shown += b"".join(each.piece for each in bans.release(all=True)).decode()
    return shown, "".join(PIECES[each] for each in written), choices


def in_order(*wishes: int) -> Choose:
    """Takes the first wish that is not banned, one a place; ends after 6."""

    def choose(text: str, banned: frozenset[int]) -> int:
        if len(text) > 20:
            return -1
        return next(wish for wish in wishes if wish not in banned)

    return choose


def test_a_banned_word_is_replaced_where_it_began():
    shown, written, choices = reply(Bans(["cat"]), in_order(1, 10))
    assert shown == written == "dog " * 6
    assert choices == 13, "each place was tried twice, and then it ended"


def test_one_that_spans_tokens_is_taken_back_whole():
    def choose(text: str, banned: frozenset[int]) -> int:
        if len(text) > 12 and text.endswith(" "):
            return -1
        if text.endswith("c"):
            return 8
        return 7 if 7 not in banned else 10

    shown, _, _ = reply(Bans(["cat "]), choose)
    assert shown == "dog " * 4


def test_capitals_do_not_help_and_beginnings_are_shown_in_the_end():
    assert reply(Bans(["CAT"]), in_order(9, 1, 10))[0] == "dog " * 6
    bans = Bans(["cat sat on a mat"])
    for token in (0, 1, 2, 3):
        assert not bans.feed(token, PIECES[token].encode())
    assert [each.token for each in bans.release()] == [0]
    assert not bans.feed(6, b". ")
    assert [each.token for each in bans.release()] == [1, 2, 3, 6]


def test_where_nothing_else_can_come_it_is_let_through():
    def stubborn(text: str, banned: frozenset[int]) -> int:
        return -1 if len(text) > 20 else 1

    shown, _, choices = reply(Bans(["cat"]), stubborn)
    assert shown == "cat " * 6
    assert choices < 20


def test_a_place_is_tried_a_sane_number_of_times():
    tokens = iter(range(10_000))
    bans = Bans(["x"])
    tries = 0
    while bans.feed(next(tokens), b"x"):
        tries += 1
    assert tries == MOST_TRIES
    assert [each.piece for each in bans.release()] == [b"x"]


def test_a_whole_reply_is_tried_a_sane_number_of_times():
    """Each of 63 tokens may come before each of 63 others, and none of it may be said."""
    bans, tries = Bans(["q", "az"]), 0
    for first in range(63):
        assert not bans.feed(first, b"a")
        for second in range(62):
            tries += bans.feed(1000 + second, b"q")
        tries += bans.feed(2000, b"z") > 0
    assert 200 <= tries <= 300


async def test_the_form_takes_one_a_line_and_its_limits_are_kept():
    async with running("llama_cpp") as app:
        registry = app.kernel.registry
        [added] = [each for each in registry.values(SAMPLERS) if each.loader == "llama.cpp"]
        good, problems = check(added.kind, {"banned_strings": "a mat\nthe end"})
        assert (good, problems) == ({"banned_strings": ("a mat", "the end")}, {})
        for wrong in (("x",) * 1001, ("x" * 201,)):
            assert check(added.kind, {"banned_strings": wrong})[1]


# --- with the engine ---

with_engine = pytest.mark.engine
in_module = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        await worker.load(STORIES / "stories260K.gguf", {})
        yield worker


def bans(*strings: str) -> dict[str, Any]:
    return {"extra": {"banned_strings": strings}}


@with_engine
@in_module
@pytest.mark.parametrize("at", range(0, 60, 5))
async def test_no_part_of_a_story_comes_when_it_is_banned(worker: Worker, at: int):
    banned = STORY[at : at + 6]
    text, finish, deltas = await ask(worker, logprobs=1, max_new_tokens=48, **bans(banned))
    assert banned.lower() not in text.lower()
    assert text.startswith(STORY[: max(0, at - 6)])
    assert finish.usage.completion == 48
    tokens = [token for delta in deltas for token in delta.tokens]
    assert b"".join(token.bytes for token in tokens).decode() == text
    assert not any(delta.replace for delta in deltas)
    assert (await ask(worker))[0] == STORY


@with_engine
@in_module
async def test_frequent_letters_are_avoided_all_along_and_others_are_not_disturbed(worker: Worker):
    hot = {"temperature": 1.0, "max_new_tokens": 120, "repetition_penalty": 1.2}
    asked = [ask(worker, seed=seed, **hot, **bans("e", "th", "Lily")) for seed in range(3)]
    plain = [ask(worker) for _ in range(3)]
    replies = await asyncio.gather(*asked, *plain)
    for text, finish, _ in replies[:3]:
        assert not [word for word in ("e", "th", "lily") if word in text.lower()], text
        assert finish.usage.completion == 120 or finish.reason == "stop"
    assert {text for text, _, _ in replies[3:]} == {STORY}


@with_engine
@in_module
async def test_bans_beside_stop_strings_grammars_and_samplers_that_remember(worker: Worker):
    text, finish, _ = await ask(
        worker, custom_stopping_strings=("named",), max_new_tokens=60, **bans("little")
    )
    assert "little" not in text
    assert finish.cut_by in ("named", "")
    only = {"grammar": 'root ::= "yes" | "no"', "temperature": 2.0}
    assert {(await ask(worker, **only, seed=s, **bans("yes")))[0] for s in range(6)} == {"no"}
    assert (await ask(worker, **{**only, "grammar": 'root ::= "yes"'}, **bans("yes")))[0] == "yes"
    more = {"dry_multiplier": 0.8, "no_repeat_ngram_size": 3, "tfs": 0.9, "temperature": 0.9}
    text, _, _ = await ask(worker, seed=2, max_new_tokens=80, **more, **bans("she", "was"))
    assert not [word for word in ("she", "was") if word in text.lower()]


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
        with pytest.raises(WorkerError, match="cannot do this: extra"):
            await ask(worker, **bans("girl"))
