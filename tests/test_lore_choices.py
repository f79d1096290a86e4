"""Lorebooks that are told in one conversation and not in another."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extensions.characters.api import SHELVES
from extensions.chat.test_chat import Tab, store_of
from kernel.testing import App, Scripted, running

WORLD = {"entries": {"0": {"uid": 0, "key": ["owl"], "content": "Owls are kings."}}}


@pytest.fixture
def model() -> Scripted:
    return Scripted("Hm.", samplers=("max_new_tokens", "custom_stopping_strings"))


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("lorebooks", "roleplay", model=model) as app:
        for folder, name, tree in (
            ("characters", "Ada", {"name": "Ada", "description": "A librarian."}),
            ("worlds", "Birds", WORLD),
        ):
            (app.kernel.data / folder).mkdir(parents=True, exist_ok=True)
            (app.kernel.data / folder / f"{name}.json").write_text(json.dumps(tree), "utf-8")
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    tab = await Tab(app).connect()
    await tab.act("set_up", conversation="", mode="chat", character="Ada")
    return tab


async def asked(app: App, tab: Tab, model: Scripted) -> str:
    await tab.act("send", conversation=tab.conversation, text="An owl?")
    await app.until(lambda: not tab.busy)
    return " ".join(message.text for message in model.asked[-1].messages or ())


async def tell(tab: Tab, **fields: Any) -> None:
    values = {"conversation": tab.conversation, "world": "Birds", "on": True, **fields}
    await tab.page.act("lorebooks.tell", **values)


async def test_it_is_told_where_it_was_chosen(app: App, tab: Tab, model: Scripted):
    assert "Owls" not in await asked(app, tab, model)
    await tell(tab)
    assert "Owls are kings." in await asked(app, tab, model)
    pill = tab.look().get("lorebooks-open")
    assert pill
    assert "Lore · 1" in pill.text
    assert await store_of(app).state(tab.conversation, "lorebooks", "told") == ["Birds"]
    [shelf] = app.kernel.registry.values(SHELVES)
    assert [*await shelf.worlds(tab.conversation)] == ["Birds"]
    await tell(tab, on=False)
    assert "Owls" not in await asked(app, tab, model)
    other = await Tab(app).connect()
    assert "Owls" not in await asked(app, other, model)


async def test_it_is_told_by_its_new_name(app: App, tab: Tab, model: Scripted):
    await tell(tab)
    await tab.page.act("characters.rename_world", id="Birds", to="Fowl")
    state = store_of(app).state
    async with asyncio.timeout(10):
        while await state(tab.conversation, "lorebooks", "told") != ["Fowl"]:
            await asyncio.sleep(0.01)
    assert "Owls are kings." in await asked(app, tab, model)


async def test_a_conversation_begins_with_it(app: App, tab: Tab, model: Scripted):
    await tell(tab, conversation="")
    assert tab.conversation
    assert "Owls are kings." in await asked(app, tab, model)


async def test_time_follows_from_the_branch_that_is_shown(app: App, tab: Tab, model: Scripted):
    """An entry stays for four messages; versions, edits and branches find what they should."""
    file = app.kernel.data / "worlds" / "Birds.json"
    entry = {**WORLD["entries"]["0"], "sticky": 4, "scanDepth": 1}
    file.write_text(json.dumps({"entries": {"0": entry}}))
    await tell(tab)

    def told() -> bool:
        return any("Owls are kings." in message.text for message in model.asked[-1].messages or ())

    async def did(action: str, **fields: Any) -> bool:
        asked = len(model.asked)
        await tab.act(action, **fields)
        await app.until(lambda: len(model.asked) == asked + 1 and not tab.busy)
        return told()

    async def shown() -> list[str]:
        return [m.id for m in (await store_of(app).get(tab.conversation)).messages]

    async def say(text: str) -> bool:
        return await did("send", conversation=tab.conversation, text=text)

    assert await say("An owl?")
    assert await say("Quiet.")
    assert await did("regenerate", message=(await shown())[-1]), "the same past"
    assert await say("Still quiet.")
    assert not await say("And still.")
    await tab.act("branch", message=(await shown())[3])
    assert len(await shown()) == 4
    assert await say("Silence."), "a branch has the same lorebooks, and its own time"
    assert not await say("More of it.")
    assert not await did("edit", message=(await shown())[0], text="A crow?")
    assert not await say("Quiet."), "it was never spoken of"


async def test_a_lorebook_that_is_gone_is_told_no_more(app: App, tab: Tab, model: Scripted):
    await tell(tab)
    file = app.kernel.data / "worlds" / "Birds.json"
    text = file.read_text()
    file.unlink()
    assert "Owls" not in await asked(app, tab, model)
    file.write_text(text)
    assert "Owls are kings." in await asked(app, tab, model)
    await tell(tab, world="../../secret")
    await tab.page.until("There is no lorebook “../../secret” any more")


async def test_without_lorebooks_or_characters_nothing_is_shown(app: App, tab: Tab):
    assert "lorebooks-open" in tab.page.html
    await tab.act("set_up", conversation="", mode="instruct")
    plain = await Tab(app).connect()
    assert "lorebooks-open" not in plain.page.html
