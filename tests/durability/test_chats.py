"""R3 to R7, R9, R11, R12, R14: what may happen around a conversation, and what it may cost."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from extensions.chat.test_chat import Tab, kept, store_of, until
from extensions.conversations.api import Store, StoreFailed, Unknown
from kernel.api import Image, Text
from kernel.testing import Scripted, running
from tests.live import Watched, chromium, live


@pytest.mark.browser
async def test_r3_a_killed_server_and_a_page_that_is_not_reloaded(tmp_path: Path):
    """kill -9, a new start, and the page as it stands sends again: everything is kept."""
    (models := tmp_path / "models").mkdir()
    started = live(tmp_path / "data", tmp_path / "environments", "--model-dir", str(models))
    async with started as server, chromium() as browser:
        context = await browser.new_context()
        watched = Watched(context)
        page = await context.new_page()
        await page.goto(server.link)

        async def send(text: str) -> None:
            await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
            await page.fill("#chat-text", text)
            await page.keyboard.press("Enter")

        mine = page.locator("article.chat-user")
        for n in (1, 2, 3):
            await send(f"question {n}")
            await expect(mine).to_have_count(n)
            await expect(page.locator(".chat-error")).to_have_count(n)  # The next may be sent.
        await expect(page.locator(".chat-error").last).to_contain_text("No model")
        await page.fill("#chat-text", "written while it was away")
        await server.kill(signal.SIGKILL)
        await expect(page.locator(".offline.trying")).to_be_visible()
        await server.start()
        await expect(page.locator(".offline.trying")).to_be_hidden(timeout=15_000)
        assert await page.input_value("#chat-text") == "written while it was away"
        await expect(page.locator("#chat-go")).to_have_attribute("data-busy", "false")
        await page.keyboard.press("Enter")
        await expect(mine).to_have_count(4)
        expected = ["question 1", "question 2", "question 3", "written while it was away"]
        assert await mine.locator(".chat-body").all_inner_texts() == expected
        assert watched.complaints == []
    with closing(sqlite3.connect(tmp_path / "data" / "chats.sqlite3")) as database:
        rows = database.execute("SELECT text FROM messages WHERE role = 'user' ORDER BY seq")
        assert [text for (text,) in rows] == expected
        assert database.execute("SELECT count(*) FROM conversations").fetchone() == (1,)


async def test_r4_the_chat_is_switched_while_a_reply_is_written():
    gate = asyncio.Semaphore(0)
    model = Scripted("One two three four.", "Other words.", gate=gate)
    async with running("conversations", "chat", model=model) as app:
        tab = await Tab(app).connect()
        await tab.send("first")
        first = tab.conversation
        gate.release()
        gate.release()
        await tab.act("new")
        await tab.send("second")
        second = tab.conversation
        assert first != second
        for _ in range(10):
            gate.release()
        await tab.idle()
        running_ = store_of(app)
        await until(lambda: not running_._growing)
        assert [m.text for m in await kept(app, first)] == ["first", "One two three four."]
        assert [m.text for m in await kept(app, second)] == ["second", "Other words."]
        assert tab.said == ["second", "Other words."]

        # What another tab says in the first is its own matter, too.
        other = await Tab(app, f"/chat/{first}").connect()
        await other.send("third")
        for _ in range(10):
            gate.release()
        await other.idle()
        assert other.said[2:] == ["third", "One two three four."]
        assert tab.said == ["second", "Other words."]


async def test_r5_two_tabs_and_a_hundred_operations():
    await two_tabs(50)


@pytest.mark.long
async def test_r5_two_tabs_and_a_thousand_operations():
    await two_tabs(500)


async def agree(one: Tab, two: Tab) -> None:
    """Both say in the end what is kept."""
    async with asyncio.timeout(10):
        while True:
            texts = [m.text for m in await kept(one.app, one.conversation)][-50:]
            if one.said[-50:] == two.said[-50:] == texts:
                break
            await asyncio.sleep(0.01)


async def two_tabs(times: int) -> None:
    """Both show the same at the end, and whatever was acknowledged is in some branch."""
    model = Scripted("Yes.", "No.", "Perhaps.")
    async with running("conversations", "chat", model=model) as app:
        one = await Tab(app).connect()
        await one.ask("the beginning")
        two = await Tab(app, one.page.client.path).connect()
        store, conversation = store_of(app), one.conversation
        added = {m.id for m in await kept(app, conversation)}

        async def use(tab: Tab, seed: int) -> None:
            chance = random.Random(seed)
            for n in range(times):
                shown = await kept(app, conversation)
                target = chance.choice(shown).id if shown else ""
                match chance.randrange(6):
                    case 0:
                        await tab.send(f"words {seed} {n}")
                    case 1:
                        await tab.act("edit", message=target, text=f"edited {seed} {n}")
                    case 2:
                        await tab.act("version", message=target, step=chance.choice((-1, 1)))
                    case 3:
                        await tab.act("delete_message", message=target)
                        await tab.act("undelete_message", message=target)
                    case 4:
                        await tab.act("regenerate", message=target)
                    case _:
                        await tab.act("rename", conversation=conversation, title=f"{seed} {n}")
                added.update(m.id for m in await kept(app, conversation))
                one.look()  # As a browser would: what nobody takes is dropped in the end.
                two.look()

        await asyncio.gather(use(one, 1), use(two, 2))
        await one.idle()
        await two.idle()
        await agree(one, two)
        await until(lambda: not store._growing)
        assert len(added) > times / 3
        for id in added:
            assert (await store.message(id)).state in ("done", "stopped")


@pytest.mark.parametrize("position", [0, 1, 100, 199])
async def test_r6_stopped_there_and_then_removed(position: int):
    await stopped_and_removed(position)


@pytest.mark.long
@pytest.mark.parametrize("position", [n for n in range(200) if n not in (0, 1, 100, 199)])
async def test_r6_stopped_anywhere_and_then_removed(position: int):
    await stopped_and_removed(position)


async def stopped_and_removed(position: int) -> None:
    words, gate = [f"w{n}" for n in range(200)], asyncio.Semaphore(0)
    model = Scripted(" ".join(words), "Next.", gate=gate)
    async with running("conversations", "chat", model=model) as app:
        tab = await Tab(app).connect()
        await tab.send("question")
        for _ in range(position):
            gate.release()
        reply = (await kept(app, tab.conversation))[-1].id
        want = " ".join(words[:position])

        async def there() -> bool:
            return (await store_of(app).message(reply)).text == want

        while position and not await there():
            await asyncio.sleep(0.002)
        await tab.act("stop", conversation=tab.conversation)
        await tab.idle()
        asked, stopped = await kept(app, tab.conversation)
        assert (stopped.text, stopped.state) == (want, "stopped")
        await tab.act("delete_message", message=stopped.id)
        assert [m.text for m in await kept(app, tab.conversation)] == ["question"]
        assert [m.text for m in await store_of(app).history(asked.id)] == ["question"]
        await tab.act("undelete_message", message=stopped.id)
        assert [m.text for m in await kept(app, tab.conversation)] == ["question", want]


async def test_r7_a_page_never_writes_over_what_it_could_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A page has no history to send: it names a conversation, and the server adds to it."""
    data = tmp_path / "data"
    async with running("conversations", "chat", model=Scripted("Yes."), data=data) as app:
        tab = await Tab(app).connect()
        await tab.ask("first")
        store, conversation = store_of(app), tab.conversation

        async def broken(*_: object, **__: object) -> None:
            raise StoreFailed("The disk reported an error. Check the disk.")

        with monkeypatch.context() as context:
            context.setattr(store, "get", broken)
            blind = await Tab(app, f"/chat/{conversation}").connect()
            assert blind.said == []
            before = await store.conversation(conversation)
            await blind.act("version", message="nothing", step=1)
            assert await store.conversation(conversation) == before
        await blind.act("send", conversation=conversation, text="second")
        await tab.idle()
        await until(lambda: not store._growing)
        texts = [m.text for m in await kept(app, conversation)]
        assert texts == ["first", "Yes.", "second", "Yes."]
        assert (await store.conversation(conversation)).revision > before.revision


async def test_r7_who_edits_what_has_gone_meanwhile_is_told(tmp_path: Path):
    async with running("conversations", "chat", model=Scripted("Yes.")) as app:
        tab = await Tab(app).connect()
        await tab.ask("first")
        [asked, reply] = await kept(app, tab.conversation)
        late = await Tab(app, tab.page.client.path).connect()
        await tab.act("delete_message", message=reply.id)
        await late.act("edit", message=reply.id, text="over it")
        assert "has been deleted" in late.toasts
        assert [m.id for m in await kept(app, tab.conversation)] == [asked.id]


@contextmanager
def mounted(source: Path, target: Path) -> Iterator[None]:
    """A folder mounted on another, as a drive would be."""
    command = ["mount", "--bind", str(source), str(target)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("A DRIVE THAT IS TAKEN OUT WAS NOT TRIED: mounting needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(target)], capture_output=True, check=False)


async def test_r9_a_drive_is_taken_out_and_put_back(tmp_path: Path):
    drive, data = tmp_path / "drive", tmp_path / "data"
    drive.mkdir()
    data.mkdir()
    with mounted(drive, data):
        store_open = Store.open(data / "chats.sqlite3", interval=0.05)
        async with store_open as store:
            asked = await store.add_user("", "before")
            unmount = ["umount", "-l", str(data)]
            await asyncio.to_thread(subprocess.run, unmount, check=True)
            await store.add_user(asked.conversation, "meanwhile")
            assert "Was its folder moved or a drive taken out?" in store.failure
            with pytest.raises(StoreFailed):
                await store.backup("start")
            assert os.listdir(data) == []
            with mounted(drive, data):
                await until(lambda: not store.failure)
                texts = [m.text for m in (await store.get(asked.conversation)).messages]
                assert texts == ["before", "meanwhile"]
                with closing(sqlite3.connect(data / "chats.sqlite3")) as disk:
                    assert disk.execute("SELECT count(*) FROM messages").fetchone() == (2,)


async def test_r9_other_conversations_in_its_place_are_not_written_to(tmp_path: Path):
    data, path = tmp_path / "data", tmp_path / "data" / "chats.sqlite3"
    data.mkdir()
    async with Store.open(path, interval=0.05) as store:
        await store.add_user("", "mine")
        data.rename(tmp_path / "elsewhere")
        data.mkdir()
        async with Store.open(path) as other:
            await other.add_user("", "somebody else's")
            await other.add_user("", "twice")
        await store.add_user("", "mine too")
        await until(lambda: "Other conversations lie there now" in store.failure)
        assert len(await store.list()) == 2
    with closing(sqlite3.connect(path)) as disk:
        rows = disk.execute("SELECT title FROM conversations ORDER BY seq")
        assert [title for (title,) in rows] == ["somebody else's", "twice"]


async def test_r11_a_clock_that_jumps_a_day_changes_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chance, day = random.Random(3), 86_400.0
    monkeypatch.setattr(time, "time", lambda: 1e9 + day * chance.choice((-1, 0, 1)))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e18))  # Every id in the same millisecond.
    async with Store.open(tmp_path / "chats.sqlite3") as store:
        asked = await store.add_user("", "0")
        for n in range(1, 150):
            await store.add_user(asked.conversation, str(n))
        ids = [(await store.create(f"chat {n}")).id for n in range(150)]
        assert len(set(ids)) == 150
        shown = (await store.get(asked.conversation, limit=1000)).messages
        assert [m.text for m in shown] == [str(n) for n in range(150)]
        assert [c.id for c in await store.list(limit=150)] == ids[::-1]


async def test_r12_deleted_and_brought_back(tmp_path: Path):
    """Fully there or fully gone; with a crash at each point, see test_kills.py."""
    path = tmp_path / "chats.sqlite3"
    async with Store.open(path) as store:
        asked = await store.add_user("", "words")
        await store.set_state(asked.conversation, "notes", "key", 1)
        await store.delete(asked.conversation)
    async with Store.open(path) as store:
        assert await store.list() == []
        assert await store.search("words") == []
        await store.undelete(asked.conversation)
        assert [m.text for m in (await store.get(asked.conversation)).messages] == ["words"]
        assert await store.state(asked.conversation, "notes", "key") == 1
        await store.delete(asked.conversation)
        await store.purge(older=-1)
        with pytest.raises(Unknown):
            await store.undelete(asked.conversation)


async def test_r14_an_attachment_that_cannot_be_read_any_more(tmp_path: Path):
    """What is attached lies in the database with its message; nothing refers to a file yet."""
    data = tmp_path / "data"
    model = Scripted("Yes.")
    async with running("conversations", "chat", model=model, data=data) as app:
        store = store_of(app)
        parts = (Text("Look at this"), Image(b"\x89PNG\x00", "image/png"))
        asked = await store.add_user("", "Look at this", parts=parts)
        with closing(sqlite3.connect(data / "chats.sqlite3")) as database, database:
            database.execute("UPDATE messages SET parts = substr(parts, 1, 60)")
        tab = await Tab(app, f"/chat/{asked.conversation}").connect()
        assert tab.said == ["Look at this"]
        await tab.act("regenerate", message=asked.id)
        await tab.idle()
        assert tab.said == ["Look at this", "Yes."]
        assert model.asked[-1].messages
        assert model.asked[-1].messages[-1].text == "Look at this"
        message = await store.message(asked.id)
        assert "can no longer be read" in message.error
        assert any("can no longer be read" in n.text for n in tab.look().having("chat-error"))
