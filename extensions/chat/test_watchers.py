"""Who is told of replies that have ended, and what that may cost the others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extensions.chat.api import WATCHERS
from extensions.chat.test_chat import Tab
from extensions.conversations.api import StoredMessage
from kernel.api import INPUT, Phase, Reply, Turn
from kernel.testing import App, Scripted, running


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running("conversations", "chat", model=Scripted("One.", "Two.")) as app:
        yield app


async def test_watchers_get_each_reply_with_its_steps_and_harm_none(app: App):
    told: list[tuple[StoredMessage, Reply]] = []
    looked = asyncio.Queue[str]()

    async def fails(message: StoredMessage, reply: Reply) -> None:
        raise ValueError("of no use")

    async def watches(message: StoredMessage, reply: Reply) -> None:
        told.append((message, reply))

    async def last(message: StoredMessage, reply: Reply) -> None:
        looked.put_nowait(message.text)

    async def same(turn: Turn) -> Turn:
        return turn

    how: Any = {"phase": Phase.NORMAL, "rank": 0, "rewrites": False}
    app.kernel.registry.add(INPUT, same, "watched", **how)
    tab = await Tab(app).connect()
    await tab.ask("Hello")
    _, first = app.kernel.registry.add(WATCHERS, fails, "test", **how)
    _, second = app.kernel.registry.add(WATCHERS, watches, "test", **how)
    app.kernel.registry.add(WATCHERS, last, "test", **how)
    await tab.ask("And?")
    assert tab.said == ["Hello", "One.", "And?", "Two."]
    assert await asyncio.wait_for(looked.get(), 20) == "Two.", "a page does not wait for them"
    [(message, reply)] = told
    assert (message.text, message.state) == ("Two.", "done")
    steps = [step.owner for step in reply.steps or ()]
    assert steps == ["watched", "conversations"], "which reads what pictures there are"
    first()
    second()
    await tab.ask("Who looks?")
    await asyncio.wait_for(looked.get(), 20)
    assert len(told) == 1


async def test_a_page_waits_for_no_watcher_and_no_watcher_for_another(app: App):
    told = asyncio.Event()

    async def hangs(message: StoredMessage, reply: Reply) -> None:
        await asyncio.Event().wait()

    async def watches(message: StoredMessage, reply: Reply) -> None:
        told.set()

    how: Any = {"phase": Phase.NORMAL, "rank": 0, "rewrites": False}
    app.kernel.registry.add(WATCHERS, hangs, "test", **how)
    app.kernel.registry.add(WATCHERS, watches, "test", **how)
    tab = await Tab(app).connect()
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One."]
    await asyncio.wait_for(told.wait(), 20)
