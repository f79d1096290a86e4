"""The store keeps every word: through kills, odd text, many versions, full disks and bad clocks."""

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from extensions.conversations import database, refuge, schema, text, tree
from extensions.conversations.api import (
    STORE,
    Said,
    Store,
    StoredMessage,
    StoreFailed,
    Unknown,
    Whole,
)
from kernel.api import Refused, Sampling, Usage
from kernel.testing import running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store.open(path, interval=0.02) as store:
        yield store


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def opened_and_closed(path: Path) -> None:
    async with Store.open(path):
        pass


async def said(store: Store, conversation: str) -> list[str]:
    return [message.text for message in (await store.get(conversation)).messages]


async def exchange(store: Store, conversation: str, question: str, answer: str) -> StoredMessage:
    asked = await store.add_user(conversation, question)
    reply = await store.begin_reply(asked.id, model="guide")
    return await store.finish(reply.id, "done", answer, answer)


# --- what is kept -----------------------------------------------------------------------


async def test_a_first_message_makes_a_conversation(store: Store):
    asked = await store.add_user(
        "", "What is  a\nGGUF file, and do I need one of them to begin with?"
    )
    opened = await store.get(asked.conversation)
    assert opened.conversation.title == "What is a GGUF file, and do I need one of them to begin…"
    assert opened.messages == (asked,)
    assert asked.message.text == asked.text


async def test_a_reply_keeps_what_the_model_said_beside_what_is_shown(store: Store):
    asked = await store.add_user("", "Hello")
    sampling = Sampling(temperature=0.5, seed=7)
    reply = await store.begin_reply(asked.id, model="guide", loader="llama_cpp", sampling=sampling)
    assert (reply.state, reply.parent) == ("running", asked.id)
    ended = await store.finish(
        reply.id, "done", "shown", "raw", "thought", usage=Usage(3, 4), error=""
    )
    assert ended == (await store.get(asked.conversation)).messages[1]
    assert (ended.text, ended.raw, ended.reasoning, ended.state) == (
        "shown", "raw", "thought", "done",
    )  # fmt: skip
    assert (ended.model, ended.loader, ended.sampling) == ("guide", "llama_cpp", sampling)
    assert ended.usage == Usage(3, 4)
    assert ended.message.text == "raw"


async def test_a_reply_is_saved_as_it_grows_and_read_as_it_is_now(store: Store, path: Path):
    asked = await store.add_user("", "Hello")
    reply = await store.begin_reply(asked.id)
    store.grow(reply.id, "one", "ONE", "hm")
    store.grow(reply.id, "one two", "ONE TWO", "hm")
    assert await said(store, asked.conversation) == ["Hello", "one two"]
    with closing(sqlite3.connect(path)) as disk:
        query = "SELECT text, raw FROM messages WHERE id = ?"
        await until(lambda: disk.execute(query, (reply.id,)).fetchone() == ("one two", "ONE TWO"))


async def test_an_export_has_the_end_of_a_reply_that_could_not_be_saved(store: Store):
    asked = await store.add_user("", "Hello")
    reply = await store.begin_reply(asked.id)
    refuse = "BEFORE UPDATE ON messages BEGIN SELECT RAISE(ABORT, 'no'); END"
    await on_disk(store, f"CREATE TRIGGER refused {refuse}")
    with pytest.raises(StoreFailed):
        await store.finish(reply.id, "done", "shown", "raw", "thought")
    [_, last] = (await store.whole(asked.conversation)).messages
    await on_disk(store, "DROP TRIGGER refused")
    assert (last.text, last.raw, last.reasoning, last.state) == ("shown", "raw", "thought", "done")


async def test_a_late_growth_never_overwrites_an_ended_reply(store: Store):
    reply = await exchange(store, "", "Hello", "The end.")
    store.grow(reply.id, "older", "older")
    await asyncio.sleep(0.1)
    assert (await store.message(reply.id)).text == "The end."


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("nul \0 inside", "nul \0 inside"),
        ("right to left: שלום \u202eabc\u202c", "right to left: שלום \u202eabc\u202c"),
        ("lone \ud83d half", "lone \ufffd half"),
        ("two halves \ud83d\ude00", "two halves 😀"),
        ("\ufeff bom \x85 \u2028 \r\n\t", "\ufeff bom \x85 \u2028 \r\n\t"),
        (
            "e\u0301 combining, 👩‍👩‍👧 joined, 🂡 astral",
            "e\u0301 combining, 👩‍👩‍👧 joined, 🂡 astral",
        ),
        ("'); DROP TABLE messages; --", "'); DROP TABLE messages; --"),
        ("long " * 2_000_000, "long " * 2_000_000),
    ],
    ids=["empty", "nul", "rtl", "surrogate", "halves", "bom", "joined", "sql", "10MB"],
)
async def test_any_text_comes_back(store: Store, given: str, kept: str):
    asked = await store.add_user("", given)
    reply = await store.begin_reply(asked.id, text=given)
    store.grow(reply.id, given, given, given)
    ended = await store.finish(reply.id, "stopped", given, given + ".", given, error=given[:99])
    edited = await store.edit(asked.id, given)
    await store.rename(asked.conversation, given)
    await store.set_state(asked.conversation, "chat", "draft", kept)
    assert [asked.text, ended.text, ended.raw, ended.reasoning] == [kept, kept, kept + ".", kept]
    assert (await store.message(edited.id)).text == kept
    assert await store.state(asked.conversation, "chat", "draft") == kept
    await store.search(given[:50])


async def test_ids_are_short_sortable_and_never_the_same():
    ids = [text.new_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert {len(id) for id in ids} == {16}
    assert ids[0][:8] <= ids[-1][:8]


# --- versions and branches --------------------------------------------------------------


async def test_another_reply_is_a_version_and_nothing_is_overwritten(store: Store):
    first = await exchange(store, "", "Hello", "one")
    second = await store.begin_reply(first.parent)
    await store.finish(second.id, "done", "two", "two")
    shown = (await store.get(first.conversation)).messages[-1]
    assert (shown.text, shown.number, shown.versions) == ("two", 2, 2)
    back = await store.select_version(second.id, -1)
    assert (back.text, back.number, back.versions) == ("one", 1, 2)
    assert (await store.select_version(first.id, -1)).id == first.id
    assert (await store.select_version(first.id, 5)).id == second.id


async def test_an_edit_branches_and_going_back_finds_the_end_of_the_old_branch(store: Store):
    first = await exchange(store, "", "A", "a")
    await exchange(store, first.conversation, "B", "b")
    third = await exchange(store, first.conversation, "C", "c")
    asked = (await store.get(first.conversation)).messages[2]
    edited = await store.edit(asked.id, "B2")
    assert await said(store, first.conversation) == ["A", "a", "B2"]
    reply = await store.begin_reply(edited.id)
    await store.finish(reply.id, "done", "b2", "b2")
    await store.select_version(edited.id, -1)
    assert await said(store, first.conversation) == ["A", "a", "B", "b", "C", "c"]
    assert (await store.conversation(first.conversation)).leaf == third.id
    await store.select_version(asked.id, 1)
    assert await said(store, first.conversation) == ["A", "a", "B2", "b2"]
    assert [m.text for m in await store.history(third.id)] == ["A", "a", "B", "b", "C", "c"]


async def test_the_first_message_can_be_edited_too(store: Store):
    first = await exchange(store, "", "A", "a")
    edited = await store.edit(first.parent, "A2")
    assert (edited.number, edited.versions) == (2, 2)
    assert await said(store, first.conversation) == ["A2"]
    await store.select_version(edited.id, -1)
    assert await said(store, first.conversation) == ["A", "a"]


async def test_long_conversations_open_at_their_end(store: Store):
    last = await exchange(store, "", "0", "0")
    for n in range(1, 10):
        last = await exchange(store, last.conversation, str(n), str(n))
    opened = await store.get(last.conversation, limit=5)
    assert [m.text for m in opened.messages] == ["7", "8", "8", "9", "9"]
    assert opened.earlier
    before = await store.get(last.conversation, limit=99, before=opened.messages[0].id)
    assert [m.text for m in before.messages] == [str(n) for n in range(7) for _ in "ab"] + ["7"]
    assert not before.earlier


# --- deleting ---------------------------------------------------------------------------


async def test_deleting_a_message_leaves_what_follows_and_can_be_undone(store: Store):
    first = await exchange(store, "", "A", "a")
    await exchange(store, first.conversation, "B", "b")
    await store.delete_message(first.id)
    assert await said(store, first.conversation) == ["A", "B", "b"]
    assert "a" not in [
        m.text for m in await store.history((await store.get(first.conversation)).conversation.leaf)
    ]
    with pytest.raises(Unknown):
        await store.message(first.id)
    with pytest.raises(Unknown):
        await store.delete_message(first.id)
    await store.undelete_message(first.id)
    assert await said(store, first.conversation) == ["A", "a", "B", "b"]


async def test_deleting_a_version_shows_its_neighbour(store: Store):
    first = await exchange(store, "", "A", "a1")
    for answer in ("a2", "a3"):
        reply = await store.begin_reply(first.parent)
        await store.finish(reply.id, "done", answer, answer)
    second = await store.select_version(reply.id, -1)
    await exchange(store, first.conversation, "B", "b")
    await store.delete_message(second.id)
    shown = (await store.get(first.conversation)).messages
    assert [(m.text, m.number, m.versions) for m in shown] == [("A", 1, 1), ("a1", 1, 2)]
    await store.undelete_message(second.id)
    assert await said(store, first.conversation) == ["A", "a2", "B", "b"]


async def test_the_last_message_can_go_and_the_next_takes_its_place(store: Store):
    first = await exchange(store, "", "A", "a")
    await store.delete_message(first.id)
    await exchange(store, first.conversation, "B", "b")
    assert await said(store, first.conversation) == ["A", "B", "b"]
    await store.undelete_message(first.id)
    assert await said(store, first.conversation) == ["A", "a", "B", "b"]


async def test_deleting_a_conversation_hides_it_until_it_is_purged(store: Store, path: Path):
    reply = await exchange(store, "", "findable question", "answer")
    other = await exchange(store, "", "another", "findable answer")
    await store.set_state(reply.conversation, "chat", "draft", {"text": "x"})
    await store.delete(reply.conversation)
    assert [c.id for c in await store.list()] == [other.conversation]
    assert [f.conversation.id for f in await store.search("findable")] == [other.conversation]
    for call in (store.get, store.conversation):
        with pytest.raises(Unknown):
            await call(reply.conversation)
    with pytest.raises(Unknown):
        await store.message(reply.id)
    with pytest.raises(Unknown):
        await store.add_user(reply.conversation, "more")
    await store.purge()
    await store.undelete(reply.conversation)
    assert await said(store, reply.conversation) == ["findable question", "answer"]
    await store.delete(reply.conversation)
    await store.purge(older=-1)
    with pytest.raises(Unknown):
        await store.undelete(reply.conversation)
    rows = sqlite3.connect(path).execute(
        "SELECT count(*) FROM messages UNION ALL SELECT count(*) FROM states"
    )
    assert rows.fetchall() == [(2,), (0,)]
    sqlite3.connect(path).execute("INSERT INTO words (words) VALUES ('integrity-check')")


async def test_a_purged_message_leaves_no_words_behind(store: Store, path: Path):
    asked = await store.add_user("", "A")
    first = await store.begin_reply(asked.id)
    stops = Sampling(custom_stopping_strings=("secret stop",), negative_prompt="secret wish")
    await store.finish(first.id, "done", "secret words", "secret raw", sampling=stops)
    await exchange(store, first.conversation, "B", "b")
    await store.delete_message(first.id)
    await store.purge(older=-1)
    assert await said(store, first.conversation) == ["A", "B", "b"]
    assert not await store.search("secret")
    file = sqlite3.connect(path)
    file.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    file.commit()
    assert file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert b"secret" not in path.read_bytes()  # noqa: ASYNC240


# --- finding ----------------------------------------------------------------------------


async def test_search_finds_parts_of_words_in_any_script(store: Store):
    german = await exchange(store, "", "Donaudampfschifffahrt", "Über die Donau")
    chinese = await exchange(store, "", "你好", "这是一个本地语言模型")
    await exchange(store, "", "100%_sure", 'a "quoted" \\ thing')

    async def hits(words: str) -> list[str]:
        return [hit.conversation.id for hit in await store.search(words)]

    assert await hits("DAMPF schiff") == [german.conversation]
    assert await hits("über") == [german.conversation]
    assert await hits("语言模型") == [chinese.conversation]
    assert await hits("语言") == [chinese.conversation]
    assert len(await hits("%_")) == len(await hits('"quoted" \\')) == len(await hits("0%")) == 1
    assert await hits("nowhere") == await hits("  ") == []
    assert len(await hits("NEAR(")) == len(await hits("a*")) == 0
    [hit] = await store.search("donau die")
    assert (hit.message, hit.pieces) == (german.id, ("Über ", "die", " ", "Donau", ""))


async def test_a_running_reply_is_found_once_it_has_ended(store: Store):
    asked = await store.add_user("", "Hello")
    reply = await store.begin_reply(asked.id)
    store.grow(reply.id, "penguins", "penguins")
    await asyncio.sleep(0.1)
    await store.finish(reply.id, "done", "walruses", "walruses")
    assert not await store.search("penguins")
    assert len(await store.search("walruses")) == 1


async def test_the_list_is_ordered_by_last_change_whatever_the_clock_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    ids = [(await exchange(store, "", name, name)).conversation for name in "abc"]
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    monkeypatch.setattr(time, "time_ns", lambda: 86_400 * 10**9)
    late = await exchange(store, ids[0], "later", "later")
    ids.append((await exchange(store, "", "d", "d")).conversation)
    assert [c.title for c in await store.list()] == ["d", "a", "c", "b"]
    assert [m.text for m in (await store.get(ids[0])).messages] == ["a", "a", "later", "later"]
    second = await store.begin_reply(late.parent)
    assert (second.number, second.versions) == (2, 2)
    first = await store.list(limit=2)
    rest = await store.list(limit=2, before=first[-1].touched)
    assert [c.title for c in first + rest] == ["a", "d", "c", "b"]
    await store.select_version(second.id, -1)
    await store.rename(ids[1], "b2")
    assert [c.title for c in await store.list()] == ["a", "d", "c", "b2"]


async def test_revisions_count_every_change(store: Store):
    reply = await exchange(store, "", "A", "a")
    id, seen = reply.conversation, [0]
    for change in (
        store.rename(id, "B"), store.edit(reply.id, "b"), store.select_version(reply.id, 1),
        store.delete_message(reply.id), store.undelete_message(reply.id), store.add_user(id, "C"),
    ):  # fmt: skip
        await change
        seen.append((await store.conversation(id)).revision)
    assert seen == sorted(set(seen))


# --- when things go wrong ---------------------------------------------------------------


async def test_a_reply_left_by_a_killed_server_is_interrupted_and_keeps_its_text(path: Path):
    async with Store.open(path) as store:
        asked = await store.add_user("", "Hello")
        reply = await store.begin_reply(asked.id)
        store.grow(reply.id, "half a reply", "half a reply")
    async with Store.open(path) as store:
        kept = await store.message(reply.id)
        assert (kept.text, kept.state) == ("half a reply", "interrupted")
        assert kept.error.endswith("written. Continue it, or try again.")
        assert len(await store.search("half")) == 1


async def test_an_interrupted_reply_without_a_word_is_not_to_be_continued(path: Path):
    async with Store.open(path) as store:
        asked = await store.add_user("", "Hello")
        reply = await store.begin_reply(asked.id)
    async with Store.open(path) as store:
        assert (await store.message(reply.id)).error.endswith("written. Try again.")


async def test_what_a_person_said_waits_for_the_disk_and_what_grows_does_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Else a power cut, which no test of a killed process is, could lose a message that was shown.

    Asked is the connection itself, as it begins to write.
    """
    NORMAL, FULL = 1, 2
    transact, seen = database.transact, list[int]()

    def noticed(connection: sqlite3.Connection, work: Any) -> Any:
        seen.extend(connection.execute("PRAGMA synchronous").fetchone())
        assert tuple(connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
        return transact(connection, work)

    async with Store.open(path, interval=0.02) as store:
        monkeypatch.setattr(database, "transact", noticed)
        asked = await store.add_user("", "Hello")
        assert seen == [FULL]
        reply = await store.begin_reply(asked.id)
        assert seen == [FULL, FULL]
        store.grow(reply.id, "half a reply", "half a reply")
        await until(lambda: len(seen) > 2)
        assert seen[2:] == [NORMAL]
        await store.finish(reply.id, "done", "a whole reply", "a whole reply")
        assert seen.count(FULL) == 3, "however often the clock wrote what grew"
        await store.add_user(asked.conversation, "And then?")
        await store.rename(asked.conversation, "Greetings")
        assert seen.count(FULL) == 5, "what grew between them changed nothing of that"


async def test_the_first_words_are_saved_at_once_and_the_others_at_the_interval(path: Path):
    saves = list[str]()
    async with Store.open(path, interval=60) as store:
        asked = await store.add_user("", "Hello")
        write = store._write

        async def counted(work: Any, id: str = "", *, durable: bool = True) -> Any:
            saves.append("save")
            return await write(work, id, durable=durable)

        store._write = counted
        for number, id in enumerate([(await store.begin_reply(asked.id)).id for _ in "ab"], 1):
            saves.clear()
            store.grow(id, "six lines", "six lines")  # The other one's interval holds up nothing.
            with closing(sqlite3.connect(path)) as disk:
                query = "SELECT count(*) FROM messages WHERE text = 'six lines'"
                await until(lambda: disk.execute(query).fetchone() == (number,))  # noqa: B023
            for _ in range(100):
                store.grow(id, "six lines", "six lines")
                await asyncio.sleep(0.001)
            assert saves == ["save"]


ROOT = Path(__file__).parents[2]
WRITER = """
import asyncio, sys
from pathlib import Path
from extensions.conversations.store import Store

async def main():
    async with Store.open(Path(sys.argv[1]), interval=0.01) as store:
        def told(*what): print(*what, flush=True)
        while True:
            asked = await store.add_user("", "question")
            told("asked", asked.id)
            reply = await store.begin_reply(asked.id)
            for n in range(20):
                store.grow(reply.id, "word " * n, "word " * n)
                await asyncio.sleep(0.001)
            await store.finish(reply.id, "done", "answer " * 40, "raw")
            told("answered", reply.id)
            told("edited", (await store.edit(asked.id, "edited")).id)
            await store.delete_message(reply.id)
            told("deleted", reply.id)
            await store.delete(asked.conversation)
            await store.undelete(asked.conversation)

asyncio.run(main())
"""


def killed(path: Path, after: float) -> list[str]:
    """What a child had acknowledged before it was killed."""
    code = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout
        lines = [child.stdout.readline()]
        time.sleep(after)
        child.kill()
        return lines + child.stdout.read().splitlines()


@pytest.mark.parametrize("after", [0.01, 0.03, 0.07, 0.15, 0.3])
def test_what_was_acknowledged_survives_a_kill(path: Path, after: float):
    told = {name: set[str]() for name in ("asked", "answered", "edited", "deleted")}
    for line in killed(path, after) + killed(path, after):  # The second child recovers first.
        if len(words := line.split()) == 2 and len(words[1]) == 16:
            told[words[0]].add(words[1])
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    rows = database.execute("SELECT id, text, state, deleted FROM messages")
    kept = {id: (text, state, deleted) for id, text, state, deleted in rows}
    database.close()
    assert told["asked"]
    assert told["asked"] | told["edited"] <= set(kept)
    assert {kept[id][:2] for id in told["answered"]} <= {("answer " * 40, "done")}
    assert all(kept[id][2] for id in told["deleted"])

    async def recovered() -> None:
        async with Store.open(path) as store:
            for conversation in await store.list(limit=1000):
                for message in (await store.get(conversation.id)).messages:
                    assert message.state in ("done", "interrupted")

    asyncio.run(recovered())


async def on_disk(store: Store, query: str) -> None:
    """Run a query on the connection to the file itself."""
    database = store._database
    await database._on(
        database._writer, lambda: database._writing and database._writing.execute(query)
    )


async def test_a_full_disk_is_told_and_nothing_is_lost(store: Store, path: Path):
    first = await exchange(store, "", "A", "a")
    second = await store.begin_reply(first.parent)
    await on_disk(store, "PRAGMA max_page_count = 1")  # SQLite's own full disk.
    words = random.randbytes(100_000).hex()
    third = await store.add_user(first.conversation, words)
    assert "disk is full" in store.failure
    store.grow(second.id, words[:-1], words[:-1])
    await store.finish(second.id, "done", words, words)
    assert await said(store, first.conversation) == ["A", words, words]
    with sqlite3.connect(path) as disk:
        assert not disk.execute("SELECT 1 FROM messages WHERE id = ?", (third.id,)).fetchone()
    disk.close()
    await on_disk(store, "PRAGMA max_page_count = 1000000")
    await until(lambda: not store.failure)
    assert await said(store, first.conversation) == ["A", words, words]
    shown = await store._database.read(lambda c: tree.find_message(c, second.id))
    assert (shown.text, shown.state) == (words, "done")


async def test_a_file_that_was_moved_away_is_not_written_to_any_more(store: Store, path: Path):
    await exchange(store, "", "A", "a")
    elsewhere = path.with_name("elsewhere")
    os.rename(path, elsewhere)
    asked = await store.add_user("", "B")
    assert "not the file it was" in store.failure
    assert await said(store, asked.conversation) == ["B"]
    os.rename(elsewhere, path)
    await until(lambda: not store.failure)
    assert await said(store, asked.conversation) == ["B"]


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(StoreFailed, match="cannot be opened"):
        await opened_and_closed(tmp_path / "missing" / "chats.sqlite3")


async def test_a_writer_who_is_cancelled_has_written_all_the_same(store: Store):
    await exchange(store, "", "A", "a")
    task = asyncio.create_task(store.add_user("", "B"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.add_user("", "C")
    assert [c.title for c in await store.list()] == ["C", "B", "A"]


async def test_readers_do_not_wait_for_writers(store: Store):
    reply = await exchange(store, "", "A", "a")
    begun, read = threading.Event(), threading.Event()

    def write(_: object) -> bool:
        begun.set()
        return read.wait(10)

    writing = asyncio.create_task(store._database.write(write))
    assert await asyncio.to_thread(begun.wait, 10)
    await store.get(reply.conversation)
    read.set()
    assert await writing, "it went on until the other had read"


async def test_two_tabs_at_once_converge(store: Store):
    """Random operations of two tabs; every message either is there or was never acknowledged."""
    reply = await exchange(store, "", "A", "a")
    id, added, chance = reply.conversation, {reply.id, reply.parent}, random.Random(7)

    async def tab() -> None:
        for n in range(60):
            shown = (await store.get(id)).messages
            target = chance.choice(shown) if shown else reply
            try:
                match chance.randrange(5):
                    case 0:
                        added.add((await store.add_user(id, str(n))).id)
                    case 1:
                        added.add((await store.edit(target.id, f"edit {n}")).id)
                    case 2:
                        await store.select_version(target.id, chance.choice((-1, 1)))
                    case 3:
                        await store.delete_message(target.id)
                        await store.undelete_message(target.id)
                    case _:
                        new = await store.begin_reply(target.id)
                        await store.finish(new.id, "done", str(n), str(n))
                        added.add(new.id)
            except Unknown:
                pass

    await asyncio.gather(tab(), tab())
    for message in added:
        assert (await store.message(message)).conversation == id
    assert await said(store, id) == [
        m.text for m in await store.history((await store.conversation(id)).leaf)
    ]


# --- migrations -------------------------------------------------------------------------


async def test_r13_a_failing_migration_changes_nothing_and_keeps_a_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with Store.open(path) as store:
        reply = await exchange(store, "", "A", "a")
    known, good = schema.MIGRATIONS, "ALTER TABLE conversations ADD COLUMN mood INTEGER;"
    monkeypatch.setattr(schema, "MIGRATIONS", (*known, good + "SELECT nonsense;"))
    with pytest.raises(StoreFailed):
        await opened_and_closed(path)
    [backup] = (path.parent / "backups").iterdir()
    assert backup.name.endswith("-update.sqlite3")
    copy = sqlite3.connect(backup)
    assert copy.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    monkeypatch.setattr(schema, "MIGRATIONS", (*known, good))
    async with Store.open(path) as store:
        assert await said(store, reply.conversation) == ["A", "a"]
    monkeypatch.setattr(schema, "MIGRATIONS", known)
    with pytest.raises(StoreFailed, match="newer Spindle"):
        await opened_and_closed(path)


async def test_r13_a_file_of_the_first_schema_is_brought_along(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", (schema.FIRST,))
        await opened_and_closed(path)
        with sqlite3.connect(path) as old:
            old.execute(
                "INSERT INTO conversations (id, title, leaf, touched, created, updated)"
                " VALUES ('c', 'Old', 'm', 1, 0, 0)"
            )
            old.execute(
                "INSERT INTO messages (id, conversation, role, text, state, created)"
                " VALUES ('m', 'c', 'assistant', 'Hi', 'done', 0)"
            )
        old.close()
    async with Store.open(path) as store:
        [message] = (await store.get("c")).messages
        assert (message.text, message.reason, message.left_out, message.cut) == ("Hi", "", 0, 0)


async def test_why_a_reply_ended_and_what_it_did_not_see_is_kept(path: Path):
    async with Store.open(path) as store:
        asked = await store.add_user("", "A")
        reply = await store.begin_reply(asked.id)
        ended = await store.finish(reply.id, "done", "a", "a", reason="length", left_out=4, cut=9)
        assert (ended.reason, ended.left_out, ended.cut) == ("length", 4, 9)
    async with Store.open(path) as store:
        again = await store.message(reply.id)
        assert (again.reason, again.left_out, again.cut) == ("length", 4, 9)
        branch = await store.fork(reply.id, "B")
        assert (await store.message(branch.leaf)).cut == 9


async def test_opening_and_closing_is_quick_and_leaves_nothing_running(path: Path):
    start = time.perf_counter()
    for _ in range(10):
        await opened_and_closed(path)
    assert time.perf_counter() - start < 2
    assert not [t.name for t in threading.enumerate() if t.name.startswith("chats-")]
    assert os.listdir(path.parent) == [path.name]


async def test_a_hit_in_a_hidden_version_says_so_and_can_be_shown(store: Store):
    asked = await store.add_user("", "Which fruit?")
    first = await store.begin_reply(asked.id, model="m", loader="l")
    await store.finish(first.id, "done", "An apricot.", "An apricot.")
    second = await store.begin_reply(asked.id, model="m", loader="l")
    await store.finish(second.id, "done", "A banana.", "A banana.")
    [hit] = await store.search("banana")
    assert (hit.message, hit.hidden) == (second.id, False)
    [hit] = await store.search("apricot")
    assert (hit.message, hit.hidden) == (first.id, True)
    await store.show_message(first.id)
    assert (await store.get(asked.conversation)).messages[-1].id == first.id
    [hit] = await store.search("apricot")
    assert not hit.hidden


async def test_the_list_of_backups_goes_to_those_who_look_at_it():
    async with running("conversations", "settings") as app:
        looking, other = await app.open("/settings/conversations"), await app.open("/settings")
        await app.kernel.registry.values(STORE)[0].add_user("", "Keep this.")
        other.client.outbox.take()
        other.html = ""
        await looking.act("conversations.back_up")
        await looking.until("Made when you asked for it")
        assert "conversations-backups" not in other.html + "".join(other.client.outbox.take())


async def test_what_extensions_keep_is_changed_in_every_conversation_at_once(store: Store):
    here = [(await store.add_user("", name)).conversation for name in ("a", "b", "c")]
    secret = (await store.create(incognito=True)).id
    for id in (*here, secret):
        await store.set_state(id, "notes", "who", {"name": "Ada" if id != here[1] else "Bo"})
    await store.set_state(here[0], "other", "who", {"name": "Ada"})
    await store.delete(here[2])
    change = {"Ada": {"name": "Eva"}}
    await store.change_states("notes", "who", lambda value: change.get(value["name"]))
    found = [(await store.state(id, "notes", "who"))["name"] for id in (*here, secret)]
    assert found == ["Eva", "Bo", "Eva", "Eva"]
    assert await store.state(here[0], "other", "who") == {"name": "Ada"}


@pytest.mark.parametrize("incognito", [False, True])
async def test_of_changes_at_once_of_what_is_kept_none_is_lost(store: Store, incognito: bool):
    where = (await store.create(incognito=incognito)).id, "notes", "key"

    def change(kept: list[int] | None) -> list[int]:
        if kept and len(kept) == 9:
            raise Refused("There are enough.")
        return [*(kept or []), 1]

    await asyncio.gather(*(store.change_state(*where, change) for _ in range(9)))
    with pytest.raises(Refused, match="enough"):
        await store.change_state(*where, change)
    assert await store.state(*where) == [1] * 9


# --- what a full disk must not lose -----------------------------------------------------


async def fill_disk(store: Store) -> None:
    await on_disk(store, "PRAGMA max_page_count = 1")
    await store.add_user("", random.randbytes(100_000).hex())
    assert "disk is full" in store.failure


def fails(*_: object) -> None:
    raise sqlite3.IntegrityError("UNIQUE constraint failed")


async def test_folders_that_took_each_other_s_names_come_back_to_the_disk(store: Store, path: Path):
    for name in ("A", "B"):
        await store.shelf.make(name)
    await fill_disk(store)
    await store.shelf.remove("B")
    await store.shelf.rename("A", "B")
    await store.shelf.make("A")
    await store.add_user("", "precious words")
    await on_disk(store, "PRAGMA max_page_count = 1000000")
    await until(lambda: not store.failure)
    with closing(sqlite3.connect(path)) as disk:
        assert disk.execute("SELECT name FROM folders ORDER BY name").fetchall() == [("A",), ("B",)]
        assert disk.execute("SELECT 1 FROM messages WHERE text = 'precious words'").fetchone()


async def test_conversations_that_changed_places_come_back_to_the_disk(store: Store):
    wholes = [Whole(f"{n}", (Said("user", f"{n}"),), updated=1e9 + n) for n in range(6)]
    first, _ = await exchange(store, "", "A", "a"), await exchange(store, "", "B", "b")
    ids = [(await store.take(whole))[0] for whole in wholes[:3]]
    await fill_disk(store)
    ids += [(await store.take(whole))[0] for whole in wholes[3:]]
    await store.shelf.sort_in(ids)
    await store.add_user(first.conversation, "precious words")
    before = [(c.id, c.touched) for c in await store.list()]
    await on_disk(store, "PRAGMA max_page_count = 1000000")
    await until(lambda: not store.failure)
    assert [(c.id, c.touched) for c in await store.list()] == before
    assert (await said(store, first.conversation))[-1] == "precious words"


async def test_what_keeps_words_from_the_disk_and_that_they_are_lost_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(refuge.Refuge, "back", fails)
    async with Store.open(path, interval=0.02) as store:
        await fill_disk(store)
        await until(lambda: "UNIQUE constraint failed" in store.failure)
    assert "What was said since then is lost" in caplog.text


async def test_an_end_without_the_disk_loses_nothing_where_nothing_was_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(refuge.Refuge, "back", fails)
    async with Store.open(path) as store:
        await exchange(store, "", "A", "a")
        database = store._database
        disk = database._writing
        assert disk
        database._refuge = await database._on(database._writer, refuge.Refuge, disk)
    assert not caplog.text


async def test_deleted_messages_take_no_others_place(store: Store):
    first = await exchange(store, "", "A", "a")
    last = await exchange(store, first.conversation, "B", "b")
    await store.delete_message(last.id)
    await store.delete_message(last.parent)
    opened = await store.get(first.conversation, limit=2)
    assert ([m.text for m in opened.messages], opened.earlier) == (["A", "a"], False)
    opened = await store.get(first.conversation, limit=1)
    assert ([m.text for m in opened.messages], opened.earlier) == (["a"], True)
    assert [m.text for m in await store.history(last.id, limit=1)] == ["a"]


async def test_what_follows_a_deleted_message_is_no_more_than_that(store: Store):
    first = await store.add_user("", "0")
    ids = [(await store.add_user(first.conversation, f"{n}")).id for n in range(1, 6)]
    await store.delete_message(ids[2])
    found = await store.after(first.conversation, ids[2], 3)
    assert [message.text for message in found.messages] == ["4", "5"]
