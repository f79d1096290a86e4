"""R8: a damaged file of conversations opens, with everything in it that is intact, and is kept."""

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from extensions.conversations import recovery
from extensions.conversations.api import Erased, Store, StoreFailed
from extensions.conversations.records import StoredMessage
from kernel.testing import Scripted, running

LONG = "long " * 5000
MANY = 40


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a person has it: branches, long texts, states, something deleted."""
    path = tmp_path_factory.mktemp("sound") / "chats.sqlite3"
    asyncio.run(fill(path))
    return path


async def fill(path: Path) -> None:
    async with Store.open(path) as store:
        reply = None
        for n in range(MANY):
            asked = await store.add_user("", f"question {n} {LONG if n % 10 == 3 else ''}")
            reply = await store.begin_reply(asked.id, model="guide")
            await store.finish(reply.id, "done", f"answer {n} " * 40, f"raw {n}")
            if n % 5 == 0:
                await store.edit(asked.id, f"other question {n}")
            await store.set_state(asked.conversation, "notes", "key", {"n": n})
            await store.shelf.tag(asked.conversation, f"blue tag{n}")
            await store.shelf.file(asked.conversation, f"Work/{n % 3}" if n % 4 else "")
            await store.shelf.pin(asked.conversation, on=n % 7 == 0)
        await store.shelf.make("Empty")
        assert reply
        await store.delete_message(reply.id)


Texts = dict[str, str]


def arranged(path: Path) -> dict[str, tuple[Any, ...]]:
    """Where each conversation is filed, with what; and the folders."""
    with closing(sqlite3.connect(path)) as database:
        query = "SELECT id, folder, tags, pinned FROM conversations"
        found = {id: each for id, *each in database.execute(query)}
        found["folders"] = sorted(name for (name,) in database.execute("SELECT name FROM folders"))
        return {id: tuple(each) for id, each in found.items()}


def texts(path: Path) -> Texts:
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT id, text FROM messages"))


async def opened(path: Path) -> tuple[bool, list[StoredMessage]]:
    """Whether the file was recovered, and every message that its conversations show."""
    async with Store.open(path) as store:
        shown = [
            message
            for conversation in await store.list(limit=1000)
            for message in (await store.get(conversation.id)).messages
        ]
        return store.recovered, shown


def copy(sound: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(sound, folder / "chats.sqlite3"))


def beside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("chats.sqlite3.corrupt-*"))


async def test_r8_a_sound_file_is_left_alone(sound: Path, tmp_path: Path):
    path = copy(sound, tmp_path)
    recovered, shown = await opened(path)
    assert not recovered
    assert len(shown) == 2 * MANY - 1 - MANY // 5
    assert not beside(path)


@pytest.mark.parametrize("damage", ["bom", "header", "schema", "nul", "noise", "halved", "root"])
async def test_r8_what_is_intact_is_shown_and_the_original_is_kept(
    damage: str, sound: Path, tmp_path: Path
):
    path = copy(sound, tmp_path)
    data, all_texts = bytearray(path.read_bytes()), texts(path)
    least = 1.0
    match damage:
        case "bom":
            data = b"\xef\xbb\xbf" + data
        case "header":
            data[:100] = bytes(100)
        case "schema":
            data[:4096] = random.Random(1).randbytes(4096)
        case "nul":
            data[5 * 4096 : 8 * 4096] = bytes(3 * 4096)
            least = 0.6
        case "noise":
            leaf = data.index(b"answer 9 answer") // 4096 * 4096
            data[leaf : leaf + 999] = random.Random(2).randbytes(999)
            least = 0.8
        case "halved":
            data = data[: len(data) // 2]
            least = 0.2
        case _:  # The tops of all trees, so that SQLite finds no way to any row.
            with closing(sqlite3.connect(path)) as database:
                roots = database.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")
                for (root,) in roots.fetchall():
                    if data[(root - 1) * 4096] in (2, 5):
                        data[(root - 1) * 4096 : (root - 1) * 4096 + 12] = bytes(12)
    path.write_bytes(before := bytes(data))
    recovered, shown = await opened(path)
    assert recovered
    assert [file.read_bytes() for file in beside(path)] == [before]
    now = texts(path)
    whole = {id for id, text in now.items() if all_texts.get(id) == text}
    assert len(whole) >= least * len(all_texts)
    assert {m.text for m in shown} <= set(now.values())
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        if least == 1.0:
            states = database.execute("SELECT count(*) FROM states").fetchone()
            assert states == (MANY,)
            assert arranged(path) == arranged(sound)


async def test_r8_it_is_only_read_until_somebody_says_to_go_on(sound: Path, tmp_path: Path):
    path = copy(sound, tmp_path)
    with path.open("rb+") as file:
        file.write(bytes(100))
    for _ in range(2):  # A restart is no answer.
        async with Store.open(path) as store:
            assert store.recovered
            assert store.original == beside(path)[0]
            with pytest.raises(StoreFailed, match="go on with them or"):
                await store.add_user("", "New")
    async with Store.open(path) as store:
        await store.accept()
        await store.add_user("", "New")
    async with Store.open(path) as store:
        assert not store.recovered
        assert (await store.list())[0].title == "New"
        assert (await store.list())[1].title.startswith(f"question {MANY - 1}")
    assert len(beside(path)) == 1


async def test_r8_what_stands_in_the_log_alone_is_recovered_too(tmp_path: Path):
    path = tmp_path / "chats.sqlite3"
    async with Store.open(path) as store:
        await store.add_user("", "first")
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await store.add_user("", "second")
        wal = path.with_name("chats.sqlite3-wal").read_bytes()
        damaged = copy(path, tmp_path / "b")
    data = bytearray(damaged.read_bytes())
    data[:100] = bytes(100)
    damaged.write_bytes(data)
    damaged.with_name("chats.sqlite3-wal").write_bytes(wal)
    recovered, shown = await opened(damaged)
    assert recovered or len(shown) == 2
    assert {m.text for m in shown} == {"first", "second"}
    [*_, kept] = [f for f in beside(damaged) if f.name.endswith("-wal")] or [None]
    assert not recovered or (kept and kept.read_bytes() == wal)


async def test_r8_a_lost_log_costs_what_stood_in_it_alone(tmp_path: Path):
    path = tmp_path / "chats.sqlite3"
    async with Store.open(path) as store:
        await store.add_user("", "first")
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await store.add_user("", "second")
        without = copy(path, tmp_path / "b")
    recovered, shown = await opened(without)
    assert not recovered
    assert [m.text for m in shown] == ["first"]


async def test_r8_a_word_that_is_no_utf8_costs_one_character(sound: Path, tmp_path: Path):
    path = copy(sound, tmp_path)
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b"raw 7", b"r\xffw 7").replace(b"answer 7 answer", b"\xc3\x28swer 7 answer")
    )
    recovered, shown = await opened(path)
    assert not recovered
    assert len(shown) == 2 * MANY - 1 - MANY // 5
    assert any("\ufffd(swer 7" in m.text for m in shown)


async def test_r8_a_bad_detail_of_a_message_costs_the_detail(sound: Path, tmp_path: Path):
    path = copy(sound, tmp_path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "UPDATE messages SET sampling = '{\"temperature\"', usage = 'x', parts = '['"
        )
    recovered, shown = await opened(path)
    assert not recovered
    assert len(shown) == 2 * MANY - 1 - MANY // 5


@pytest.mark.parametrize("seed", range(6))
async def test_r8_noise_anywhere_never_keeps_it_from_opening(
    seed: int, sound: Path, tmp_path: Path
):
    await noise(seed, sound, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6, 500))
async def test_r8_noise_anywhere_many_times(seed: int, sound: Path, tmp_path: Path):
    await noise(seed, sound, tmp_path)


async def noise(seed: int, sound: Path, tmp_path: Path) -> None:
    """Random damage at a random place: what was not touched by it is there and the same."""
    chance = random.Random(seed)
    path = copy(sound, tmp_path)
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 3))):
        at, size = chance.randrange(len(data)), chance.choice((1, 16, 512, 9000))
        match chance.randrange(4):
            case 0:
                data[at : at + size] = chance.randbytes(len(data[at : at + size]))
            case 1:
                data[at : at + size] = bytes(len(data[at : at + size]))
            case 2:
                data[at : at + size] = b"\xfe" * len(data[at : at + size])
            case _:
                data = data[: max(at, len(data) // 3)]
    path.write_bytes(data)
    recovered, _ = await opened(path)
    after = texts_of(path)
    for id, text in untouched(sound, data).items():
        assert after[id] == text
    if recovered:
        assert beside(path)[0].read_bytes() == bytes(data)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def untouched(sound: Path, damaged: bytearray) -> Texts:
    """The messages whose rows lie in one page, and that page is as it was."""
    data, found = sound.read_bytes(), Texts()
    with closing(sqlite3.connect(sound)) as database:
        for id, conversation, text in database.execute(
            "SELECT id, conversation, text FROM messages"
        ):
            start = data.index((id + conversation).encode()) // 4096 * 4096
            if len(text) < 3000 and data[start : start + 4096] == damaged[start : start + 4096]:
                found[id] = text
    return found


def texts_of(path: Path) -> Texts:
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = lambda data: data.decode(errors="replace")
        return dict(database.execute("SELECT id, text FROM messages"))


async def test_r8_a_reply_that_ended_on_a_damaged_file_is_recovered_whole(tmp_path: Path):
    path = tmp_path / "chats.sqlite3"
    async with Store.open(path, interval=0.02) as store:
        asked = await store.add_user("", "Hello")
        reply = await store.begin_reply(asked.id)
        damage(path, "running")  # An index that every save of a growing reply looks into.
        with pytest.raises(StoreFailed, match="damaged"):
            await store.finish(reply.id, "done", "All of it", "All of it")
        assert store.damaged
        await store.recover()
        await store.accept()
        ended = await store.message(reply.id)
        assert (ended.text, ended.state) == ("All of it", "done")
        async with asyncio.timeout(10):
            while store.partial:
                await asyncio.sleep(0.01)


async def test_r8_it_is_not_recovered_while_a_reply_is_written(tmp_path: Path):
    async with Store.open(tmp_path / "chats.sqlite3") as store:
        asked = await store.add_user("", "Hello")
        reply = await store.begin_reply(asked.id)
        with pytest.raises(StoreFailed, match="then recover"):
            await store.recover()
        await store.finish(reply.id, "done", "All of it", "All of it")
        await store.recover()
        assert (await store.message(reply.id)).state == "done"


async def test_r8_it_is_not_recovered_while_a_reply_is_just_beginning(tmp_path: Path):
    async with Store.open(tmp_path / "chats.sqlite3") as store:
        asked = await store.add_user("", "Hello")
        beginning = asyncio.create_task(store.begin_reply(asked.id))
        await asyncio.sleep(0)
        with pytest.raises(StoreFailed, match="then recover"):
            await store.recover()
        reply = await beginning
        await store.finish(reply.id, "done", "All of it", "All of it")
        await store.recover()
        assert (await store.message(reply.id)).text == "All of it"


async def test_r8_a_reply_that_is_incognito_is_none_of_a_recovery(tmp_path: Path):
    async with Store.open(tmp_path / "chats.sqlite3", interval=60) as store:
        secret = await store.create(incognito=True)
        asked = await store.add_user(secret.id, "Hello")
        reply = await store.begin_reply(asked.id)
        store.grow(reply.id, "The first words", "The first words")
        async with asyncio.timeout(10):
            while store._growing:  # These are kept at once, others after the interval.
                await asyncio.sleep(0.01)
        store.grow(reply.id, "Half", "Half")
        await store.recover()
        assert (await store.message(reply.id)).text == "Half"
        await store.finish(reply.id, "done", "All of it", "All of it")
        assert (await store.message(reply.id)).text == "All of it"


@pytest.fixture
async def reshaped(tmp_path: Path) -> Path:
    """A conversation into which a message was put that others follow, and one was moved up."""
    async with Store.open(path := tmp_path / "chats.sqlite3") as store:
        said = [await store.say("", "user", "A")]
        for words in "BCDE":
            said.append(await store.say(said[0].conversation, "assistant", words))
        await store.insert(said[1].id, "user", "B2")
        await store.move(said[3].id, up=True)
    assert await words_shown(path) == "A B B2 D C E"
    return path


async def words_shown(path: Path) -> str:
    return " ".join(message.text for message in (await opened(path))[1])


async def test_r8_messages_that_were_inserted_or_moved_keep_their_places(reshaped: Path):
    recovery.recover(reshaped)
    assert await words_shown(reshaped) == "A B B2 D C E"


@pytest.mark.parametrize(("lost", "left"), [("B", "A B2 D C E"), ("E", "A B B2 D C")])
async def test_r8_a_message_that_is_lost_hides_no_other(reshaped: Path, lost: str, left: str):
    with closing(sqlite3.connect(reshaped)) as database, database:
        database.execute("DELETE FROM messages WHERE text = ?", (lost,))
    recovery.recover(reshaped)
    assert await words_shown(reshaped) == left


async def test_r8_messages_of_which_each_follows_the_other_end_no_recovery(reshaped: Path):
    with closing(sqlite3.connect(reshaped)) as database, database:
        query = "UPDATE messages SET parent = (SELECT id FROM messages WHERE text = 'E')"
        database.execute(f"{query} WHERE text = 'A'")
    recovery.recover(reshaped)
    assert set(texts(reshaped).values()) == {"A", "B", "B2", "C", "D", "E"}


def damage(path: Path, name: str) -> None:
    """Make the top page of a table or an index unreadable, beside a store that is open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (root,) = other.execute(query, (name,)).fetchone()
        (version,) = other.execute("PRAGMA user_version").fetchone()
        with path.open("rb+") as file:
            file.seek(4096 * (root - 1))
            file.write(b"\xff" * 8)
        other.execute(f"PRAGMA user_version = {version}")  # Others read it anew.


async def test_r8_a_recovery_that_is_cut_short_is_done_again(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = copy(sound, tmp_path)
    with path.open("rb+") as file:
        file.write(bytes(100))
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(recovery, "put_in_place", full)
        async with Store.open(path) as store:  # It cannot be put in place now: it is in memory.
            assert store.failure
    assert path.read_bytes() == before
    recovered, shown = await opened(path)
    assert recovered
    assert len(shown) > MANY


async def test_r8_the_page_says_so_and_lets_a_person_go_on(sound: Path, tmp_path: Path):
    path = copy(sound, tmp_path / "data")
    with path.open("rb+") as file:
        file.write(bytes(100))
    async with running(
        "conversations", "chat", model=Scripted("Yes."), data=tmp_path / "data"
    ) as app:
        page = app.page("/chat")
        assert app.kernel.hub
        await app.web.snapshot(page.client)
        html = await page.until("Read only: recovered")
        assert str(beside(path)[0].name) in html + page.html
        await page.act("chat.send", conversation="", text="Hello")
        await page.until("then write")
        told, _ = app.kernel.bus.open(Erased)
        await page.act("conversations.accept")
        await page.until("You can write again")
        assert [told.get_nowait(), told.qsize()] == [Erased(), 0]
        await page.act("chat.send", conversation="", text="Hello again")
        await page.until("Yes.")
    assert "Hello again" in texts(path).values()
