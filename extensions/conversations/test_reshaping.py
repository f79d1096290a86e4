"""Messages are put between others, moved and cut off; nothing of it loses a word."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from extensions.conversations.api import Store, StoredMessage
from kernel.api import Refused


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "chats.sqlite3", interval=0.02) as store:
        yield store


@pytest.fixture(params=["kept", "incognito"])
async def talk(store: Store, request: pytest.FixtureRequest) -> str:
    """A conversation A, B, C, D, of which B has another version that X follows."""
    id = (await store.create("Talk", incognito=request.param == "incognito")).id
    asked = await store.say(id, "user", "A")
    for words, then in (("B old", "X"), ("B", "C")):
        reply = await store.begin_reply(asked.id)
        await store.finish(reply.id, "done", words, words)
        await store.add_user(id, then)
    await store.say(id, "assistant", "D", name="Ada")
    return id


async def shown(store: Store, id: str) -> list[StoredMessage]:
    return list((await store.get(id)).messages)


async def said(store: Store, id: str) -> str:
    return " ".join(message.text for message in await shown(store, id))


async def versions(store: Store, id: str) -> list[int]:
    return [message.versions for message in await shown(store, id)]


async def test_a_message_is_put_before_or_after_any_other(store: Store, talk: str):
    assert await said(store, talk) == "A B C D"
    first, reply, _, last = await shown(store, talk)
    await store.insert(first.id, "assistant", "0", before=True)
    await store.insert(reply.id, "user", "A2", before=True)
    await store.insert(reply.id, "user", "B2")
    await store.insert(last.id, "user", "E")
    assert await said(store, talk) == "0 A A2 B B2 C D E"
    assert await versions(store, talk) == [1, 1, 1, 2, 1, 1, 1, 1]
    await store.select_version(reply.id, -1)
    assert await said(store, talk) == "0 A A2 B old X"
    await store.select_version((await shown(store, talk))[3].id, 1)
    assert await said(store, talk) == "0 A A2 B B2 C D E"
    between = (await shown(store, talk))[2]
    await store.delete_message(between.id)
    assert await said(store, talk) == "0 A B B2 C D E"
    await store.undelete_message(between.id)
    assert await said(store, talk) == "0 A A2 B B2 C D E"


async def test_what_is_put_before_others_stays_there_in_a_file(store: Store, talk: str):
    reply = (await shown(store, talk))[1]
    await store.insert(reply.id, "user", "A2", before=True)
    whole = await store.whole(talk)
    places = {message.id: n for n, message in enumerate(whole.messages)}
    assert all(places[m.parent] < places[m.id] for m in whole.messages if m.parent)
    if talk[0] == "z":
        assert await said(store, (await store.keep(talk)).id) == "A A2 B C D"
        return
    await store.delete(talk)
    assert await said(store, (await store.take(whole))[0]) == "A A2 B C D"


async def test_a_message_moves_with_its_versions_and_back(store: Store, talk: str):
    reply = (await shown(store, talk))[1]
    before = await store.whole(talk)
    await store.move(reply.id, up=True)
    assert await said(store, talk) == "B A C D"
    assert await versions(store, talk) == [2, 1, 1, 1]
    await store.move(reply.id, up=False)
    assert await said(store, talk) == "A B C D"
    assert (await store.whole(talk)).messages == before.messages
    await store.move((await shown(store, talk))[2].id, up=False)
    assert await said(store, talk) == "A B D C"
    await store.move((await shown(store, talk))[3].id, up=True)
    assert await said(store, talk) == "A B C D"
    assert (await store.conversation(talk)).leaf == (await shown(store, talk))[-1].id


async def test_a_message_moves_past_deleted_ones(store: Store, talk: str):
    _, _, third, last = await shown(store, talk)
    await store.delete_message(third.id)
    await store.move(last.id, up=True)
    assert await said(store, talk) == "A D B"
    assert await versions(store, talk) == [1, 1, 2]
    await store.undelete_message(third.id)
    assert await said(store, talk) == "A D B C"


async def test_the_first_goes_no_further_up_and_the_last_no_further_down(store: Store, talk: str):
    first, *_, last = await shown(store, talk)
    with pytest.raises(Refused, match="first message"):
        await store.move(first.id, up=True)
    with pytest.raises(Refused, match="last message"):
        await store.move(last.id, up=False)
    assert await said(store, talk) == "A B C D"


async def test_what_is_cut_off_comes_back_whole(store: Store, talk: str):
    first, reply, third, last = await shown(store, talk)
    await store.delete_message(last.id)
    await store.cut(third.id)
    assert await said(store, talk) == "A B"
    await store.select_version(reply.id, -1)
    await store.select_version((await shown(store, talk))[1].id, 1)
    assert await said(store, talk) == "A B"
    await store.add_user(talk, "C2")
    assert await versions(store, talk) == [1, 2, 1]
    await store.uncut(third.id)
    assert await said(store, talk) == "A B C"
    assert await versions(store, talk) == [1, 2, 2]
    await store.undelete_message(last.id)
    assert await said(store, talk) == "A B C D"
    await store.cut(first.id)
    assert await said(store, talk) == ""
    with pytest.raises(Refused):
        await store.message(reply.id)
    await store.uncut(first.id)
    assert await said(store, talk) == "A B C D"
    with pytest.raises(Refused, match="restored already"):
        await store.uncut(first.id)


async def test_a_branch_is_a_conversation_of_its_own(store: Store, talk: str):
    _, reply, third, last = await shown(store, talk)
    await store.set_state(talk, "chat", "setup", {"mode": "chat"})
    await store.set_state(talk, "chat", f"thoughts {reply.id}", [[0, 1, 2.0]])
    await store.set_state(talk, "chat", f"thoughts {last.id}", [])
    await store.set_state(talk, "chat", "unseen", reply.id)
    new = await store.fork(third.id, "Talk (branch)")
    assert new.incognito == (talk[0] == "z")
    assert new.title == "Talk (branch)"
    copies = await shown(store, new.id)
    assert [(m.role, m.text, m.state) for m in copies] == [
        ("user", "A", "done"), ("assistant", "B", "done"), ("user", "C", "done"),
    ]  # fmt: skip
    assert await versions(store, new.id) == [1, 1, 1]
    assert not {m.id for m in copies} & {m.id for m in await shown(store, talk)}
    assert await store.state(new.id, "chat", "setup") == {"mode": "chat"}
    assert await store.state(new.id, "chat", f"thoughts {copies[1].id}") == [[0, 1, 2.0]]
    assert await store.state(new.id, "chat", "unseen") == copies[1].id
    assert len((await store.whole(new.id)).states["chat"]) == 3
    await store.delete(talk)
    await store.add_user(new.id, "E")
    assert await said(store, new.id) == "A B C E"


async def test_a_damaged_state_costs_no_copy(store: Store, tmp_path: Path):
    asked = await store.say("", "user", "A")
    await store.set_state(asked.conversation, "chat", "setup", {"mode": "chat"})
    await store.set_state(asked.conversation, "chat", "unseen", asked.id)
    with closing(sqlite3.connect(tmp_path / "chats.sqlite3")) as other, other:
        other.execute("UPDATE states SET value = '{' WHERE key = 'setup'")
    new = await store.fork(asked.id, "Talk (branch)")
    [copy] = await shown(store, new.id)
    assert await store.state(new.id, "chat", "unseen") == copy.id
    with closing(sqlite3.connect(tmp_path / "chats.sqlite3")) as other:
        query = "SELECT value FROM states WHERE conversation = ? AND key = 'setup'"
        assert other.execute(query, (new.id,)).fetchone() == ("{",)


async def test_a_message_whose_question_was_deleted_is_answered_again(store: Store, talk: str):
    first, reply, *_ = await shown(store, talk)
    await store.delete_message(first.id)
    again = await store.begin_reply(reply.parent)
    await store.finish(again.id, "done", "B new", "B new")
    assert await said(store, talk) == "B new"
    assert await versions(store, talk) == [3]
