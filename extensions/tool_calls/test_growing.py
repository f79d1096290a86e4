"""A call that has to be is told while it is written, wherever the pieces of it end."""

import json
from typing import Any

import pytest

from extensions.tool_calls.api import calls
from extensions.tool_calls.test_tool_calls import CALL, NOW, WEATHER, joined, told, turn
from kernel.api import Delta, Token

GIVEN = {"city": 'Par"is}{ \u2028\\', "more": [1, {"deep": "\\"}, "ü\n"]}
FORCED = f' {{"name": "weather",\n "arguments": {json.dumps(GIVEN)}}} \n'
MUST: dict[str, Any] = {"tool_choice": "required", "growing_calls": True}


def pieces(words: str, size: int) -> list[Delta]:
    parts = [words[at : at + size] for at in range(0, len(words), size)]
    return [Delta(part, tokens=(Token(n, part.encode()),)) for n, part in enumerate(parts)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 20, 1000])
async def test_it_is_the_same_call_in_any_pieces(size: int):
    said = pieces(FORCED, size)
    out = await told(said, turn(**MUST))
    [call] = calls(joined(out, "tool"))
    assert (call.name, json.loads(call.arguments)) == ("weather", GIVEN)
    assert joined(out, "text") == ""
    whole = [token for delta in said for token in delta.tokens]
    passed = [token for delta in out for token in delta.tokens]
    assert passed == whole[: len(passed)], "tokens go with what they made"


async def test_it_comes_while_it_is_written():
    out = await told(pieces(FORCED, 4), turn(**MUST))
    assert len([delta for delta in out if delta.channel == "tool"]) > 10
    for wanted in ({"tool_choice": "required"}, {"growing_calls": True}):
        out = await told(pieces(FORCED, 4), turn(**wanted))
        assert len([delta for delta in out if delta.channel == "tool"]) == 1, "else it is whole"


async def test_one_that_is_cut_off_is_no_whole_line():
    out = await told(pieces(FORCED[:50], 4), turn(**MUST))
    assert calls(joined(out, "tool")) == []
    assert joined(out, "tool").startswith('{"id": "call_')
    assert joined(out, "text") == ""


NOBODY = '{"name": "nobody", "arguments": {"a": 1}}'


@pytest.mark.parametrize("words", ["Hello.", NOBODY, '{"name": "wea', " ", "{" * 9000])
async def test_what_is_none_after_all_is_text(words: str):
    out = await told(pieces(words, 3), turn(**MUST))
    assert (joined(out, "text"), joined(out, "tool")) == (words, "")


async def test_more_calls_and_other_forms_are_told_as_ever():
    two = FORCED + '{"name": "now", "arguments": {}}'
    out = await told(pieces(two, 3), turn(**MUST))
    assert [call.name for call in calls(joined(out, "tool"))] == ["weather", "now"]
    out = await told(pieces(CALL, 3), turn(WEATHER, NOW, **MUST))
    assert [call.name for call in calls(joined(out, "tool"))] == ["weather"]
