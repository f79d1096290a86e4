"""Backups and *Restore version*: made off the way, kept sensibly, followed by all pages."""

import asyncio
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from extensions.conversations import backups as backups_module
from extensions.conversations import care
from extensions.conversations.api import (
    STORE,
    Erased,
    Store,
    StoredMessage,
    StoreFailed,
    Unknown,
)
from extensions.conversations.backups import Backup, Backups
from kernel.testing import App, Page, Scripted, running
from tests.durability.test_damaged_store import damage
from tests.live import Watched, chromium, live, shoot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chats.sqlite3"


@pytest.fixture
async def store(path: Path):
    path.parent.mkdir()
    async with Store.open(path) as store:
        yield store


async def titles(store: Store) -> list[str]:
    return [conversation.title for conversation in await store.list()]


async def test_a_backup_holds_everything_and_is_whole_by_itself(store: Store, path: Path):
    await store.add_user("", "first")
    await store.backup("start")
    await store.add_user("", "second")
    [backup] = await store.backups()
    assert (backup.conversations, backup.messages, backup.cause) == (1, 1, "start")
    [file] = (path.parent / "backups").iterdir()  # No log, no draft beside it.
    assert file.stat().st_size == backup.size
    [listed] = await store.look(backup.name)
    assert (listed.title, listed.messages) == ("first", 1)
    assert [f.name for f in (path.parent / "backups").iterdir()] == [backup.name]


async def test_starts_without_a_change_push_no_backup_out(path: Path):
    path.parent.mkdir()
    for words in ("", "first", "", "", "second"):
        async with Store.open(path) as store:
            if words:
                await store.add_user("", words)
            await store.backup("start")
            await store.backup("start")
    async with Store.open(path) as store:
        assert [b.conversations for b in await store.backups()] == [2, 1]
        await store.backup("asked")
        await store.backup("start")
        assert [b.cause for b in await store.backups()] == ["asked", "start", "start"]
        await store.rename((await store.list())[0].id, "another title")
        await store.backup("start")
        assert [b.conversations for b in await store.backups()] == [2, 2, 1]
    assert not [*(path.parent / "backups").glob("*.draft*")]


async def test_a_copy_that_shows_damage_is_refused_also_where_it_is_like_the_last(path: Path):
    path.parent.mkdir()
    async with Store.open(path) as store:
        await store.add_user("", "first")
        await store.backup("start")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backups_module, "_same", lambda *_: True)
            damage(path, "messages")
            with pytest.raises(StoreFailed):
                await store.backup("start")


async def test_nothing_is_backed_up_while_there_is_nothing(store: Store, path: Path):
    await store.backup("start")
    assert await store.backups() == []


async def test_a_backup_leaves_room_on_the_disk_for_what_is_said_meanwhile(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
):
    await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    monkeypatch.setattr(backups_module, "ROOM", 2**60)
    for cause in ("start", "asked"):
        with pytest.raises(StoreFailed, match="The disk is nearly full"):
            await store.backup(cause)
    assert await store.backups() == [backup]
    assert not store.failure, "what is said is still saved"
    await store.add_user("", "second")
    await store.restore(backup.name)  # Which writes nothing beside the copy of the present.
    assert await titles(store) == ["first"]


async def test_a_backup_waits_for_nobody_and_nobody_for_it(store: Store):
    await store.add_user("", "first")
    begun, made = threading.Event(), threading.Event()

    def write(_: object) -> bool:
        begun.set()
        return made.wait(10)

    writing = asyncio.create_task(store._database.write(write))
    assert await asyncio.to_thread(begun.wait, 10)
    await store.backup("start")
    made.set()
    assert await writing, "it went on until the backup was made"


async def test_restoring_brings_everything_back_and_keeps_the_present(store: Store):
    asked = await store.add_user("", "first")
    await store.set_state(asked.conversation, "notes", "key", 1)
    await store.backup("start")
    await store.delete(asked.conversation)
    await store.purge(older=-1)
    await store.add_user("", "second")
    [backup] = await store.backups()
    await store.restore(backup.name)
    assert await titles(store) == ["first"]
    assert await store.state(asked.conversation, "notes", "key") == 1
    assert len(await store.search("first")) == 1
    present, _ = await store.backups()
    assert present.cause == "restore"
    await store.add_user(asked.conversation, "it goes on")
    await store.restore(present.name)
    assert await titles(store) == ["second"]


async def test_a_reply_under_way_is_not_restored_over(store: Store):
    asked = await store.add_user("", "first")
    await store.backup("start")
    reply = await store.begin_reply(asked.id)
    store.grow(reply.id, "half", "half")
    [backup] = await store.backups()
    with pytest.raises(StoreFailed, match="Stop it or wait"):
        await store.restore(backup.name)
    await store.finish(reply.id, "done", "whole", "whole")
    await store.restore(backup.name)


async def test_a_reply_that_begins_as_one_restores_is_not_restored_over(store: Store):
    asked = await store.add_user("", "first")
    await store.backup("start")
    [backup] = await store.backups()
    read, begun = store._database.read, list[StoredMessage]()

    async def reads(work: Any) -> Any:
        found = await read(work)
        store._database.read = read
        begun.append(await store.begin_reply(asked.id))
        store.grow(begun[0].id, "half", "half")
        return found

    store._database.read = reads
    with pytest.raises(StoreFailed, match="Stop it or wait"):
        await store.restore(backup.name)
    assert (await store.message(begun[0].id)).text == "half", "nor are its words forgotten"
    await store.finish(begun[0].id, "done", "whole", "whole")
    assert (await store.message(begun[0].id)).text == "whole"
    assert [b.name for b in await store.backups()] == [backup.name]


async def test_going_through_backups_costs_none_of_them_and_not_the_present(store: Store):
    await store.add_user("", "first")
    await store.backup("asked")
    await store.add_user("", "second")
    await store.backup("asked")
    last = await store.add_user("", "the present")
    await store.set_state(last.conversation, "notes", "key", "on")
    names = [backup.name for backup in await store.backups()]
    for name in names * 3:
        await store.restore(name)
    [present, *others] = await store.backups()
    assert (present.cause, [backup.name for backup in others]) == ("restore", names)
    await store.restore(present.name)
    assert await titles(store) == ["the present", "second", "first"]
    await store.set_state(last.conversation, "notes", "key", "no")  # It counts nowhere else.
    await store.restore(names[0])
    assert len(await store.backups()) == 4
    await store.restore((await store.backups())[0].name)
    assert await store.state(last.conversation, "notes", "key") == "no"


async def test_the_present_outlives_the_starts_of_the_day(store: Store):
    first = await store.add_user("", "one")
    await store.backup("start")
    await store.add_user(first.conversation, "two")
    await store.backup("start")  # Like the present, and gone with the next start of today.
    await store.restore((await store.backups())[-1].name)
    await store.backup("start")
    kept = [backup for backup in await store.backups() if backup.messages == 2]
    assert [backup.cause for backup in kept] == ["restore"]


async def test_of_two_that_lack_different_messages_both_are_kept(store: Store):
    first = await store.add_user("", "one")
    ids = [(await store.add_user(first.conversation, f"m{n}")).id for n in range(2)]
    await store.backup("asked")
    [whole] = await store.backups()
    for id in ids:
        await store.delete_message(id)
        await store.restore(whole.name)
    assert [b.cause for b in await store.backups()] == ["restore", "restore", "asked"]


async def test_the_backup_that_is_wanted_is_not_pushed_out_before(store: Store):
    await store.add_user("", "0")
    await store.backup("asked")
    [base] = await store.backups()
    for number in range(1, 4):
        await store.add_user("", str(number))
        await store.restore(base.name)
    await store.add_user("", "4")
    [oldest] = [backup for backup in await store.backups() if backup.cause == "restore"][2:]
    await store.restore(oldest.name)
    assert await titles(store) == ["1", "0"]
    kept = [await store.look(backup.name) for backup in await store.backups()]
    assert [listed[0].title for listed in kept] == ["4", "3", "2", "0"]


async def test_two_backups_at_once_are_two(store: Store, monkeypatch: pytest.MonkeyPatch):
    await store.add_user("", "first")
    both = threading.Barrier(2)

    def meets(place: str) -> None:
        if place == "backup.copied":
            with suppress(threading.BrokenBarrierError):
                both.wait(0.1)

    monkeypatch.setattr(backups_module, "kill_at", meets)
    await asyncio.gather(store.backup("asked"), store.backup("start"))
    assert [backup.number for backup in await store.backups()] == [2, 1]


@pytest.mark.parametrize("name", ["../chats.sqlite3", "nothing", "chats-0001-x-start.sqlite3", ""])
async def test_only_a_backup_can_be_restored(store: Store, name: str):
    await store.add_user("", "first")
    for call in (store.restore, store.look):
        with pytest.raises(Unknown, match="Choose another one"):
            await call(name)
    assert await titles(store) == ["first"]


async def test_r13_a_backup_of_an_older_schema_is_brought_along(path: Path, store: Store):
    await store.add_user("", "now")
    folder = path.parent / "backups"
    folder.mkdir()
    old = folder / "chats-0001-2026-01-01T00-00-00-start.sqlite3"
    with closing(sqlite3.connect(old)) as file, file:
        file.executescript(f"{backups_module.schema.FIRST}; PRAGMA user_version = 1;")
        file.execute(
            "INSERT INTO conversations (id, title, leaf, touched, created, updated)"
            " VALUES ('c', 'Old', 'm', 1, 0, 0)"
        )
        file.execute(
            "INSERT INTO messages (id, conversation, role, text, state, created)"
            " VALUES ('m', 'c', 'assistant', 'Hi', 'running', 0)"
        )
    before = old.read_bytes()
    await store.restore(old.name)
    [message] = (await store.get("c")).messages
    assert (message.text, message.reason, message.state) == ("Hi", "", "interrupted")
    assert old.read_bytes() == before


async def test_a_backup_that_cannot_be_read_is_left_out(store: Store, path: Path):
    await store.add_user("", "first")
    await store.backup("start")
    [good] = await store.backups()
    (path.parent / "backups" / "chats-0009-2026-01-01T00-00-00-start.sqlite3").write_bytes(
        b"x" * 99
    )
    assert await store.backups() == [good]


@pytest.mark.parametrize("what", ["messages", "versions", "running"])
async def test_a_damaged_backup_takes_no_place_and_condemns_nothing(
    store: Store, path: Path, what: str
):
    asked = await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    damage(path.parent / "backups" / backup.name, what)
    await store.add_user(asked.conversation, "second")
    with pytest.raises(StoreFailed, match="This backup is damaged"):
        await store.restore(backup.name)
    assert not store.partial
    assert [m.text for m in (await store.get(asked.conversation)).messages] == ["first", "second"]
    assert not [*path.parent.glob("*.restoring*")]


async def test_a_damaged_backup_is_not_looked_into_and_costs_nothing_else():
    async with running("settings", "chat") as app:
        [store] = app.kernel.registry.values(STORE)
        await store.add_user("", "first")
        await store.backup("asked")
        [backup] = await store.backups()
        damage(app.kernel.data / "backups" / backup.name, "versions")
        page = await app.open("/settings/conversations")
        await page.act("conversations.look", backup=backup.name)
        await page.until("This backup is damaged")
        assert not app.kernel.guard._history


def rewrite(file: Path, old: bytes, new: bytes) -> None:
    """Damage that leaves SQLite's pages as they should be, but not what stands in them."""
    data = file.read_bytes()
    assert old in data
    assert len(old) == len(new)
    file.write_bytes(data.replace(old, new))


async def test_a_letter_that_is_none_costs_a_backup_that_letter_alone(store: Store, path: Path):
    await store.add_user("", "wörds")
    await store.backup("asked")
    [backup] = await store.backups()
    rewrite(path.parent / "backups" / backup.name, "wö".encode(), b"w\xff\xff")
    assert [c.title for c in await store.look(backup.name)] == ["w\ufffd\ufffdrds"]
    await store.restore(backup.name)
    assert await titles(store) == ["w\ufffd\ufffdrds"]


async def test_a_backup_whose_damage_sqlite_tells_in_no_words_is_told(store: Store, path: Path):
    """What it says repeats a name that is no text."""
    await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    rewrite(path.parent / "backups" / backup.name, b"conversations", b"convers\xff(ions")
    for act in (store.look, store.restore):
        with pytest.raises(StoreFailed, match="This backup is damaged"):
            await act(backup.name)
    assert await store.backups() == []
    assert not store.partial
    assert await titles(store) == ["first"]


async def test_a_backup_whose_damage_makes_it_one_to_be_read_only_is_told(store: Store, path: Path):
    await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    with (path.parent / "backups" / backup.name).open("r+b") as file:
        file.seek(18)  # The version of the format that it takes to write to the file.
        file.write(b"\x09")
    with pytest.raises(StoreFailed, match="This backup is damaged"):
        await store.restore(backup.name)
    assert await titles(store) == ["first"]


async def test_a_backup_that_lost_the_name_of_a_table_is_told(store: Store, path: Path):
    await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    rewrite(path.parent / "backups" / backup.name, b"conversations", b"conversatiens")
    with pytest.raises(StoreFailed, match="This backup is damaged"):
        await store.look(backup.name)


@pytest.mark.parametrize("time", [1e300, -1e300])
async def test_a_backup_with_a_time_that_is_in_no_calendar_is_told(
    store: Store, path: Path, time: float
):
    await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    with closing(sqlite3.connect(path.parent / "backups" / backup.name)) as other, other:
        other.execute("UPDATE conversations SET updated = ?", (time,))
    with pytest.raises(StoreFailed, match="This backup is damaged"):
        await store.look(backup.name)


class Calendar:
    """Days of starts, each after a change, without waiting for them."""

    def __init__(self, folder: Path) -> None:
        self.now = ""
        self.source = sqlite3.connect(":memory:", isolation_level=None)
        backups_module.upgrade(self.source)
        self.source.execute(
            "INSERT INTO conversations (id, title, touched, created, updated)"
            " VALUES ('c', 'C', 1, 0, 0)"
        )
        self.backups = Backups(folder, lambda: self.now)

    def start(self, day: int, hour: int = 9, cause: str = "start") -> list[str]:
        self.now = f"2026-01-{day:02}T{hour:02}-00-00"
        self.source.execute("UPDATE conversations SET touched = touched + 1")
        self.backups.make(self.source, cause)  # type: ignore[arg-type]
        return self.kept()

    def kept(self) -> list[str]:
        return [b.made[8:13] for b in self.backups.all() if b.cause == "start"]


def test_seven_are_kept_and_a_start_soon_after_a_start_pushes_out_no_day(tmp_path: Path):
    calendar = Calendar(tmp_path)
    for day in range(1, 10):
        calendar.start(day)
    assert calendar.kept() == [f"{day:02}T09" for day in range(9, 2, -1)]
    for hour in range(10, 20):
        calendar.start(10, hour)
    assert calendar.kept() == ["10T19", "10T10", *(f"{day:02}T09" for day in range(9, 4, -1))]
    kept = calendar.start(11)
    assert kept[:3] == ["11T09", "10T19", "09T09"]  # Of a day that is over, its end.
    for _ in range(5):
        calendar.start(11, 12, "restore")
    kinds = [b.cause for b in calendar.backups.all()]
    assert (kinds.count("start"), kinds.count("restore")) == (7, 3)
    calendar.source.close()


def test_r11_a_clock_that_jumps_back_costs_no_backup_its_place(tmp_path: Path):
    calendar = Calendar(tmp_path)
    calendar.start(20)
    calendar.start(21)
    kept = calendar.start(3)  # The battery was empty.
    assert kept == ["03T09", "21T09", "20T09"]
    newest: list[Backup] = calendar.backups.all()
    assert [b.number for b in newest] == [3, 2, 1]
    calendar.source.close()


# --- in the page ------------------------------------------------------------------------


async def backed_up(app: App, page: Page) -> str:
    await page.act("conversations.back_up")
    store = app.kernel.registry.values(STORE)[0]
    return (await store.backups())[0].name


async def test_every_start_makes_one_after_the_page_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(care, "PATIENCE", 0.01)
    data = tmp_path / "data"
    for times in (1, 2):
        async with running("conversations", data=data) as app:
            store = app.kernel.registry.values(STORE)[0]
            await store.add_user("", f"question {times}")
            if times == 1:
                await app.until(lambda: not list((data / "backups").glob("*.draft*")))
        async with running("conversations", data=data) as app:
            await app.until(lambda: bool(list((data / "backups").glob("*-start.sqlite3"))))
    async with running("conversations", data=data) as app:
        store = app.kernel.registry.values(STORE)[0]
        assert (await store.backups())[-1].conversations >= 1


async def test_a_server_that_stays_up_does_every_day_what_a_start_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    path.parent.mkdir()
    async with Store.open(path) as store:
        await store.add_user("", "kept")
        deleted = await store.add_user("", "gone one day")
    monkeypatch.setattr(care, "PATIENCE", 0.01)
    monkeypatch.setattr(care, "HOUR", 0.01)
    async with running("settings", "chat", data=path.parent) as app:
        [store] = app.kernel.registry.values(STORE)
        page = app.page("/settings/conversations")
        await app.web.snapshot(page.client)
        await page.until("2 conversations, 2 messages")
        await store.delete(deleted.conversation)
        await page.until("gone one day")
        query = "UPDATE conversations SET deleted = 1 WHERE deleted IS NOT NULL"
        await store._database.write(lambda c: c.execute(query))
        page.html = ""
        monkeypatch.setattr(care, "now", lambda: "2031-01-02T09-00-00")
        await page.until("1 conversation, ")
        await page.until("The trash is empty")
        assert [b.conversations for b in await store.backups()] == [1, 2]

        # The day after it has one of what went; then nothing changes, and none is pushed out.
        monkeypatch.setattr(care, "now", lambda: "2031-01-03T09-00-00")
        while (await store.backups())[0].number < 3:
            await asyncio.sleep(0.01)
        looked = asyncio.Event()
        purged = store.purge

        async def purge() -> None:
            await purged()
            looked.set()

        monkeypatch.setattr(store, "purge", purge)
        for day in range(4, 8):
            looked.clear()
            monkeypatch.setattr(care, "now", lambda day=day: f"2031-01-{day:02}T09-00-00")
            await looked.wait()
        assert (await store.backups())[0].number == 3
        await store.add_user("", "anew")
        monkeypatch.setattr(care, "now", lambda: "2031-01-09T09-00-00")
        while (await store.backups())[0].number < 4:
            await asyncio.sleep(0.01)


async def test_a_restore_is_a_change_though_as_many_rows_were_changed_since(store: Store):
    await store.add_user("", "first")
    await store.backup("asked")
    [backup] = await store.backups()
    seen = {await store.changes()}
    for _ in range(2):
        await store.restore(backup.name)
        await store.add_user("", "second")
        seen.add(await store.changes())
        assert await store.changes() in seen, "reading changes nothing"
    assert len(seen) == 3


async def test_a_backup_that_could_not_be_made_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    path.parent.mkdir()
    async with Store.open(path) as store:
        await store.add_user("", "first")
    in_its_way = path.parent / "backups"
    in_its_way.touch()
    monkeypatch.setattr(care, "PATIENCE", 0.01)
    monkeypatch.setattr(care, "HOUR", 0.01)
    async with running("settings", "chat", data=path.parent) as app:
        page = app.page("/settings/conversations")
        await app.web.snapshot(page.client)
        await page.until("No backup could be made")
        in_its_way.unlink()
        await page.until("1 conversation, 1 message")


async def ended(app: App, page: Page) -> None:
    """Until the reply that a page shows is kept whole: its words are there before its end is."""
    store = app.kernel.registry.values(STORE)[0]
    while (await store.get(page.client.subject)).messages[-1].state == "running":
        await asyncio.sleep(0.01)
    await app.until(lambda: not store._growing)


async def test_all_pages_follow_a_restore(tmp_path: Path):
    model = Scripted("Answer.")
    async with running("conversations", "chat", "settings", model=model) as app:
        page, other, away = (
            app.page("/chat"),
            app.page("/chat"),
            app.page("/settings/conversations"),
        )
        for each in (page, other, away):
            await app.web.snapshot(each.client)
        await away.until("There is no backup yet")
        await page.act("chat.send", conversation="", text="kept question")
        await page.until("Answer.")
        await ended(app, page)
        name = await backed_up(app, page)
        await away.until("1 conversation, 2 messages")
        kept = page.client.subject
        await other.act("chat.send", conversation="", text="later question")
        await other.until("Answer.")
        await ended(app, other)
        await away.act("conversations.look", backup=name)
        await away.until("kept question · 2 messages")
        page.html = other.html = away.html = ""
        await away.act("conversations.restore", backup=name)
        await away.until("What was there until now is among the backups")
        await away.until("Made before another backup was restored")
        await page.until("kept question.*Answer")
        assert page.client.subject == kept
        await other.until('data-path="/chat"')  # Its conversation is not there any more.
        assert "later question" not in other.html.rpartition('<main id="main"')[2]
        assert away.client.tab == "settings"
        await page.act("chat.send", conversation=kept, text="it goes on")
        await page.until("it goes on")
        await app.until(lambda: len(model.asked) == 3)


@pytest.mark.parametrize("how", ["accept", "restore"])
async def test_damage_met_while_running_is_told_and_recovered_on_a_click(tmp_path: Path, how: str):
    data = tmp_path / "data"
    async with running("conversations", "chat", model=Scripted("Answer."), data=data) as app:
        page = app.page("/chat")
        await app.web.snapshot(page.client)
        for n in range(30):
            store = app.kernel.registry.values(STORE)[0]
            await store.add_user("", f"question {n} " * 200)
            if n == 28:
                await store.backup("asked")
        damage(data / "chats.sqlite3", "conversations")
        await page.act("conversations.back_up")
        await page.until("Conversations damaged")
        told, _ = app.kernel.bus.open(Erased)
        await page.act("conversations.recover")
        await page.until("Conversations recovered")
        store = app.kernel.registry.values(STORE)[0]
        assert await store.gone(["never there"]) == (), "it may be in what comes back"
        if how == "accept":
            await page.act("conversations.accept")
        else:
            backup = next(each for each in await store.backups() if each.cause == "asked")
            await page.act("conversations.restore", backup=backup.name)
        assert await store.gone(["never there"]) == ["never there"]
        assert [told.get_nowait(), told.qsize()] == [Erased(), 0]
        assert len(await store.list()) == (30 if how == "accept" else 29)
        assert list(data.glob("*.corrupt-*"))


@pytest.mark.long
@pytest.mark.browser
async def test_a_person_restores_a_version_and_goes_on_after_damage(tmp_path: Path):
    (models := tmp_path / "models").mkdir()
    data = tmp_path / "data"
    started = live(data, tmp_path / "environments", "--model-dir", str(models))
    async with started as server, chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)
        mine = page.locator("article.chat-user")
        await page.fill("#chat-text", "a question")
        await page.keyboard.press("Enter")
        await expect(mine).to_have_count(1)
        settings = await context.new_page()
        await settings.goto(f"{server.address}/settings")
        await settings.get_by_role("link", name="Conversations").click()
        await settings.get_by_role("button", name="Back up now").click()
        await settings.get_by_role("button", name="What is in it").first.click()
        await expect(settings.locator(".card .rows li").first).to_contain_text("a question")
        await shoot(settings, "backups-look")
        await page.fill("#chat-text", "after the backup")
        await page.keyboard.press("Enter")
        await expect(mine).to_have_count(2)
        await settings.get_by_role("button", name="Go back to it").last.click()
        await expect(mine).to_have_count(1)
        assert watched.complaints == []

        await server.kill()
        with (data / "chats.sqlite3").open("rb+") as file:
            file.write(bytes(100))
        await server.start()
        warning = page.locator("#conversations-warning button")
        await expect(warning).to_have_text("Read only: recovered", timeout=15_000)
        await warning.click()
        await shoot(page, "conversations-recovered")
        await page.get_by_role("button", name="Go on with these").click()
        await expect(warning).to_have_count(0)
        await page.fill("#chat-text", "it goes on")
        await page.keyboard.press("Enter")
        await expect(mine.last).to_contain_text("it goes on")
        assert watched.complaints == []
