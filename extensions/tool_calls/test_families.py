"""Calls told from words, in every family's form, wherever the pieces end."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.engine_kit.api import PAIRS, SPOKEN
from extensions.tool_calls import finding
from extensions.tool_calls.families import BAR, FAMILIES
from extensions.tool_calls.finding import MARKS, Finder, Piece
from extensions.tool_calls.values import Tools

TOOLS = Tools(
    {
        "get_weather": {
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "where": {"type": "object"},
                "exact": {"type": ["boolean", "null"]},
            },
            "required": ["city"],
        },
        "now": {},
    }
)
PARIS = ("get_weather", {"city": "Paris"})
ROME = ("get_weather", {"city": "Rome", "days": 2})
ALL = ("get_weather", {"city": "Paris", "days": 2, "where": {"x": [1, 2]}, "exact": True})
NOW = ("now", {})
JSON = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
JSON2 = '{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}'
XML = "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>"
Q = '<|"|>'


def token(name: str) -> str:
    return f"<{BAR}{name.replace(' ', '▁')}{BAR}>"


BEGIN, END = token("tool call begin"), token("tool call end")
SEP, DSML = token("tool sep"), f"{BAR}DSML{BAR}"
FORMS: dict[str, tuple[str, list[Any]]] = {
    "hermes": (f"<tool_call>\n{JSON}\n</tool_call>", [PARIS]),
    "hermes, two, with words": (
        f"Let me see.\n<tool_call>\n{JSON}\n</tool_call>\n<tool_call>\n{JSON2}\n</tool_call>\n",
        ["Let me see.\n", PARIS, ROME],
    ),
    "hermes, two in one": (f"<tool_call>{JSON}\n{JSON2}</tool_call>", [PARIS, ROME]),
    "hermes, brackets between": (
        f"<tool_call>{JSON}[x]<tool_call>{JSON2}", [PARIS, "[x]", ROME],
    ),
    "after a backtick alone": (f"A ` B\n\nC <tool_call>{JSON}", ["A ` B\n\nC ", PARIS]),
    "on a line of its own": (f"A ` B\n<tool_call>{JSON}", ["A ` B\n", PARIS]),
    "hermes, words after it": (f"<tool_call>{JSON}</tool_call>\nDone.", [PARIS, "Done."]),
    "hermes, words around it": (f"A\n<tool_call>{JSON}</tool_call>\nB", ["A\n", PARIS, "\nB"]),
    "hermes, its end not said": (f"<tool_call>\n{JSON}\n", [PARIS]),
    "hermes, its end in a string": (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call>"}}</tool_call>',
        [("get_weather", {"city": "</tool_call>"})],
    ),
    "hermes, arguments in a string": (
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}</tool_call>',
        [PARIS],
    ),
    "hermes, no arguments": ('<tool_call>{"name": "now"}</tool_call>', [NOW]),
    "openai in tags": (
        f'<tool_call>{{"type": "function", "function": {JSON}}}</tool_call>', [PARIS],
    ),
    "qwen coder": (f"<tool_call>\n{XML}\n</tool_call>", [PARIS]),
    "qwen coder, all types": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
        '<parameter=days>\n2\n</parameter>\n<parameter=where>\n{"x": [1, 2]}\n</parameter>\n'
        "<parameter=exact>\nTrue\n</parameter>\n</function>\n</tool_call>",
        [ALL],
    ),
    "qwen coder, its first tag not said": (f"{XML}\n</tool_call>", [PARIS]),
    "qwen coder, tags in a value": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nA\n</parameter>\nB\n\n"
        "</parameter>\n</function>\n</tool_call>",
        [("get_weather", {"city": "A\n</parameter>\nB\n"})],
    ),
    "qwen coder, no arguments": ("<tool_call>\n<function=now>\n</function>\n</tool_call>", [NOW]),
    "qwen coder, no number": (
        "<function=get_weather><parameter=city>null</parameter><parameter=days>NaN</parameter>"
        "<parameter=exact>None</parameter><parameter=more>[1]</parameter></function>",
        [("get_weather", {"city": "null", "days": "NaN", "exact": None, "more": [1]})],
    ),
    "qwen coder, two": (
        f"<tool_call>\n{XML}\n</tool_call>\n<tool_call>\n{XML}\n</tool_call>", [PARIS, PARIS],
    ),
    "llama's function tag": ('<function=get_weather>{"city": "Paris"}</function>', [PARIS]),
    "seed": (f"<seed:tool_call>\n{XML}\n</seed:tool_call>", [PARIS]),
    "glm": (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        [ROME],
    ),
    "glm 4.7": (
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>",
        [PARIS],
    ),
    "glm, no arguments": ("<tool_call>now\n</tool_call>", [NOW]),
    "glm 4": ('get_weather\n{"city": "Paris"}', [PARIS]),
    "mistral, a list": (f"[TOOL_CALLS][{JSON}, {JSON2}]", [PARIS, ROME]),
    "mistral, names": (
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]now[ARGS]{}', [PARIS, NOW],
    ),
    "mistral, ids": (
        'I look.[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Paris"}',
        ["I look.", PARIS],
    ),
    "functionary": (f"<function_call>{JSON}</function_call>", [PARIS]),
    "deepseek r1": (
        f"{token('tool calls begin')}{BEGIN}function{SEP}get_weather\n```json\n"
        f'{{"city": "Paris"}}\n```{END}\n{BEGIN}function{SEP}now\n```json\n{{}}\n```{END}'
        f"{token('tool calls end')}",
        [PARIS, NOW],
    ),
    "deepseek v3.1": (
        f'{token("tool calls begin")}{BEGIN}get_weather{SEP}{{"city": "Paris"}}{END}'
        f"{BEGIN}now{SEP}{{}}{END}{token('tool calls end')}",
        [PARIS, NOW],
    ),
    "deepseek, its first token not said": (f"{BEGIN}now{SEP}{{}}{END}", [NOW]),
    "deepseek v3.2": (
        f'<{DSML}function_calls>\n<{DSML}invoke name="get_weather">\n'
        f'<{DSML}parameter name="city" string="true">Rome</{DSML}parameter>\n'
        f'<{DSML}parameter name="days" string="false">2</{DSML}parameter>\n'
        f"</{DSML}invoke>\n</{DSML}function_calls>",
        [ROME],
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>'
        "functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        [PARIS, NOW],
    ),
    "minimax m1": (f"<tool_calls>\n{JSON}\n{JSON2}\n</tool_calls>", [PARIS, ROME]),
    "minimax m2": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Rome</parameter>'
        '\n<parameter name="days">2</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n'
        "</minimax:tool_call>",
        [ROME, NOW],
    ),
    "gemma 4": (
        f"<|tool_call>call:get_weather{{city:{Q}Paris{Q},days:2,where:{{x:[1,2]}},exact:true}}"
        "<tool_call|>",
        [ALL],
    ),
    "gemma 4, two": (
        f"<|tool_call>call:get_weather{{city:{Q}a{{b: \"c:d\\{Q}}}<tool_call|>"
        "<|tool_call>call:now{}<tool_call|>",
        [("get_weather", {"city": 'a{b: "c:d\\'}), NOW],
    ),
    "function gemma": (
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>",
        [PARIS],
    ),
    "gpt-oss": (
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"city": "Paris"}<|call|>',
        [PARIS],
    ),
    "gpt-oss, addressed first": (
        "<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>"
        '{"city": "Paris"}',
        [PARIS],
    ),
    "gpt-oss, after its thought was taken": (
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris"}', [PARIS],
    ),
    "llama 3": ('{"name": "get_weather", "parameters": {"city": "Paris"}}', [PARIS]),
    "llama 3, two": (f"{JSON}; {JSON2}\n", [PARIS, ROME]),
    "llama 3, python tag": (f"<|python_tag|>{JSON}", [PARIS]),
    "llama 3, built in": ('<|python_tag|>get_weather.call(city="Paris")', [PARIS]),
    "llama 4": ("[get_weather(city='Paris'), now()]", [PARIS, NOW]),
    "llama 4, marked": (
        "<|python_start|>[get_weather(city='Rome', days=2)]<|python_end|>", [ROME],
    ),
    "python, by place": ("[get_weather('Rome', 2)]", [ROME]),
    "a list of json": (f"[{JSON}, {JSON2}]", [PARIS, ROME]),
    "phi 4": (f"<|tool_call|>[{JSON}]<|/tool_call|>", [PARIS]),
    "nemotron": (f"<TOOLCALL>[{JSON}]</TOOLCALL>", [PARIS]),
    "command r": (
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_weather", "parameters": '
        '{"city": "Paris"}}]<|END_ACTION|>',
        [PARIS],
    ),
    "lfm": ("<|tool_call_start|>[now()]<|tool_call_end|>", [NOW]),
    "claude's": ('<function_calls><invoke name="now"></invoke></function_calls>', [NOW]),
    "one good, one bad": (
        f"<tool_call>{JSON}</tool_call><tool_call>{{nothing}}</tool_call>",
        [PARIS, "<tool_call>{nothing}</tool_call>"],
    ),
    "a good one within a bad one": (
        f"<tool_call>I would <tool_call>{JSON}</tool_call>", ["<tool_call>I would ", PARIS],
    ),
    "after code": (f"```\n<tool_call>\n```\n<tool_call>{JSON}</tool_call>",
                   ["```\n<tool_call>\n```\n", PARIS]),
}  # fmt: skip
PLAIN = {
    "words": "Hello there, [1] < 2 and <b>bold</b>.\n\n- a\n",
    "blanks": " \n\n",
    "an unknown function": '<tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>',
    "an unknown one in xml": "<tool_call>\n<function=rm>\n</function>\n</tool_call>",
    "an unknown one in python": "[rm(path='/')]",
    "an unknown one among others": f'[TOOL_CALLS][{JSON}, {{"name": "rm", "arguments": {{}}}}]',
    "an unknown one in a channel": "<|channel|>commentary to=functions.rm<|message|>{}",
    "broken off": '<tool_call>\n{"name": "get_weather", "arguments": {"ci',
    "broken off in xml": "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar",
    "no json": '<tool_call>\n{"name": "get_weather", "arguments": {city}}\n</tool_call>',
    "no arguments of a kind": '<tool_call>{"name": "now", "arguments": [1]}</tool_call>',
    "not a number": '<tool_call>{"name": "now", "arguments": {"a": NaN}}</tool_call>',
    "infinity": '<tool_call>{"name": "now", "arguments": {"a": 1e999}}</tool_call>',
    "much too deep": '<tool_call>{"name": "now", "arguments": ' + "[" * 200 + "]" * 200 + "}",
    "in a fence": f"So:\n```xml\n<tool_call>\n{JSON}\n</tool_call>\n```\nThat is all.",
    "in a fence of tildes": f"~~~\n[TOOL_CALLS][{JSON}]\n```\n~~~",
    "in an open fence": f"```json\n{JSON}\n<tool_call>{JSON}</tool_call>",
    "in backticks": f"Write `<tool_call>{JSON}</tool_call>` or ``[TOOL_CALLS][{JSON}]``.",
    "in a thought": f"<think>I could <tool_call>{JSON}</tool_call></think>No.",
    "json and words": f"{JSON}\nThis would call it.",
    "words and json": f"This would call it:\n{JSON}",
    "json in a fence": f"```json\n{JSON}\n```",
    "json of something else": '{"city": "Paris", "name": "get_weather", "parameters": {}}',
    "json with the name alone": '{"name": "get_weather"}',
    "a name and words": "get_weather is a tool. now {",
    "a name alone": "now",
    "python and words": "[now()] is how it is called",
    "a name alone in tags": "<tool_call>now </tool_cal",
    "parts of marks": "<tool_call <tool_cal [TOOL_CALL] <|tool <|channel <function= <invoke>",
    "a last part of a mark": "It is <tool_ca",
}


def heard(pieces: Sequence[str], tools: Tools = TOOLS, begun: str = "") -> list[Piece]:
    finder = Finder(tools, begun)
    return [*(p for words in pieces for p in finder.feed(words)), *finder.end()]


def merged(pieces: Sequence[Piece]) -> list[Any]:
    """The words and the calls in order."""
    found: list[Any] = []
    parted = False
    for piece in pieces:
        if piece.call:
            found.append((piece.call.name, json.loads(piece.call.arguments)))
        elif piece.text and found and isinstance(found[-1], str) and not parted:
            found[-1] += piece.words
        elif piece.text:
            found.append(piece.words)
        parted = not piece.text and bool(piece.call)
    return found


def cuts(text: str) -> Iterator[list[str]]:
    """At every place once, letter by letter, and not at all."""
    for at in range(len(text) + 1):
        yield [text[:at], text[at:]]
    yield [*text]
    yield [text]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_wherever_its_pieces_end(form: str):
    text, expected = FORMS[form]
    for pieces in cuts(text):
        said = heard(pieces)
        assert merged(said) == expected, pieces
        assert "".join(piece.words for piece in said) == text  # Nothing is lost, all in order.


@pytest.mark.parametrize("form", PLAIN)
def test_what_is_no_call_stays_as_it_is(form: str):
    text = PLAIN[form]
    for pieces in cuts(text):
        said = heard(pieces)
        assert merged(said) == [text], pieces
        assert all(piece.text for piece in said)


PARTS = [
    *MARKS, JSON, JSON2, "</tool_call>", "get_weather", "now", '{"', "{}", "[", "`", "```", "\n",
    " ", "a", '"', "\\", "(", ")", "[ARGS]", "<parameter=", "</parameter>", "</function>", ">", Q,
    "call:", "to=functions.now", "<|message|>", "</think>", SEP, "<arg_key>",
]  # fmt: skip
MIXED = st.lists(st.sampled_from([*PARTS, *(text for text, _ in FORMS.values())]), max_size=12)


@settings(max_examples=100, deadline=None)
@given(MIXED.map("".join), st.data())
def test_any_text_however_it_is_cut(text: str, data: st.DataObject):
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    once, often, letters = heard([text]), heard(pieces), heard([*text])
    assert merged(once) == merged(often) == merged(letters)
    for said in (once, often, letters):
        assert "".join(piece.words for piece in said) == text
        if not any(piece.call for piece in said):
            assert all(piece.text for piece in said)


def test_words_are_given_on_at_once():
    finder = Finder(TOOLS)
    assert finder.feed("Let") == [Piece("Let", text=True)]
    assert finder.feed(" me [see]") == [Piece(" me [see]", text=True)]
    assert finder.feed(" now <") == [Piece(" now ", text=True)]
    assert finder.feed("tool") == []
    assert finder.feed("box>") == [Piece("<toolbox>", text=True)]
    assert finder.feed("<tool_call>") == []
    assert finder.feed("It") == [Piece("<tool_call>", text=True), Piece("It", text=True)]


@pytest.mark.parametrize(
    "text",
    ['{"city"', '{"name": "x"', "Get", "[1", "nowhere", "get_weather i", "[now ", '{"name": ["a"'],
)
def test_what_only_begins_like_a_bare_call_is_not_held_back_for_long(text: str):
    assert "".join(p.words for p in Finder(TOOLS).feed(text + '": ,')).startswith(text)


def test_a_call_is_told_when_it_is_complete():
    finder = Finder(TOOLS)
    said = [bool(finder.feed(letter)) for letter in f"<tool_call>{JSON}"]
    assert said == [False] * (len(said) - 1) + [True]


def test_what_a_reply_goes_on_with():
    assert merged(heard([JSON], begun="It is:\n")) == [JSON]
    assert merged(heard([f"<tool_call>{JSON}"], begun="```\n")) == [f"<tool_call>{JSON}"]
    assert merged(heard([f"<tool_call>{JSON}"], begun="So: ")) == [PARIS]


def test_marks_can_be_told_from_each_other_and_are_spoken_by_engines():
    for mark in MARKS:
        assert not [each for each in MARKS if each != mark and each.startswith(mark)], mark
        assert mark[0] in "<["
        assert not {"<", "["} & {*mark[1:]}
    forms = "".join(text for text, _ in FORMS.values())
    assert {*re.findall(r"<\|[^<>]*\|>|<\uff5c[^<>]*\uff5c>|\[[A-Z_]+\]", forms)} < {*SPOKEN}
    assert not {*PAIRS} & {*FAMILIES}


def test_half_a_character_and_wide_ones_are_told():
    text = '<tool_call>{"name": "now", "arguments": {"a": "\\ud800", "é": "☃\n"}}</tool_call>'
    [piece] = [piece for piece in heard([text]) if piece.call]
    assert piece.call
    piece.call.arguments.encode()
    assert json.loads(piece.call.arguments) == {"a": "\ud800", "é": "☃\n"}


def test_what_is_never_a_call_costs_little(monkeypatch: pytest.MonkeyPatch):
    """Thousands of beginnings, each of which may go on to the very end: some day it is enough."""
    text = '<tool_call>{"' * 10_000
    said = heard([text[at : at + 4] for at in range(0, len(text), 4)])
    assert "".join(piece.words for piece in said) == text
    monkeypatch.setattr(finding, "PATIENCE", 1_000)
    text = '<tool_call>{"' * 50 + f'"}}<tool_call>{JSON}'
    assert merged(heard([text])) == [text]
    assert merged(heard([text[-len(JSON) - 20 :]]))[-1] == PARIS


def test_what_lies_too_deep_is_not_held_back():
    assert "".join(p.words for p in Finder(TOOLS).feed("[TOOL_CALLS]" + "[" * 101))[:1] == "["
    assert Finder(TOOLS).feed("<|channel|>" + "a" * 250)
    for text in ("[now(" + "(" * 90, "[now(" + "-" * 200_000 + "1)]", "[now(**{})]", "[now(b'')]"):
        assert merged(heard([text])) == [text]


def test_it_costs_little():
    """3.6 µs a delta of plain words and 8.7 of a long call, measured beside others at work."""
    call = json.dumps({"name": "get_weather", "arguments": {"city": "f(a): {[b]}\n" * 2000}})
    calls = [f"<tool_call>{call}"[at : at + 4] for at in range(0, len(call), 4)]
    for words in (["Some", " plain", " words", ", and", " more\n"] * 2000, calls):
        best = 1e9
        for _ in range(3):
            finder, begun = Finder(TOOLS), time.perf_counter()
            for word in words:
                finder.feed(word)
            best = min(best, time.perf_counter() - begun)
        assert best / len(words) < 100e-6  # Ten times what it takes, for a busy machine.
