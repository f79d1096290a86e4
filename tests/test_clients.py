"""Pages: actions in, fragments out, and no page slows another."""

import asyncio
import re
from collections.abc import MutableMapping
from time import time
from typing import Any

import pytest
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from kernel import clients
from kernel.acting import ACTIONS, Action, Handler, wire_name
from kernel.clients import Client, Conversation, Everyone, Refused
from kernel.outbox import PORTION, Fragment, Outbox, portions
from kernel.points import Phase
from kernel.testing import App, running
from tests.sockets import serving


class Speak(Action, frozen=True):
    """Say something."""

    text: str
    times: int = 1


def handle(app: App, function: object) -> None:
    handler = Handler(wire_name("test", Speak), Speak, function)  # type: ignore[arg-type]
    app.kernel.registry.add(ACTIONS, handler, "test", phase=Phase.NORMAL, rank=0, rewrites=False)


async def test_an_action_is_converted_and_carried_out():
    async with running() as app:
        heard: list[Speak] = []

        async def speak(action: Speak, client: Client) -> None:
            heard.append(action)

        handle(app, speak)
        page = app.page()
        await page.act("test.speak", text="hi", times="3", headers={"HX-Request": "true"})
        assert heard == [Speak(text="hi", times=3)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"action": "test.speak", "text": "x", "times": "many"}, "whole number"),
        ({"action": "test.speak"}, "text"),
        ({"action": "gone.speak"}, "&#39;gone&#39; is switched off"),
        ({}, "switched off"),
    ],
    ids=str,
)
async def test_a_bad_action_gets_a_sentence(values: dict[str, object], sentence: str):
    async with running() as app:

        async def speak(action: Speak, client: Client) -> None: ...

        handle(app, speak)
        page = app.page()
        await page.act(values.pop("action", ""), **values)  # type: ignore[arg-type]
        await page.until(re.escape(sentence))


async def test_garbage_is_answered_not_raised():
    async with running() as app:
        page = app.page()
        app.kernel.hub.receive(page.client, "\x00not json")
        assert "Reload it" in await page.until("Reload it")


async def test_a_page_that_leaves_while_it_is_drawn_is_let_go():
    async with running() as app:
        hub, drawn = app.kernel.hub, asyncio.Event()

        async def snapshot(client: Client) -> None:
            client.outbox.put("x", "hi")
            drawn.set()
            await asyncio.Event().wait()  # as an engine that is asked and says nothing

        hub.snapshot = snapshot

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] != "websocket.accept":
                raise OSError("gone")

        scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}
        await asyncio.wait_for(hub.serve(WebSocket(scope, receive, send), "page"), 10)
        assert drawn.is_set()
        assert not hub.clients


async def test_a_refusal_reaches_only_its_sender():
    async with running() as app:

        async def speak(action: Speak, client: Client) -> None:
            raise Refused("Not now. Try again later.")

        handle(app, speak)
        mine, other = app.page(), app.page()
        await mine.act("test.speak", text="x")
        await mine.until("Not now")
        assert other.client.outbox.take() == []


async def test_a_handler_that_raises_is_counted_and_told():
    async with running() as app:

        async def speak(action: Speak, client: Client) -> None:
            raise ZeroDivisionError("on purpose")

        handle(app, speak)
        page = app.page()
        await page.act("test.speak", text="x")
        await page.until("on purpose")
        assert "test.speak" in app.kernel.trouble["test"][0]


async def test_pushes_reach_whom_they_concern():
    async with running() as app:
        one, two = app.page("/chat/a"), app.page("/chat/b")
        push = app.kernel.hub.push
        push("x", "[all]", Everyone())
        push("x", "[a]", Conversation("a"))
        push("x", "[two]", two.client)
        assert one.client.outbox.take() == ["[all]", "[a]"]
        assert two.client.outbox.take() == ["[all]", "[two]"]


def test_a_keyed_part_replaces_the_one_that_waits():
    box = Outbox()
    box.put("x", "a1", "a")
    box.put("x", "b")
    box.put("x", "a2", "a")
    box.put("y", "c")
    assert box.take() == ["b", "a2", "c"]
    box.put("x", "gone")
    box.put("y", "kept")
    box.drop("x")
    assert box.take() == ["kept"]


async def sending(box: Outbox, send: object, behind: object = lambda: None) -> None:
    await box.send(send, behind)  # type: ignore[arg-type]


async def test_a_slow_page_gets_the_newest_of_each_part_in_order():
    box, frames = Outbox(rate=1000), list[bytes]()

    async def send(texts: list[bytes]) -> None:
        frames.extend(texts)
        await asyncio.sleep(0.02)

    task = asyncio.create_task(sending(box, send))
    for number in range(100):
        box.put("x", str(number), "open")
        await asyncio.sleep(0.001)
    while b"99" not in frames:
        await asyncio.sleep(0.005)
    task.cancel()
    assert frames == sorted(frames, key=int)
    assert len(frames) < 30


def test_small_parts_leave_together_and_a_large_one_in_fragments():
    large, half = "x" * (2 * PORTION + 1), "y" * (PORTION // 2)
    parts = ["a", "ö", large, "", half, half, "z", "x" * PORTION]
    found = [*portions(parts)]
    assert max(sum(map(len, texts)) for texts in found) == PORTION
    assert [len(texts) for texts in found] == [2, 1, 1, 3, 2, 1]
    fragments = [isinstance(text, Fragment) for texts in found for text in texts]
    assert fragments == [False, False, True, True, *[False] * 6]
    assert b"".join(text for texts in found for text in texts).decode() == "".join(parts)
    assert [*portions([])] == []


async def test_a_slow_page_that_takes_a_large_part_piece_by_piece_is_not_cut_off():
    """All of it takes twice the time that is given to each piece."""
    box, taken = Outbox(rate=1000, stall=0.5), list[bytes]()

    async def send(texts: list[bytes]) -> None:
        await asyncio.sleep(0.05 * sum(map(len, texts)) / PORTION)
        taken.extend(texts)

    box.put("x", "x" * (20 * PORTION), whole=True)
    task = asyncio.create_task(sending(box, send))
    while sum(map(len, taken)) < 20 * PORTION:
        assert not task.done()
        await asyncio.sleep(0.01)
    task.cancel()


async def test_a_stalled_page_is_let_go_and_holds_little():
    box, behind = Outbox(rate=1000, limit=1000, stall=0.05), list[int]()

    async def never(texts: list[bytes]) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(sending(box, never, lambda: behind.append(1)))
    for _ in range(100):
        box.put("x", "y" * 100)
        await asyncio.sleep(0)
        assert sum(len(html) for html, _ in box._parts.values()) <= 1000
    with pytest.raises(TimeoutError):
        await task
    assert box.overflowed


async def test_a_quiet_page_hears_now_and_then_that_the_server_is_there():
    box, heard = Outbox(rate=1000, stall=0.04), asyncio.Queue[bytes]()

    async def send(texts: list[bytes]) -> None:
        for text in texts:
            heard.put_nowait(text)

    task = asyncio.create_task(sending(box, send, lambda: None))
    async with asyncio.timeout(10):
        assert [await heard.get() for _ in range(3)] == [b"", b"", b""]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_page_that_fell_behind_gets_a_snapshot():
    box, behind = Outbox(rate=1000, limit=10), list[int]()
    frames: list[bytes] = []

    async def send(texts: list[bytes]) -> None:
        frames.extend(texts)

    box.put("x", "far too much for this box")
    task = asyncio.create_task(sending(box, send, lambda: behind.append(1)))
    while not behind:
        await asyncio.sleep(0)
    task.cancel()
    assert frames == []


def test_only_what_waits_counts():
    box = Outbox(limit=100)
    for _ in range(10):
        box.put("x", "y" * 60, "open")
    assert not box.overflowed, "a replaced part no longer counts"
    box.put("z", "s" * 500, whole=True)
    box.drop("z")
    box.put("x", "y" * 60)
    assert box.overflowed, "a snapshot that is dropped takes nothing away"
    box.overflowed = False
    box.put("x", "y" * 60)
    box.drop("x")
    box.put("x", "y" * 60)
    assert not box.overflowed


async def test_text_that_cannot_be_sent_costs_no_connection():
    box, frames = Outbox(rate=1000), list[bytes]()

    async def send(texts: list[bytes]) -> None:
        frames.extend(texts)

    box.put("x", "<p>odd \udcff name</p>")
    task = asyncio.create_task(sending(box, send))
    while not frames:
        assert not task.done()
        await asyncio.sleep(0)
    task.cancel()
    assert frames == [b"<p>odd ? name</p>"]


@pytest.mark.parametrize(
    ("told", "heard"),
    [("", ""), ("{0}", "2356789"), ("{6}", "6789"), ("{10}", ""), ("x", ""), ("9" * 5000, "")],
)
async def test_a_page_that_comes_hears_what_all_were_told_since_it_was_drawn(
    told: str, heard: str, monkeypatch: pytest.MonkeyPatch
):
    """The last eight of them, but for what is old by now, as the fourth."""
    async with running() as app, serving(app) as served:
        hub = app.kernel.hub
        numbers = [hub.told]
        for number in range(10):
            with monkeypatch.context() as patch:
                if number == 4:
                    patch.setattr(clients, "time", lambda: time() - clients.NEWS)
                hub.tell(f"Notice {number}.", Everyone())
            numbers.append(hub.told)
            hub.tell("For another page.", app.page().client)
        address = f"{served.ws.replace('/api/ws', '/ws')}?path=/&told={told.format(*numbers)}"
        headers, said = {"Authorization": f"Bearer {served.key}"}, ""
        async with connect(address, additional_headers=headers, proxy=None) as page:
            while part := str(await page.recv()):
                said += part
        assert "".join(re.findall(r"Notice (\d)\.", said)) == heard
        assert "another" not in said


async def test_what_is_no_message_costs_a_page_nothing():
    async with running() as app, serving(app) as served:
        headers = {"Authorization": f"Bearer {served.key}"}
        address = served.ws.replace("/api/ws", "/ws")
        async with connect(address, additional_headers=headers, proxy=None) as page:
            for odd in (b"\x00\xff", '{"a":' + "[" * 20_000 + "]" * 20_000 + "}", "[]", "5"):
                await page.send(odd)
                while "Reload it" not in str(await page.recv()):
                    pass
            assert len(app.kernel.hub.clients) == 1
