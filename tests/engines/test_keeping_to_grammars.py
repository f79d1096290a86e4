"""Replies of Transformers keep to grammars: llguidance allows what GBNF says, whoever draws."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.engine_kit.ambiguity import Search
from extensions.engine_kit.gbnf import read
from extensions.engine_kit.grammar import as_gbnf
from extensions.engine_kit.lark import as_lark
from kernel.api import Refused, Worker, WorkerError
from tests.engines.real import ROOT, STORIES, STORY, ask, engine

with_engine = pytest.mark.engine
in_module = pytest.mark.asyncio(loop_scope="module")
YES = 'root ::= "yes" | "no"'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    file = ROOT / "tests" / "engines" / "chosen.py"
    async with engine("transformers", environments_dir / "torch", file) as worker:
        await worker.load(STORIES / "hf", {"dtype": "float32"})
        yield worker


# --- what is written for llguidance ---


@pytest.mark.parametrize(
    ("grammar", "lark"),
    [
        ('root ::= "ab"', "start: L0 L1\nL0: /[\\x{61}-\\x{61}]/\nL1: /[\\x{62}-\\x{62}]/"),
        ("root ::= .*", 'r1_more: "" | r1_more L0\nr1: r1_more\nL0: /(?s:.)/'),
        ("root ::= [^a]{2,5}", "start: L0 L0 r1\nr1: (L0){0,3}\nL0: /[^\\x{61}-\\x{61}]/"),
        ("root ::= . nobody?\nnobody ::= .\nunused ::= .", "unused"),
        (r"root ::= [\U0000D7FF-\U0000E000\U0010FFFF-\U00110000]", r"\x{D7FF}-\x{D7FF}\x{E000}-"),
    ],
)
def test_grammars_are_written_as_lark(grammar: str, lark: str):
    assert (lark in as_lark(grammar)) != (lark == "unused")


@pytest.mark.parametrize("grammar", ["root ::= <[5]>", "root ::= []", r"root ::= [\U00110000]"])
def test_what_has_no_letters_is_refused(grammar: str):
    with pytest.raises(Refused, match="token by its number"):
        as_lark(as_gbnf(grammar))


# --- what it allows ---


def made(chance: random.Random, depth: int = 3) -> str:
    """A grammar's alternative, of few letters."""
    if not depth or chance.random() < 0.3:
        return chance.choice(['"a"', '"ab"', '"é"', "[ab]", "[^a]", '""', "x", "."])
    inner = [made(chance, depth - 1) for _ in range(2)]
    times = chance.choice(["*", "+", "?", "{2}", "{0,3}", "{1,2}"])
    return chance.choice([" ".join(inner), f"({' | '.join(inner)})", f"({inner[0]}){times}"])


def slowly(grammar: str, text: str) -> list[Any]:
    """How many letters a grammar allows, and whether it may end there."""
    search, rules = Search(read(grammar)), range(len(read(grammar)["root"]))
    first = search._rules["root"]
    assert len(first) == len(rules)
    stacks = search.advance((alternative, 0, None) for alternative in first)
    for at, letter in enumerate(text):
        stacks = search.read(stacks, ord(letter))
        if not stacks:
            return [at, False]
    return [len(text), None in stacks]


@with_engine
@in_module
async def test_it_allows_what_gbnf_says(worker: Worker, pytestconfig: pytest.Config):
    chance = random.Random(5)
    tried, enough = 0, 80 if pytestconfig.getoption("--long") else 12
    while tried < enough:
        grammar = f'root ::= {made(chance)} {made(chance)}\nx ::= "b" x | {made(chance, 1)}'
        try:
            as_gbnf(grammar)
        except Refused:
            continue
        texts = ["".join(chance.choices("aabbé日", k=chance.randrange(9))) for _ in range(20)]
        expected = [slowly(grammar, text) for text in texts]
        assert await worker.call("keeps", grammar=grammar, texts=texts) == expected, grammar
        tried += 1


@with_engine
@in_module
@pytest.mark.parametrize(
    "sampling",
    [
        {}, {"temperature": 0.0}, {"tfs": 0.9, "top_a": 0.1}, {"top_k": 1}, {"min_p": 0.9},
        {"mirostat_mode": 2}, {"adaptive_target": 0.3}, {"ban_eos_token": True},
        {"min_length": 50}, {"no_repeat_ngram_size": 1}, {"logit_bias": {432: 1e4, 2: 1e4}},
        {"xtc_probability": 1.0, "xtc_threshold": 0.01},
    ],
    ids=str,
)  # fmt: skip
async def test_whatever_samplers_leave(worker: Worker, sampling: dict[str, Any]):
    more = {"max_new_tokens": 60, "seed": 3, "temperature": 2.0, **sampling}
    text, finish, _ = await ask(worker, grammar=YES, **more)
    assert text in ("yes", "no")
    assert finish.reason == "stop"


@with_engine
@in_module
async def test_replies_beside_each_other_keep_to_their_own(worker: Worker):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wishes: list[dict[str, Any]] = [
        {"grammar": YES, "temperature": 1.5, "seed": 1},
        {"grammar": json.dumps(schema), "temperature": 1.0, "seed": 2, "max_new_tokens": 200},
        {},
        {"mirostat_mode": 2, "mirostat_tau": 2.0, "temperature": 1.0, "seed": 4},
        {"dry_multiplier": 0.8, "xtc_probability": 0.5, "temperature": 1.0, "seed": 5},
    ]
    alone = [(await ask(worker, **wish))[0] for wish in wishes]
    together = await asyncio.gather(*(ask(worker, **wish) for wish in wishes))
    assert [text for text, _, _ in together] == alone
    assert alone[0] in ("yes", "no")
    assert isinstance(json.loads(alone[1])["n"], int)
    assert alone[2] == STORY


@with_engine
@in_module
async def test_the_logprobs_are_those_before_it(worker: Worker):
    _, _, plain = await ask(worker, logprobs=3, max_new_tokens=1)
    _, _, kept = await ask(worker, logprobs=3, max_new_tokens=1, grammar='root ::= "a" .*')
    [one], [other] = plain[0].tokens, kept[0].tokens
    assert other.top == one.top
    assert other.logprob is not None
    assert other.logprob < min(logprob for _, logprob in one.top)


@with_engine
@in_module
async def test_where_a_grammar_allows_no_token_the_reply_ends_with_a_sentence(worker: Worker):
    with pytest.raises(WorkerError, match="No token may come next"):
        await ask(worker, grammar='root ::= "yes"', custom_token_bans=tuple(range(3, 512)))
    assert (await ask(worker))[0] == STORY


@with_engine
@in_module
async def test_one_that_is_too_large_is_refused(worker: Worker):
    words = json.dumps({"enum": [f"{number * 7**15 % 10**12:012}" for number in range(10_000)]})
    with pytest.raises(WorkerError, match="larger than the Transformers loader can keep to"):
        await ask(worker, grammar=words)
    fewer = json.dumps({"enum": [f"word {number}" for number in range(3_000)]})
    assert json.loads((await ask(worker, grammar=fewer))[0]).startswith("word ")


SLOW = {
    "many meanings": "root ::= ((.{1,60}){1,60}){1,5}",
    "doubling": 'root ::= "aa" root "b" | "aa" root "c" | "d"',
    "never an end": 'root ::= "b" root | [ab] root',
    "long repetitions": "root ::= ([a-z]{1,200} | .{1,200}){1,5}",
}


@with_engine
@in_module
@pytest.mark.parametrize(
    "name", [*[*SLOW][:-1], pytest.param("long repetitions", marks=pytest.mark.long)]
)
async def test_a_grammar_that_is_slow_ends_its_own_reply_only(worker: Worker, name: str):
    begun = time.monotonic()
    given = {"grammar": SLOW[name], "temperature": 3.0, "seed": 1, "max_new_tokens": 150}
    beside = asyncio.gather(*(ask(worker) for _ in range(3)))
    try:
        await ask(worker, "a" * 9, logit_bias={2: -50.0}, **given)
    except WorkerError as error:
        assert "many ways" in str(error)  # noqa: PT017 - both are well
    assert [text for text, _, _ in await beside] == [STORY] * 3
    assert time.monotonic() - begun < 20


@pytest.mark.long
@with_engine
@in_module
async def test_a_long_reply_stays_as_fast(worker: Worker):
    """A string of hundreds of letters costs no more at its end than at its beginning."""
    schema = json.dumps({"type": "string"})
    more = {"grammar": schema, "temperature": 1.0, "seed": 3, "logit_bias": {2: -50.0}}
    begun = time.monotonic()
    _, finish, _ = await ask(worker, max_new_tokens=450, **more)
    assert finish.usage.completion > 20
    assert time.monotonic() - begun < 10
