"""What a program sees: replies over a socket that can be resumed, and by one JSON request."""

import asyncio
import hashlib
import json
import random
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from kernel.api import OUTPUT, Delta, Phase, whole_text
from kernel.testing import App, Scripted, running
from tests.sockets import Raw, Served, hear, said, serving, tell, until

ASK = {"messages": [{"role": "user", "content": "Hello?"}]}
WORDS = " ".join(f"word{n}" for n in range(400))


IDS = ("websocket_api", "conversations", "chat", "settings")


def modify(app: App, modifier: Any, *, rewrites: bool = False) -> None:
    add = app.kernel.registry.add
    add(OUTPUT, modifier, "test", phase=Phase.NORMAL, rank=0, rewrites=rewrites)


@pytest.fixture
async def gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(0)


@pytest.fixture
async def served(gate: asyncio.Semaphore) -> AsyncIterator[Served]:
    """A server whose model says one word for each release of the gate."""
    async with (
        running(*IDS, model=Scripted(WORDS, gate=gate)) as app,
        serving(app) as served,
    ):
        app.extension("api_kit").configure({"at_once": 100})
        yield served


@pytest.fixture
async def quick() -> AsyncIterator[Served]:
    """A server whose model says "One two." at once."""
    async with (
        running("websocket_api", "conversations", "chat", model=Scripted("One two.")) as app,
        serving(app) as served,
    ):
        yield served


def streams() -> Any:
    """The module as the server has it."""
    return sys.modules["extensions.websocket_api.streams"]


def free(gate: asyncio.Semaphore, words: int = 10_000) -> None:
    for _ in range(words):
        gate.release()


async def ask(served: Served, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient() as web:
        return await web.post(f"{served.http}/api/reply", json=body)


async def test_calls_of_tools_come_both_ways():
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    tools = [{"type": "function", "function": {"name": "now"}}]
    ids = "websocket_api", "instruct", "tool_calls"
    async with running(*ids, model=Scripted(f"I look. {call} {call}")) as app, serving(app) as at:
        answer = (await ask(at, **ASK, tools=tools)).json()
        assert answer["text"] == "I look. "
        assert [call["name"] for call in answer["tools"]] == ["now", "now"]
        assert answer["reason"] == "tool_calls"
        async with at.connect() as program:
            await tell(program, type="start", id="a", **ASK, tools=tools)
            events = await until(program, "done")
            assert [e["arguments"] for e in events if e["type"] == "tool"] == ["{}", "{}"]
            assert events[-1]["reason"] == "tool_calls"
        refused = await ask(at, **ASK, tools=tools, options={"tool_choice": "required"})
        assert "takes no grammar" in refused.json()["error"]["message"]


# --- the socket ---------------------------------------------------------------------------


async def test_a_reply_comes_as_numbered_events(quick: Served):
    async with quick.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        events = await until(program, "done")
        assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
        assert {event["stream"] for event in events} == {"a"}
        assert events[0] == {"type": "started", "stream": "a", "seq": 1, "version": 1}
        assert said(events) == "One two."
        assert events[-1]["reason"] == "stop"
        assert events[-1]["model"] == "scripted"
        assert events[-1]["usage"]["completion"] == 2


async def test_many_replies_share_a_socket_and_one_is_cancelled_alone(
    served: Served, gate: asyncio.Semaphore
):
    async with served.connect() as program:
        for number in range(40):
            await tell(program, type="start", id=f"r{number}", **ASK)
        free(gate, 80)
        await tell(program, type="cancel", stream="r7")
        ends = dict[str, str]()
        freed = False
        events = list[dict[str, Any]]()
        while len(ends) < 40:
            event = await hear(program)
            events.append(event)
            if event["type"] == "done":
                ends[event["stream"]] = event["reason"]
            if ends == {"r7": "cancelled"} and not freed:
                freed = True
                free(gate, 40 * 401)
        assert [id for id, reason in ends.items() if reason != "stop"] == ["r7"]
        for number in range(40):
            mine = [event for event in events if event["stream"] == f"r{number}"]
            assert [event["seq"] for event in mine] == [*range(1, len(mine) + 1)]
            assert number == 7 or said(mine) == WORDS


async def test_a_history_a_system_message_and_sampling_reach_the_model(quick: Served):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
        {"role": "assistant", "content": "Hi"},
    ]
    sampling = {"temperature": 0, "max_new_tokens": 7, "something_new": 1}
    body = {"messages": messages, "continue": True, "sampling": sampling, "unheard_of": [1]}
    answer = await ask(quick, **body)
    assert answer.status_code == 200, answer.text
    request = quick.app.kernel.slot().model.asked[0]  # type: ignore[union-attr]
    assert [(m.role, m.text) for m in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hello?"),
        ("assistant", "Hi"),
    ]
    assert request.continue_
    assert (request.sampling.temperature, request.sampling.max_new_tokens) == (0, 7)


async def test_a_plain_prompt_needs_no_mode(quick: Served):
    answer = await ask(quick, prompt="Once", mode="none")
    assert answer.json()["text"] == "One two."
    assert quick.app.kernel.slot().model.asked[0].prompt == "Once"  # type: ignore[union-attr]


@pytest.mark.parametrize(("pause", "most"), [(0, 40), (0.05, 60), (0.3, 200)])
async def test_c4_who_was_cut_off_resumes_without_a_gap_or_a_double(
    served: Served, gate: asyncio.Semaphore, pause: float, most: int
):
    random.seed(pause)
    events: list[dict[str, Any]] = []

    async def speak() -> None:
        for _ in range(401):
            gate.release()
            await asyncio.sleep(0.001)

    speaking = asyncio.create_task(speak())
    async with served.connect() as program:
        await tell(program, type="start", id="long", **ASK)
        for _ in range(random.randrange(2, 40)):
            events.append(await hear(program))
    cuts = 0
    while events[-1]["type"] != "done":
        await asyncio.sleep(pause)
        cuts += 1
        async with served.connect() as program:
            await tell(program, type="resume", stream="long", last_seq=events[-1]["seq"])
            for _ in range(random.randrange(most // 2, most)):
                events.append(await hear(program))
                if events[-1]["type"] == "done":
                    break
    await speaking
    assert cuts >= 2
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    digest = hashlib.sha256(said(events).encode()).hexdigest()
    assert digest == hashlib.sha256(WORDS.encode()).hexdigest()


async def test_a_reply_that_ended_is_resumed_from_any_event(quick: Served):
    async with quick.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        events = await until(program, "done")
    for last in range(len(events)):
        async with quick.connect() as program:
            await tell(program, type="resume", stream="a", last_seq=last)
            assert await until(program, "done") == events[last:]


async def test_two_programs_follow_one_reply(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as one, served.connect() as two:
        await tell(one, type="start", id="a", **ASK)
        await until(one, "started")
        await tell(two, type="resume", stream="a")
        free(gate)
        first, second = await until(one, "done"), await until(two, "done")
        assert second[1:] == first


async def test_a_reply_is_its_owners_alone(served: Served, gate: asyncio.Semaphore):
    key = {"Authorization": f"Bearer {served.key}"}
    async with served.connect() as mine, served.connect(additional_headers=key) as other:
        await tell(mine, type="start", id="secret", **ASK)
        await until(mine, "started")
        for frame in ("cancel", "resume"):
            await tell(other, type=frame, stream="secret")
            stolen = await hear(other)
            await tell(other, type=frame, stream="no-such")
            absent = await hear(other)
            assert stolen["error"]["code"] == absent["error"]["code"] == "stream_not_found"
            assert (
                stolen["error"]["message"].replace("secret", "no-such")
                == (absent["error"]["message"])
            ), "it does not tell whether there is one"
        await tell(other, type="start", id="secret", **ASK)
        assert (await hear(other))["type"] == "started", "names are of each owner's own"
        await tell(other, type="cancel", stream="secret")
        assert (await until(other, "done"))[-1]["reason"] == "cancelled"
        free(gate)
        assert said(await until(mine, "done")) == WORDS


async def test_a_reply_without_a_reader_is_stopped_in_time(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as program:
        await tell(program, type="start", id="short", linger=1, **ASK)
        await until(program, "started")
    async with served.connect() as program:
        await tell(program, type="resume", stream="short")
        await until(program, "started")
        await asyncio.sleep(1.2)
        free(gate, 1)
        assert (await hear(program))["type"] == "delta", "it is read again, so it goes on"
    handle, reply = served.app.extension("websocket_api"), "websocket_api:reply short"
    await served.app.until(lambda: reply not in {task.get_name() for task in handle._tasks})
    async with served.connect() as program:
        await tell(program, type="resume", stream="short", last_seq=2)
        assert (await hear(program))["reason"] == "cancelled"


async def test_ten_minutes_after_its_end_a_reply_is_forgotten(
    quick: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streams(), "KEPT", 0.1)
    async with quick.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        await until(program, "done")
        await asyncio.sleep(0.2)
        await tell(program, type="resume", stream="a")
        error = (await hear(program))["error"]
        assert error["code"] == "stream_not_found"
        assert "Start it again" in error["message"]


async def test_a_reply_costs_no_more_where_many_are_kept(
    quick: Served, monkeypatch: pytest.MonkeyPatch
):
    looks = list[str]()

    class Watched(streams().Stream):
        def __getattribute__(self, name: str) -> Any:
            if name in ("finish", "size", "owner"):
                looks.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(streams(), "Stream", Watched)
    counts = list[int]()
    async with quick.connect() as program:
        for number in range(60):
            looks.clear()
            await tell(program, type="start", id=f"r{number}", **ASK)
            await until(program, "done")
            counts.append(len(looks))
    assert max(counts[50:]) < 1.5 * max(counts[:10])


@pytest.mark.parametrize(("bound", "most"), [("ALTOGETHER", 1000), ("MOST", 3)])
async def test_what_is_kept_of_ended_replies_is_bounded(
    quick: Served, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
):
    monkeypatch.setattr(streams(), bound, most)
    async with quick.connect() as program:
        for number in range(20):
            await tell(program, type="start", id=f"r{number}", **ASK)
            await until(program, "done")
        await tell(program, type="resume", stream="r19")
        assert said(await until(program, "done")) == "One two."
        await tell(program, type="resume", stream="r0")
        assert (await hear(program))["error"]["code"] == "stream_not_found"


async def test_a_reply_too_long_to_be_kept_is_stopped(
    served: Served, gate: asyncio.Semaphore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streams(), "LARGEST", 2000)
    free(gate)
    async with served.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        events = await until(program, "error")
        assert events[-1]["error"]["code"] == "reply_too_long"
        assert WORDS.startswith(said(events))


async def test_switched_off_it_says_so_to_everyone_and_leaves_nothing(served: Served):
    async with served.connect() as program, served.connect() as idle:
        await tell(program, type="start", id="a", **ASK)
        await until(program, "started")
        raw = Raw(served.port)
        await raw.post("/api/reply", ASK)
        await asyncio.sleep(0.05)
        await served.app.kernel.changes.toggle("websocket_api", on=False)
        assert (await hear(program))["error"]["code"] == "switched_off"
        for one in (program, idle):
            with pytest.raises(ConnectionClosed) as closed:
                await hear(one)
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1012
        assert b"503" in await raw.reader.readline()
        await raw.close()
    assert (await ask(served, **ASK)).status_code == 404, "an address like any other"


async def test_who_asked_once_is_told_that_the_server_stops(caplog: pytest.LogCaptureFixture):
    model = Scripted(WORDS, gate=asyncio.Semaphore(1))
    settings = {"api_kit": {"at_once": 2}}
    async with (
        running("websocket_api", "instruct", model=model, settings=settings) as app,
        serving(app, timeout_graceful_shutdown=0) as served,
    ):
        asked = [asyncio.create_task(ask(served, **ASK, stream=lines)) for lines in (False, True)]
        await app.until(lambda: len(model.asked) == 2)
        served.server.end()
        whole, lines = [await each for each in asked]
        assert (whole.status_code, whole.headers["retry-after"]) == (503, "1")
        last = whole.json(), json.loads(lines.text.splitlines()[-1])
        assert {each["error"]["message"] for each in last} == {
            "Spindle is stopping. Try again when it is back."
        }
    assert not [record for record in caplog.records if "ASGI" in record.getMessage()]


async def test_a_change_of_the_settings_cuts_nobody_off(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        await until(program, "started")
        record = served.app.kernel.records["websocket_api"]
        assert record.handle
        record.handle.configure({"at_once": 1})
        await tell(program, type="start", id="b", **ASK)
        error = (await hear(program))["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "too_many_streams")
        free(gate)
        assert said(await until(program, "done")) == WORDS


# --- modifiers ----------------------------------------------------------------------------


async def shout(text: str) -> str:
    return text.upper()


async def test_a_rewrite_is_one_replace_on_the_socket(quick: Served):
    modify(quick.app, whole_text(shout), rewrites=True)
    async with quick.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        events = await until(program, "done")
    assert [event["type"] for event in events] == ["started", "delta", "delta", "replace", "done"]
    assert said(events) == "ONE TWO."


async def test_a_rewrite_holds_the_lines_and_a_header_says_so(quick: Served):
    modify(quick.app, whole_text(shout), rewrites=True)
    answer = await ask(quick, **ASK, stream=True)
    assert answer.headers["spindle-text"] == "held"
    events = [msgspec.json.decode(line) for line in answer.text.splitlines()]
    assert [event["type"] for event in events] == ["started", "delta", "done"]
    assert said(events) == "ONE TWO."
    assert [event["seq"] for event in events] == [1, 2, 3]


async def test_without_a_rewrite_lines_stream(served: Served, gate: asyncio.Semaphore):
    async def exclaim(deltas: AsyncIterator[Delta], turn: Any) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield Delta(delta.text + "!")

    modify(served.app, exclaim)
    free(gate, 1)
    async with (
        httpx.AsyncClient() as web,
        web.stream("POST", f"{served.http}/api/reply", json={**ASK, "stream": True}) as answer,
    ):
        lines = answer.aiter_lines()
        assert "spindle-text" not in answer.headers
        assert msgspec.json.decode(await anext(lines))["type"] == "started"
        assert msgspec.json.decode(await anext(lines))["text"] == "word0!", "before the next word"


# --- what is refused ----------------------------------------------------------------------

START = {"type": "start", "id": "a", **ASK}
BAD: list[tuple[Any, str | None, str]] = [
    ("{", None, "bad_json"),
    ('{"type": "start", "id": "' + "\\ud800" + '"}', None, "bad_json"),
    ('{"x":' + "[" * 20_000 + "]" * 20_000 + ', "type": "cancel"}', None, "bad_json"),
    ("[]", None, "invalid_value"),
    ({}, "type", "invalid_value"),
    ({"type": "surprise"}, "type", "invalid_value"),
    ({"type": 5}, "type", "invalid_value"),
    ({"type": "start"}, "id", "invalid_value"),
    ({**START, "id": "../etc"}, "id", "invalid_value"),
    ({**START, "id": "x" * 65}, "id", "invalid_value"),
    ({**START, "id": None}, "id", "invalid_value"),
    ({"type": "start", "id": "a"}, "messages", "invalid_request"),
    ({**START, "prompt": "both"}, "messages", "invalid_request"),
    ({**START, "messages": "Hello"}, "messages", "invalid_value"),
    ({**START, "messages": [{"role": "boss", "content": ""}]}, "messages[0].role", "invalid_value"),
    ({**START, "messages": [{"role": "user", "content": 5}]}, "messages[0].content",
     "invalid_value"),
    ({**START, "messages": [{"role": "user", "content": "x"}] * 10_001}, "messages",
     "invalid_value"),
    ({**START, "continue": True}, "continue", "invalid_request"),
    ({**START, "mode": "nope"}, "mode", "mode_not_found"),
    ({**START, "version": 2}, "version", "invalid_value"),
    ({**START, "linger": -1}, "linger", "invalid_value"),
    ({**START, "linger": 1e308}, "linger", "invalid_value"),
    ({**START, "tools": ["x"]}, "tools[0]", "invalid_value"),
    ({**START, "grammar": 5}, "grammar", "invalid_value"),
    *(
        ({**START, name: value}, name, "invalid_value")
        for name, most in (("n", 17), ("logprobs", 21))
        for value in (-1, most, 2**63, 1e308, "1", True, [1])
    ),
    ({**START, "n": 0}, "n", "invalid_value"),
    ({"type": "hello", "version": 0}, "version", "invalid_value"),
    ({"type": "act", "action": "x"}, "id", "invalid_value"),
    ({"type": "act", "id": "", "action": "x"}, "id", "invalid_value"),
    ({"type": "act", "id": "a", "action": "x" * 100}, "action", "invalid_value"),
    ({"type": "act", "id": "a", "action": "x", "fields": [1]}, "fields", "invalid_value"),
    ({"type": "act", "id": "a", "action": "x"}, "action", "admin_key_needed"),
    *(
        ({**START, "sampling": {name: value}}, f"sampling.{name}", "invalid_value")
        for name, value in (
            ("temperature", -1), ("temperature", 1e308), ("temperature", "1"),
            ("temperature", True), ("temperature", None), ("temperature", [1]), ("top_k", -1),
            ("top_k", 2**63), ("top_k", 1.5), ("seed", 2**32), ("seed", -2),
            ("max_new_tokens", 0), ("max_new_tokens", 2**31), ("num_beams", 21),
            ("custom_stopping_strings", ["x"] * 1001), ("custom_token_bans", [0] * 10_001),
            ("dry_sequence_breakers", ["x"] * 1001), ("sampler_priority", ["x"] * 1001),
            ("logit_bias", {str(n): 1.0 for n in range(10_001)}),
        )
    ),
    ({"type": "resume", "stream": "a", "last_seq": -1}, "last_seq", "invalid_value"),
    ({"type": "resume", "stream": "a", "last_seq": 2**63}, "last_seq", "invalid_value"),
    ({"type": "resume", "stream": "a", "last_seq": "1"}, "last_seq", "invalid_value"),
    ({"type": "resume", "stream": "a"}, "stream", "stream_not_found"),
    ({"type": "cancel", "stream": "a"}, "stream", "stream_not_found"),
    ({"type": "cancel"}, "stream", "invalid_value"),
]  # fmt: skip


async def test_what_is_refused_names_the_field_and_costs_nothing(quick: Served):
    async with quick.connect() as program:
        for number, (frame, param, code) in enumerate(BAD):
            text = frame if isinstance(frame, str) else msgspec.json.encode(frame).decode()
            await program.send(text)
            answer = await hear(program)
            assert (answer["type"], answer["seq"]) == ("error", 0), (frame, answer)
            id = frame.get("id") if isinstance(frame, dict) else None
            assert answer["stream"] == id[:64] if isinstance(id, str) else True, "it says which"
            error = answer["error"]
            assert (error["param"], error["code"]) == (param, code), (str(frame)[:200], error)
            assert error.keys() == {"message", "type", "param", "code"}
            assert "Traceback" not in error["message"]
            await tell(program, type="start", id=f"good{number}", **ASK)
            assert said(await until(program, "done")) == "One two.", "the socket lives on"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_refused_in_the_same_words(quick: Served, stream: bool):
    url = f"{quick.http}/api/reply"
    async with httpx.AsyncClient() as web:
        for frame, param, code in BAD:
            if isinstance(frame, str) or frame.get("type") != "start" or param in ("linger", "id"):
                continue
            body = {**frame, "stream": stream}
            answer = await web.post(url, json=body)
            assert answer.status_code == 400, (frame, answer.text)
            error = answer.json()["error"]
            assert (error["param"], error["code"]) == (param, code), frame
        for body in (b"", b"{", b"\xff\xfe", b'{"prompt": "\xff"}', b"null", b"[" * 100_000):
            answer = await web.post(url, content=body)
            assert answer.status_code == 400, body[:20]
            assert answer.json()["error"]["type"] == "invalid_request_error"
        answer = await web.post(url, json={**ASK, "stream": "yes"})
        assert answer.json()["error"]["param"] == "stream"
        assert (await web.post(url, json=ASK)).json()["text"] == "One two."


async def test_too_much_is_refused(quick: Served):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * (1 << 20)

    async with httpx.AsyncClient() as web:
        answer = await web.post(f"{quick.http}/api/reply", content=endless())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


async def test_no_model_is_said_with_its_status():
    async with (
        running("websocket_api", "conversations", "chat") as app,
        serving(app) as served,
        served.connect() as program,
    ):
        for stream in (False, True):
            answer = await ask(served, **ASK, stream=stream)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "no_model"
            assert "retry-after" not in answer.headers
        for _ in range(2):  # By the same name, as a model may be there by then.
            await tell(program, type="start", id="a", **ASK)
            event = (await until(program, "error"))[-1]
            assert event["seq"] == 2
            assert "retry_after" not in event
            assert "Choose one in the status line" in event["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_dies_costs_no_word(
    served: Served, gate: asyncio.Semaphore, stream: bool
):
    asking = asyncio.create_task(ask(served, **ASK, stream=stream))
    model: Any = served.app.kernel.slot().model
    await served.app.until(lambda: bool(model.asked))
    free(gate, 3)
    await served.app.until(lambda: gate._value == 0)
    await asyncio.sleep(0.05)
    model.die("The engine was killed (SIGKILL) while writing a reply.")
    answer = await asking
    if stream:
        events = [msgspec.json.decode(line) for line in answer.text.splitlines()]
        assert said(events).startswith("word0 word1 word2")
        error = events[-1]["error"]
    else:
        assert answer.status_code == 500
        assert answer.json()["text"].startswith("word0 word1 word2")
        error = answer.json()["error"]
    assert "SIGKILL" in error["message"]


# --- abuse (test 47 of the attacks) ---------------------------------------------------------


async def test_a_gigabyte_in_one_frame_is_cut_off_at_its_head(quick: Served):
    async with quick.connect() as program:
        program.transport.write(b"\x81\xff" + (1 << 30).to_bytes(8, "big") + b"\0\0\0\0")
        with pytest.raises(ConnectionClosed) as closed:
            await hear(program)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1009
    assert (await ask(quick, **ASK)).json()["text"] == "One two."


async def test_a_frame_in_endless_pieces_is_cut_off(quick: Served):
    async with quick.connect() as program:
        piece = (60_000).to_bytes(2, "big") + b"\0\0\0\0" + b" " * 60_000
        program.transport.write(b"\x01\xfe" + piece)
        for _ in range(80):
            program.transport.write(b"\x00\xfe" + piece)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(program)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1009
    assert (await ask(quick, **ASK)).json()["text"] == "One two."


async def test_bytes_that_are_no_text_end_the_socket_alone(quick: Served):
    async with quick.connect() as program:
        await program.send(b"\xff\xfe\x00", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(program)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1007
    async with quick.connect() as program:
        await program.send(b'{"type": "cancel"}')
        assert "as text" in (await hear(program))["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "many"),
    [
        ("refused", 1_000_000),
        ("pointless", 100_000),
        pytest.param("pointless", 1_000_000, marks=pytest.mark.long),
    ],
)
async def test_a_million_tiny_frames_slow_nobody(
    quick: Served, kind: str, many: int, monkeypatch: pytest.MonkeyPatch
):
    """Written as bytes: a client of Python would be slower than the server."""
    connection: Any = sys.modules["extensions.websocket_api.connection"].Connection
    hear_one, heard = connection._hear, 0

    def hearing(self: Any, text: str | None) -> None:
        nonlocal heard
        heard += 1
        hear_one(self, text)

    monkeypatch.setattr(connection, "_hear", hearing)
    text = b"{}" if kind == "refused" else b'{"type":"cancel","stream":"mine"}'
    frame = bytes([0x81, 0x80 + len(text), 0, 0, 0, 0]) + text
    async with quick.connect() as other:
        await tell(other, type="start", id="mine", **ASK)
        await until(other, "done")
        heard = 0
        async with quick.connect() as program:
            program.transport.set_write_buffer_limits(0)
            wire = program.transport.get_extra_info("socket").dup()
            flooding = asyncio.create_task(asyncio.to_thread(flood, wire, frame * (many // 1000)))
            while not heard:
                await asyncio.sleep(0)
            meanwhile = list[int]()  # frames for which each reply waited
            for number in range(6):
                before = heard
                await tell(other, type="start", id=f"{kind}{number}", **ASK)
                await until(other, "done")
                meanwhile.append(heard - before)
            if kind == "refused":
                await asyncio.wait_for(program.wait_closed(), 10)
            program.transport.abort()
            await flooding
        if kind == "refused":
            assert heard - len(meanwhile) < 150, "a hundred, and the socket is closed"
        else:
            assert sum(meanwhile) > len(meanwhile), "the flood went on"
            assert max(meanwhile) < 2000, "one frame in each turn of the loop"


def flood(wire: socket.socket, frames: bytes) -> None:
    """Send a thousand times as much, or until the server had enough."""
    wire.settimeout(1)
    with wire, suppress(OSError):
        for _ in range(1000):
            wire.sendall(frames)


async def test_who_is_refused_a_hundred_times_is_told_why_it_ends(quick: Served):
    async with quick.connect() as program:
        for _ in range(100):
            await program.send("{}")
            assert (await hear(program))["error"]["code"] == "invalid_value"
        with pytest.raises(ConnectionClosed):
            await program.recv()
    assert program.close_code == 1008
    assert "Correct the program" in (program.close_reason or "")


async def test_out_of_order_resumes_and_second_names_are_refused(
    served: Served, gate: asyncio.Semaphore
):
    async with served.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        await until(program, "started")
        await tell(program, type="resume", stream="a", last_seq=2)
        assert (await hear(program))["error"]["code"] == "last_seq_too_large"
        await tell(program, type="start", id="a", **ASK)
        assert (await hear(program))["error"]["code"] == "stream_exists"
        for _ in range(500):
            await tell(program, type="resume", stream="a", last_seq=1)
        await tell(program, type="cancel", stream="none")  # its answer says that all were heard
        await hear(program)
        free(gate)
        assert said(await until(program, "done")) == WORDS


# --- what describes it ----------------------------------------------------------------------


async def test_the_schema_describes_every_frame(quick: Served):
    async with httpx.AsyncClient() as web:
        schema = (await web.get(f"{quick.http}/api/ws/schema.json")).json()
    assert {"Start", "Cancel", "Resume", "Delta", "Replace", "Failed"} <= schema["$defs"].keys()
    assert "top_k" in schema["$defs"]["Sampling"]["properties"]
    names = {"from_program", "to_program", "generate", "answer", "events"}
    assert schema["properties"].keys() == names
    assert {"Hello", "Subscribe", "Act", "Acted", "Event", "Tool"} <= schema["$defs"].keys()
    for news in schema["properties"]["events"]["properties"].values():
        assert news["$ref"].removeprefix("#/$defs/") in schema["$defs"]


DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"
TALK = re.compile(r"```jsonl\n(.*?)```", re.DOTALL)


def same(said: Any, documented: Any) -> bool:
    """As documented; what varies from run to run is written as "…" there."""
    if isinstance(documented, dict):
        return said.keys() == documented.keys() and all(
            same(said[key], documented[key]) for key in documented
        )
    return documented == "…" or said == documented


async def test_the_examples_of_the_documentation_are_what_happens(
    served: Served, gate: asyncio.Semaphore
):
    talks = TALK.findall(DOCS.read_text("utf-8"))
    assert len(talks) >= 4
    model: Any = served.app.kernel.slot().model
    model.scripts = ["Hello there."]
    for talk in talks:
        program = await served.connect()
        for line in talk.splitlines():
            if line == "--- the connection is lost ---":
                await program.close()
                program = await served.connect()
            elif line == "--- with all rights ---":
                await program.close()
                key = {"Authorization": f"Bearer {served.key}"}
                program = await served.connect(additional_headers=key)
            elif line.startswith("> "):
                await program.send(line[2:])
            else:
                free(gate, int('"delta"' in line or '"stop"' in line))
                answer = await hear(program)
                assert same(answer, json.loads(line[2:])), (answer, line)
        await program.close()


async def test_the_request_of_the_documentation_is_answered_so(
    served: Served, gate: asyncio.Semaphore
):
    model: Any = served.app.kernel.slot().model
    model.scripts = ["Hello there."]
    free(gate)
    told = re.findall(r"```json\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    body, answer, streaming, *refusal = told
    got = await ask(served, **json.loads(body))
    assert same(got.json(), json.loads(answer))
    got = await ask(served, **json.loads(body), stream=True)
    documented = [json.loads(line) for line in streaming.splitlines()]
    events = [json.loads(line) for line in got.text.splitlines()]
    assert all(same(*pair) for pair in zip(events, documented, strict=True)), events
    got = await ask(served, messages=[{"role": "user", "content": "Hi"}], sampling={"top_k": "x"})
    assert same(got.json(), json.loads(refusal[0]))
