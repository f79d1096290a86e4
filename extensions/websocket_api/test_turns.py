"""Replies of the native protocol among those of all APIs; tools, probabilities and choices."""

import asyncio
import base64
import gc
import hashlib
import json
import secrets
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from extensions.api_kit.api import PROGRAMS
from kernel.api import OUTPUT, Delta, Key, Phase, Token
from kernel.testing import App, Scripted, running
from tests.sockets import Served, said, serving, tell, until

ASK = {"messages": [{"role": "user", "content": "Hello?"}]}


def modify(app: App, modifier: Any, *, rewrites: bool = False) -> None:
    add = app.kernel.registry.add
    add(OUTPUT, modifier, "test", phase=Phase.NORMAL, rank=0, rewrites=rewrites)


@pytest.fixture
async def gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(0)


@pytest.fixture
async def served(gate: asyncio.Semaphore) -> AsyncIterator[Served]:
    """A server whose engine writes one reply at a time, one word for each release of the gate."""
    model = Scripted("One two.", gate=gate)
    async with running("websocket_api", "instruct", model=model) as app, serving(app) as served:
        yield served


@pytest.fixture
async def quick() -> AsyncIterator[Served]:
    """A server that says "One two." at once, with probabilities."""
    model = Scripted(
        "One two.", capabilities=("text", "logprobs", "grammar", "batch"), logprobs=(-0.5, -1.0)
    )
    async with running("websocket_api", "instruct", model=model) as app, serving(app) as served:
        yield served


def live(served: Served) -> list[Any]:
    [programs] = served.app.kernel.registry.values(PROGRAMS)
    return [*programs.runs.live]


def free(gate: asyncio.Semaphore, words: int) -> None:
    for _ in range(words):
        gate.release()


def limited(served: Served, **limits: int) -> dict[str, str]:
    """The header of a new key for replies, with limits."""
    words = secrets.token_urlsafe(32)
    digest = hashlib.sha256(words.encode()).hexdigest()
    served.keyring.keep([Key("phone", digest, "generate", **limits)])
    return {"authorization": f"Bearer {words}"}


# --- turns --------------------------------------------------------------------------------------


async def test_who_waits_is_told_its_place_and_moves_up(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as program, served.connect() as other:
        await tell(program, type="start", id="first", **ASK)
        await until(program, "started")
        await served.app.until(lambda: len(live(served)) == 1)
        for number, id in enumerate(("second", "third"), 1):
            await tell(program, type="start", id=id, **ASK)
            events = await until(program, "waiting")
            assert events[-1] == {"type": "waiting", "stream": id, "seq": 1, "position": number}
        await tell(other, type="resume", stream="third")
        assert (await until(other, "waiting"))[-1]["position"] == 2, "who comes later hears it too"
        assert [(run.api, run.state) for run in live(served)] == [
            ("websocket_api", "reading"), ("websocket_api", "waiting"),
            ("websocket_api", "waiting"),
        ]  # fmt: skip
        await tell(program, type="cancel", stream="second")
        events = await until(program, "waiting")
        assert [(e["type"], e["stream"]) for e in events] == [
            ("done", "second"), ("waiting", "third"),
        ]  # fmt: skip
        assert (events[0]["reason"], events[1]["position"]) == ("cancelled", 1)
        free(gate, 6)
        ends = [(await until(program, "done"))[-1] for _ in range(2)]
        assert [(end["stream"], end["reason"]) for end in ends] == [
            ("first", "stop"), ("third", "stop"),
        ]  # fmt: skip
        assert said(await until(other, "done")) == "One two."
    assert not live(served)


async def test_a_reply_that_waits_ends_with_its_program(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as program:
        await tell(program, type="start", id="first", **ASK)
        await until(program, "started")
        async with served.connect() as other:
            await tell(other, type="start", id="second", linger=0, **ASK)
            await until(other, "waiting")
            assert len(live(served)) == 2
        await served.app.until(lambda: len(live(served)) == 1)
        asking = asyncio.create_task(post(served, **ASK))
        await served.app.until(lambda: len(live(served)) == 2)
        asking.cancel()
        await served.app.until(lambda: len(live(served)) == 1)
        free(gate, 3)
        assert said(await until(program, "done")) == "One two."


async def post(served: Served, headers: Any = None, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.post(f"{served.http}/api/reply", json=body, headers=headers)


async def test_limits_of_a_key_are_errors_with_the_seconds_to_wait(
    served: Served, gate: asyncio.Semaphore
):
    headers = limited(served, at_once=1, tokens=5)
    async with served.connect(additional_headers=headers) as program:
        await tell(program, type="start", id="a", **ASK)
        await until(program, "started")
        await tell(program, type="start", id="b", **ASK)
        error = (await until(program, "error"))[-1]
        assert (error["stream"], error["seq"], error["retry_after"]) == ("b", 2, 1)
        assert error["error"]["code"] == "too_many_requests"
        refused = await post(served, headers, **ASK, stream=True)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        free(gate, 3)
        await until(program, "done")
        await tell(program, type="start", id="b", **ASK)
        error = (await until(program, "error"))[-1]
        assert error["error"]["code"] == "tokens_per_minute", "and its name was free again"
        assert 50 < error["retry_after"] <= 61
        refused = await post(served, headers, **ASK)
        assert refused.status_code == 429
        assert 50 < int(refused.headers["retry-after"]) <= 61
        free(gate, 3)
        assert (await post(served, **ASK)).status_code == 200, "others have theirs"


# --- tools --------------------------------------------------------------------------------------

CALLS = [{"id": f"call_{n}", "name": "find", "arguments": json.dumps({"n": n})} for n in (1, 2)]


async def calling(deltas: AsyncIterator[Delta], turn: Any) -> AsyncIterator[Delta]:
    async for delta in deltas:
        yield delta
    lines = "".join(json.dumps(call) + "\n" for call in CALLS)
    for at in range(0, len(lines), 7):  # However it is cut, a call comes whole.
        yield Delta(lines[at : at + 7], "tool")


async def test_calls_of_tools_come_whole(quick: Served):
    modify(quick.app, calling)
    async with quick.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        events = await until(program, "done")
    tools = [event for event in events if event["type"] == "tool"]
    assert [{k: tool[k] for k in CALLS[0]} for tool in tools] == CALLS
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert said(events) == "One two."
    assert (await post(quick, **ASK)).json()["tools"] == CALLS


async def test_calls_that_are_taken_back(quick: Served):
    async def changing(deltas: AsyncIterator[Delta], turn: Any) -> AsyncIterator[Delta]:
        async for delta in calling(deltas, turn):
            yield delta
        yield Delta(json.dumps(CALLS[1]) + "\n", "tool", replace=True)

    modify(quick.app, changing, rewrites=True)
    async with quick.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        events = await until(program, "done")
    [back] = [event for event in events if event["type"] == "replace"]
    assert (back["channel"], back["text"]) == ("tool", "")
    assert [event["id"] for event in events[back["seq"] :] if "id" in event] == ["call_2"]


# --- probabilities, grammar, choices ------------------------------------------------------------


async def test_probabilities_are_told_where_they_are_asked_for(quick: Served):
    async with quick.connect() as program:
        await tell(program, type="start", id="a", logprobs=1, **ASK)
        events = await until(program, "done")
        tokens = [token for event in events for token in event.get("tokens", ())]
        assert [(each["text"], each["logprob"]) for each in tokens] == [
            ("One", -0.5), (" two.", -1.0),
        ]  # fmt: skip
        assert tokens[0]["top"] == [{"text": "One", "logprob": -0.5}]
        await tell(program, type="start", id="b", **ASK)
        assert not [event for event in await until(program, "done") if "tokens" in event]
    assert (await post(quick, **ASK, logprobs=0)).json()["tokens"] == tokens
    model: Any = quick.app.kernel.slot().model
    assert [request.logprobs for request in model.asked] == [1, None, 0]


async def test_a_part_of_a_letter_keeps_its_bytes(quick: Served):
    async def half(deltas: AsyncIterator[Delta], turn: Any) -> AsyncIterator[Delta]:
        async for _ in deltas:
            pass
        yield Delta("é", tokens=(Token(1, b"\xc3", -1.0), Token(2, b"\xa9", float("-inf"))))

    modify(quick.app, half)
    tokens = (await post(quick, **ASK, logprobs=0)).json()["tokens"]
    assert b"".join(base64.b64decode(each["data"]) for each in tokens) == "é".encode()
    assert tokens[1]["logprob"] is None


@pytest.mark.parametrize("grammar", ['root ::= "x"', {"type": "object"}])
async def test_a_grammar_reaches_the_engine(quick: Served, grammar: Any):
    assert (await post(quick, **ASK, grammar=grammar)).status_code == 200
    model: Any = quick.app.kernel.slot().model
    asked = model.asked[0].grammar
    assert (asked if isinstance(grammar, str) else json.loads(asked)) == grammar


async def test_several_choices_mix_and_each_is_whole(quick: Served):
    model: Any = quick.app.kernel.slot().model
    model.scripts = ["One two.", "Three four five.", "Six."]
    async with quick.connect() as program:
        body: dict[str, Any] = {**ASK, "n": 3, "sampling": {"seed": 7}}
        await tell(program, type="start", id="a", **body)
        events = await until(program, "done")
        assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
        mine = [[e for e in events if e.get("choice", 0) == n and "text" in e] for n in range(3)]
        seeds = [request.sampling.seed for request in model.asked]
        assert sorted(seeds) == [7, 8, 9]
        turns = [seeds.index(7 + n) for n in range(3)]  # each begins when it comes to it
        assert [said(each) for each in mine] == [model.scripts[turn] for turn in turns]
        assert events[-1]["choices"] == [{"choice": n, "reason": "stop"} for n in range(3)]
        assert events[-1]["usage"]["completion"] == 6
        await tell(program, type="resume", stream="a", last_seq=0)
        assert await until(program, "done") == events
    answer = (await post(quick, **body)).json()
    texts = [each["text"] for each in answer["choices"]]
    assert answer["text"] == texts[0]
    seeds = [request.sampling.seed for request in model.asked[3:]]
    assert texts == [model.scripts[seeds.index(7 + n)] for n in range(3)]


async def test_cancel_stops_all_choices(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as program:
        await tell(program, type="start", id="a", n=3, **ASK)
        await until(program, "started")
        free(gate, 1)
        await until(program, "delta")
        await tell(program, type="cancel", stream="a")
        end = (await until(program, "done"))[-1]
        assert [each["reason"] for each in end["choices"]] == ["cancelled"] * 3
    await served.app.until(lambda: not live(served))


async def test_one_choice_that_fails_fails_the_reply(served: Served, gate: asyncio.Semaphore):
    async with served.connect() as program:
        await tell(program, type="start", id="a", n=2, **ASK)
        await until(program, "started")
        free(gate, 1)
        await until(program, "delta")
        model: Any = served.app.kernel.slot().model
        model.die("The engine was killed.")
        error = (await until(program, "error"))[-1]
        assert "The engine was killed." in error["error"]["message"]
        assert len(model.asked) == 1, "the other, which waited, is not made any more"
    await served.app.until(lambda: not live(served))


async def test_an_option_of_the_kits_own_name_says_nothing(quick: Served):
    for _ in range(3):
        answer = await post(quick, **ASK, options={"asked": 5})
        assert (answer.status_code, answer.json()["text"]) == (200, "One two.")
    assert quick.app.kernel.records["api_kit"].handle


async def test_a_key_that_is_revoked_takes_its_replies_with_it(
    served: Served, gate: asyncio.Semaphore
):
    async with served.connect(additional_headers=limited(served)) as program:
        await tell(program, type="start", id="a", linger=3600, **ASK)
        free(gate, 1)
        await until(program, "delta")
        assert len(live(served)) == 1
        served.keyring.keep([])
        door: Any = served.app.kernel.access.door
        door.drop_keys()
        await program.wait_closed()
        await served.app.until(lambda: not live(served))


async def test_a_key_that_is_revoked_takes_along_what_goes_on_without_a_reader(
    served: Served, gate: asyncio.Semaphore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.modules["extensions.websocket_api.streams"], "GLANCE", 0.01)
    async with served.connect(additional_headers=limited(served)) as program:
        await tell(program, type="start", id="a", linger=3600, **ASK)
        free(gate, 1)
        await until(program, "delta")
    assert len(live(served)) == 1
    served.keyring.keep([])
    await served.app.until(lambda: not live(served))


def gone(kept: "weakref.ref[Any]") -> bool:
    gc.collect()
    return kept() is None


async def test_a_reply_that_ended_keeps_its_words_and_not_the_conversation(
    served: Served, gate: asyncio.Semaphore
):
    async with served.connect() as program:
        await tell(program, type="start", id="a", **ASK)
        await served.app.until(lambda: len(live(served)) == 1)
        kept = weakref.ref(live(served)[0])
        free(gate, 3)
        await until(program, "done")
        await served.app.until(lambda: gone(kept))
        await tell(program, type="resume", stream="a")
        assert said(await until(program, "done")) == "One two."
