"""Calls of tools in a server: offered, told apart, forced, refused, shown to the model again."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.engine_kit.api import ChatTemplate, as_gbnf, from_schema
from extensions.tool_calls import choosing
from extensions.tool_calls.api import Call, calls, refusal
from extensions.tool_calls.asking import asked
from extensions.tool_calls.choosing import grammar_of
from extensions.tool_calls.mending import NINE, mended, with_ids_of_nine
from extensions.tool_calls.parting import apart
from kernel.api import (
    Delta,
    Draft,
    Mark,
    Message,
    ModelInfo,
    Reasoning,
    Reply,
    Request,
    Text,
    Token,
    ToolCall,
    ToolResult,
    Turn,
)
from kernel.testing import App, Scripted, running

TEMPLATES = Path(__file__).parents[2] / "tests" / "data" / "chat-templates"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
NOW = {"type": "function", "function": {"name": "now", "description": "The time."}}
TOOLS = (WEATHER, NOW)
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
KNOWS = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{{ messages | tojson }} tool_calls"
ABLE = ("text", "tools", "grammar")


def said(role: Any, *parts: Any) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


ASK = said("user", "How is it in Paris?")


def turn(*tools: dict[str, Any], **options: Any) -> Turn:
    return Turn((ASK,), tools=tools or TOOLS, options=options)


async def told(deltas: Sequence[Delta], turn: Turn) -> list[Delta]:
    async def source() -> AsyncIterator[Delta]:
        for delta in deltas:
            yield delta

    return [delta async for delta in apart(source(), turn)]


def joined(deltas: Sequence[Delta], channel: str, choice: int = 0) -> str:
    text = ""
    for delta in deltas:
        if (delta.channel, delta.choice) == (channel, choice):
            text = delta.onto(text)
    return text


# --- deltas -----------------------------------------------------------------------------


async def test_a_call_is_a_line_of_json_in_a_channel_of_its_own():
    out = await told([Delta("I look.\n" + CALL + "\n" + CALL)], turn())
    assert joined(out, "text") == "I look.\n"
    lines = joined(out, "tool").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line).keys() for line in lines] == [{"id", "name", "arguments"}] * 2
    first, second = calls(joined(out, "tool"))
    assert first.id != second.id
    assert first == Call(first.id, "weather", '{"city": "Paris"}')
    assert len(first.id) == 29
    assert first.id.startswith("call_")
    assert first.id[5:].isalnum()
    assert calls(lines[0] + "\n" + lines[1][:9]) == [first]


async def test_a_line_stays_one_whatever_is_said_in_it():
    words = "a\u2028b\x85c\n\u2029é\U0001f600"
    given = json.dumps({"city": words}, ensure_ascii=False)
    out = await told([Delta(f'<tool_call>{{"name": "weather", "arguments": {given}}}')], turn())
    tool = joined(out, "tool")
    assert len(tool.splitlines()) == 1
    assert "\U0001f600" in tool
    assert json.loads(calls(tool)[0].arguments) == {"city": words}


async def test_nothing_changes_where_no_tools_are_offered():
    deltas = [Delta(CALL), Delta("Hm", "reasoning")]
    assert await told(deltas, Turn()) == deltas
    assert await told(deltas, turn(tool_choice="none")) == deltas


async def test_what_holds_no_call_passes_as_it_is():
    deltas = [
        Delta("Hello", tokens=(Token(1, b"Hello"),), marks=(Mark(0, 2, "x"),)),
        Delta(CALL, "reasoning"), Delta(" there", choice=1), Delta("!"),
    ]  # fmt: skip
    out = await told(deltas, turn())
    assert all(one is other for one, other in zip(out, deltas, strict=True))


async def test_tokens_stay_with_their_words():
    words = ["Yes", "<tool_call>", '{"name": "now"}', "</tool_call>", "So"]
    deltas = [Delta(w, tokens=(Token(n, w.encode()),)) for n, w in enumerate(words)]
    out = await told(deltas, turn())
    assert [(d.channel, [t.id for t in d.tokens]) for d in out] == [
        ("text", [0]), ("tool", [1, 2]), ("text", [4]),
    ]  # fmt: skip


async def test_each_choice_has_its_own_calls():
    half = len(CALL) // 2
    deltas = [Delta(CALL[:half], choice=1), Delta("No."), Delta(CALL[half:], choice=1)]
    out = await told(deltas, turn())
    assert (joined(out, "text"), joined(out, "tool")) == ("No.", "")
    assert [call.name for call in calls(joined(out, "tool", 1))] == ["weather"]
    assert joined(out, "text", 1) == ""


async def test_one_call_where_no_more_are_wanted():
    out = await told([Delta(CALL + CALL + "Done.")], turn(parallel_tool_calls=False))
    assert len(calls(joined(out, "tool"))) == 1
    assert joined(out, "text") == "Done."


async def test_what_replaces_all_is_told_apart_anew():
    out = await told([Delta("A" + CALL), Delta("B", replace=True)], turn())
    assert (joined(out, "text"), joined(out, "tool")) == ("B", "")


async def test_a_forced_call_that_stands_in_a_thought_is_found():
    deltas = [Delta('{"name": "now"', "reasoning"), Delta(', "arguments": {}}', "reasoning")]
    out = await told(deltas, turn(tool_choice="required"))
    assert [call.name for call in calls(joined(out, "tool"))] == ["now"]
    assert joined(out, "reasoning") == ""
    assert await told(deltas, turn()) == deltas
    begun = turn(tool_choice="required", start_reply_with="Sure: ")
    assert calls(joined(await told([Delta('{"name": "now", "arguments": {}}')], begun), "tool"))


# --- in a server ------------------------------------------------------------------------


def model(*scripts: str, template: str = KNOWS, capabilities: Any = ABLE) -> Scripted:
    made = Scripted(*scripts, capabilities=capabilities)
    made.info = structs.replace(made.info, chat_template=template)
    return made


async def heard(app: App, turn: Turn, history: Sequence[Message] = ()) -> tuple[Reply, str]:
    """A reply, and its channel of calls."""
    reply, tool = app.run(turn, history), ""
    async for delta in reply:
        assert not delta.replace
        tool += delta.text if delta.channel == "tool" else ""
    return reply, tool


async def test_thoughts_text_and_calls_each_in_their_channel():
    text = f"<think>I could {CALL}</think>I look.\n{CALL}"
    async with running("reasoning", "tool_calls", "instruct", model=model(text)) as app:
        reply, tool = await heard(app, turn())
        assert (reply.text, reply.reasoning) == ("I look.\n", f"I could {CALL}")
        assert [call.name for call in calls(tool)] == ["weather"]
        assert reply.raw == text
        assert not reply.rewritten  # A program need not wait for the end.


async def test_gpt_oss_thinks_and_calls():
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.weather <|constrain|>json<|message|>{"city": "Paris"}<|call|>'
    )
    first = text.replace("<|channel|>commentary to", " to").replace(
        " <|constrain|>", "<|channel|>commentary "
    )
    async with running("reasoning", "tool_calls", "instruct", model=model(text, first)) as app:
        for _ in range(2):
            reply, tool = await heard(app, turn())
            assert (reply.text, reply.reasoning) == ("", "Hm.")
            assert [call.arguments for call in calls(tool)] == ['{"city": "Paris"}']


async def test_the_template_gets_the_tools_that_may_be_called():
    scripted = model("Hi.")
    async with running("tool_calls", "instruct", model=scripted) as app:
        for choice, tools in (("auto", TOOLS), ("none", ()), (None, TOOLS)):
            await heard(app, turn(tool_choice=choice))
            assert scripted.asked[-1].tools == tools
            assert scripted.asked[-1].messages == (ASK,)


@pytest.mark.parametrize(
    ("template", "capabilities"), [("{{ messages }}", ABLE), (KNOWS, ("text",))]
)
async def test_a_model_that_knows_no_tools_is_told_of_them(template: str, capabilities: Any):
    scripted = model(CALL, template=template, capabilities=capabilities)
    async with running("tool_calls", "instruct", model=scripted) as app:
        _, tool = await heard(app, turn(system_message="Be brief."))
        [call] = calls(tool)
        request = scripted.asked[-1]
        assert not request.tools
        assert request.messages
        system, question = request.messages
        assert question == ASK
        assert system.text.startswith("Be brief.\n\n")
        for tool in TOOLS:
            assert json.dumps(tool["function"]) in system.text
        assert "<tool_call>" in system.text
        await heard(app, turn())
        [alone, _] = scripted.asked[-1].messages or []
        assert alone.text == system.text.removeprefix("Be brief.\n\n")
        history = [ASK, said("assistant", ToolCall(call.id, call.name, call.arguments))]
        answer = Message("tool", (ToolResult(call.id, "Rain."),))
        await heard(app, structs.replace(turn(), messages=(answer,)), history)
        if template != KNOWS:
            assert [(m.role, m.text) for m in (scripted.asked[-1].messages or ())[1:]] == [
                ("user", ASK.text), ("assistant", CALL),
                ("user", "<tool_response>\nRain.\n</tool_response>"),
            ]  # fmt: skip


async def test_nothing_is_told_where_that_is_not_wanted():
    scripted = model("Hi.", template="{{ messages }}")
    quiet = {"tool_calls": {"tell_all": False}}
    async with running("tool_calls", "instruct", model=scripted, settings=quiet) as app:
        await heard(app, turn())
        assert scripted.asked[-1].messages == (ASK,)
        assert not scripted.asked[-1].tools


FORCED = '{"name": "weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
async def test_a_call_that_has_to_be(choice: Any):
    scripted = model(FORCED)
    async with running("reasoning", "tool_calls", "instruct", model=scripted) as app:
        reply, tool = await heard(app, turn(tool_choice=choice))
        assert [call.name for call in calls(tool)] == ["weather"]
        assert reply.text == ""
        request = scripted.asked[-1]
        schema = json.loads(request.grammar)
        names = [each["properties"]["name"]["const"] for each in schema.get("anyOf", [schema])]
        assert names == (["weather", "now"] if choice == "required" else ["weather"])
        assert as_gbnf(request.grammar)
        assert request.template_options["enable_thinking"] is False


@pytest.mark.parametrize(
    ("asked", "capabilities", "why"),
    [
        (turn(tool_choice="required"), ("text", "tools"), "it takes no grammar. Set tool_choice"),
        (turn(tool_choice="always"), ABLE, "must be auto, none, required"),
        (turn(tool_choice={"function": 7}), ABLE, "must be auto, none, required"),
        (turn(tool_choice={"type": "function", "function": {"name": "rm"}}), ABLE, "names 'rm'"),
        (Turn((ASK,), options={"tool_choice": "required"}), ABLE, "none is offered"),
    ],
)
async def test_what_cannot_be_is_refused_in_a_sentence(asked: Turn, capabilities: Any, why: str):
    scripted = model(FORCED, capabilities=capabilities)
    async with running("tool_calls", "instruct", model=scripted) as app:
        reply, tool = await heard(app, asked)
        assert reply.finish
        assert reply.finish.reason == "error"
        assert why in reply.finish.error
        assert reply.finish.error.endswith(".")
        assert (reply.text, tool, scripted.asked) == ("", "", [])
        assert refusal(asked, scripted.info) == reply.finish.error


def shaping(folder: Path, grammar: str) -> Path:
    """An extension that holds each reply to this grammar."""
    made = folder / "shaping"
    made.mkdir()
    (made / "extension.toml").write_text(
        'id = "shaping"\nname = "S"\nversion = "1"\nsummary = "Shapes."\napi = 1\n'
    )
    (made / "__init__.py").write_text(
        "from msgspec.structs import replace\n"
        "from kernel.api import REQUEST\n"
        "async def setup(ext):\n"
        "    @ext.on(REQUEST)\n"
        "    async def shape(draft):\n"
        f"        return replace(draft, request=replace(draft.request, grammar={grammar!r}))\n"
    )
    return made


async def test_two_forms_at_once_are_refused(tmp_path: Path):
    other = shaping(tmp_path, 'root ::= "a"')
    scripted = model(FORCED)
    async with running(other, "tool_calls", "instruct", model=scripted) as app:
        reply, _ = await heard(app, turn(tool_choice="required"))
        assert reply.finish
        assert "response_format" in reply.finish.error
        assert not scripted.asked
        reply, _ = await heard(app, turn())
        assert scripted.asked[-1].grammar == 'root ::= "a"'


async def test_who_has_to_keep_to_a_schema_may_call_a_tool_first(tmp_path: Path):
    degrees = {"$defs": {"d": {"type": "number"}}, "type": "object", "required": ["degrees"]}
    degrees["properties"] = {"degrees": {"$ref": "#/$defs/d"}}
    other = shaping(tmp_path, json.dumps(degrees))
    scripted = model(FORCED, '{"degrees": 5}')
    async with running(other, "tool_calls", "instruct", model=scripted) as app:
        reply, tool = await heard(app, turn())
        assert (reply.text, [call.name for call in calls(tool)]) == ("", ["weather"])
        call, answer = json.loads(scripted.asked[-1].grammar)["anyOf"]
        assert call["properties"]["name"] == {"enum": ["weather", "now"]}
        assert answer["properties"]["degrees"] == {"$ref": "#/anyOf/1/$defs/d"}
        assert as_gbnf(scripted.asked[-1].grammar)
        reply, tool = await heard(app, turn())
        assert (reply.text, tool) == ('{"degrees": 5}', "")
        for told in (turn(tool_choice="none"), turn(start_reply_with="It is ")):
            await heard(app, told)
            assert json.loads(scripted.asked[-1].grammar) == degrees


# --- grammars ---------------------------------------------------------------------------


def function(parameters: Any, name: str = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def test_parameters_that_refer_to_themselves_and_that_no_grammar_holds():
    tree = {
        "type": "object", "properties": {"root": {"$ref": "#/$defs/Node"}}, "required": ["root"],
        "$defs": {"Node": {"type": "object", "properties": {
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}},
    }  # fmt: skip
    odd = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x+$"}}}
    asked = turn(function(tree), function(odd, "g"), WEATHER, tool_choice="required")
    schema = json.loads(grammar_of(asked))
    refs = [f"#/anyOf/0/properties/arguments/$defs/{name}" for name in ("Node",)]
    assert json.dumps(schema).count(refs[0]) == 2
    assert schema["anyOf"][1]["properties"]["arguments"] == {"type": "object"}
    assert schema["anyOf"][2]["properties"]["arguments"] == CITY
    assert as_gbnf(grammar_of(asked))
    alone = json.loads(grammar_of(turn(function(tree), tool_choice="required")))
    assert alone["properties"]["arguments"]["properties"]["root"] == {
        "$ref": "#/properties/arguments/$defs/Node"
    }


def test_no_parameters_are_none_and_many_tools_have_names_alone():
    [schema] = [json.loads(grammar_of(turn(NOW, tool_choice="required")))]
    assert schema["properties"]["arguments"]["additionalProperties"] is False
    many = [function(CITY, f"tool{n}") for n in range(200)]
    schema = json.loads(grammar_of(turn(*many, tool_choice="required")))
    assert len(schema["properties"]["name"]["enum"]) == 200
    assert as_gbnf(json.dumps(schema))
    wide = {"type": "object", "properties": {f"p{n}": CITY for n in range(150)}}
    some = [function(wide, f"tool{n}") for n in range(40)]
    schema = json.loads(grammar_of(turn(*some, tool_choice="required")))
    assert len(schema["properties"]["name"]["enum"]) == 40, "a grammar would be too large"


def test_parameters_that_are_too_long_for_a_grammar_cost_no_time(monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []

    def counted(schema: str) -> str:
        read.append(len(schema))
        return from_schema(schema)

    monkeypatch.setattr(choosing, "from_schema", counted)
    long = {"type": "object", "properties": {"a": {"type": "string", "description": "x" * 6000}}}
    asked = turn(*(function(long, f"tool{n}") for n in range(40)), tool_choice="required")
    schema = grammar_of(asked)
    assert len(json.loads(schema)["properties"]["name"]["enum"]) == 40
    assert as_gbnf(schema)
    assert sum(read) < 10_000


async def test_schemas_that_make_no_sense_cost_only_their_sense():
    deep: Any = {}
    for _ in range(700):
        deep = {"anyOf": [deep]}
    odd = {"a": deep, "b": 7, "c": {"type": [7], "enum": 7, "anyOf": 7}, "d": {"anyOf": [None]}}
    for schema in (
        {"properties": odd},
        {"properties": 7},
        {"properties": {"x": deep}},
        {"$ref": 7},
    ):
        asking = turn(function(schema), tool_choice="required")
        assert json.loads(grammar_of(asking))
        words = "".join(f"<parameter={name}>1</parameter>" for name in "abcd")
        out = await told([Delta(f"<function=f>{words}</function>")], asking)
        assert json.loads(calls(joined(out, "tool"))[0].arguments).keys() == {*"abcd"}


async def test_a_plain_completion_is_never_made_a_call():
    scripted = model("Hi.")
    async with running("tool_calls", model=scripted, strict=True) as app:
        wanted = {"tool_choice": {"type": "function", "function": {"name": "rm"}}}
        reply, _ = await heard(app, Turn(prompt="Once", options=wanted))
        assert (reply.text, scripted.asked[-1].grammar) == ("Hi.", "")
        assert reply.finish
        assert reply.finish.reason == "stop"


# --- history ----------------------------------------------------------------------------

A, B = ToolCall("call_A1", "weather", '{"city": "Paris"}'), ToolCall("call_B2", "now", "{}")
RAIN, NOON = ToolResult("call_A1", "Rain."), ToolResult("call_B2", "Noon.")
SNOW = ToolResult("call_A1", "Snow.")
NAMELESS, OTHER = structs.replace(A, id=""), structs.replace(B, id="")
DONE = said("assistant", "It rains.")


def result(*results: ToolResult, name: str = "") -> Message:
    return Message("tool", results, name=name)


MENDED: dict[str, tuple[list[Message], list[Message]]] = {
    "as they should be": (
        [ASK, said("assistant", "Hm.", A, B), result(NOON), result(RAIN), DONE],
        [ASK, said("assistant", "Hm.", A, B), result(RAIN, name="weather"),
         result(NOON, name="now"), DONE],
    ),
    "several results in one": (
        [ASK, said("assistant", A, B), result(RAIN, NOON)],
        [ASK, said("assistant", A, B), result(RAIN, name="weather"), result(NOON, name="now")],
    ),
    "a result without a call": ([result(RAIN), ASK, DONE], [ASK, DONE]),
    "a result after another call": (
        [ASK, said("assistant", B), result(RAIN, NOON), DONE],
        [ASK, said("assistant", B), result(NOON, name="now"), DONE],
    ),
    "a result that comes too late": (
        [ASK, said("assistant", "Hm.", A), ASK, result(RAIN), DONE],
        [ASK, said("assistant", "Hm."), ASK, DONE],
    ),
    "a call without a result": ([ASK, said("assistant", A), ASK], [ASK, ASK]),
    "one of two without": (
        [ASK, said("assistant", A, B), result(RAIN), DONE],
        [ASK, said("assistant", A), result(RAIN, name="weather"), DONE],
    ),
    "results without ids": (
        [ASK, said("assistant", A, B), result(ToolResult("", "Rain.")), said("tool", "Noon.")],
        [ASK, said("assistant", A, B), result(RAIN, name="weather"), result(NOON, name="now")],
    ),
    "calls without ids": (
        [ASK, said("assistant", NAMELESS, OTHER), said("tool", "Rain."), said("tool", "Noon.")],
        [ASK, said("assistant", NAMELESS, OTHER), result(ToolResult("", "Rain."), name="weather"),
         result(ToolResult("", "Noon."), name="now")],
    ),
    "one of two calls without an id": (
        [ASK, said("assistant", A, OTHER), said("tool", "Rain."), said("tool", "Noon.")],
        [ASK, said("assistant", A, OTHER), result(RAIN, name="weather"),
         result(ToolResult("", "Noon."), name="now")],
    ),
    "two calls of one id": (
        [ASK, said("assistant", A, B, A), result(RAIN), result(NOON), result(SNOW)],
        [ASK, said("assistant", A, B, A), result(RAIN, name="weather"), result(NOON, name="now"),
         result(SNOW, name="weather")],
    ),
    "two results of one call": (
        [ASK, said("assistant", A), result(RAIN), result(SNOW)],
        [ASK, said("assistant", A), result(SNOW, name="weather")],
    ),
    "a call at the end": ([ASK, said("assistant", A)], [ASK, said("assistant", A)]),
}  # fmt: skip


@pytest.mark.parametrize("case", MENDED)
def test_calls_and_results_come_in_pairs(case: str):
    before, after = MENDED[case]
    assert list(mended(before)) == after
    assert list(mended(after)) == after


class Id(str):
    """An id that counts how often it is looked up."""

    looked = 0

    def __hash__(self) -> int:
        Id.looked += 1
        return super().__hash__()


def test_a_call_is_looked_up_a_few_times_however_many_there_are():
    ids = [Id(n) for n in range(200)]
    calls = said("assistant", *(ToolCall(id, "now", "{}") for id in ids))
    assert len(mended([calls, *(result(ToolResult(id, "Noon.")) for id in ids)])) == 201
    assert Id.looked < 20 * len(ids), "a long conversation holds up everybody"


async def test_a_model_sees_pairs_alone():
    scripted = model("Hi.")
    async with running("tool_calls", "instruct", model=scripted) as app:
        await heard(app, Turn((ASK,)), [result(RAIN), ASK, said("assistant", "Hm.", A)])
        assert scripted.asked[-1].messages == (ASK, said("assistant", "Hm."), ASK)


def test_a_template_of_mistral_gets_ids_of_nine():
    messages = with_ids_of_nine(
        [said("assistant", A, structs.replace(B, id="x-call_A1")), result(RAIN)]
    )
    ids = [part.id for message in messages for part in message.parts]  # type: ignore[union-attr]
    assert ids[0] == ids[2] == "00callA1".rjust(9, "0")
    assert len({*ids}) == 2
    assert {len(id) for id in ids} == {9}
    wanted = ("t.id|length != 9", "not t.id is defined or t.id | length < 9", "x|length == 9")
    assert all(map(NINE.search, wanted))
    assert not any(map(NINE.search, ("messages|length == 90", "t.id|length", "length of 9")))


TALK = (ASK, said("assistant", A, B), result(RAIN), result(NOON), DONE, said("user", "Thanks."))
DEEPSEEK = """\
{% for m in messages %}{% if m.role == 'assistant' and m.content is none %}\
{% for c in m.tool_calls %}CALL {{ c.function.name + ' ' + c.function.arguments }}\n{% endfor %}\
{% elif m.role == 'tool' %}RESULT {{ m.content }}\n{% else %}{{ m.content }}\n{% endif %}\
{% endfor %}{% if tools %}{% endif %}"""
MISTRAL = """\
{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}\
{% if c.id is not defined or c.id|length != 9 %}{{ raise_exception('length 9!') }}{% endif %}\
{{ c.function | tojson }}{% endfor %}{% elif m.role == 'tool' %}{{ m.tool_call_id }} \
{{ m.content }}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if tools %}{% endif %}"""
RENDERED = {
    **{
        str(file.relative_to(TEMPLATES)): file.read_text("utf-8")
        for file in sorted(TEMPLATES.rglob("*.jinja"))
    },
    "as DeepSeek wants text and no content": DEEPSEEK,
    "as Mistral wants ids": MISTRAL,
}


@pytest.fixture(scope="module")
def sandbox():
    chat = ChatTemplate("", {"bos_token": "<s>", "eos_token": "</s>"})
    yield chat
    chat.close()


@pytest.mark.parametrize("name", RENDERED)
def test_every_template_shows_tools_calls_and_results(name: str, sandbox: ChatTemplate):
    """Rendered as the engines do it: each thing is there once, in order."""
    info = ModelInfo("m", chat_template=RENDERED[name], capabilities=("text", "tools"))
    asking = turn()
    request = asked(Draft(Request(messages=TALK, tools=TOOLS), asking), info).request
    text = sandbox.render(request.messages or (), request.tools, template=info.chat_template)
    places = [text.index(ASK.text)]
    for words in ("weather", "Paris", "now", "Rain.", "Noon.", "It rains.", "Thanks."):
        places.append(text.index(words, places[-1] + 1))
    assert text.count("Noon.") == 1
    assert "The time." in text or name.startswith("as ")


def test_thoughts_beside_calls_stay():
    messages = (ASK, said("assistant", Reasoning("Hm."), A), result(RAIN))
    info = ModelInfo("m", chat_template="{{ messages }}")
    request = asked(Draft(Request(messages=messages), Turn()), info).request
    [_, called, _] = request.messages or []
    assert called.parts[0] == Reasoning("Hm.")
