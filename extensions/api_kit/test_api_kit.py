"""The parts that all APIs share: fields, turns at the model."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

import httpx
import pytest
from msgspec import structs

from extensions.api_kit import reading
from extensions.api_kit.api import (
    APIS,
    PROGRAMS,
    Asked,
    Asking,
    Call,
    Caller,
    Calls,
    Gate,
    Out,
    Problem,
    Programs,
    Run,
    Wish,
    nothing,
    sampling_of,
    unavailable,
)
from extensions.api_kit.appending import Appended
from extensions.api_kit.gate import Ticket
from extensions.api_kit.holding import Holding
from extensions.api_kit.spending import Spending
from extensions.api_kit.stopping import Wait
from kernel.api import OUTPUT, UNSET, Delta, Key, Phase
from kernel.contract import Capability
from kernel.testing import App, Scripted, running
from tests.sockets import Served, serving


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"max_tokens": 7}, "max_new_tokens", 7),
        ({"max_tokens": 7, "max_completion_tokens": 5}, "max_new_tokens", 5),
        ({"n_predict": -1}, "max_new_tokens", UNSET),
        ({"stop": "END"}, "custom_stopping_strings", ("END",)),
        ({"stop": None, "stopping_strings": ["a", ""]}, "custom_stopping_strings", ("a",)),
        ({"top_k": -1}, "top_k", 0),
        ({"adaptive_target": -0.01}, "adaptive_target", 0),
        ({"presence_penalty": -1}, "presence_penalty", -1),
        ({"seed": 2**40 + 3}, "seed", 3),
        ({"seed": -5}, "seed", -1),
        ({"temperature": None}, "temperature", UNSET),
        ({"dynatemp_low": 0}, "dynatemp_low", UNSET),
        ({"dynatemp_low": 0.5, "dynamic_temperature": True}, "dynatemp_low", 0.5),
        ({"dynatemp_range": 0.5, "temperature": 1}, "dynatemp_high", 1.5),
        ({"dynatemp_range": 0.5, "temperature": 0.2}, "dynatemp_low", 0.01),
        ({"dynatemp_range": 0, "temperature": 1}, "dynamic_temperature", UNSET),
        ({"dynatemp_range": 0.5, "dynamic_temperature": False}, "dynatemp_low", UNSET),
        ({"logit_bias": {"12": -5}}, "logit_bias", {12: -5.0}),
        ({"logit_bias": [[12, False]]}, "logit_bias", {12: -100.0}),
        ({"logit_bias": {"12": 1e300}}, "logit_bias", {12: 1e9}),
        ({"custom_token_bans": "3, 4"}, "custom_token_bans", (3, 4)),
        ({"custom_token_bans": ""}, "custom_token_bans", ()),
        ({"sampler_priority": "top_k\ntop_p\nother"}, "sampler_priority", ("top_k", "top_p")),
        (
            {"dry_multiplier": 1, "dry_sequence_breakers": '["a", "b"]'},
            "dry_sequence_breakers",
            ("a", "b"),
        ),
        (
            {"dry_multiplier": 1, "dry_sequence_breakers": '"a", "b"'},
            "dry_sequence_breakers",
            ("a", "b"),
        ),
        ({"repeat_last_n": -1, "repeat_penalty": 1.2}, "repetition_penalty_range", 0),
        ({"ignore_eos": 1}, "ban_eos_token", True),
    ],
)
def test_fields_by_all_their_names(body: dict[str, Any], name: str, value: Any):
    assert getattr(sampling_of(body), name) == value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"typical": 3}, "typical"),
        ({"stop": 7}, "stop"),
        ({"stop": [7]}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"custom_token_bans": "x"}, "custom_token_bans"),
        ({"temperature": True}, "temperature"),
        ({"stop": "[" * 100_000}, "stop"),
        ({"dry_multiplier": 1, "dry_sequence_breakers": "[" * 100_000}, "dry_sequence_breakers"),
        ({"logit_bias": {"5": 10**400}}, "logit_bias"),
        ({"logit_bias": {"5": "nan"}}, "logit_bias"),
        ({"dynatemp_range": 10**400}, "dynatemp_range"),
    ],
)
def test_a_wrong_field_is_named_as_it_was_written(body: dict[str, Any], param: str):
    with pytest.raises(Problem) as problem:
        sampling_of(body)
    assert problem.value.fault.param == param


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampler_priority", "temperature" + ",x" * 10_001),
        ("sampler_priority", "temperature" + "\nx" * 10_001),
        ("custom_token_bans", "1" + ",1" * 10_001),
        ("logit_bias", {f"{n}": 1 for n in range(10_001)}),
        ("logit_bias", [[n, 1] for n in range(10_001)]),
    ],
)
def test_a_field_of_too_many_entries_is_not_read(field: str, value: Any):
    with pytest.raises(Problem, match=f"{field}: It has more than 10,000 entries."):
        sampling_of({field: value})


# --- turns ----------------------------------------------------------------------------------


class Queue:
    """A gate with room for one, and what went through it."""

    def __init__(self, room: int = 1, longest: int = 10) -> None:
        self.gate = Gate(lambda: room, lambda: longest)
        self.order: list[str] = []
        self.done = asyncio.Event()

    async def go(
        self, name: str, tokens: int, most: int = 0, owner: str = "me", request: object = None
    ) -> None:
        async with self.gate.turn(owner, tokens, most, request=request):
            self.order.append(name)
            await self.done.wait()


async def test_short_ones_go_before_long_ones_that_came_with_them():
    queue = Queue()
    names = {"first": 500, "essay": 2000, "title": 20, "tags": 20}
    tasks = list[asyncio.Task[None]]()
    for name, tokens in names.items():
        tasks.append(asyncio.create_task(queue.go(name, tokens)))
        await asyncio.sleep(0)
    assert (queue.order, queue.gate.waiting) == (["first"], 3)
    queue.done.set()
    await asyncio.gather(*tasks)
    assert queue.order == ["first", "title", "tags", "essay"]


async def test_all_places_of_a_long_queue_are_told_together():
    gate, tickets = Gate(lambda: 1, lambda: 9999), list[Ticket]()

    async def go(tokens: int) -> None:
        async with gate.turn("me", tokens, queued=tickets.append):
            await asyncio.Future()

    tasks = [asyncio.create_task(go(tokens)) for tokens in (1, 3, 1)]
    await asyncio.sleep(0)
    assert [gate.before(each) for each in tickets] == [1, 0]
    tasks += [asyncio.create_task(go(9)) for _ in range(2000)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    gate.before(tickets[0])
    one = time.perf_counter() - began
    tasks.pop(2).cancel()
    await asyncio.sleep(0)
    began = time.perf_counter()
    assert [gate.before(each) for each in tickets[2:]] == [*range(1, 2001)]
    assert time.perf_counter() - began < 200 * one
    assert gate.before(tickets[0]) == 0
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_goes_leaves_no_place_behind():
    queue = Queue()
    first, second, third = [asyncio.create_task(queue.go(name, 1)) for name in "abc"]
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert queue.gate.waiting == 1
    queue.done.set()
    await asyncio.gather(first, third)
    assert queue.order == ["a", "c"]
    await asyncio.wait_for(queue.go("d", 1), 5)


async def test_a_turn_that_is_given_on_early_is_given_once():
    queue = Queue()
    async with queue.gate.turn("me", 1) as leave:
        leave()
        second, third = [asyncio.create_task(queue.go(name, 1)) for name in "bc"]
        await asyncio.sleep(0)
        assert (queue.order, queue.gate.waiting) == (["b"], 1), "it no longer waits for the first"
        leave()
    await asyncio.sleep(0)
    assert queue.order == ["b"], "nor does the first leave twice"
    queue.done.set()
    await asyncio.gather(second, third)


async def test_one_that_is_called_and_goes_gives_its_turn_on():
    queue = Queue()
    first, second, third = [asyncio.create_task(queue.go(name, 1)) for name in "abc"]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)  # Its turn goes to the second, which is told in the next round.
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    queue.done.set()
    await asyncio.wait_for(third, 5)
    assert queue.order == ["a", "c"]


async def test_limits():
    queue = Queue(longest=1)
    tasks = [asyncio.create_task(queue.go(name, 1)) for name in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as problem:
        await queue.go("c", 1)
    assert (problem.value.fault.status, problem.value.fault.code) == (429, "queue_full")
    queue.done.set()
    await asyncio.gather(*tasks)
    queue = Queue(room=5)
    task = asyncio.create_task(queue.go("a", 1, most=1))
    await asyncio.sleep(0)
    with pytest.raises(Problem) as problem:
        await queue.go("b", 1, most=1)
    assert problem.value.fault.code == "too_many_requests"
    queue.done.set()
    await task
    await queue.go("c", 1, most=1)


async def test_replies_of_one_request_wait_for_one_another_and_hold_up_nobody():
    queue = Queue(room=5)
    ends: dict[str, asyncio.Event] = {}
    now: list[str] = []

    async def go(name: str, owner: str = "me", request: str = "four") -> None:
        async with queue.gate.turn(owner, 1, 2, request=request):
            now.append(name)
            await ends.setdefault(name, asyncio.Event()).wait()
            now.remove(name)

    tasks = [asyncio.create_task(go(name)) for name in "abcd"]
    await asyncio.sleep(0)
    assert (now, queue.gate.waiting) == (["a", "b"], 2)
    tasks.append(asyncio.create_task(go("x", "you", "two")))
    await asyncio.sleep(0)
    assert now == ["a", "b", "x"], "there is room for others"
    tasks.append(asyncio.create_task(go("e", request="another")))
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="may have 2 under way at once"):
        await go("f", request="a third")
    for name, left in zip("abcdex", ("bxc", "xcd", "xde", "xe", "x", ""), strict=True):
        ends[name].set()
        await asyncio.sleep(0.01)
        assert now == [*left]
    await asyncio.gather(*tasks)


async def test_who_may_have_fewer_fills_no_queue():
    queue = Queue(room=2, longest=2)
    tasks = [asyncio.create_task(queue.go(name, 1, 1, request="three")) for name in "abc"]
    await asyncio.sleep(0)
    assert (queue.order, queue.gate.waiting) == (["a"], 2)
    tasks.append(asyncio.create_task(queue.go("x", 1, owner="you")))
    await asyncio.sleep(0)
    assert queue.order == ["a", "x"], "it need not wait, so it is not refused"
    queue.done.set()
    await asyncio.gather(*tasks)
    assert queue.order == ["a", "x", "b", "c"]


def test_tokens_of_a_minute():
    now = [0.0]
    spending = Spending(lambda: now[0])
    for at, tokens in ((0, 40), (10, 30), (20, 30)):
        now[0] = float(at)
        spending.check("me", 100)
        spending.add("me", tokens)
    with pytest.raises(Problem) as problem:
        spending.check("me", 100)
    assert (problem.value.fault.status, problem.value.after) == (429, 41)
    assert "Try again in 41 s" in str(problem.value)
    spending.check("me", 0)
    spending.check("another", 100)
    now[0] = 60.1
    spending.check("me", 100)
    assert spending.used("me") == 60
    now[0] = 100
    assert spending.used("me") == 0


async def test_limits_of_a_key():
    gate = asyncio.Semaphore(0)
    async with (
        running("openai_api", "instruct", model=Scripted("One two.", gate=gate)) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        words = f"sk-{secrets.token_urlsafe(32)}"
        key = Key(
            "phone", hashlib.sha256(words.encode()).hexdigest(), "generate", at_once=1, tokens=5
        )
        served.keyring.keep([key])
        body = {"messages": [{"role": "user", "content": "Hello?"}]}
        how: Any = {"json": body, "headers": {"authorization": f"Bearer {words}"}}
        address = f"{served.http}/v1/chat/completions"
        first = asyncio.create_task(web.post(address, **how))
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: len(programs.runs.live) == 1)
        second = await web.post(address, **how)
        assert (second.status_code, second.json()["error"]["code"]) == (429, "too_many_requests")
        for _ in range(9):
            gate.release()
        assert (await first).status_code == 200
        third = await web.post(address, **how)
        assert (third.status_code, third.json()["error"]["code"]) == (429, "tokens_per_minute")
        assert 50 < int(third.headers["retry-after"]) <= 61
        assert (await web.post(address, json=body)).status_code == 200, "others have theirs"


async def test_how_much_one_program_may_have_at_once_is_a_setting():
    model = Scripted("One two.", gate=asyncio.Semaphore(0), capabilities=("text", "batch"))
    settings = {"api_kit": {"at_once_each": 2}}
    async with (
        running("openai_api", "instruct", model=model, settings=settings) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        words = {name: f"sk-{secrets.token_urlsafe(32)}" for name in ("phone", "tavern")}
        hashes = {name: hashlib.sha256(each.encode()).hexdigest() for name, each in words.items()}
        phone = Key("phone", hashes["phone"], "generate")
        served.keyring.keep([phone, Key("tavern", hashes["tavern"], "generate", at_once=1)])
        [programs] = app.kernel.registry.values(PROGRAMS)
        live, under_way = programs.runs.live, list[asyncio.Task[httpx.Response]]()

        async def post(who: str, **more: Any) -> httpx.Response:
            body = {"messages": [{"role": "user", "content": "Hello?"}], **more}
            headers = {"authorization": f"Bearer {words[who]}"}
            return await web.post(f"{served.http}/v1/chat/completions", json=body, headers=headers)

        async def begin(who: str, count: int, **more: Any) -> None:
            under_way.append(asyncio.create_task(post(who, **more)))
            await app.until(lambda: len(model.asked) == count)

        async def refused(who: str) -> bool:
            answer = await post(who)
            return answer.status_code == 429 and "too_many_requests" in answer.text

        await begin("phone", 1)
        await begin("phone", 2)
        assert await refused("phone")
        await begin("tavern", 3)
        assert await refused("tavern"), "a key's own limit holds where it is less"
        await app.configure("api_kit", at_once_each=0)
        await begin("phone", 4)
        assert await refused("tavern")
        await app.configure("api_kit", at_once_each=2)
        assert model.gate
        for _ in range(12):
            model.gate.release()
        assert {(await each).status_code for each in under_way} == {200}
        under_way.clear()
        await begin("phone", 6, n=3)  # Two of the three replies, and the third waits.
        assert len(live) == 3
        assert len(model.asked) == 6
        for _ in range(9):
            model.gate.release()
        assert len((await under_way[0]).json()["choices"]) == 3


@pytest.mark.parametrize(
    ("able", "together", "room"),
    [(("text",), 0, 1), (("text", "batch"), 0, 16), (("text", "batch"), 3, 3)],
)
async def test_as_many_are_let_in_as_the_engine_writes_together(
    able: tuple[Capability, ...], together: int, room: int
):
    model = Scripted("Hi.", capabilities=able)
    model.info = structs.replace(model.info, together=together)
    async with running("openai_api", "instruct", model=model) as app:
        [programs] = app.kernel.registry.values(PROGRAMS)
        assert programs.runs.gate.room == room


async def test_a_request_for_several_replies_is_one_request():
    model = Scripted("One two.", gate=asyncio.Semaphore(0), capabilities=("text", "batch"))
    async with (
        running("openai_api", "instruct", model=model) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        words = f"sk-{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        served.keyring.keep([Key("phone", digest, "generate", at_once=1)])
        body = {"messages": [{"role": "user", "content": "Hello?"}]}
        headers = {"authorization": f"Bearer {words}"}
        address = f"{served.http}/v1/chat/completions"
        four = asyncio.create_task(web.post(address, json={**body, "n": 4}, headers=headers))
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: len(model.asked) == 1)
        refused = await web.post(address, json=body, headers=headers)
        assert (refused.status_code, len(programs.runs.live)) == (429, 4)
        assert model.gate
        for number in range(1, 5):  # A gate opens for each of two words, and for the end.
            assert len(model.asked) == number, "one at a time"
            for _ in range(3):
                model.gate.release()
            await app.until(lambda now=number: len(model.asked) > now or four.done())
        assert len((await four).json()["choices"]) == 4


async def test_where_nobody_may_wait_one_that_need_not_is_let_in():
    queue = Queue(longest=0)
    first = asyncio.create_task(queue.go("a", 1))
    await asyncio.sleep(0)
    assert queue.order == ["a"]
    with pytest.raises(Problem):
        await queue.go("b", 1)
    queue.done.set()
    await first
    await queue.go("c", 1)


def test_calls_are_told_in_parts_wherever_their_lines_are_cut():
    lines = [
        {"id": "call_1", "name": 'the "one"', "arguments": '{"a": "\\n\\\\", "b": "\u2028ü"}'},
        {"id": "call_2", "name": "two", "arguments": "{}"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for size in (1, 2, 3, 7, 50, 1000):
        heard, told = Calls(), list[dict[str, str]]()
        for at in range(0, len(text), size):
            for part in heard.hear(text[at : at + size]):
                if part.id:
                    told.append({"id": part.id, "name": part.name, "arguments": ""})
                told[-1]["arguments"] += part.arguments
        assert told == lines
        assert not heard.open
    heard = Calls()
    assert [part.id for part in heard.hear(text[:60])] == ["call_1"]
    assert heard.open, "the reply was cut off"


# --- replies --------------------------------------------------------------------------------


def test_no_program_writes_where_the_kit_keeps_what_was_asked():
    said = {"asked": 5, "persona": "me"}
    turn, _ = Wish(prompt="x", options=said).turn("me")
    assert turn.options == {"persona": "me"}
    turn, _ = Wish(prompt="x", options=said, asked=Asked(grammar="root ::= x")).turn("me")
    assert turn.options == {"persona": "me", "asked": {"grammar": "root ::= x"}}


@pytest.mark.parametrize("hold", [True, False])
async def test_a_modifier_that_fails_makes_who_only_appends_say_nothing_twice(hold: bool):
    async def fails(deltas: AsyncIterator[Delta], turn: Any) -> AsyncIterator[Delta]:
        count = 0
        async for delta in deltas:
            count += 1
            if count == 3:
                raise ValueError("It fails at the third word.")
            yield structs.replace(delta)

    async with running("api_kit", model=Scripted("One two three four.")) as app:
        app.kernel.registry.add(OUTPUT, fails, "test", phase=Phase.NORMAL, rank=0, rewrites=False)
        [programs] = app.kernel.registry.values(PROGRAMS)
        call = Asking("test", Caller("local"))
        async with programs.run(call, Wish(prompt="x"), hold=hold) as run:
            said = [(delta.text, delta.replace) async for delta in run]
        three = (" three", False) if hold else ("One two three", True)
        assert said == [("One", False), (" two", False), three, (" four.", False)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["One", " two", "=One two three", " four"], "One two three four"),
        (["Eins und", "=One, and two", " three"], "Eins und\n\nOne, and two three"),
        (["Eins zwei drei", "=One", "=One two", " three"], "Eins zwei drei\n\nOne two three"),
        (["Eins zwei", "=", "Eins ", "zwei ", "drei"], "Eins zwei drei"),
        (["Eins zwei", "=", "Eins ", "drei"], "Eins zwei\n\nEins drei"),
        (["One two", "=One"], "One two"),
        (["=One", " two"], "One two"),
    ],
)
def test_who_only_appends_loses_no_word_of_a_text_that_is_replaced(said: list[str], told: str):
    appended = Appended()
    deltas = [Delta(text.removeprefix("="), replace=text.startswith("=")) for text in said]
    assert "".join(appended.hear(delta) for delta in deltas) == told


async def test_a_modifier_that_made_it_longer_and_fails_costs_a_program_no_word():
    async def fails(deltas: AsyncIterator[Delta], turn: Any) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield structs.replace(delta, text=delta.text * 5)
            if "two" in delta.text:
                raise ValueError("It fails at the second word.")

    async with running("api_kit", model=Scripted("One two three four.")) as app:
        app.kernel.registry.add(OUTPUT, fails, "test", phase=Phase.NORMAL, rank=0, rewrites=False)
        [programs] = app.kernel.registry.values(PROGRAMS)
        call = Asking("test", Caller("local"))
        async with programs.run(call, Wish(prompt="x"), hold=True) as run:
            said = "".join([delta.text async for delta in run])
        assert said == f"{'One' * 5}{' two' * 5}\n\nOne two three four."


async def test_a_request_that_began_has_all_its_replies():
    async with (
        running("openai_api", "instruct", model=Scripted("One two.")) as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        words = f"sk-{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        served.keyring.keep([Key("phone", digest, "generate", tokens=25)])
        body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 2}
        headers = {"authorization": f"Bearer {words}"}
        address = f"{served.http}/v1/chat/completions"
        four = await web.post(address, json={**body, "n": 4}, headers=headers)
        assert len(four.json()["choices"]) == 4, "twelve tokens each, and all are told"
        assert (await web.post(address, json=body, headers=headers)).status_code == 429


# --- bodies and answers -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, str.encode])
def test_what_has_too_many_parts_is_not_read(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], Any]
):
    monkeypatch.setattr(reading, "PARTS", 10)
    monkeypatch.setattr(reading, "STRETCH", 8)
    assert reading.read(kind('[[], {}, "a, b", 1, 2]'), list[Any]) == [[], {}, "a, b", 1, 2]
    for many in (
        "[" + "[], " * 5 + "[]]",
        "[" + "7, " * 10 + "7]",
        json.dumps(dict.fromkeys("abcdefghijk")),
    ):
        with pytest.raises(Problem, match="more than 10 lists, objects and commas") as problem:
            reading.read(kind(many), Any)
        assert problem.value.fault.code == "too_many_parts"


def test_what_was_stopped_is_not_to_be_asked_again():
    assert unavailable("Try again.").fault.headers == {"retry-after": "1"}
    stopped = unavailable("It was stopped.", "cancelled").fault
    assert stopped.headers == {"x-should-retry": "false"}


async def test_who_does_not_even_take_a_sign_of_life_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Out, "QUIET", 0.01)
    monkeypatch.setattr(Out, "STALL", 0.01)
    sent = list[bytes]()

    async def send(message: Any) -> None:
        if len(sent) == 2:  # As where what is sent waits for a reader who takes nothing.
            await asyncio.Future()
        sent.append(message.get("body", b""))

    call = Call("test", {"type": "http", "headers": []}, nothing, send)

    async def answer() -> None:
        async with asyncio.timeout(10), call.stream() as out:
            await out.write(b"One")
            await asyncio.Future()  # The model reads.

    with pytest.raises(asyncio.CancelledError):
        await answer()
    assert sent == [b"", b"One"]


# --- who is cut off ---------------------------------------------------------------------------


TALK: dict[str, Any] = {
    "model": "x",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "?"}],
}
PATHS = {
    "openai_api": "/v1/chat/completions",
    "anthropic_api": "/v1/messages",
    "ollama_api": "/api/chat",
}


async def cut_off(
    end: Callable[[App, Served], Awaitable[Any]], **more: Any
) -> AsyncGenerator[tuple[str, httpx.Response]]:
    """What each API answers a request that is under way when something ends it."""
    gate = asyncio.Semaphore(1)
    settings = {"api_kit": {"at_once": 9}}
    model = Scripted("One two.", gate=gate)
    async with (
        running(*PATHS, "instruct", model=model, settings=settings) as app,
        serving(app, timeout_graceful_shutdown=0) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        words = f"sk-{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        served.keyring.keep([Key("phone", digest, "generate")])
        headers = {"authorization": f"Bearer {words}"}
        asked: dict[str, asyncio.Task[httpx.Response]] = {}
        for api, path in PATHS.items():
            post = web.post(served.http + path, json={**TALK, **more}, headers=headers)
            asked[api] = asyncio.create_task(post)
        gate.release()
        gate.release()
        [programs] = app.kernel.registry.values(PROGRAMS)
        await app.until(lambda: sum(bool(run.first) for run in programs.runs.live) == len(PATHS))
        await end(app, served)
        for api, task in asked.items():
            yield api, await task


async def stop(app: App, served: Served) -> None:
    served.server.end()


async def revoke(app: App, served: Served) -> None:
    served.keyring.keep([])
    assert app.kernel.access.door
    app.kernel.access.door.drop_keys()


async def switch_off(app: App, served: Served) -> None:
    for id in PATHS:
        await app.kernel.changes.toggle(id, on=False)


def message_of(api: str, said: str) -> str:
    error = json.loads(said)["error"]
    return str(error if api == "ollama_api" else error["message"])


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        (stop, 503, "Spindle is stopping."),
        (switch_off, 503, "This API was switched off"),
        (revoke, 401, "This key was revoked"),
    ],
)
async def test_who_is_cut_off_is_told_why_in_the_words_of_its_api(
    end: Callable[[App, Served], Awaitable[Any]],
    status: int,
    says: str,
    caplog: pytest.LogCaptureFixture,
):
    async for api, answer in cut_off(end, stream=False):
        assert answer.status_code == status, (api, answer.text)
        assert says in message_of(api, answer.text)
        assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    async for api, answer in cut_off(end, stream=True):
        last = answer.text.strip().splitlines()[-1].removeprefix("data: ")
        assert (answer.status_code, says in message_of(api, last)) == (200, True), (api, last)
    assert not [record for record in caplog.records if "ASGI" in record.getMessage()]


async def test_who_is_cut_off_and_takes_nothing_is_no_fault_of_its_api():
    gate, begun = asyncio.Semaphore(1), asyncio.Event()
    async with running("openai_api", "instruct", model=Scripted("One two.", gate=gate)) as app:
        [api] = app.kernel.registry.values(APIS)
        [at] = [each for each in api.routes() if each.path == PATHS["openai_api"]]
        sent = [{"type": "http.request", "body": json.dumps({**TALK, "stream": True}).encode()}]

        async def receive() -> Any:
            return sent.pop() if sent else await asyncio.Future()

        async def send(message: Any) -> None:
            if begun.is_set():  # As where what is sent waits for a reader who takes nothing.
                await asyncio.Future()
            begun.set()

        scope = {"type": "http", "method": "POST", "path": at.path, "headers": []}
        serving = asyncio.ensure_future(at.app(scope, receive, send))
        await begun.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


# --- calls that have to be ------------------------------------------------------------------

OFFERED = {"type": "function", "function": {"name": "now"}}
MUST: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"tools": [OFFERED], "tool_choice": "required"}),
    ("/v1/chat/completions", {"tools": [OFFERED], "tool_choice": "required",
                              "response_format": {"type": "json_object"}}),
    ("/v1/chat/completions", {"tools": [OFFERED],
                              "tool_choice": {"type": "function", "function": {"name": "now"}}}),
    ("/v1/messages", {"tools": [{"name": "now", "input_schema": {"type": "object"}}],
                      "max_tokens": 9, "tool_choice": {"type": "any"}}),
    ("/v1/responses", {"input": "?", "tools": [{"type": "function", "name": "now"}],
                       "tool_choice": "required"}),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_has_to_be_is_refused_where_nothing_sees_to_it(stream: bool):
    apis = ("openai_api", "anthropic_api", "websocket_api", "instruct")
    talk = {"messages": [{"role": "user", "content": "?"}], "stream": stream}
    able = ("text", "grammar", "tools")
    async with running(*apis, model=Scripted("It is late.", capabilities=able)) as app:

        async def ask(path: str, body: dict[str, Any]) -> Any:
            return await app.fetch(path, "POST", who="key", json={**talk, **body})

        for path, body in MUST:
            answer = await ask(path, body)
            assert answer.status == 400, (path, answer.text)
            assert "Switch on Tool calls in Settings" in answer.json()["error"]["message"]
        free = {"tools": [OFFERED], "tool_choice": "auto"}
        assert (await ask("/v1/chat/completions", free)).status == 200
        direct = {"tools": [OFFERED], "options": {"tool_choice": "required"}}
        if not stream:
            assert "Switch on Tool calls in Settings" in (await ask("/api/reply", direct)).text
        await app.toggle("tool_calls", on=True)
        for path, body in MUST:
            assert "Switch on Tool calls" not in (await ask(path, body)).text


# --- models by name -------------------------------------------------------------------------


class Shelved:
    """A model that is loaded, and requests that want others."""

    def __init__(self) -> None:
        self.holding = Holding(lambda call: nullcontext(Wait("It was cancelled.")))
        self.name, self.loads = "a", 0

    async def want(self, name: str) -> Call:
        call = Call("test", {"type": "http", "headers": []}, nothing, cast(Any, nothing))

        async def load() -> None:
            self.name, self.loads = name, self.loads + 1

        await self.holding.want(call, lambda: self.name == name, load)
        return call


async def test_another_model_comes_when_nobody_holds_the_one_there_is():
    shelved = Shelved()
    first, second = await shelved.want("a"), await shelved.want("a")
    another = asyncio.create_task(shelved.want("b"))
    async with shelved.holding.reply(first) as let_go, shelved.holding.reply(first):
        second.end()
        first.end()
        let_go()
        let_go()
        later = asyncio.create_task(shelved.want("a"))
        await asyncio.sleep(0)
        assert (another.done(), later.done()) == (False, False), "the second reply is not written"
    third = await another
    assert (shelved.name, later.done()) == ("b", False)
    third.end()
    (await later).end()
    assert (shelved.name, shelved.loads, shelved.holding.held) == ("a", 2, False)


async def test_who_names_no_model_comes_after_those_who_wait_for_one():
    shelved = Shelved()
    first = await shelved.want("a")
    another = asyncio.create_task(shelved.want("b"))
    await asyncio.sleep(0)

    async def reply() -> str:
        async with shelved.holding.reply(Asking("test", Caller("local"))):
            return shelved.name

    said = asyncio.create_task(reply())
    await asyncio.sleep(0)
    first.end()
    (await another).end()
    assert (await said, shelved.holding.held) == ("b", False)


async def test_who_goes_while_another_model_is_waited_for_leaves_no_trace():
    shelved = Shelved()
    first = await shelved.want("a")
    another = asyncio.create_task(shelved.want("b"))
    await asyncio.sleep(0)
    another.cancel()
    await asyncio.gather(another, return_exceptions=True)
    (await shelved.want("a")).end()
    first.end()
    assert (shelved.loads, shelved.holding.held, shelved.holding.waiting) == (0, False, False)


async def test_who_is_stopped_while_another_model_is_waited_for_leaves_no_trace():
    async with running("api_kit", model=Scripted("One two.")) as app:
        [programs] = app.kernel.registry.values(PROGRAMS)
        shelved = Shelved()
        shelved.holding = programs.holding
        first = await shelved.want("a")
        another = asyncio.create_task(shelved.want("b"))
        await asyncio.sleep(0)
        assert not programs.reply_of("key:of-another")
        [run] = programs.reply_of(first.caller.owner)
        run.cancel()
        with pytest.raises(Problem, match="It was cancelled while it waited for its model"):
            await another
        (await shelved.want("a")).end()
        first.end()
        assert (shelved.loads, shelved.holding.held, shelved.holding.waiting) == (0, False, False)


async def test_who_reads_slowly_holds_no_model():
    async with running("api_kit", model=Scripted("One two.")) as app:
        [programs] = app.kernel.registry.values(PROGRAMS)
        asking = Asking("test", Caller("local"))
        async with programs.run(asking, Wish(prompt="x")) as run:
            said = aiter(run)
            assert (await anext(said)).text == "One"
            await app.until(lambda: not programs.holding.held)
            assert (await anext(said)).text == " two."


async def why_not_begun(programs: Programs) -> tuple[str | None, int]:
    """Why a reply did not begin, and the cancels that its task was left with."""
    asking, task = Asking("test", Caller("local")), asyncio.current_task()
    with pytest.raises(Problem) as caught:
        async with programs.run(asking, Wish(prompt="x")):
            pass
    return caught.value.fault.code, task.cancelling() if task else 0


@asynccontextmanager
async def behind_another() -> AsyncGenerator[tuple[Shelved, Run, asyncio.Task[Any]]]:
    """A reply that waits for another model, which waits for the one that is held."""
    async with running("api_kit", model=Scripted("One two.")) as app:
        [programs] = app.kernel.registry.values(PROGRAMS)
        shelved = Shelved()
        shelved.holding = programs.holding
        first = await shelved.want("a")
        another = asyncio.create_task(shelved.want("b"))
        await app.until(lambda: programs.holding.waiting)
        waiting = asyncio.create_task(why_not_begun(programs))
        await app.until(lambda: len(programs.runs.live) == 2)
        _, run = programs.runs.live
        yield shelved, run, waiting
        first.end()
        (await another).end()


async def test_a_reply_that_waits_for_another_model_is_cancelled_like_any_other():
    async with behind_another() as (shelved, run, waiting):
        run.cancel()
        run.cancel()  # As who presses twice.
        assert await asyncio.wait_for(waiting, 5) == ("cancelled", 0)
    assert (shelved.name, shelved.holding.held) == ("b", False)


async def test_a_reply_that_is_cancelled_as_its_program_goes_keeps_no_task():
    async with behind_another() as (_, run, waiting):
        run.cancel()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
