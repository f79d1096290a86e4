"""A whole turn: five points and one instead of it, and an end that is always told."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from kernel.answer import Answer
from kernel.contract import Delta, Message, Refused, Request, Text, Turn
from kernel.guard import Guard, SwitchedOff, check, sendable
from kernel.points import Disposer, Entry, Phase, Point, Rewrites
from kernel.testing import App, Scripted, running
from kernel.turn import GENERATE, HISTORY, INPUT, MODES, OUTPUT, REQUEST, Draft, Past, whole_text


def add(app: App, point: Point, value: object, rewrites: Rewrites = False) -> Disposer:
    how: Any = {"phase": Phase.NORMAL, "rank": 0, "rewrites": rewrites}
    return app.kernel.registry.add(point, value, "test", **how)[1]


class Plain:
    """The simplest mode: history and the new messages."""

    id = label = "plain"

    async def request(self, turn: Turn, history: tuple[Message, ...]) -> Request:
        return Request(messages=(*history, *turn.messages), sampling=turn.sampling)


def said(role: str, text: str) -> Message:
    return Message(role, (Text(text),))  # type: ignore[arg-type]


TURN = Turn(messages=(said("user", "now"),), mode="plain")


async def test_every_point_has_its_say():
    async with running(model=Scripted("yes")) as app:
        model = app.kernel.slot().model

        async def input_(turn: Turn) -> Turn:
            return Turn(messages=(said("user", "changed"),), mode=turn.mode)

        async def history(past: Past) -> Past:
            assert past.turn.messages[0].text == "changed"
            return Past(past.messages[1:], past.turn)

        async def request(draft: Draft) -> Draft:
            messages = (said("system", "be brief"), *(draft.request.messages or ()))
            return Draft(Request(messages=messages), draft.turn)

        async def shout(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
            async for delta in deltas:
                yield Delta(delta.text.upper())

        add(app, MODES, Plain())
        for point, value in ((INPUT, input_), (HISTORY, history), (REQUEST, request)):
            add(app, point, value)
        add(app, OUTPUT, shout)
        reply = app.run(TURN, [said("user", "old"), said("assistant", "kept")])
        assert [delta.text async for delta in reply] == ["YES"]
        assert (reply.raw, reply.text, reply.model) == ("yes", "YES", "scripted")
        asked = model.asked[0].messages  # type: ignore[union-attr]
        assert [m.text for m in asked] == ["be brief", "kept", "changed"]


async def test_a_modifier_does_not_change_who_asks_and_that_nothing_is_kept():
    """One that makes a new turn, as many would, does not know of all that stands in it."""
    async with running(model=Scripted("yes")) as app:
        seen: list[Turn] = []

        async def anew(turn: Turn) -> Turn:
            return Turn(prompt="better", conversation_id="another")

        async def look(turn: Turn) -> Turn:
            seen.append(turn)
            return turn

        async def past(past: Past) -> Past:
            seen.append(past.turn)
            return Past((), Turn(prompt="better"))

        async def draft(draft: Draft) -> Draft:
            assert draft.request.incognito
            seen.append(draft.turn)
            return Draft(Request(prompt="better"), Turn(prompt="better"))

        add(app, INPUT, anew)
        add(app, INPUT, look)
        for _ in range(2):
            add(app, HISTORY, past)
            add(app, REQUEST, draft)
        whose = {"principal": "page", "client": "1", "conversation_id": "c", "incognito": True}
        reply = app.run(Turn(prompt="good", **whose))
        assert [d.text async for d in reply] == ["yes"]
        assert seen == [reply.turn] * 5
        assert reply.turn == Turn(prompt="better", **whose)
        model = app.kernel.slot().model
        assert isinstance(model, Scripted)
        assert model.asked[0].incognito


async def test_modifiers_of_a_reply_are_those_of_its_beginning_that_are_left():
    async with running(model=Scripted("yes")) as app:
        asked, go = asyncio.Event(), asyncio.Event()

        async def wait(turn: Turn) -> Turn:
            asked.set()
            await go.wait()
            return structs.replace(turn, begun="seen")

        def adds(what: str) -> Any:
            async def modify(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
                yield Delta(f"{what} {turn.begun} ")
                async for delta in deltas:
                    yield delta

            return modify

        add(app, INPUT, wait)
        goes = add(app, OUTPUT, adds("gone"))
        add(app, OUTPUT, adds("left"))
        reply = asyncio.create_task(app.say("Hello"))
        await asked.wait()
        goes()
        add(app, OUTPUT, adds("late"))
        go.set()
        assert await reply == "left seen yes"


@pytest.mark.parametrize("where", [INPUT, HISTORY, REQUEST])
async def test_what_a_modifier_keeps_secret_stays_so(where: Point[Any]):
    async with running(model=Scripted("yes")) as app:

        async def secret(value: Any) -> Any:
            if isinstance(value, Turn):
                return structs.replace(value, incognito=True)
            return structs.replace(value, turn=structs.replace(value.turn, incognito=True))

        async def anew(value: Any) -> Any:
            if isinstance(value, Turn):
                return Turn(prompt="x")
            if isinstance(value, Past):
                return Past((), Turn(prompt="x"))
            return Draft(Request(prompt="x"), Turn(prompt="x"))

        add(app, where, secret)
        for point in (INPUT, HISTORY, REQUEST):
            add(app, point, anew)
        reply = app.run(Turn(prompt="x"))
        assert [d.text async for d in reply] == ["yes"]
        model = app.kernel.slot().model
        assert isinstance(model, Scripted)
        assert model.asked[0].incognito
        assert reply.turn.incognito


async def test_what_a_model_cannot_do_is_refused_by_the_names_of_both():
    """Whatever its engine, which may be a stranger's, would make of it."""
    async with running(model=Scripted("yes", capabilities=("text", "grammar"))) as app:
        slot, model = app.kernel.slot(), app.kernel.slot().model
        assert isinstance(model, Scripted)
        wish = Request(prompt="x", grammar="root ::= [a]", logprobs=3, tools=({"name": "t"},))
        with pytest.raises(Refused, match="scripted in scripted cannot do this: logprobs, tools"):
            await slot.generate(wish)
        assert not model.asked
        await slot.generate(Request(prompt="x", grammar="root ::= [a]"))
        assert len(model.asked) == 1


async def test_what_can_instead_is_named_where_it_can_all_of_that():
    ways = {"tools": "The big one can.", "logprobs": "The big one can.", "lora": "The old one can."}
    async with running(model=Scripted()) as app:
        slot, model = app.kernel.slot(), app.kernel.slot().model
        assert model
        model.info = structs.replace(model.info, instead=ways)
        both = Request(prompt="x", logprobs=3, tools=({"name": "t"},))
        with pytest.raises(Refused, match=r"logprobs, tools\. Leave it out\. The big one can\.$"):
            await slot.generate(both)
        for more in ({"adapters": (("a", 1.0),)}, {"grammar": "root ::= [a]"}):
            with pytest.raises(Refused, match=r"or load the model with another loader\.$"):
                await slot.generate(structs.replace(both, **more))


async def test_the_inspector_sees_each_change():
    async with running(model=Scripted("yes")) as app:

        async def input_(turn: Turn) -> Turn:
            return Turn(prompt="better")

        async def louder(text: str) -> str:
            return text + "!"

        add(app, INPUT, input_)

        def aside(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
            return deltas

        add(app, OUTPUT, aside)
        add(app, OUTPUT, whole_text(louder), rewrites=True)
        add(app, OUTPUT, aside)
        from kernel.reply import Reply  # noqa: PLC0415  the recording form is not on App

        reply = Reply(app.kernel, Turn(prompt="good"), (), record=True)
        assert reply.rewritten
        assert [d async for d in reply][-1].replace
        steps = [(s.point, s.before, s.after) for s in reply.steps or ()]
        assert steps == [
            ("input", Turn(prompt="good"), Turn(prompt="better")),
            ("output", "yes", "yes"),
            ("output", "yes", "yes!"),
            ("output", "yes!", "yes!"),
        ]


async def test_generate_answers_in_the_engines_place():
    async with running() as app:

        async def words() -> AsyncIterator[Delta]:
            yield Delta("no engine")

        async def generate(draft: Draft) -> AsyncIterator[Delta] | None:
            return words() if draft.request.prompt == "mine" else None

        add(app, GENERATE, generate)
        reply = app.run(Turn(prompt="mine"))
        assert [d.text async for d in reply] == ["no engine"]
        assert reply.finish
        assert reply.finish.reason == "stop"
        other = app.run(Turn(prompt="other"))
        assert [d async for d in other] == []
        assert other.finish
        assert "Choose one in the status line" in other.finish.error


async def test_a_mode_that_is_off_is_named():
    async with running(model=Scripted("yes")) as app:
        reply = app.run(TURN)
        assert [d async for d in reply] == []
        assert reply.finish
        assert "'plain' is not running" in reply.finish.error


async def test_cancel_keeps_what_was_said():
    gate = asyncio.Semaphore(1)
    async with running(model=Scripted("one two three", gate=gate)) as app:
        reply = app.run(Turn(prompt="x"))
        async for _ in reply:
            reply.cancel()
        assert reply.text == "one"
        assert reply.finish
        assert reply.finish.reason == "cancelled"


async def test_a_reader_who_leaves_frees_the_engine():
    gate = asyncio.Semaphore(1)
    async with running(model=Scripted("one two three", gate=gate)) as app:
        reply = app.run(Turn(prompt="x"))
        stream = aiter(reply)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert reply.finish
        assert reply.finish.reason == "cancelled"


async def test_an_engine_that_dies_midway_keeps_the_text_and_says_why():
    gate = asyncio.Semaphore(1)
    model = Scripted("one two", gate=gate)
    async with running(model=model) as app:
        reply = app.run(Turn(prompt="x"))
        async for _ in reply:
            model.die("The engine was killed by signal 9.")
        assert reply.text == "one"
        assert reply.finish
        assert reply.finish.error == "The engine was killed by signal 9."
        await app.kernel.slot().wait()


async def test_a_model_unloaded_midway_says_so():
    gate = asyncio.Semaphore(1)
    async with running(model=Scripted("one two", gate=gate)) as app:
        reply = app.run(Turn(prompt="x"))
        async for _ in reply:
            await app.kernel.slot().unload("The model was unloaded.")
        assert reply.finish
        assert reply.finish.error == "The model was unloaded."


@pytest.mark.parametrize("answer", [None, 3, "turn"])
async def test_an_input_modifier_that_answers_nonsense_is_passed_by(answer: object):
    async with running(model=Scripted("yes")) as app:

        async def nonsense(turn: Turn) -> object:
            return answer

        add(app, INPUT, nonsense)
        assert [d.text async for d in app.run(Turn(prompt="x"))] == ["yes"]
        assert "expected Turn" in app.kernel.trouble["test"][0]


async def test_strict_raises_instead(tmp_path: Path):
    async with running(model=Scripted("yes"), strict=True) as app:

        async def broken(turn: Turn) -> Turn:
            raise ZeroDivisionError("on purpose")

        add(app, INPUT, broken)
        reply = app.run(Turn(prompt="x"))
        assert [d async for d in reply] == []
        assert reply.finish
        assert "on purpose" in reply.finish.error


async def test_stop_cuts_what_a_slow_modifier_still_holds():
    async with running(model=Scripted("one two three")) as app:
        held = asyncio.Semaphore(1)

        async def slow(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
            async for delta in deltas:
                await held.acquire()
                yield delta

        add(app, OUTPUT, slow)
        reply = app.run(Turn(prompt="x"))
        async for _ in reply:
            reply.cancel()
        assert reply.text == "one"
        assert reply.finish
        assert reply.finish.reason == "cancelled"


@pytest.mark.parametrize("stops", [1, 2])
async def test_stops_end_a_reply_that_takes_a_while_to_end(stops: int):
    """An answer that closes a connection; a second stop may not end that end."""
    async with running(model=Scripted()) as app:
        closing, told = asyncio.Event(), list[str]()

        async def words() -> AsyncIterator[Delta]:
            try:
                for _ in range(10_000):
                    yield Delta("word ")
                    await asyncio.sleep(0)
            finally:
                closing.set()
                await asyncio.sleep(0.02)

        async def generate(draft: Draft) -> AsyncIterator[Delta]:
            return words()

        add(app, GENERATE, generate)
        reply = app.run(Turn(prompt="x"))
        reply.written = lambda: told.append("written")

        async def read() -> None:
            async for _ in reply:
                reply.cancel()

        reading = asyncio.create_task(read())
        await closing.wait()
        for _ in range(stops - 1):
            reply.cancel()
        async with asyncio.timeout(5):
            await reading
        assert told == ["written"]
        assert reply.finish
        assert reply.finish.reason == "cancelled"


async def test_a_stop_while_a_wrong_answer_closes_ends_the_reply():
    async with running(model=Scripted()) as app:
        closing, ended = asyncio.Event(), asyncio.Event()

        async def words() -> AsyncIterator[Any]:
            try:
                yield Delta("word ")
                yield "nonsense"
            finally:
                closing.set()
                await ended.wait()

        async def generate(draft: Draft) -> AsyncIterator[Delta]:
            return words()

        add(app, GENERATE, generate)
        reply, told = app.run(Turn(prompt="x")), list[str]()
        reply.written = lambda: told.append("written")

        async def read() -> None:
            async for _ in reply:
                pass

        reading = asyncio.create_task(read())
        await closing.wait()
        reply.cancel()
        async with asyncio.timeout(5):
            await reading
        ended.set()
        assert told == ["written"]


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_an_answer_that_was_none_takes_no_part_any_more(how: str):
    async with running(model=Scripted("one two three", gate=(gate := asyncio.Semaphore(1)))) as app:
        app.kernel.guard.silence = 0.05
        ended = list[str]()

        async def words() -> AsyncIterator[Delta]:
            try:
                await asyncio.sleep(60 if how == "hangs" else 0)
                raise RuntimeError("no")
                yield Delta("never")
            finally:
                ended.append(how)

        async def generate(draft: Draft) -> AsyncIterator[Delta]:
            return words()

        taken = add(app, GENERATE, generate)
        [entry] = app.kernel.registry.entries(GENERATE)
        reply, said = app.run(Turn(prompt="x")), list[str]()
        async for delta in reply:
            said.append(delta.text)
            assert ended == [how]
            assert not entry.leases, "its extension may be switched off"
            gate.release()
        taken()
        assert said == ["one", " two", " three"]
        assert reply.finish
        assert reply.finish.reason == "stop"


async def test_whether_words_may_change_is_known_before_the_first_of_them():
    """By the turn as it was asked: a stream that was promised to be append-only stays so."""
    async with running(model=Scripted("yes")) as app:

        async def polish(turn: Turn) -> Turn:
            return structs.replace(turn, options={"polish": True})

        async def better(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
            async for delta in deltas:
                yield delta
            if turn.options.get("polish"):
                yield Delta("BETTER", replace=True)

        def wanted(turn: Turn) -> bool:
            return bool(turn.options.get("polish"))

        add(app, INPUT, polish)
        add(app, OUTPUT, better, rewrites=wanted)
        for options, told in (({}, ["yes"]), ({"polish": True}, ["yes", "BETTER"])):
            reply = app.run(Turn(prompt="x", options=options))
            assert reply.rewritten == bool(options)
            assert [delta.text async for delta in reply][: len(told)] == told
            assert reply.text == told[-1]
            assert reply.rewritten == bool(options), "whatever became of the turn"


async def test_a_modifier_that_exits_when_it_is_called_ends_no_server():
    async with running(model=Scripted("yes")) as app:

        def leave(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
            sys.exit(3)

        def asked(turn: Turn) -> bool:
            sys.exit(3)

        add(app, OUTPUT, leave, rewrites=asked)
        reply = app.run(Turn(prompt="x"))
        assert reply.rewritten
        assert [delta.text async for delta in reply][-1] == "yes"
        assert "called sys.exit" in str(app.kernel.trouble)


@pytest.mark.parametrize("point", [INPUT, HISTORY, REQUEST])
async def test_what_is_secret_stays_so_when_it_is_stopped_at_once(point: Point[Any]):
    async with running(model=Scripted("yes")) as app:
        asked = asyncio.Event()

        async def secret(value: Any) -> Any:
            if isinstance(value, Draft):
                request = structs.replace(value.request, incognito=True)
                return structs.replace(value, request=request)
            if isinstance(value, Past):
                return structs.replace(value, turn=structs.replace(value.turn, incognito=True))
            return structs.replace(value, incognito=True)

        async def slow(value: Any) -> Any:
            asked.set()
            await asyncio.sleep(60)

        add(app, point, secret)
        add(app, point, slow)
        reply = app.run(Turn(prompt="x"))

        async def read() -> None:
            assert [delta async for delta in reply] == []

        reading = asyncio.create_task(read())
        await asked.wait()
        reply.cancel()
        await reading
        assert reply.turn.incognito


async def test_a_reply_that_was_stopped_before_it_began_asks_no_engine():
    async with running(model=Scripted("never")) as app:
        reply = app.run(Turn(prompt="x"))
        reply.cancel()
        assert [delta async for delta in reply] == []
        assert reply.finish
        assert reply.finish.reason == "cancelled"
        model: Any = app.kernel.slot().model
        assert model.asked == []


async def test_an_engine_that_was_asked_in_the_moment_of_the_stop_is_told_too():
    async with running(model=Scripted("word " * 9, gate=asyncio.Semaphore(0))) as app:
        model: Any = app.kernel.slot().model
        begun = list[Any]()
        generate = model.generate

        def noting(request: Request) -> Any:
            begun.append(generate(request))
            return begun[-1]

        model.generate = noting

        async def last_moment(draft: Draft) -> Draft:
            asyncio.get_running_loop().call_soon(reply.cancel)
            return draft

        add(app, REQUEST, last_moment)
        reply = app.run(Turn(prompt="x"))
        assert [delta async for delta in reply] == []
        assert len(begun) == 1, "the stop came too late for the question"
        assert begun[0]._stopped.is_set(), "but the engine heard of it"


async def test_an_answer_that_is_left_before_its_first_step_holds_up_nobody():
    async def words() -> AsyncIterator[Delta]:
        yield Delta("x")

    entry = Entry(Phase.NORMAL, 0, 0, "bad", words)
    answer = Answer(Guard(lambda failure: None), entry, words(), "Bad")
    for lease in tuple(entry.leases):
        lease.leave()
    async with asyncio.timeout(5):
        with pytest.raises(SwitchedOff, match="Bad was switched off"):
            await answer.begins()
    assert not entry.leases


def large(megabytes: float, more: int = 0) -> tuple[Message, ...]:
    return (Message("user", (Text("x" * (int(megabytes * (1 << 20)) + more)),)),)


@pytest.mark.parametrize(
    ("turn", "history"), [(0.1, 59.5), (29.9, 0), (20, 19.5)], ids=["history", "turn", "both"]
)
def test_what_is_taken_can_be_handed_on_with_what_modifiers_add(turn: float, history: float):
    said, past = Turn(messages=large(turn)), large(history)
    sendable(said, past)
    added = Message("system", (Text("y" * (3 << 20)),))
    check(Draft(Request(messages=(*past, added, *said.messages)), said), Draft)
    check(Past((*past, added), said), Past)


@pytest.mark.parametrize(("turn", "history"), [(0.1, 60), (30.1, 0), (20, 20.5)])
def test_what_cannot_be_is_refused_to_who_sent_it(turn: float, history: float):
    with pytest.raises(Refused, match="too large"):
        sendable(Turn(messages=large(turn)), large(history))
