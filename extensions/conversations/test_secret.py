"""Incognito: nothing is written anywhere, until somebody keeps it; and the model's titles."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from extensions.conversations.api import STORE, Said, Store, Unknown, Whole, is_secret
from extensions.conversations.forms import ours
from extensions.conversations.forms.reading import read
from extensions.conversations.text import new_id
from extensions.conversations.titles import _cleaned
from kernel.api import Refused
from kernel.testing import App, Page, Scripted, running

WORDS = "persimmon quartz"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "chats.sqlite3", interval=0.01) as store:
        yield store


def holds(folder: Path, words: str) -> list[str]:
    """The files that hold these words, as UTF-8 or UTF-16."""
    forms = [words.encode(form) for form in ("utf-8", "utf-16-le")]
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if any(form in file.read_bytes() for form in forms)]


async def test_nothing_of_it_is_written(store: Store, tmp_path: Path):
    kept = await store.create("Incognito conversation", incognito=True)
    asked = await store.add_user(kept.id, f"{WORDS} asked")
    reply = await store.begin_reply(asked.id)
    store.grow(reply.id, f"{WORDS} grows", f"{WORDS} grows")
    await asyncio.sleep(0.1)
    await store.finish(reply.id, "done", f"{WORDS} done", f"{WORDS} raw", f"{WORDS} thought")
    edited = await store.edit(asked.id, f"{WORDS} edited")
    await store.select_version(edited.id, -1)
    await store.delete_message(edited.id)
    await store.undelete_message(edited.id)
    await store.set_state(kept.id, "chat", "setup", {"x": WORDS})
    await store.rename(kept.id, WORDS)
    await store.backup("asked")
    assert [m.text for m in (await store.get(kept.id)).messages] == [f"{WORDS} edited"]
    assert await store.state(kept.id, "chat", "setup") == {"x": WORDS}
    assert all(map(str.startswith, (kept.id, asked.id, reply.id, edited.id), "zzzz"))
    await store.add_user("", "an ordinary question")
    assert holds(tmp_path, "ordinary question"), "the search for words can find some"
    assert not holds(tmp_path, WORDS)

    # It is in no list and no search, cannot be filed, and is gone when it is closed.
    assert [c.title for c in await store.list()] == ["an ordinary question"]
    assert not await store.search("persimmon")
    assert [c.id for c in await store.secret.list()] == [kept.id]
    for change in (store.shelf.pin(kept.id, on=True), store.shelf.file(kept.id, "Work")):
        with pytest.raises(Refused, match="Keep it first"):
            await change
    await store.delete(kept.id)
    with pytest.raises(Unknown):
        await store.get(kept.id)
    with pytest.raises(Unknown):
        await store.undelete(kept.id)
    assert await store.secret.list() == []
    assert await store.shelf.trash() == []


async def test_it_is_gone_after_the_end_and_kept_on_a_wish(tmp_path: Path):
    path = tmp_path / "chats.sqlite3"
    async with Store.open(path) as store:
        gone = await store.create(incognito=True)
        await store.add_user(gone.id, f"{WORDS} one")
        kept = await store.create(incognito=True)
        asked = await store.add_user(kept.id, "a question to keep")
        for answer in ("one", "two"):
            reply = await store.begin_reply(asked.id)
            await store.finish(reply.id, "done", answer, answer)
        await store.set_state(kept.id, "chat", "setup", {"mode": "chat"})
        await store.set_state(kept.id, "chat", f"thoughts {reply.id}", [[0, 1, 2.0]])
        await store.set_state(kept.id, "chat", "unseen", reply.id)
        new = await store.keep(kept.id)
        assert not new.incognito
        assert new.title == "a question to keep"
        with pytest.raises(Unknown):
            await store.get(kept.id)
    async with Store.open(path) as store:
        messages = (await store.get(new.id)).messages
        assert [(m.text, m.versions) for m in messages] == [("a question to keep", 1), ("two", 2)]
        last = messages[-1].id
        assert await store.state(new.id, "chat", "setup") == {"mode": "chat"}
        assert await store.state(new.id, "chat", f"thoughts {last}") == [[0, 1, 2.0]]
        assert await store.state(new.id, "chat", "unseen") == last
        assert await store.secret.list() == []
        with pytest.raises(Unknown):
            await store.get(gone.id)
    assert not holds(tmp_path, WORDS)


async def test_a_file_with_ids_of_incognito_is_kept_like_any_other(tmp_path: Path):
    """Under such ids nothing would look for it on the disk."""
    ids = [new_id(secret=True) for _ in range(3)]
    said = (Said("user", "told", ids[1]), Said("assistant", "answered", ids[2], ids[1]))
    for form in (Whole("x", said, ids[2], ids[0]), Whole("x", said, ids[2], "0000000000000000")):
        [whole] = read("x.json", ours.write(form))
        path = tmp_path / form.id / "chats.sqlite3"
        path.parent.mkdir()
        async with Store.open(path) as store:
            id, new = await store.take(whole)
            assert new
        async with Store.open(path) as store:
            messages = (await store.get(id)).messages
            assert [m.text for m in messages] == ["told", "answered"]
            assert not any(is_secret(each) for each in (id, *(m.id for m in messages)))


async def test_a_conversation_in_memory_outlives_the_trouble_of_the_disk(store: Store):
    """Neither a backup that is restored nor a purge has to do with it."""
    await store.add_user("", "something to back up")
    await store.backup("asked")
    kept = await store.create(incognito=True)
    await store.add_user(kept.id, "hidden")
    await store.restore((await store.backups())[0].name)
    await store.purge(older=-1)
    assert [m.text for m in (await store.get(kept.id)).messages] == ["hidden"]


async def replied(page: Page) -> None:
    await page.until('id="chat-go" data-busy="false"')


async def test_in_the_page_it_is_marked_and_the_engine_is_told():
    model = Scripted(f"{WORDS} said")
    async with running("chat", model=model) as app:
        page = await app.open("/chat")
        page.html = ""
        await page.act("chat.incognito")
        id = page.client.subject
        await page.until("Nothing of this is written to the disk")
        assert "data-secret" in page.html
        await page.act("chat.send", conversation=id, text=f"{WORDS} asked")
        await page.until(f"{WORDS} said")
        await replied(page)
        page.html = ""
        await page.act("chat.regenerate", message=(await messages(app, id))[-1].id)
        await replied(page)
        assert all(request.incognito for request in model.asked)
        assert not holds(app.kernel.data, WORDS)
        await page.act("chat.keep", conversation=id)
        new = page.client.subject
        assert new != id
        [_, answer] = await messages(app, new)
        assert answer.versions == 2
        page.html = ""
        await page.act("chat.send", conversation=new, text="and now")
        await replied(page)
        assert not model.asked[-1].incognito
        await page.act("chat.incognito")
        other = page.client.subject
        page.html = ""
        await page.act("chat.delete", conversation=other)
        await page.until("is closed, and gone")
        assert "Undo" not in page.html
        assert page.client.subject == ""


async def messages(app: App, id: str) -> Sequence[Any]:
    return (await app.kernel.registry.values(STORE)[0].get(id)).messages


# --- titles by the model ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ('"A title."\nmore', "A title"), ("**Title: Owls at night**", "Owls at night"),
        ("<think>hm\nhm</think>\n\nOwls", "Owls"), ("<think>never ends", ""), ("", ""),
        ("# Owls #", "Owls"), ("「梟」", "「梟」"), ("x" * 500, "x" * 59 + "…"),
    ],
)  # fmt: skip
def test_what_a_model_says_becomes_a_title(said: str, title: str):
    assert _cleaned(said) == title


async def titled(app: App, id: str) -> tuple[str, int]:
    kept = await app.kernel.registry.values(STORE)[0].conversation(id)
    return kept.title, kept.titled


async def test_the_model_finds_a_title_after_the_first_reply_if_it_is_to():
    settings = {"conversations": {"titles": True}}
    model = Scripted("Who, who.", '"Owls at night"', "More.")
    async with running("chat", model=model, settings=settings) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="What do owls say?")
        id = page.client.subject
        await page.until(f'id="chat-row-{id}"((?!</li>).)*Owls at night')
        assert await titled(app, id) == ("Owls at night", 1)
        assert "What do owls say?" in "".join(m.text for m in model.asked[1].messages or ())
        await page.act("chat.send", conversation=id, text="And then?")
        await app.until(lambda: len(model.asked) == 3)
        await replied(page)
        assert await titled(app, id) == ("Owls at night", 1)


async def test_a_person_s_title_is_never_replaced_unless_they_ask():
    model = Scripted("Yes.")
    async with running("chat", model=model, settings={"conversations": {"titles": True}}) as app:
        [store] = app.kernel.registry.values(STORE)
        asked = await store.add_user("", "Hello there")
        await store.rename(asked.conversation, "Mine")
        reply = await store.begin_reply(asked.id)
        await store.finish(reply.id, "done", "Hi.", "Hi.")
        await app.settled()
        assert await titled(app, asked.conversation) == ("Mine", 2)
        assert not model.asked
        await store.rename(asked.conversation, "A model's", by=1)
        assert await titled(app, asked.conversation) == ("Mine", 2)
        page = await app.open(f"/chat/{asked.conversation}")
        page.html = ""
        await page.act("conversations.give_title", conversation=asked.conversation)
        assert await titled(app, asked.conversation) == ("Yes", 2)
        await page.until('id="chat-title"[^>]*>Yes<')


async def test_without_the_setting_nothing_is_asked():
    model = Scripted("Yes.")
    async with running("chat", model=model) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Hello")
        await page.until(f'id="chat-row-{page.client.subject}"[^>]*>((?!busy).)*</li>')
        await app.until(lambda: len(model.asked) > 0)
        await app.settled()
        assert len(model.asked) == 1
        assert await titled(app, page.client.subject) == ("Hello", 0)


async def test_a_title_gives_way_to_a_reply():
    """What is being made is given up when a reply begins, and begun again after it."""
    gate = asyncio.Semaphore(0)
    model = Scripted("Given up half way", "Owls at night", gate=gate)
    async with running("chat", model=model, settings={"conversations": {"titles": True}}) as app:
        [store] = app.kernel.registry.values(STORE)
        asked = await store.add_user("", "First")
        reply = await store.begin_reply(asked.id)
        other = await store.begin_reply((await store.add_user("", "Second")).id)
        await store.finish(reply.id, "done", "One.", "One.")
        await app.settled()
        assert not model.asked, "another reply is being written"
        await store.finish(other.id, "stopped", "", "")
        await app.until(lambda: len(model.asked) == 1)
        third = await store.begin_reply((await store.add_user("", "Third")).id)
        gate.release()
        await app.settled()
        assert len(model.asked) == 1
        await store.finish(third.id, "stopped", "", "")
        await app.until(lambda: len(model.asked) == 2)
        for _ in range(20):
            gate.release()
        async with asyncio.timeout(10):
            while await titled(app, asked.conversation) != ("Owls at night", 1):
                await asyncio.sleep(0.01)


async def test_the_words_of_a_title_are_not_in_the_database_twice(tmp_path: Path):
    """Renaming touches the title and nothing else."""
    async with Store.open(tmp_path / "chats.sqlite3") as store:
        asked = await store.add_user("", "Hello")
        before = await store.conversation(asked.conversation)
        after = await store.rename(asked.conversation, "Other", by=1)
        assert (after.touched, after.updated) == (before.touched, before.updated)
    with closing(sqlite3.connect(tmp_path / "chats.sqlite3")) as database:
        assert database.execute("SELECT titled FROM conversations").fetchone() == (1,)
