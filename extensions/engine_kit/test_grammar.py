"""Grammars and JSON schemas: what is refused before llama.cpp sees it, and what replies keep to."""

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.engine_kit.grammar import as_gbnf
from extensions.engine_kit.json_rules import whole
from extensions.engine_kit.prefixes import one_of
from kernel.api import Refused, Worker, WorkerError
from tests.engines.real import ROOT, STORIES, STORY, ask, engine

ARITHMETIC = r"""# sums
root ::= (expression "=" space term "\n")+
expression ::= term ([-+*/] term)*
term ::= name | number | "(" space expression ")" space
name ::= [a-z] [a-z0-9_]* space
number ::= [0-9]{1,4} space
space ::= [ \t\n]*
"""
DOUBLING = "\n".join([*(f"r{at} ::= r{at + 1} | r{at + 1}" for at in range(60)), 'r60 ::= "a"'])
"""Sixty lines for which llama.cpp's search for left recursion takes 2 to the 60th steps."""
CHAIN = "\n".join([*(f"r{at} ::= r{at + 1}" for at in range(8000)), 'r8000 ::= "a"', "root ::= r0"])

BOMBS = {
    "nested": ("root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000, "nested too deeply"),
    "never closed": ("root ::= " + "(" * 20_000, "nested too deeply"),
    "far too long": ("root ::= " + '"a" ' * 60_000, "200,000 are the most"),
    "copies": ('root ::= "' + "a" * 1000 + '"{2000}', "repeats too much"),
    "optional copies": ('root ::= "' + "a" * 1000 + '"{0,2000}', "repeats too much"),
    "copies of copies": ('root ::= "abcdefghij"{1000}{1000}', "repeats too much"),
    "far too many": ('root ::= "a"{3000,}', "2,000 are the most"),
    "doubling": (DOUBLING + "\nroot ::= r0", "too deep within each other"),
    "a chain": (CHAIN, "too deep within each other"),
    "two ways": ('root ::= "-" root "b" | "-" root "c" | "d"', "too many ways at once"),
    "two ways, later": (
        'root ::= "twenty letters before" x\nx ::= [a-z] x "b" | [^x] x "c" | "d"',
        "too many ways at once",
    ),
    "sums with brackets": (
        'root ::= "(" root ")" "+" root | "(" root ")" | [0-9]+',
        "too many ways at once",
    ),
    "many that may be missing": ('root ::= ("a"?){400} "b"', "too many ways at once"),
    "many of many": ('root ::= (("a"?){200}){200} "b"', "too many ways at once"),
    "many of many, later": (
        'root ::= "more letters than a token has" (("a"?){30}){30} "b"',
        "too many ways at once",
    ),
    "left recursion": ('root ::= root "x" | "y"', "root begins with itself"),
    "through another": ('root ::= b "x"\nb ::= root | "y"', "begins with itself"),
    "after what may be nothing": (
        'root ::= maybe root "x" | "y"\nmaybe ::= perhaps\nperhaps ::= "z"?',
        "root begins with itself",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_grammar_that_is_a_bomb_is_refused_at_once(name: str):
    grammar, words = BOMBS[name]
    begun = time.process_time()
    with pytest.raises(Refused, match=words):
        as_gbnf(grammar)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= " + " | ".join(f'"w{at}"' for at in range(5000)),
        'root ::= "\\"" [a-z]{0,2000} "\\""',
        "root ::= " + "[0-9]? " * 12,
        "root ::= ([a-z]+ | [0-9a-f]+)+",
    ],
)
def test_what_is_long_or_loose_but_no_bomb_is_let_through(grammar: str):
    assert as_gbnf(grammar) == grammar


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("root ::= (", "in line 1: a closing bracket is missing"),
        ('a ::= "x"', "no rule called root"),
        ("root ::= nowhere", "root names nowhere, which is no rule"),
        ('root ::= ("a" | nowhere)*', "root names nowhere"),
        ('root ::= "a\n', "the end of a literal"),
        (r'root ::= "\d"', "known escape"),
        ('root = "a"', "::= after a rule's name"),
        ('root ::= "a"\nroot2 ::= * "b"', "in line 2: something before a repetition"),
        ('root ::= "a"{x}', "a repetition like"),
        ('root ::= "a" $', "the end of a rule"),
        ("%llguidance {}\nstart: /.*/", "a rule's name"),
        ('root ::= "a\0"', "a zero byte"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(grammar: str, words: str):
    with pytest.raises(Refused, match=words):
        as_gbnf(grammar)


@pytest.mark.parametrize("low", [None, -1234, -100, -7, 0, 1, 9, 10, 37, 100, 999])
@pytest.mark.parametrize("high", [None, -100, -3, 0, 5, 12, 99, 100, 1000, 1234, 2345])
def test_bounds_of_whole_numbers_are_exact(low: int | None, high: int | None):
    if low is not None and high is not None and low > high:
        return
    pattern = re.compile(whole(low, high).replace('"', "").replace(" ", ""))
    for number in range(-2500, 2500):
        inside = (low is None or low <= number) and (high is None or number <= high)
        assert bool(pattern.fullmatch(str(number))) == inside, number
    assert not pattern.fullmatch("007")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "https://example.org/a.json"}, "refers to https://example.org/a.json"),
        ({"$ref": "file:///etc/passwd"}, "only what lies in it"),
        ({"$ref": "other.json#/a"}, "only what lies in it"),
        ({"allOf": [{"$ref": "http://example.org"}]}, "only what lies in it"),
        ({"$ref": "#/$defs/none"}, "which is not in it"),
        ({"$ref": "#"}, "begins with itself"),
        ({"type": "string", "pattern": "a+"}, "asks with pattern"),
        ({"type": "number", "minimum": 1}, "asks with minimum"),
        ({"not": {}}, "asks with not"),
        ({"type": "thing"}, "type 'thing'"),
        ({"type": "array", "minItems": 5000}, "can count to 2,000"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "maxItems is less than its minItems"),
        ({"type": "string", "maxLength": -1}, "no number of things"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "bounds that cross"),
        ({"type": "integer", "minimum": 1.5}, "bounds a whole number"),
        ({"enum": []}, "no list with something"),
        ({"properties": 5}, "not well formed"),
        ({"required": [f"p{at}" for at in range(20_000)]}, "too large"),
        ({"anyOf": [{"type": "string", "maxLength": 1900 + at} for at in range(90)]}, "too much"),
    ],
)
def test_what_a_schema_may_not_ask(schema: Any, words: str):
    with pytest.raises(Refused, match=words):
        as_gbnf(json.dumps(schema))


def test_deep_and_broken_schemas():
    nested: Any = {}
    for _ in range(100):
        nested = {"type": "array", "items": nested}
    for text in (json.dumps(nested), '{"items":' * 9000 + "{}" + "}" * 9000, '{"type": '):
        with pytest.raises(Refused, match="JSON schema"):
            as_gbnf(text)


MANY = [f"value {n}" for n in range(3000)] + ["a" * n for n in range(100)] + [12, 1, True, 'a"b']
"""Some begin with others, and some with more than there may be brackets within brackets."""
MANY_IN = {"type": "object", "properties": {"k": {"enum": MANY}}, "required": ["k"]}


def test_an_enum_of_thousands_is_read_in_one_way():
    """Wherever it stands: at once it would be thousands of ways to go on."""
    as_gbnf(json.dumps(MANY_IN))
    as_gbnf(json.dumps({"type": "array", "items": MANY_IN}))
    words = one_of(["at", "a", "to", "at", "atom"])
    assert words == '"a" ("" | "t" ("" | "om")) | "to"'


# --- with the engines ---

PERSON = {
    "type": "object",
    "title": "A person",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 7, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", 'b"c', 3, None]}, "maxItems": 2},
        "born": {"type": "string", "format": "date"},
        "boss": {"anyOf": [{"$ref": "#/$defs/boss"}, {"type": "null"}]},
    },
    "required": ["name", "age", "tags", "boss"],
    "$defs": {"boss": {"type": "object", "properties": {"ok": {"type": ["boolean", "null"]}}}},
}


ENGINES = {
    "xllamacpp": ("llama_cpp", "stories260K.gguf"),
    "xllamacpp-native": ("llama_cpp", "stories260K.gguf"),
    "torch": ("transformers", "hf"),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=ENGINES)
async def worker(request: pytest.FixtureRequest, environments_dir: Path) -> AsyncIterator[Worker]:
    extension, model = ENGINES[request.param]
    async with engine(extension, environments_dir / request.param) as worker:
        await worker.load(STORIES / model, {})
        yield worker


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def drawing(environments_dir: Path) -> AsyncIterator[Worker]:
    file = ROOT / "tests" / "engines" / "drawing.py"
    async with engine("llama_cpp", environments_dir / "xllamacpp-native", file) as worker:
        await worker.load(STORIES / "stories260K.gguf", {})
        yield worker


with_engine = pytest.mark.engine
in_module = pytest.mark.asyncio(loop_scope="module")


async def letters(worker: Worker) -> dict[str, int]:
    """The tokens by what they say."""
    return {await worker.call("detokenize", token_ids=[id]): id for id in range(3, 512)}


@with_engine
@in_module
async def test_a_reply_is_one_of_thousands(worker: Worker):
    for seed in range(3):
        more: dict[str, Any] = {"temperature": 1.3, "seed": seed, "max_new_tokens": 200}
        text, finish, _ = await ask(worker, grammar=json.dumps(MANY_IN), **more)
        assert finish.reason == "stop", text
        assert json.loads(text)["k"] in MANY


@with_engine
@in_module
async def test_replies_fit_their_schema(worker: Worker):
    for seed in range(6):
        text, finish, _ = await ask(
            worker, grammar=json.dumps(PERSON), temperature=1.3, seed=seed, max_new_tokens=400
        )
        assert finish.reason == "stop", text
        person = json.loads(text)
        assert list(person) == [key for key in PERSON["properties"] if key in person]
        assert set(PERSON["required"]) <= set(person)
        assert 1 <= len(person["name"]) <= 12
        assert 7 <= person["age"] <= 120
        assert len(person["tags"]) <= 2
        assert all(tag in ("a", 'b"c', 3, None) for tag in person["tags"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", person.get("born", "2000-01-01"))
        assert person["boss"] is None or person["boss"].keys() <= {"ok"}


@with_engine
@in_module
async def test_what_loves_empty_lines_writes_few_of_them(worker: Worker):
    for grammar in (json.dumps(PERSON), '{"type": "object"}'):
        text, _, _ = await ask(worker, grammar=grammar, logit_bias={13: 50.0}, max_new_tokens=100)
        assert "\n" in text
        assert not re.search(r"(\n\s*){3}|\n\s*[:,]|:\s*\n", text), text


@with_engine
@in_module
async def test_replies_fit_their_grammar(worker: Worker):
    text, finish, _ = await ask(worker, grammar=ARITHMETIC, temperature=1.0, seed=4)
    assert re.match(r"[-+*/a-z0-9_ \t\n=(]+", text)
    assert finish.reason in ("length", "stop")
    hot = {"temperature": 3.0, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 5}
    for grammar, pattern in (
        (r"root ::= [a-c]{5}", "[a-c]{5}"),
        ('root ::= "yes" | "no"', "yes|no"),
    ):
        assert re.fullmatch(pattern, (await ask(worker, grammar=grammar, **hot))[0])


@with_engine
@in_module
async def test_bombs_cost_no_worker(worker: Worker, request: pytest.FixtureRequest):
    for grammar, _ in BOMBS.values():
        with pytest.raises(WorkerError, match="grammar"):
            await ask(worker, grammar=grammar)
    if "torch" not in request.node.name:  # a limit of llama.cpp's own
        with pytest.raises(WorkerError, match="Ask for fewer repetitions"):
            await ask(worker, grammar='root ::= ("x" [a-z]{0,40}){60}')
    assert (await ask(worker))[0] == STORY


@with_engine
@in_module
@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 0.0},
        {"tfs": 0.9, "top_a": 0.1},
        {"mirostat_mode": 2},
        {"ban_eos_token": True},
        {"min_length": 50},
        {"no_repeat_ngram_size": 1},
        {"logit_bias": {432: 1e4, 2: 1e4}},
    ],
    ids=str,
)
async def test_a_forbidden_token_is_never_accepted(drawing: Worker, sampling: dict[str, Any]):
    """llama.cpp aborts then; each of these would choose one without the grammar."""
    if "temperature" not in sampling:
        sampling = {**sampling, "temperature": 2.0}
    more = {"prompt": None, "token_ids": (1, 403), "max_new_tokens": 60, "seed": 3, **sampling}
    text, finish, _ = await ask(drawing, grammar='root ::= "yes" | "no"', **more)
    assert text in ("yes", "no")
    assert finish.reason == "stop"


@with_engine
@in_module
async def test_where_a_grammar_allows_no_token_the_reply_ends_with_a_sentence(drawing: Worker):
    banned = {"custom_token_bans": tuple(range(256, 512))}
    letters = tuple(range(3, 256))  # all bytes
    with pytest.raises(WorkerError, match="No token may come next"):
        await ask(
            drawing,
            grammar='root ::= "yes"',
            custom_token_bans=(*banned["custom_token_bans"], *letters),
        )
    assert (await ask(drawing))[0] == STORY


@with_engine
@in_module
async def test_what_a_grammar_leaves_is_drawn_by_its_share(drawing: Worker):
    ids = await letters(drawing)
    logits = {str(ids["a"]): 1.0, str(ids["b"]): 0.0, str(ids["c"]): 3.0, "300": 4.0}
    asked = {"logits": logits, "grammar": "root ::= [ab]", "count": 3000}
    for sampling in ({}, {"tfs": 0.999}, {"mirostat_mode": 2, "mirostat_tau": 9.0}):
        runs = await drawing.call("draw", sampling=sampling, **asked)
        drawn = {run[0]: times for run, times in runs}
        assert set(drawn) == {ids["a"], ids["b"]}
        assert drawn[ids["a"]] / 3000 == pytest.approx(0.731, abs=0.03)
    # "b" has 1.89 bits of surprise, which mirostat would let in after a token that was forbidden.
    strict = {"mirostat_mode": 2, "mirostat_tau": 0.925}
    runs = await drawing.call("draw", sampling=strict, fresh=True, **{**asked, "count": 300})
    assert [run for run, _ in runs] == [[ids["a"]]]


@with_engine
@in_module
async def test_a_grammar_of_many_meanings_ends_its_own_reply_only(drawing: Worker):
    """The ways to read it double with each two letters, too slowly to be seen beforehand; it is
    given up when a token takes seconds."""
    grammar = 'root ::= "aa" root "b" | "aa" root "c" | "d"'
    a = (await letters(drawing))["a"]
    others = tuple(token for token in range(3, 512) if token != a)
    usual = await drawing.call("slowest", seconds=0.2)
    try:
        with pytest.raises(WorkerError, match="so many ways"):
            await ask(drawing, grammar=grammar, custom_token_bans=others, max_new_tokens=600)
    finally:
        await drawing.call("slowest", seconds=usual)
    assert usual < 5
    assert (await ask(drawing))[0] == STORY
