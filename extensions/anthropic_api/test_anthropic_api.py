"""What programs see that speak Anthropic's API: real HTTP, a scripted model."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec import structs

from extensions.anthropic_api.blocks import Blocks
from extensions.anthropic_api.messages import Piece, Said, messages_of
from extensions.api_kit.api import PROGRAMS
from kernel.api import (
    INPUT,
    OUTPUT,
    UNSET,
    Delta,
    Image,
    Phase,
    Reasoning,
    Refused,
    Request,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    whole_text,
)
from kernel.testing import App, Scripted, ScriptedGeneration, running
from tests.sockets import Served, serving

HELLO = [{"role": "user", "content": "Hello?"}]
ASK = {"messages": HELLO, "max_tokens": 100}
PNG = b"\x89PNG\r\n\x1a\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "How it is.", "input_schema": SCHEMA}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'
EXTENSIONS = ("anthropic_api", "instruct", "models", "reasoning", "tool_calls")


class Cut(ScriptedGeneration):
    """Ends where the first stopping string would have been, which is not said."""

    async def __anext__(self) -> Any:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            if self.finish and self._model.asked[-1].sampling.custom_stopping_strings:
                self.finish = structs.replace(self.finish, cut_by="END")
            raise


class Model(Scripted):
    """Knows how to count its words."""

    def generate(self, request: Request) -> ScriptedGeneration:
        super().generate(request)
        script = self.scripts[(len(self.asked) - 1) % len(self.scripts)]
        return Cut(self, request, script)

    async def call(self, name: str, **data: Any) -> Any:
        if name == "template":
            return " ".join(p["text"] for m in data["messages"] for p in m["parts"])
        if name == "tokenize":
            return [*range(len(data["text"].split()))]
        return await super().call(name, **data)


@pytest.fixture
def model() -> Model:
    samplers = ("temperature", "max_new_tokens", "top_k", "custom_stopping_strings")
    return Model("One two.", samplers=samplers, capabilities=("text", "grammar", "images", "tools"))


@pytest.fixture
async def app(model: Model) -> AsyncIterator[App]:
    async with running(*EXTENSIONS, model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def post(served: Served, path: str = "", **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.post(f"{served.http}/v1/messages{path}", json=body)


async def events(served: Served, **body: Any) -> list[Any]:
    """The events of a stream, whose names are those of their types."""
    answer = await post(served, **{**ASK, **body}, stream=True)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    found: list[Any] = []
    for name, data in (each.split("\n") for each in answer.text.strip().split("\n\n")):
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def content_of(said: list[Any]) -> list[Any]:
    """What a client makes of the events of blocks."""
    blocks, given = list[Any](), ""
    for each in said:
        if each["type"] == "content_block_start":
            given = ""
            assert each["index"] == len(blocks)
            blocks.append({**each["content_block"]})
        if each["type"] == "content_block_delta":
            assert each["index"] == len(blocks) - 1
            block, delta = blocks[-1], each["delta"]
            match delta["type"]:
                case "input_json_delta":
                    given += delta["partial_json"]
                case "signature_delta":
                    block["signature"] = delta["signature"]
                case kind:
                    name = kind.removesuffix("_delta")
                    block[name] += delta[name]
        if each["type"] == "content_block_stop" and given:
            blocks[-1]["input"] = json.loads(given)
            given = ""
    return blocks


async def test_a_whole_reply(served: Served):
    answer = await post(served, **ASK, metadata={"user_id": "x"}, top_k=5)
    said = answer.json()
    assert answer.status_code == 200
    assert answer.headers["request-id"]
    assert said.pop("id").startswith("msg_")
    assert said == {
        "type": "message", "role": "assistant", "model": "scripted",
        "content": [{"type": "text", "text": "One two."}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": 2,
        },
    }  # fmt: skip


async def test_a_stream_of_events(served: Served):
    said = await events(served)
    assert [each["type"] for each in said] == [
        "message_start", "ping", "content_block_start", "content_block_delta",
        "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert said[0]["message"]["content"] == []
    assert said[0]["message"]["stop_reason"] is None
    assert content_of(said) == [{"type": "text", "text": "One two."}]
    assert said[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert said[-2]["usage"]["input_tokens"] == 10
    assert said[-2]["usage"]["output_tokens"] == 2


async def test_thoughts_words_and_calls_are_blocks_in_their_order(served: Served, model: Model):
    model.scripts = [f"<think>Hm, well.</think>\n\nI look.\n{CALL}\n{CALL}"]
    thought = {"type": "thinking", "thinking": "Hm, well.", "signature": "unsigned"}
    words = {"type": "text", "text": "I look.\n"}
    call = {"type": "tool_use", "name": "weather", "input": {"city": "Paris"}}
    said = (await post(served, **ASK, tools=[TOOL])).json()
    ids = {block.pop("id") for block in said["content"] if block["type"] == "tool_use"}
    assert len(ids) == 2
    assert said["content"] == [thought, words, call, call]
    assert said["stop_reason"] == "tool_use"
    said = await events(served, tools=[TOOL])
    blocks = content_of(said)
    assert [{k: v for k, v in b.items() if k != "id"} for b in blocks] == [
        thought, words, call, call,
    ]  # fmt: skip
    assert said[-2]["delta"]["stop_reason"] == "tool_use"
    hidden = {"type": "adaptive", "display": "omitted"}
    said = await events(served, tools=[TOOL], thinking=hidden)
    assert content_of(said)[0] == {**thought, "thinking": ""}
    said = (await post(served, **ASK, tools=[TOOL], thinking=hidden)).json()
    assert said["content"][0] == {**thought, "thinking": ""}


async def test_what_is_blank_before_a_call_is_no_block(served: Served, model: Model):
    model.scripts = [f"<think>Hm.</think>\n\n{CALL}"]
    found = content_of(await events(served, tools=[TOOL]))
    assert [block["type"] for block in found] == ["thinking", "tool_use"]
    blocks = Blocks()
    assert not blocks.hear(Delta(" "))
    blocks.hear(Delta("\n"))
    blocks.end()
    assert [block.text for block in blocks.content] == [" \n"]


async def test_why_it_ended(served: Served, model: Model):
    said = (await post(served, messages=HELLO, max_tokens=1)).json()
    assert (said["stop_reason"], said["content"][0]["text"]) == ("max_tokens", "One")
    said = (await post(served, **ASK, stop_sequences=["END"])).json()
    assert (said["stop_reason"], said["stop_sequence"]) == ("stop_sequence", "END")
    stops = model.asked[-1].sampling.custom_stopping_strings
    assert stops is not UNSET
    assert "END" in stops  # Beside those of the template.
    said = (await post(served, **ASK, stop_sequences=["other", ""])).json()
    assert (said["stop_reason"], said["stop_sequence"]) == ("end_turn", None)


async def test_a_conversation_with_everything(served: Served, model: Model):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    picture = {"type": "image", "source": source}
    said = [
        {"role": "user", "content": [{"type": "text", "text": "See?"}, picture]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "Rain."},
                {
                    "type": "tool_result", "tool_use_id": "t2", "is_error": True,
                    "content": [{"type": "text", "text": "No city."}, picture],
                },
                {"type": "document", "title": "A.txt", "source": {"type": "text", "data": "B"}},
            ],
        },
    ]  # fmt: skip
    system = [{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}]
    system.append({"type": "text", "text": "brief."})
    body = {"system": system, "messages": said, "tools": [TOOL], "max_tokens": 9}
    few = "anthropic_api", "instruct", "models"
    async with running(*few, model=model) as app, serving(app) as plain:
        # Nobody puts thoughts or calls in other words here.
        assert (await post(plain, **body)).status_code == 200
    messages = model.asked[-1].messages
    assert messages
    first, asked, called, *results, last = messages
    assert (first.role, first.text) == ("system", "Be\n\nbrief.")
    assert asked.parts == (Text("See?"), Image(PNG, "image/png"))
    calls = ToolCall("t1", "weather", '{"city":"Rome"}'), ToolCall("t2", "weather", "{}")
    assert called.parts == (Reasoning("Hm."), *calls)
    assert [each.role for each in results] == ["tool", "tool"]
    assert [each.parts[0] for each in results] == [
        ToolResult("t1", "Rain."), ToolResult("t2", "Error: No city."),
    ]  # fmt: skip
    assert (last.role, last.parts) == ("user", (Image(PNG, "image/png"), Text("A.txt\n\nB")))
    function = {"name": "weather", "parameters": SCHEMA, "description": "How it is."}
    assert [*model.asked[-1].tools] == [{"type": "function", "function": function}]


async def test_a_model_without_eyes_hears_of_what_a_tool_shows(served: Served, model: Model):
    model.info = structs.replace(model.info, capabilities=("text", "tools"))
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    shown = [{"type": "image", "source": source}]
    said = [
        {"role": "user", "content": "See?"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": shown},
        ]},
    ]  # fmt: skip
    assert (await post(served, messages=said, max_tokens=9)).status_code == 200
    messages = model.asked[-1].messages
    assert messages
    assert messages[-1].text == "[a picture that this model cannot see]"
    said[0] = {"role": "user", "content": shown}
    assert (await post(served, messages=said, max_tokens=9)).status_code == 400


class Id(str):
    """An id that counts how often it is looked up."""

    looked = 0

    def __hash__(self) -> int:
        Id.looked += 1
        return super().__hash__()


def test_a_call_is_looked_up_a_few_times_however_many_there_are():
    ids = [Id(n) for n in range(200)]
    calls = Said("assistant", [Piece("tool_use", id=id, name="weather") for id in ids])
    results = [Said("user", [Piece("tool_result", tool_use_id=id, content="Rain.")]) for id in ids]
    assert len(messages_of(None, [calls, *results])) == 201
    assert Id.looked < 20 * len(ids), "a long conversation holds up everybody"


async def test_the_assistants_last_words_are_gone_on_with(served: Served, model: Model):
    begun = [*HELLO, {"role": "assistant", "content": "The answer is ("}]
    said = (await post(served, messages=begun, max_tokens=9)).json()
    assert said["content"] == [{"type": "text", "text": "One two."}]
    request = model.asked[-1]
    assert request.continue_
    assert request.messages
    assert request.messages[-1].text == "The answer is ("
    empty = [*HELLO, {"role": "assistant", "content": ""}]
    assert (await post(served, messages=empty, max_tokens=9)).status_code == 200
    assert not model.asked[-1].continue_
    used = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    open_call = [*HELLO, {"role": "assistant", "content": [used]}]
    answer = await post(served, messages=open_call, max_tokens=9)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"enable_thinking": True}),
    ({"thinking": {"type": "adaptive"}}, {"enable_thinking": True}),
    ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
    ({"thinking": None}, {}),
    ({"output_config": {"effort": "max"}}, {"reasoning_effort": "high"}),
    ({"tool_choice": {"type": "auto"}}, {"tool_choice": "auto"}),
    ({"tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
    (
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tool_choice": "required", "parallel_tool_calls": False},
    ),
    (
        {"tool_choice": {"type": "tool", "name": "weather"}},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
]


async def test_options(app: App, served: Served):
    seen: list[Any] = []
    app.extension("anthropic_api").on(INPUT)(lambda turn: noted(seen, turn))
    for body, options in OPTIONS:
        answer = await post(served, **ASK, **body, tools=[TOOL])
        assert (answer.status_code, seen.pop()) == (200, options)


async def noted(seen: list[Any], turn: Turn) -> Turn:
    seen.append({**turn.options})
    return turn


async def test_a_tool_that_has_to_be_called_and_a_form_to_keep_to(served: Served, model: Model):
    model.scripts = ['{"name": "weather", "arguments": {"city": "Rome"}}']
    choice = {"type": "any"}
    said = (await post(served, **ASK, tools=[TOOL], tool_choice=choice)).json()
    assert [block["type"] for block in said["content"]] == ["tool_use"]
    assert model.asked[-1].grammar
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert (await post(served, **ASK, output_config=form)).status_code == 200
    assert json.loads(model.asked[-1].grammar) == SCHEMA


async def test_a_call_that_has_to_be_comes_while_it_is_written(served: Served, model: Model):
    model.scripts = ['{"name": "weather", "arguments": {"city": "Rome at night"}}']
    must = {"tools": [TOOL], "tool_choice": {"type": "any"}}
    said = await events(served, **must)
    assert sum(each["type"] == "content_block_delta" for each in said) > 2
    [call] = content_of(said)
    assert (call["name"], call["input"]) == ("weather", {"city": "Rome at night"})
    assert said[-2]["delta"]["stop_reason"] == "tool_use"
    cut = await events(served, **must, max_tokens=5)
    assert cut[-2]["delta"]["stop_reason"] == "max_tokens"
    assert [each["type"] for each in cut[-3:]] == [
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": "Hello?"}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "content[0].type"),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/x"}}
                    ],
                }
            ]
        },
        "messages[0].content[0].source",
    ),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image", "source": {"type": "base64", "data": "!"}}],
                }
            ]
        },
        "messages[0].content[0].source.data",
    ),
    (
        {
            "messages": [
                *HELLO,
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}],
                },
            ]
        },
        "messages[1].content[0].tool_use_id",
    ),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 9}, "temperature"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stream": "yes"}, "stream"),
    ({"thinking": {"type": "much"}}, "thinking.type"),
    ({"tools": [{"name": "bash", "type": "bash_20250124"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [TOOL]}, "tool_choice"),
]


async def test_what_is_wrong_is_named(served: Served):
    for body, field in WRONG:
        answer = await post(served, **{**ASK, **body})
        said = answer.json()
        assert (answer.status_code, said["type"]) == (400, "error"), body
        assert set(said["error"]) == {"type", "message"}
        assert said["error"]["type"] == "invalid_request_error"
        assert field in said["error"]["message"], body
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["request-id"]


async def test_errors_have_anthropics_types(served: Served):
    async with running(*EXTENSIONS) as app, serving(app) as empty:
        answer = await post(empty, **ASK)
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded_error")
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert (await post(empty, **ASK, stream=True)).status_code == 503
        assert (await post(empty, "/count_tokens", messages=HELLO)).status_code == 503
    async with httpx.AsyncClient(timeout=60) as web:
        answer = await web.post(f"{served.http}/v1/messages", content=b"{")
        assert (answer.status_code, answer.json()["error"]["type"]) == (
            400,
            "invalid_request_error",
        )


async def test_a_failure_after_the_first_word_is_an_event():
    model = Scripted("One two three.", gate=asyncio.Semaphore(1))
    async with (
        running(*EXTENSIONS, model=model) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        body = {**ASK, "stream": True}
        async with web.stream("POST", f"{served.http}/v1/messages", json=body) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if "One" in line:
                    break
            model.die("The engine stopped.")
            rest = [line async for line in lines if line]
        assert rest[-2] == "event: error"
        error = json.loads(rest[-1].removeprefix("data: "))
        assert (error["type"], error["error"]["type"]) == ("error", "api_error")
        assert "engine stopped" in error["error"]["message"]


async def test_while_the_model_reads_there_are_pings(monkeypatch: pytest.MonkeyPatch):
    gate = asyncio.Semaphore(0)
    async with (
        running(*EXTENSIONS, model=Scripted("One", gate=gate)) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        # Of the running extension, whose modules are not those that were imported here.
        monkeypatch.setattr(sys.modules["extensions.api_kit.calls"].Out, "QUIET", 0.1)
        body = {**ASK, "stream": True}
        async with web.stream("POST", f"{served.http}/v1/messages", json=body) as answer:
            lines = answer.aiter_lines()
            assert [await anext(lines), await anext(lines)] == [
                "event: ping", 'data: {"type":"ping"}',
            ]  # fmt: skip
            for _ in range(2):
                gate.release()
            rest = [line async for line in lines]
        assert rest[-2:] == ['data: {"type":"message_stop"}', ""]


async def test_who_leaves_frees_the_engine():
    model = Scripted("A b c.", gate=asyncio.Semaphore(1))
    async with running(*EXTENSIONS, model=model) as app, serving(app) as served:
        for stream in (True, False):
            async with httpx.AsyncClient(timeout=0.3) as web:
                with pytest.raises(httpx.ReadTimeout):
                    await web.post(f"{served.http}/v1/messages", json={**ASK, "stream": stream})
            [programs] = app.kernel.registry.values(PROGRAMS)
            await app.until(lambda runs=programs.runs: not runs.live)


async def test_text_that_may_be_rewritten_comes_at_the_end(app: App, served: Served):
    async def shout(text: str) -> str:
        return text.upper()

    add = app.kernel.registry.add
    add(OUTPUT, whole_text(shout), "test", phase=Phase.NORMAL, rank=0, rewrites=True)
    assert content_of(await events(served)) == [{"type": "text", "text": "ONE TWO."}]


async def test_tokens_are_counted_and_nothing_is_written(served: Served, model: Model):
    answer = await post(served, "/count_tokens", system="Be brief.", messages=HELLO)
    assert (answer.status_code, answer.json()) == (200, {"input_tokens": 3})
    assert model.asked == []
    wrong = await post(served, "/count_tokens", messages=[])
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_model_is_loaded_by_its_name_where_that_is_wanted(app: App, served: Served):
    assert (await post(served, **ASK, model="claude")).status_code == 200
    await app.configure("anthropic_api", load_by_name=True)
    assert (await post(served, **ASK, model="scripted")).status_code == 200
    answer = await post(served, **ASK, model="claude")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


async def test_a_prompt_that_is_too_long_is_refused_in_the_words_that_programs_know(model: Model):
    class Full(Model):
        def generate(self, request: Request) -> ScriptedGeneration:
            raise Refused("The prompt has 5 tokens, and the context of this model 4.")

    full = Full("x")
    full.info = structs.replace(full.info, context_length=1)
    async with running(*EXTENSIONS, model=full) as app, serving(app) as served:
        for stream in (True, False):
            answer = await post(served, **ASK, stream=stream)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"].startswith("prompt is too long: The prompt")
