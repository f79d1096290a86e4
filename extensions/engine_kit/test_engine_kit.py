"""What engines share: text across token borders, templates, file checks, and the adapters."""

import errno
import itertools
import json
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from extensions.engine_kit.api import (
    Aside,
    Asides,
    Callbacks,
    ChatTemplate,
    OneAtATime,
    Stepped,
    StopStrings,
    TextStream,
    check_folder,
    check_request,
    check_safetensors,
    finish_of,
)
from kernel.contract import (
    Delta,
    EngineFailed,
    Finish,
    Message,
    ModelInfo,
    Output,
    Reasoning,
    Refused,
    Request,
    Sampling,
    Text,
    Token,
    ToolCall,
    ToolResult,
)

DATA = Path(__file__).parents[2] / "tests" / "data"


def say(role, text):
    return Message(role, (Text(text),))


# --- text -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stops", "shown", "hit"),
    [
        ("Hello\nUser: hi", ["\nUser:"], "Hello", "\nUser:"),
        ("Hello\nUse this", ["\nUser:"], "Hello\nUse this", ""),
        ("aaab", ["aab"], "a", "aab"),
        ("one END two", ["END", "one END two"], "one ", "END"),
        ("abc", ["abc", "bc"], "", "abc"),
        ("grüße 🙂 stop", ["🙂"], "grüße ", "🙂"),
        ("nothing", [], "nothing", ""),
        ("empty stops do nothing", [""], "empty stops do nothing", ""),
    ],
)
def test_stop_strings_are_found_wherever_tokens_begin(text, stops, shown, hit):
    data = text.encode()
    for size in (1, 2, 3, 5, len(data)):
        for first in range(size):
            stream, got, stop = TextStream(stops), "", ""
            for piece in pieces(data, first, size):
                delta, stop = stream.feed(piece)
                got += delta.text if delta else ""
                if stop:
                    break
            else:
                end = stream.end()
                got += end.text if end else ""
            assert (got, stop) == (shown, hit), (size, first)


def pieces(data, first, size):
    cuts = [0, *range(first, len(data), size), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(cuts)]


def test_text_is_given_on_at_once_unless_it_may_be_a_stop():
    stops = StopStrings(["###"])
    assert stops.feed("Hello #") == ("Hello ", "")
    assert stops.feed("1") == ("#1", "")
    assert stops.feed("##") == ("", "")
    assert stops.flush() == "##"


def test_tokens_come_with_the_last_of_their_letters():
    stream = TextStream(["END"])
    one, two, three = (Token(id, b"") for id in (1, 2, 3))
    assert stream.feed(b"a E", [one]) == (Delta("a "), "")
    assert stream.feed(b"N", [two]) == (None, "")
    assert stream.feed(b"x", [three]) == (Delta("ENx", tokens=(one, two, three)), "")


def test_half_a_letter_waits_and_a_broken_one_is_replaced():
    stream = TextStream()
    assert stream.feed("é".encode()[:1]) == (None, "")
    assert stream.feed("é".encode()[1:]) == (Delta("é"), "")
    assert stream.feed(b"\xff")[0] == Delta("\ufffd")
    stream.feed("🙂".encode()[:2])
    assert stream.end() == Delta("\ufffd")


# --- templates --------------------------------------------------------------------------

TALK = [
    say("system", "Be brief."),
    say("user", "Hello?"),
    say("assistant", "Hi there! "),
    say("user", "Bye."),
]


@pytest.fixture
def template():
    made = []

    def make(source="", **tokens):
        made.append(ChatTemplate(source, tokens))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("file", sorted((DATA / "chat-templates").glob("*.jinja")), ids=str)
def test_real_templates(template, file):
    chat = template(file.read_text("utf-8"), bos_token="<s>", eos_token="</s>")
    text = chat.render(TALK)
    places = [text.index(words) for words in ("Be brief.", "Hello?", "Hi there!", "Bye.")]
    assert places == sorted(places)
    assert chat.render(TALK[:3], continue_=True).rstrip(" ").endswith("Hi there!")
    assert chat.stops(Request(messages=())) == ()


def test_a_model_without_a_template_gets_a_plain_one(template):
    chat = template()
    expected = "Be brief.\n\nUser: Hello?\nAssistant: Hi there! \nUser: Bye.\nAssistant:"
    assert chat.render(TALK) == expected
    assert chat.render(TALK[:3], continue_=True).endswith("Assistant: Hi there! ")
    assert "\nUser:" in chat.stops(Request(messages=tuple(TALK)))
    assert chat.stops(Request(prompt="User:")) == (), "a plain completion has no turns"
    assert chat.stops(Request(messages=tuple(TALK), template="{{ messages }}")) == ()


def test_what_templates_of_hugging_face_expect(template):
    source = """{%- set ns = namespace(n=0) %}
    {%- for m in messages %}
        {%- generation %}{{ m['content'].strip() }}{% endgeneration %}
        {%- if loop.index > 9 %}{% break %}{% endif %}
    {%- endfor %}
    {{- {'a': '<é>'} | tojson }}{{ strftime_now('%Y') | length }}{{ bos_token }}"""
    assert template(source, bos_token="<s>").render(TALK[1:2]) == 'Hello?{"a": "<é>"}4<s>'


def test_a_request_may_bring_a_template_and_what_it_reads(template):
    chat = template("own {{ messages[0].content }}", bos_token="<s>")
    asked = Request(
        messages=tuple(TALK[1:2]),
        template="{{ bos_token }}{{ enable_thinking }} {{ messages[0].content }}{{ tools }}",
        template_options={"enable_thinking": False, "messages": "mine", "tools": "mine"},
    )
    assert chat.text(asked) == "<s>False Hello?None", "what it may not replace stays"
    assert chat.text(Request(messages=tuple(TALK[1:2]))) == "own Hello?"
    with pytest.raises(Refused, match=r"This chat template was stopped: .+ seconds"):
        chat.render(TALK, template="{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2)
    with pytest.raises(Refused, match=r"^This chat template fails"):
        chat.render(TALK, template="{{ ''.__class__.__mro__ }}")
    assert chat.text(asked) == "<s>False Hello?None"


def test_somebody_may_go_on_in_the_place_of_the_user(template):
    chat = template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    assert chat.render([say("user", "I was")], continue_=True) == "user: I was"
    assert chat.render([say("user", "")], continue_=True) == "user:"
    two = chat.render([say("user", "A"), say("assistant", "B")], add_generation_prompt=False)
    assert two == "user: A\nassistant: B\n"


def test_a_strict_rendering_mends_nothing(template):
    chat = template("{% if messages[0].role == 'system' %}{{ raise_exception('No') }}{% endif %}x")
    assert chat.render(TALK) == "x"
    with pytest.raises(Refused, match="No"):
        chat.render(TALK, strict=True)


def test_tool_calls_and_results_reach_the_template(template):
    call = ToolCall("1", "add", '{"a": 1}')
    messages = [
        Message("assistant", (Reasoning("hm"), call)),
        Message("tool", (ToolResult("1", "2"), ToolResult("2", "3"))),
    ]
    source = "{{ messages | tojson }}"
    entries = json.loads(template(source).render(messages))
    assert entries[0]["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert entries[0]["reasoning_content"] == "hm"
    assert [entry["content"] for entry in entries[1:]] == ["2", "3"]


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        ("{{ c.name + c.arguments }}", 'add{"a": "é"}'),
        ("{{ c.name }}{{ c.arguments.a }}", "addé"),
        ("{% if m.content is none %}{{ c.name }}{{ c.arguments.a }}{% endif %}", "addé"),
        ("{% if m.content is none %}{{ c.name + c.arguments }}{% endif %}", 'add{"a": "é"}'),
    ],
)
def test_calls_come_as_the_template_takes_them(template, called, expected):
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('No') }}{% endif %}"
    shows = (
        "{% for m in messages %}{{ m.content or '' }}{% for t in m.tool_calls or [] %}"
        "{% set c = t.function %}" + called + "{% endfor %}{% endfor %}"
    )
    call = Message("assistant", (ToolCall("1", "add", '{"a": "é"}'),))
    results = [Message("tool", (ToolResult("1", "2"),))] * 2
    chat = template(refuses + shows)
    assert chat.render([TALK[1], call, *results]) == f"Hello?{expected}22"
    assert chat.render([*TALK[:2], call, *results]) == f"Be brief.\n\nHello?{expected}22"
    roles = template("{% for m in messages %}{{ m.role }} {% endfor %}" + shows)
    text = roles.render([TALK[0], TALK[1], call, *results])
    assert text.startswith("system user assistant tool tool "), "a system message stays one"


def test_calls_at_once_are_put_one_after_the_other_where_the_template_wants_that(template):
    source = (
        "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}"
        "{{ raise_exception('one at a time') }}{% endif %}{{ m.content }}"
        "<{{ m.tool_calls[0].function.name }}>"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    calls = ToolCall("1", "add", "{}"), ToolCall("2", "sub", "{}"), ToolCall("3", "mul", "{}")
    results = [Message("tool", (ToolResult(n, n * 2),)) for n in "132"]
    talk = [*TALK[:2], Message("assistant", (Text("Hm."), *calls)), *results, TALK[1]]
    text = template(source).render(talk)
    assert text == "Be brief.Hello?Hm.<add>11<sub>22<mul>33Hello?"
    again = [Message("assistant", calls[:2]), *(Message("tool", (ToolResult(n, n),)) for n in "12")]
    longer = template(source).render([*talk, *again])
    assert longer == f"{text}<add>1<sub>2", "some programs count the ids anew in each turn"


@pytest.mark.parametrize(
    "source",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}",
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}",
    ],
)
def test_a_system_message_is_never_lost(template, source):
    text = template(source).render(TALK)
    assert text == "[user]Be brief.\n\nHello?[assistant]Hi there! [user]Bye."


def test_a_template_that_refuses_says_why(template):
    with pytest.raises(Refused, match="No, never"):
        template("{{ raise_exception('No, never') }}").render(TALK)
    with pytest.raises(Refused, match="leaves out the reply"):
        template("nothing").render(TALK[:3], continue_=True)
    with pytest.raises(Refused, match="Only a reply"):
        template().render(TALK[:1], continue_=True)
    with pytest.raises(Refused, match="TemplateSyntaxError"):
        template("{% for %}").render(TALK)


@pytest.mark.parametrize(
    "source",
    [
        "{{ cycler.__init__.__globals__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ lipsum.__globals__['os'].system('touch /tmp/owned') }}",
        "{{ [].append(1) or messages.append(1) }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 10**10 }}",
        "{% for i in range(90000) %}{{ 'x' * 9999 }}{% endfor %}",
        "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x * 2 %}{% endfor %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    ],
    ids=lambda source: source[:24],
)
def test_a_hostile_template_costs_two_seconds_at_most(template, source):
    chat, begun = template(source), time.monotonic()
    with pytest.raises(Refused):
        chat.render(TALK)
    assert time.monotonic() - begun < 4, "two seconds, and a new sandbox on a busy machine"
    chat.source = "fine"
    assert chat.render(TALK[1:2]) == "fine"


def test_a_sandbox_that_died_while_nobody_asked_costs_no_chat(template):
    chat = template("{{ messages[0].content }}")
    assert chat.render(TALK[1:2])
    chat._sandbox.kill()
    chat._sandbox.wait()
    assert chat.render(TALK[1:2]) == TALK[1].text


# --- files ------------------------------------------------------------------------------


def a_safetensors(header, data=16):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + bytes(data)


def tensor(begin=0, end=16, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


BAD_SAFETENSORS = {
    "empty": b"",
    "a huge header": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": a_safetensors(b"{{{{"),
    "deep JSON": a_safetensors(b'{"a":' * 100_000),
    "a list": a_safetensors(b"[]"),
    "an unknown type": a_safetensors({"a": tensor(dtype="Q99")}),
    "a negative shape": a_safetensors({"a": tensor(shape=(-4,))}),
    "a long shape": a_safetensors({"a": tensor(shape=(2**60,) * 1000)}),
    "the wrong size": a_safetensors({"a": tensor(shape=(5,))}),
    "past the end": a_safetensors({"a": tensor(end=2**50, shape=(2**48,))}),
    "backwards": a_safetensors({"a": tensor(begin=16, end=0)}),
    "on top of each other": a_safetensors({"a": tensor(), "b": tensor()}),
    "a hole": a_safetensors({"a": tensor(begin=16, end=32)}, 32),
    "cut off": a_safetensors({"a": tensor()}, 15),
    "more than it says": a_safetensors({"a": tensor()}, 17),
    "strange metadata": a_safetensors({"__metadata__": {"a": [1]}, "a": tensor()}),
}


def test_closing_does_not_depend_on_what_the_pipes_say(monkeypatch: pytest.MonkeyPatch):
    template = ChatTemplate("{{ messages[0].content }}")
    sandbox = template._sandbox
    assert sandbox
    assert sandbox.stdin
    close = sandbox.stdin.close

    def fail(*_: object) -> None:
        close()
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(sandbox.stdin, "close", fail, raising=False)
    monkeypatch.setattr(sandbox, "communicate", fail)
    template.close()
    assert sandbox.returncode is not None
    assert template.render([Message("user", (Text("Again."),))]) == "Again.", "with a new one"
    template.close()


@pytest.mark.parametrize("what", BAD_SAFETENSORS)
def test_a_malformed_safetensors_is_refused_with_a_sentence(tmp_path, what):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(BAD_SAFETENSORS[what])
    with pytest.raises(Refused, match=r"^bad\.safetensors cannot be loaded: .+\."):
        check_safetensors(file)


def test_a_folder_is_checked_with_all_its_shards(tmp_path):
    with pytest.raises(Refused, match=r"no config\.json"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Refused, match=r"no model\.safetensors"):
        check_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(Refused, match=r"pytorch_model\.bin.*server\.py convert"):
        check_folder(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    with pytest.raises(Refused, match="outside"):
        check_folder(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(Refused, match="missing"):
        check_folder(tmp_path)
    (tmp_path / "one.safetensors").write_bytes(a_safetensors({"a": tensor()}))
    assert set(check_folder(tmp_path)) == {"a"}
    assert len(check_folder(DATA / "stories260K/hf")) == 47


# --- requests ---------------------------------------------------------------------------


def test_a_request_is_refused_with_the_names_of_what_is_lacking():
    info = ModelInfo("tiny", loader="Some", samplers=("top_k",))
    check_request(info, Request(prompt="x", sampling=Sampling(top_k=3, tfs=1.0, seed=-1)))
    request = Request(prompt="x", grammar="g", logprobs=1, sampling=Sampling(tfs=0.5))
    with pytest.raises(Refused, match="tiny in Some cannot do this: grammar, logprobs, tfs") as no:
        check_request(info, request)
    assert no.value.refused == "grammar"
    added = Request(prompt="x", sampling=Sampling(extra={"banned_strings": ["y"]}))
    with pytest.raises(Refused, match="cannot do this: banned_strings"):
        check_request(info, added)
    for bad in (Request(), Request(prompt="x", token_ids=(1,))):
        with pytest.raises(Refused, match="Send one"):
            check_request(info, bad)


def test_an_end_says_whether_what_was_asked_was_refused(capsys: pytest.CaptureFixture[str]):
    ends = [finish_of(each) for each in (Refused("No."), Refused("No tfs.", "tfs"))]
    assert [(end.error, end.refused) for end in ends] == [("No.", ""), ("No tfs.", "tfs")]
    starved = finish_of(EngineFailed("There is no memory left."))
    assert (starved.error, starved.refused) == ("There is no memory left.", None)
    assert not capsys.readouterr().err
    assert finish_of(MemoryError("70 MiB for an array")).error.startswith("The memory ran out. ")
    broken = finish_of(ValueError("refused"))
    assert (broken.error, broken.refused) == ("The engine failed: ValueError: refused", None)
    assert "ValueError: refused" in capsys.readouterr().err
    for ended, error in ((ends[1], Refused), (starved, EngineFailed)):
        asides = Asides()

        def begin(aside: Aside, asides: Asides = asides, ended: Finish = ended) -> None:
            assert asides.without([Output(aside.id, finish=ended), Output(1)]) == [Output(1)]

        with pytest.raises(error, match=ended.error):
            asides.ask(begin, lambda id: None, lambda: False)


# --- adapters ---------------------------------------------------------------------------


def drain(engine, count):
    """All outputs until `count` requests are finished, by request."""
    found = {}
    deadline = time.monotonic() + 5
    while count and time.monotonic() < deadline:
        for output in engine.poll(0.05):
            found.setdefault(output.id, []).append(output)
            count -= output.finish is not None
    return found


def ends(found):
    last = {id: outputs[-1].finish for id, outputs in found.items()}
    return {id: finish.reason for id, finish in last.items() if finish}


def words(found, id):
    return "".join(output.delta.text for output in found[id] if output.delta)


def test_callbacks_run_together_wait_their_turn_and_are_cancelled():
    gate = threading.Event()

    def work(request, emit):
        emit(0.5)
        if request.prompt == "bad":
            raise Refused("No.")
        for word in request.prompt.split():
            if emit(Delta(word)):
                return Finish("cancelled")
            gate.wait(1 if word == "wait" else 0)
        return Finish("stop")

    engine = Callbacks(work, threads=2)
    for id, prompt in enumerate(["wait x", "wait y", "never runs", "a b", "bad"]):
        engine.submit(id, Request(prompt=prompt))
    engine.cancel(2)
    assert ends(drain(engine, 1))[2] == "cancelled"
    engine.cancel(0)
    gate.set()
    found = drain(engine, 4)
    assert ends(found) == {0: "cancelled", 1: "stop", 3: "stop", 4: "error"}
    assert words(found, 3) == "ab"
    assert found[4][-1].finish.error == "No."
    engine.cancel(99)
    engine.close()


def test_a_call_that_ends_before_it_is_known_is_forgotten():
    """The pool may run it before `submit` has gone on."""

    class Eager(ThreadPoolExecutor):
        def submit(self, *arguments, **named):
            run = super().submit(*arguments, **named)
            wait([run], timeout=0.05)
            return run

    engine = Callbacks(lambda request, emit: Finish("stop"), threads=1)
    engine._pool = Eager(1)
    engine.submit(1, Request(prompt="a"))
    assert ends(drain(engine, 1)) == {1: "stop"}
    engine.close()
    assert not engine._runs


def test_a_question_waits_for_no_request_and_can_be_given_up():
    gate, begun, cancelled = threading.Event(), threading.Event(), threading.Event()

    def work(request, emit):
        gate.wait(5)
        return Finish("stop")

    def endless():
        begun.set()
        gate.wait(5)

    def give_up():
        begun.wait(5)
        return True

    engine = Callbacks(work, threads=1)
    for id in range(3):
        engine.submit(id, Request(prompt="a"))
    assert engine.ask(lambda: 7, lambda: False) == 7
    assert not engine.poll(0), "they go on, or have not begun"
    with pytest.raises(ZeroDivisionError):
        engine.ask(lambda: 7 / 0, lambda: False)
    with pytest.raises(Refused, match="cancelled"):
        engine.ask(endless, give_up)
    with pytest.raises(Refused, match="cancelled"):
        engine.ask(cancelled.set, lambda: True)
    assert not gate.is_set()
    gate.set()
    engine.close()
    assert not cancelled.is_set(), "it never began"


class Words:
    def __init__(self, request):
        if request.prompt == "bad":
            raise Refused("No.")
        self.words = request.prompt.split()

    def finish(self, reason):
        return Finish(reason)


def one_step(rows):
    for id, row in rows.items():
        if row.words:
            yield Output(id, Delta(row.words.pop(0)))
        else:
            yield Output(id, finish=row.finish("stop"))


def test_stepped_rows_join_and_leave_between_steps():
    engine = Stepped(Words, one_step)
    engine.submit(1, Request(prompt="a b c"))
    assert [output.delta for output in engine.poll(0)] == [Delta("a")]
    engine.submit(2, Request(prompt="x y"))
    engine.submit(3, Request(prompt="bad"))
    engine.submit(4, Request(prompt="w " * 1000))
    assert {output.id for output in engine.poll(0)} == {1, 2, 3, 4}
    engine.cancel(4)
    engine.cancel(99)
    found = drain(engine, 3)
    assert ends(found) == {1: "stop", 2: "stop", 4: "cancelled"}
    assert engine.poll(0.01) == []


def test_who_ended_before_a_step_failed_is_told_by_the_next_poll():
    broken = [True]

    def breaks(rows):
        yield from one_step(rows)
        if broken.pop():
            raise RuntimeError("no memory")

    engine = Stepped(Words, breaks)
    engine.submit(1, Request(prompt="a b"))
    engine.submit(2, Request(prompt=""))
    engine.submit(3, Request(prompt="bad"))
    with pytest.raises(RuntimeError):
        engine.poll(1)
    engine.cancel(1)
    assert ends({output.id: [output] for output in engine.poll(1)}) == {
        1: "cancelled", 2: "stop", 3: "error",
    }  # fmt: skip


def test_what_is_prepared_holds_up_nobody():
    gates = {prompt: threading.Event() for prompt in ("slow", "bad", "gone")}

    def prepare(request):
        if gate := gates.get(request.prompt):
            gate.wait(20)
        return request

    engine = Stepped(Words, one_step, prepare)
    for id, prompt in enumerate(["w " * 100_000, "slow", "bad", "gone"], 1):
        engine.submit(id, Request(prompt=prompt))
    outputs = list[Output]()
    while not outputs:
        outputs += engine.poll(0.01)
    engine.cancel(4)
    for _ in range(5):
        outputs += engine.poll(0)
    assert {output.id for output in outputs} == {1}, "the others are not there yet"
    for gate in gates.values():
        gate.set()
    found = drain(engine, 3)
    assert ends(found) == {2: "stop", 3: "error", 4: "cancelled"}


def test_one_at_a_time_answers_in_order():
    def generate(request):
        yield 1.0
        if request.prompt == "bad":
            raise Refused("No.")
        for word in request.prompt.split():
            yield Delta(word)
        yield Finish("length")

    engine = OneAtATime(generate)
    for id, prompt in enumerate(["a b", "bad", "never", "w " * 9999, "c"]):
        engine.submit(id, Request(prompt=prompt))
    engine.cancel(2)
    found = drain(engine, 3)
    assert ends(found) == {0: "length", 1: "error", 2: "cancelled"}
    engine.poll(0)
    engine.poll(0)
    engine.cancel(3)
    found = drain(engine, 2)
    assert ends(found) == {3: "cancelled", 4: "length"}
    assert engine.poll(0.01) == []


THINKING = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>') | last }}</>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)


def test_a_thought_that_the_prompt_began_is_said_first():
    template = ChatTemplate(THINKING)
    try:
        request = Request(messages=(say("user", "Hm?"),))
        prompt = template.text(request)
        lead = template.lead(request, prompt)
        assert lead == "<think>\n"
        stream = TextStream((), lead)
        assert stream.feed(b"") == (None, "")
        first, second = stream.feed(b"Well"), stream.feed(b".")
        assert (first, second) == ((Delta("<think>\nWell"), ""), (Delta("."), ""))
        assert template.lead(Request(prompt=prompt), prompt) == ""
    finally:
        template.close()


def test_a_reply_that_thinks_goes_on_as_it_was_written():
    template = ChatTemplate(THINKING)
    try:
        for words in ("<think>\nWell", "<think>\nWell</think>\nYes, "):
            messages = (say("user", "Hm?"), say("assistant", words))
            request = Request(messages=messages, continue_=True)
            assert template.text(request) == f"<user>Hm?</>\n<assistant>{words}"
            assert template.lead(request, template.text(request)) == ""
        channels = (say("assistant", "<|channel|>analysis<|message|>Well"),)
        plain = Request(messages=channels, continue_=True, template="{{ '<assistant>' }}")
        assert template.text(plain) == "<assistant><|channel|>analysis<|message|>Well"
    finally:
        template.close()
