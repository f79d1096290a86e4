"""Responses, whole, as typed events and over a WebSocket, with those kept."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs
from websockets.asyncio.client import ClientConnection, connect

from extensions.api_kit.api import PROGRAMS, after_results, converted
from kernel.api import Image, Message, Part, Reasoning, Text, ToolCall, ToolResult
from kernel.testing import App, running
from tests.programs import SAMPLERS, Knowing, ask, fault, post, said
from tests.sockets import Served, hear, serving, tell

from . import items
from .items import Item, conversation
from .kept import Kept
from .lanes import WAITING

PATH = "/v1/responses"
TOOL = {
    "type": "function", "name": "weather", "description": "How it is.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
NOTHING: Any = None
"""There is no item to be recalled."""
PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def model() -> Knowing:
    can = ("text", "logprobs", "grammar", "tools", "images")
    return Knowing("One two.", capabilities=can, samplers=SAMPLERS, logprobs=(-0.25,))


@pytest.fixture
async def app(model: Knowing) -> AsyncIterator[App]:
    ids = ("openai_api", "instruct", "reasoning", "tool_calls")
    async with running(*ids, model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def events(served: Served, **body: Any) -> list[dict[str, Any]]:
    answer = await post(served, PATH, **{**body, "stream": True})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = []
    for block in answer.text.strip().split("\n\n"):
        name, _, data = block.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert [event["sequence_number"] for event in found] == [*range(len(found))]
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


async def test_a_whole_response(served: Served, model: Knowing):
    answer = await said(
        served, PATH, input="Count.", instructions="Be brief.", max_output_tokens=9,
        temperature=0.5, metadata={"a": "b"},
    )  # fmt: skip
    assert (answer["object"], answer["status"], answer["model"]) == (
        "response", "completed", "scripted",
    )  # fmt: skip
    [item] = answer["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    text = {"type": "output_text", "text": "One two.", "annotations": [], "logprobs": []}
    assert item["content"] == [text]
    assert answer["usage"]["total_tokens"] == 12
    assert (answer["metadata"], answer["temperature"]) == ({"a": "b"}, 0.5)
    [request] = model.asked
    assert [(m.role, m.text) for m in request.messages or ()] == [
        ("system", "Be brief."), ("user", "Count."),
    ]  # fmt: skip
    assert request.sampling.max_new_tokens == 9


async def test_the_events_of_a_text(served: Served):
    found = await events(served, input="Count.", include=["message.output_text.logprobs"])
    assert types(found) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert "".join(e["delta"] for e in found if e["type"].endswith("text.delta")) == "One two."
    assert found[4]["logprobs"][0]["logprob"] == -0.25
    assert found[6]["text"] == "One two."
    assert found[0]["response"]["status"] == "in_progress"
    assert found[0]["response"]["output"] == []
    assert found[-1]["response"]["output"][0] == found[-2]["item"]
    cut = await events(served, input="Count.", max_output_tokens=1)
    assert cut[-1]["type"] == "response.incomplete"
    assert cut[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_the_events_of_thoughts_and_calls(served: Served, model: Knowing):
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
    model.scripts = [f"<think>Well now.</think>{call}"]
    found = await events(served, input="How is it?", tools=[TOOL])
    assert types(found) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", *["reasoning_text.delta"] * 2,
        "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    thought, called = found[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Well now."}]
    assert (called["name"], json.loads(called["arguments"])) == ("weather", {"city": "Rome"})
    assert [e["output_index"] for e in found if e["type"].endswith("item.added")] == [0, 1]
    [request] = model.asked
    assert "weather" in str(request.messages)  # Its template knows no tools: it is told in words.


async def test_a_call_that_has_to_be_comes_while_it_is_written(served: Served, model: Knowing):
    model.scripts = ['{"name": "weather", "arguments": {"city": "Rome at night"}}']
    must = {"input": "How is it?", "tools": [TOOL], "tool_choice": "required"}
    found = await events(served, **must)
    told = [e["delta"] for e in found if e["type"].endswith("arguments.delta")]
    [called] = found[-1]["response"]["output"]
    assert len(told) > 2
    assert "".join(told) == called["arguments"] == '{"city": "Rome at night"}'
    assert (called["name"], called["status"]) == ("weather", "completed")
    model.scripts = ['{"name": "weather", "arguments": {"city": ' + '"Rome ' * 30]
    cut = await events(served, **must, max_output_tokens=16)
    assert cut[-1]["type"] == "response.incomplete"
    [called] = cut[-1]["response"]["output"]
    assert called["status"] == "incomplete"
    after = await events(served, input="Go on", previous_response_id=cut[-1]["response"]["id"])
    assert after[-1]["type"] == "response.completed"


def test_items_become_messages():
    given = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": PNG},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "A cat?", "annotations": []},
        ]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
        {"role": "user", "content": "And now?"},
    ]  # fmt: skip
    system, user, assistant, tool, last = conversation(converted(given, list[Item]), NOTHING)
    assert (system.role, system.text, last.text) == ("system", "Be brief.", "And now?")
    assert [type(part) for part in user.parts] == [Text, Image]
    assert assistant.parts == (Reasoning("Hm."), Text("A cat?"), ToolCall("c1", "weather", "{}"))
    assert tool.parts == (ToolResult("c1", "Sunny."),)


def test_what_a_tool_shows_follows_its_results():
    given = [
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_text", "text": "A cat."}, {"type": "input_image", "image_url": PNG},
        ]},
        {"type": "function_call_output", "call_id": "c2", "output": "Nothing."},
    ]  # fmt: skip
    _, *results, shown = after_results(
        conversation(converted(given, list[Item]), NOTHING), sees=True
    )
    assert [each.parts for each in results] == [
        (ToolResult("c1", "A cat."),), (ToolResult("c2", "Nothing."),),
    ]  # fmt: skip
    assert (shown.role, [type(part) for part in shown.parts]) == ("user", [Image])


async def test_a_model_without_eyes_hears_of_what_a_tool_shows(served: Served, model: Knowing):
    model.info = structs.replace(model.info, capabilities=("text", "tools"))
    look = {"name": "look", "arguments": "{}"}
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    chat = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": look}]},
        {"role": "tool", "tool_call_id": "c1", "content": [picture]},
    ]
    await said(served, "/v1/chat/completions", messages=chat)
    items = [
        {"role": "user", "content": "Look."},
        {"type": "function_call", "call_id": "c1", **look},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_image", "image_url": PNG},
        ]},
    ]  # fmt: skip
    await said(served, PATH, input=items)
    told = [messages[-1].text for each in model.asked if (messages := each.messages)]
    assert told == ["[a picture that this model cannot see]"] * 2
    chat[0]["content"] = [picture]
    assert (await fault(served, "/v1/chat/completions", messages=chat))["status"] == 400


async def test_a_model_without_eyes_goes_on_after_what_one_with_them_saw(
    served: Served, model: Knowing
):
    seeing = model.info
    items = [
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_image", "image_url": PNG},
        ]},
    ]  # fmt: skip
    first = await said(served, PATH, input=items)
    for able, seen in ((("text", "tools"), Text), (seeing.capabilities, Image)):
        model.info = structs.replace(seeing, capabilities=able)
        await said(served, PATH, input="And now?", previous_response_id=first["id"])
        shown = [*(model.asked[-1].messages or ())][2]
        assert (shown.role, [type(part) for part in shown.parts]) == ("user", [seen])


def test_an_item_is_copied_a_few_times_however_many_there_are(monkeypatch: pytest.MonkeyPatch):
    copied: list[Part] = []

    class Watched(Message, frozen=True):
        def __post_init__(self) -> None:
            copied.extend(self.parts)

    monkeypatch.setattr(items, "Message", Watched)
    call = Item(type="function_call", call_id="c1", name="weather")
    [assistant] = conversation([call] * 100, NOTHING)
    assert len(assistant.parts) == 100
    assert len(copied) <= 500, "a long conversation holds up everybody"


async def test_a_schema_and_a_choice_of_tools(served: Served, model: Knowing):
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    answer = await said(served, PATH, input="a", text={"format": form})
    assert model.asked[0].grammar == '{"type":"object"}'
    assert answer["text"] == {"format": form}
    await said(
        served, PATH, input="a", tools=[TOOL], tool_choice="none", reasoning={"effort": "low"}
    )
    assert model.asked[1].template_options["reasoning_effort"] == "low"


async def test_who_goes_on_with_a_response(served: Served, model: Knowing):
    first = await said(served, PATH, input="Count.", instructions="Be brief.")
    second = await said(served, PATH, input="More.", previous_response_id=first["id"])
    assert [(m.role, m.text) for m in model.asked[1].messages or ()] == [
        ("user", "Count."), ("assistant", "One two."), ("user", "More."),
    ]  # fmt: skip
    assert second["previous_response_id"] == first["id"]
    kept = await ask(served, "GET", f"{PATH}/{first['id']}")
    assert kept.json() == first
    for stranger in (served.key,):
        other = await ask(served, "GET", f"{PATH}/{first['id']}", stranger)
        assert (other.status_code, other.json()["error"]["code"]) == (404, "response_not_found")
        other = await ask(
            served, "POST", PATH, stranger, input="More.", previous_response_id=first["id"]
        )
        assert other.json()["error"]["code"] == "previous_response_not_found"
    assert (await ask(served, "DELETE", f"{PATH}/{first['id']}")).json()["deleted"]
    gone = await fault(served, PATH, input="More.", previous_response_id=first["id"])
    assert (gone["status"], gone["param"]) == (404, "previous_response_id")
    secret = await said(served, PATH, input="Count.", store=False)
    assert (await fault(served, PATH, input="x", previous_response_id=secret["id"]))[
        "status"
    ] == 404


def test_what_is_kept_has_an_end():
    kept = Kept(most=2, largest=100)
    for n in range(3):
        kept.keep(f"r{n}", "me", (), b"x")
    with pytest.raises(Exception, match="not remembered"):
        kept.before("me", "r0")
    kept.keep("large", "me", (), b"x" * 90)
    kept.keep("larger", "me", (), b"x" * 90)
    with pytest.raises(Exception, match="not remembered"):
        kept.before("me", "large")
    assert kept.before("me", "larger") == ()


def told(text: str) -> Message:
    return Message("user", (Text(text),))


def test_a_conversation_that_goes_on_weighs_each_message_once():
    kept = Kept(largest=10_000)
    kept.keep("another", "me", (told("a" * 2000),), b"x")
    messages: tuple[Message, ...] = ()
    for n in range(50):
        messages = (*messages, told(f"{n:0100}"))
        kept.keep(f"r{n}", "me", messages, b"x")
    assert kept.before("me", "another") != ()
    assert len(kept.before("me", "r49")) == 50
    apart = tuple(told(f"{n:0100}") for n in range(50))  # As in a request that has all.
    kept.keep("apart", "me", apart, b"x")
    with pytest.raises(Exception, match="not remembered"):
        kept.before("me", "another")
    for id in [*kept._given]:
        kept.delete("me", id)
    assert (kept._weight, kept._shared._times) == (0, {})


async def test_who_goes_on_with_a_response_shares_what_was_before_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    loaded: Any = sys.modules["extensions.openai_api.kept"]
    take, kept = loaded.Shared.take, list[tuple[Message, ...]]()

    def noted(self: Any, messages: tuple[Message, ...]) -> int:
        kept.append(messages)
        return take(self, messages)

    monkeypatch.setattr(loaded.Shared, "take", noted)
    first = await said(served, PATH, input="Count.")
    await said(served, PATH, input="More.", previous_response_id=first["id"])
    before, after = kept
    assert len(after) == 4
    assert all(one is another for one, another in zip(before, after, strict=False))


def test_what_connections_keep_for_themselves_has_the_same_end():
    kept, one, another = Kept(most=2, largest=100), object(), object()
    kept.keep("stored", "me", (), b"x")
    for n, connection in enumerate((one, another)):
        kept.keep(f"r{n}", "me", (), b"x", connection)
    with pytest.raises(Exception, match="not remembered"):
        kept.before("me", "stored")
    assert kept.before("me", "r0", one) == ()
    for connection in (None, another):
        with pytest.raises(Exception, match="not remembered"):
            kept.before("me", "r0", connection)
    with pytest.raises(Exception, match="not remembered"):
        kept.answer("me", "r0")
    kept.leave(one)
    kept.keep("new", "me", (), b"x")
    assert kept.before("me", "r1", another) == kept.before("me", "new") == ()


async def test_a_later_step_tells_items_of_an_earlier_one_by_their_ids(
    served: Served, model: Knowing
):
    """As Vercel's AI SDK goes on after a call of a function."""
    call = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    model.scripts = [f"<think>Hm.</think>I look. {call}", "Sunny."]
    first = await said(served, PATH, input="Weather?", tools=[TOOL])
    thought, words, called = first["output"]
    references = [{"type": "item_reference", "id": each["id"]} for each in first["output"]]
    result = {"type": "function_call_output", "call_id": called["call_id"], "output": "Sun"}
    asked = [{"role": "user", "content": "Weather?"}, *references, result]
    await said(served, PATH, input=asked, tools=[TOOL])
    await said(served, PATH, input=[asked[0], thought, words, called, result], tools=[TOOL])
    assert model.asked[1].messages == model.asked[2].messages
    told = "".join(each.text for each in model.asked[1].messages or ())
    assert told.index("I look.") < told.rindex("<tool_call>") < told.index("Sun\n")
    twice = await fault(served, PATH, input=[*references, references[0]])
    assert (twice["status"], twice["param"]) == (400, f"input[{len(references)}].id")
    hidden = await said(served, PATH, input="A secret.", store=False)
    lost = {"type": "item_reference", "id": hidden["output"][0]["id"]}
    for key, given in (("", [lost]), (served.key, references)):
        answer = await ask(served, "POST", PATH, key, input=given)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (404, "input[0].id")
        assert error["code"] == "item_not_found"
    assert (await ask(served, "DELETE", f"{PATH}/{first['id']}")).status_code == 200
    assert (await fault(served, PATH, input=references))["status"] == 404


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("web_search_preview", "runs on OpenAI's servers"),
        ("mcp", "runs on OpenAI's servers"),
        ("custom", "is no function"),
        ("local_shell", "is no function"),
    ],
)
async def test_tools_that_are_no_functions_are_refused_for_what_they_are(
    served: Served, kind: str, says: str
):
    problem = await fault(served, PATH, input="x", tools=[{"type": kind, "name": "x"}])
    assert problem["message"].startswith(f"tools[0].type: '{kind}' {says}.")


async def test_what_is_wrong_is_named(served: Served, model: Knowing):
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "input"), ({"input": []}, "input"), ({"input": 7}, "input"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "name": "x"}]}, "input[0]"),
        ({"input": "a", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "a", "background": True}, "background"),
        ({"input": "a", "truncation": "some"}, "truncation"),
        ({"input": "a", "conversation": "conv_1"}, "conversation"),
        ({"input": "a", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "a", "reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"input": "a", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"input": "a", "temperature": "hot"}, "temperature"),
    ]  # fmt: skip
    for body, param in wrong:
        for stream in (False, True):
            problem = await fault(served, PATH, **body, stream=stream)
            assert (problem["status"], problem["param"]) == (400, param), body
    assert not model.asked


async def test_a_failure_after_the_first_word(app: App, served: Served, model: Knowing):
    model.gate = asyncio.Semaphore(1)
    asking = asyncio.create_task(events(served, input="Count."))
    await app.until(lambda: bool(model.asked))
    await asyncio.sleep(0.05)
    model.die("The engine stopped.")
    found = await asking
    assert found[-1]["type"] == "response.failed"
    assert "engine stopped" in found[-1]["response"]["error"]["message"]
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "One"


# --- over a WebSocket -------------------------------------------------------------------


def socket(served: Served, key: str = "") -> connect:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = served.http.replace("http", "ws") + PATH
    return connect(address, additional_headers=headers, compression=None, proxy=None)


async def ending(program: ClientConnection) -> list[dict[str, Any]]:
    """The events of a response."""
    found = [await hear(program)]
    while found[-1]["type"] not in ("response.completed", "response.incomplete", "error"):
        found.append(await hear(program))
    return found


async def test_responses_over_a_socket(served: Served, model: Knowing):
    async with socket(served) as program:
        await tell(program, type="response.create", input="Count.", model="x")
        found = await ending(program)
        assert types(found)[:3] == ["created", "in_progress", "output_item.added"]
        assert "stream_id" not in found[0]
        first = found[-1]["response"]
        await tell(
            program, type="response.create", input="More.", previous_response_id=first["id"],
            stream_id="lane",
        )  # fmt: skip
        found = await ending(program)
        assert {event["stream_id"] for event in found} == {"lane"}
        assert len(model.asked[1].messages or ()) == 3
        await tell(program, type="response.create", input="Wait.", generate=False)
        found = await ending(program)
        assert (types(found)[-1], len(model.asked)) == ("completed", 2)
        assert found[-1]["response"]["output"] == []


async def test_what_is_not_stored_is_gone_on_with_on_its_own_connection(
    served: Served, model: Knowing
):
    how = {"type": "response.create", "store": False}
    stored = await said(served, PATH, input="Before.")
    async with socket(served) as program:
        await tell(program, **how, input="Count.", previous_response_id=stored["id"])
        first = (await ending(program))[-1]["response"]["id"]
        await tell(program, **how, input="More.", previous_response_id=first)
        assert (await ending(program))[-1]["type"] == "response.completed"
        assert [m.text for m in model.asked[-1].messages or () if m.role == "user"] == [
            "Before.", "Count.", "More.",
        ]  # fmt: skip
        assert (await ask(served, "GET", f"{PATH}/{first}")).status_code == 404
    async with socket(served) as program:
        await tell(program, **how, input="More.", previous_response_id=first)
        assert (await hear(program))["param"] == "previous_response_id"


async def test_what_a_socket_refuses(served: Served, model: Knowing):
    async with socket(served) as program:
        for frame, param in (
            ({"type": "response.create"}, "input"),
            ({"type": "response.create", "input": "a", "previous_response_id": "x"},
             "previous_response_id"),
            ({"type": "response.steer", "input": "a"}, "type"),
            ({"type": 7}, "type"),
            ({}, "type"),
        ):  # fmt: skip
            await tell(program, **frame)
            problem = await hear(program)
            assert (problem["type"], problem["param"]) == ("error", param)
            assert problem["error"]["message"] == problem["message"]
        await program.send("{")
        assert (await hear(program))["code"] == "bad_json"
        await tell(program, type="response.create", input="Count.")
        assert (await ending(program))[-1]["type"] == "response.completed"


async def test_who_is_refused_a_hundred_times_is_told_why_it_ends(served: Served):
    async with socket(served) as program:
        for _ in range(100):
            await tell(program)
            assert (await hear(program))["type"] == "error"
        await program.wait_closed()
    assert program.close_code == 1008
    assert "Correct the program" in (program.close_reason or "")


async def test_a_socket_keeps_only_so_many_waiting(served: Served, model: Knowing):
    model.gate = asyncio.Semaphore(0)
    async with socket(served) as program:
        for _ in range(WAITING + 2):  # One of them is under way.
            await tell(program, type="response.create", input="Count.")
        assert (await hear(program))["code"] == "too_many_requests"


async def test_who_hangs_up_frees_the_engine(app: App, served: Served, model: Knowing):
    model.gate = asyncio.Semaphore(1)
    [programs] = app.kernel.registry.values(PROGRAMS)
    async with socket(served) as program:
        await tell(program, type="response.create", input="Count.")
        await tell(program, type="response.create", input="Count.", stream_id="b")
        while "delta" not in (await hear(program))["type"]:
            pass
        assert len(programs.runs.live) == 2
    await app.until(lambda: not programs.runs.live)
    async with socket(served) as program:
        await tell(program, type="response.create", input="Count.")
        await app.until(lambda: bool(programs.runs.live))
        await app.toggle("openai_api", on=False)
        await program.wait_closed()
        assert program.close_code == 1012


def lanes() -> Any:
    """The class as the server has it."""
    return sys.modules["extensions.openai_api.lanes"].Lanes


async def test_a_lane_that_fails_ends_its_connection(
    app: App, served: Served, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: Any) -> None:
        raise ValueError("A lane fell over.")

    monkeypatch.setattr(lanes(), "_respond", fail)
    async with socket(served) as program:
        await tell(program, type="response.create", input="Count.")
        async with asyncio.timeout(20):
            await program.wait_closed()


async def test_a_lane_that_is_empty_leaves_nothing_behind(
    app: App, served: Served, monkeypatch: pytest.MonkeyPatch
):
    made, hear_all = list[Any](), lanes()._hear

    def heard(one: Any) -> Any:
        made.append(one)
        return hear_all(one)

    monkeypatch.setattr(lanes(), "_hear", heard)
    async with socket(served) as program:
        for lane in "abc":
            how = {"input": "Wait.", "generate": False, "stream_id": lane}
            await tell(program, type="response.create", **how)
            await ending(program)
        await app.until(lambda: not made[0]._works and not made[0]._lanes)


async def test_a_socket_holds_no_model_after_its_responses(app: App, served: Served):
    await app.configure("openai_api", load_by_name=True)
    [programs] = app.kernel.registry.values(PROGRAMS)
    async with socket(served) as program:
        how = {"model": "scripted", "input": "Wait."}
        await tell(program, type="response.create", generate=False, **how)
        await ending(program)
        await app.until(lambda: not programs.holding.held)
