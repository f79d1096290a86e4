"""What programs hear besides their replies, and what they may do: by their rights."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from extensions.api_kit.api import Caller
from kernel.api import Action, Disconnected, Meta, Point, Refused, SlotChanged, Struct, __version__
from kernel.testing import Scripted, running
from tests.sockets import Served, hear, serving, tell, until

from .events import FAILED, MOST, Subscription
from .test_turns import limited

ASK = {"messages": [{"role": "user", "content": "Hello?"}]}
NAMES = ("extensions", "generated", "jobs", "model", "replies")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    model = Scripted("One two.")
    async with (
        running("websocket_api", "instruct", "settings", model=model) as app,
        serving(app) as served,
    ):
        yield served


def owner(served: Served) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {served.key}"}}


async def subscribe(program: ClientConnection, *names: str) -> None:
    await tell(program, type="subscribe", events=names)
    answer = await hear(program)
    assert answer == {"type": "subscribed", "events": sorted(names)}, answer


async def news(program: ClientConnection, name: str) -> Any:
    """The data of the next event of this name."""
    while True:
        event = (await until(program, "event"))[-1]
        if event["name"] == name:
            return event["data"]


# --- hello --------------------------------------------------------------------------------------


async def test_hello_tells_the_version_and_the_rights(served: Served):
    for how, rights in (({}, "generate"), (owner(served), "admin")):
        async with served.connect(**how) as program:
            await tell(program, type="hello")
            said = {"type": "hello", "version": 1, "server": __version__, "rights": rights}
            assert await hear(program) == said
            await tell(program, type="hello", version=2)
            assert (await hear(program))["error"]["param"] == "version"
            await tell(program, type="hello", key=served.key)
            assert (await hear(program))["error"]["code"] == "key_too_late"
            await tell(program, type="act", id="a", action="settings.nothing")
            assert ((await hear(program))["error"]["code"] == "admin_key_needed") == (not how)


async def test_a12_the_first_frame_brings_a_key_as_the_handshake_does(served: Served):
    """For who is known already, as for who is not."""
    served.app.kernel.settings.update({"require_key": True}, "api")
    for need in (True, False):
        async with served.connect() as program:
            await tell(program, type="hello", key=served.key)
            assert (await hear(program))["rights"] == "admin"
            await tell(program, type="act", id="a", action="settings.nothing")
            assert (await hear(program))["error"]["code"] == "action_refused"
        async with served.connect() as program:
            await tell(program, type="hello", key="sk-unknown")
            if need:
                with pytest.raises(ConnectionClosed, match=r"1008.*not known here"):
                    await hear(program)
            else:
                assert (await hear(program))["error"]["code"] == "invalid_api_key"
                await tell(program, type="hello")
                assert (await hear(program))["rights"] == "generate"
        served.app.kernel.settings.update({"require_key": False}, "api")


# --- news ---------------------------------------------------------------------------------------


async def test_who_subscribes_hears_how_things_stand_and_what_changes(served: Served):
    slot = served.app.kernel.slot()
    async with served.connect() as program:
        await subscribe(program, "model")
        stands = await news(program, "model")
        assert (stands["state"], stands["name"], stands["slot"]) == ("ready", "scripted", "chat")
        assert stands["context_length"] == 4096
        await slot.unload()
        assert (await news(program, "model"))["state"] == "empty"
        await tell(program, type="unsubscribe", events=["model"])
        assert await hear(program) == {"type": "subscribed", "events": []}
        await slot.load(Path("m"), "scripted")
        await tell(program, type="hello")
        assert (await hear(program))["type"] == "hello", "and nothing of the model before it"


async def test_why_a_model_failed_is_its_owners_to_know(served: Served):
    async with served.connect(**owner(served)) as admin, served.connect() as program:
        for each in (admin, program):
            await subscribe(each, "model")
            await news(each, "model")
        served.app.kernel.bus.emit(
            SlotChanged("chat", "failed", "/home/me/m.gguf", note="/n", error="No /home/me/m.gguf.")
        )
        told, less = await news(admin, "model"), await news(program, "model")
    assert (told["error"], told["note"]) == ("No /home/me/m.gguf.", "/n")
    assert "/" not in str(less)
    assert (less["name"], less["error"]) == ("m.gguf", FAILED)


async def test_jobs_are_told_from_where_they_are(served: Served):
    gate = asyncio.Event()

    async def work(job: Any) -> None:
        job.report(0.5, "Half way")
        await gate.wait()

    job = served.app.extension("settings").job("Fetch it", work)
    await served.app.until(lambda: job.progress.fraction == 0.5)
    async with served.connect(**owner(served)) as program:
        await subscribe(program, "jobs")
        said = await news(program, "jobs")
        while said["fraction"] != 0.5:
            said = await news(program, "jobs")
        assert (said["title"], said["state"], said["note"]) == ("Fetch it", "running", "Half way")
        gate.set()
        assert (await news(program, "jobs"))["state"] == "done"
    async with served.connect(**owner(served)) as program:
        await subscribe(program, "jobs")
        await tell(program, type="hello")
        assert (await hear(program))["type"] == "hello", "what is done is not told again"


async def test_replies_are_told_to_their_owner_and_to_who_may_do_everything(served: Served):
    phone = {"additional_headers": limited(served)}
    async with (
        served.connect(**owner(served)) as admin,
        served.connect(**phone) as mine,
        served.connect() as other,
    ):
        for program in (admin, mine, other):
            await subscribe(program, "replies")
        await tell(mine, type="start", id="a", **ASK)
        said = await news(mine, "replies")
        assert (said["api"], said["state"], said["model"]) == ("websocket_api", "done", "scripted")
        assert (said["prompt"], said["completion"]) == (10, 2)
        assert 0 <= said["waited"] <= said["first"] <= said["seconds"]
        assert await news(admin, "replies") == said
        await tell(other, type="hello")
        assert (await hear(other))["type"] == "hello", "a stranger's reply is not told of"


async def test_what_the_engine_wrote_and_which_extensions_run(served: Served):
    async with served.connect(**owner(served)) as program:
        await subscribe(program, *NAMES)
        await tell(program, type="start", id="a", **ASK)
        said = await news(program, "generated")
        assert (said["slot"], said["reason"], said["completion"]) == ("chat", "stop", 2)
        await served.app.kernel.changes.toggle("settings", on=False)
        states = list[str]()
        while "off" not in states:
            said = await news(program, "extensions")
            assert said["id"] == "settings"
            states.append(said["status"])


@pytest.mark.parametrize("name", ["jobs", "generated", "extensions"])
async def test_a_key_for_replies_hears_nothing_of_its_owner(served: Served, name: str):
    async with served.connect(additional_headers=limited(served)) as program:
        await tell(program, type="subscribe", events=["model", name])
        error = (await hear(program))["error"]
        assert (error["type"], error["param"]) == ("permission_error", "events")
        assert error["code"] == "admin_key_needed"
        await tell(program, type="hello")
        assert (await hear(program))["type"] == "hello", "nothing was subscribed to"


@pytest.mark.parametrize("events", [[], ["all"], "model", None, ["model"] * 17, [1]])
async def test_what_cannot_be_subscribed_to_is_named(served: Served, events: Any):
    async with served.connect() as program:
        await tell(program, type="subscribe", events=events)
        error = (await hear(program))["error"]
        assert (error["param"] or "").startswith("events")
        assert error["type"] == "invalid_request_error"


def test_a_slow_program_loses_what_is_old_and_never_grows():
    woken = list[int]()
    mine = Subscription(Caller("key", "k", admin=True), lambda: woken.append(1))
    for number in range(1000):
        mine.put("job", b"%d" % number)
        mine.put(number, b"x%d" % number)
    taken = mine.take()
    assert (len(taken), len(woken)) == (MOST, 2000)
    assert taken[-2:] == [b"999", b"x999"], "the newest of a key, in the order they came"
    assert not mine.take()


async def test_who_has_gone_is_told_nothing(served: Served):
    async with served.connect() as program:
        await subscribe(program, "model")
        handle: Any = served.app.extension("websocket_api")
        [events] = [
            listener.__self__
            for entry in handle._entries
            if (listener := entry.value) and type(getattr(listener, "__self__", 0)).__name__
            == "Events" and listener.__name__ == "_slot"
        ]  # fmt: skip
        assert len(events.all) == 1
    await served.app.until(lambda: not events.all)


# --- actions ------------------------------------------------------------------------------------


class Look(Struct, frozen=True):
    """The section of the settings that an action changes."""

    theme: str = "system"


class Lift(Action, frozen=True):
    """Lift something."""

    what: str
    times: Annotated[int, Meta(ge=1, le=5)] = 1


class Lifting:
    """Carries it out; keeps who asked."""

    def __init__(self, served: Served) -> None:
        self.asked: list[tuple[Lift, Any]] = []
        self.gate = asyncio.Event()
        self._hub = served.app.kernel.hub
        served.app.extension("settings").on(Lift)(self.lift)

    async def lift(self, action: Lift, client: Any) -> Lift | None:
        self.asked.append((action, client))
        match action.what:
            case "stone":
                raise Refused("It is too heavy. Take a smaller one.")
            case "glass":
                self._hub.tell("It broke. Take another.", client, "error")
            case "bug":
                raise ValueError("a mistake")
            case "slow":
                await self.gate.wait()
            case "mirror":
                return action
            case _:
                self._hub.tell("Lifted.", client, "note")


async def act(program: ClientConnection, **frame: Any) -> dict[str, Any]:
    await tell(program, **{"type": "act", "id": "x", "action": "settings.lift", **frame})
    return (await until(program, "acted", "error"))[-1]


async def test_a_program_with_all_rights_does_what_a_page_does(served: Served):
    lifting = Lifting(served)
    async with served.connect(**owner(served)) as program:
        answer = await act(program, fields={"what": "it", "times": "3", "id": 7}, path="/chat/c1")
        assert answer == {"type": "acted", "id": "x", "notes": ["Lifted."]}
        answer = await act(program, fields={"what": "mirror", "times": 2})
        assert answer == {"type": "acted", "id": "x", "result": {"what": "mirror", "times": 2}}
        lifting.asked.pop()
        [(action, client)] = lifting.asked
        assert action == Lift(what="it", times=3), "fields are read as those of a form"
        assert (client.tab, client.subject, client.near) == ("chat", "c1", True)
        assert client not in served.app.kernel.hub.clients


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"fields": {"what": "stone"}}, "It is too heavy. Take a smaller one."),
        ({"fields": {"what": "glass"}}, "It broke. Take another."),
        ({"fields": {"what": "bug"}}, "failed: ValueError: a mistake"),
        ({"fields": {"what": "it", "times": 9}}, "5"),
        ({"fields": {}}, "what"),
        ({"action": "test.none"}, "is switched off"),
        ({"fields": {"what": "it", "action": "test.none"}}, ""),
    ],
)
async def test_what_went_wrong_is_said(served: Served, frame: dict[str, Any], says: str):
    Lifting(served)
    async with served.connect(**owner(served)) as program:
        answer = await act(program, **frame)
        if not says:
            assert answer["type"] == "acted", "fields cannot name another action"
            return
        assert (answer["stream"], answer["seq"]) == ("x", 0)
        error = answer["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "action_refused")
        assert says in error["message"]


async def test_who_has_not_all_rights_does_nothing_whatever_the_action(served: Served):
    lifting = Lifting(served)
    actions: Point[Any] = Point("actions")
    names = [each.name for each in served.app.kernel.registry.values(actions)]
    assert {"settings.lift", "settings.toggle"} < {*names}
    for how in ({}, {"additional_headers": limited(served)}):
        async with served.connect(**how) as program:
            for name in (*names, "none.such"):
                error = (await act(program, action=name, fields={"what": "it"}))["error"]
                assert error["type"] == "permission_error", name
                assert error["code"] == "admin_key_needed"
                await tell(program, type="start", id=f"r-{name}", **ASK)
                await until(program, "done")
    assert not lifting.asked


async def test_whoever_acted_for_a_program_leaves_and_nothing_is_kept_of_it(served: Served):
    lifting = Lifting(served)
    left, _ = served.app.kernel.bus.open(Disconnected)
    async with served.connect(**owner(served)) as program:
        for what in ("it", "stone", "bug"):
            await act(program, fields={"what": what})
            assert left.get_nowait().client is lifting.asked[-1][1]


async def test_slow_actions_are_bounded_and_hold_up_nobody(served: Served):
    lifting = Lifting(served)
    async with served.connect(**owner(served)) as program:
        for number in range(16):
            frame = {"id": str(number), "action": "settings.lift", "fields": {"what": "slow"}}
            await tell(program, type="act", **frame)
        error = await act(program, fields={"what": "it"})
        assert (error["error"]["code"], error["retry_after"]) == ("too_many_actions", 1)
        lifting.gate.set()
        ids = {(await until(program, "acted"))[-1]["id"] for _ in range(16)}
        assert ids == {str(number) for number in range(16)}
        assert (await act(program, fields={"what": "it"}))["type"] == "acted"


async def test_an_action_of_an_extension_changes_what_a_page_changes(served: Served):
    theme = lambda: served.app.kernel.settings.section("appearance", Look).theme  # noqa: E731
    assert theme() == "system"
    async with served.connect(**owner(served)) as program:
        answer = await act(program, action="settings.appearance", fields={"theme": "dark"})
        assert (answer["type"], theme()) == ("acted", "dark")
        answer = await act(program, action="settings.appearance", fields={"theme": "loud"})
        assert (answer["type"], theme()) == ("error", "dark")
