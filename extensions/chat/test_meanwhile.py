"""What happens between a wish and its answer: pages that go on, words that are held back."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extensions.chat.pages import Pages
from extensions.chat.test_chat import Tab, grown, kept, store_of
from extensions.chat.thoughts import Keeping
from extensions.conversations.api import StoredMessage
from extensions.prompts.api import PROMPTS, LeftOut
from kernel.api import OUTPUT, PANELS, Client, Delta, Refused, Turn
from kernel.testing import App, Scripted, running


@pytest.fixture
def model() -> Scripted:
    return Scripted("One two three four.", "Five.")


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("conversations", "chat", model=model) as app:
        yield app


def ending(app: App, patch: pytest.MonkeyPatch, what: str) -> None:
    """From now on tasks of this name are cancelled before their first step."""
    chat = app.extension("chat")
    spawn = chat.spawn

    def ends(work: Any, name: str = "") -> Any:
        task = spawn(work, name)
        if name.startswith(f"{what} "):
            task.cancel()
        return task

    patch.setattr(chat, "spawn", ends)


@pytest.fixture
async def tab(app: App) -> Tab:
    return await Tab(app).connect()


def pages_of(app: App) -> Pages:
    entries = app.kernel.registry.entries(PANELS)
    [tab] = [e.value for e in entries if e.owner == "chat" and e.value.region == "tab"]
    context: Any = tab.context
    return context.__self__


class Held:
    """Lets the first call of a method wait."""

    def __init__(self, owner: Any, name: str) -> None:
        self._real, self._first = getattr(owner, name), True
        self.called, self.gate = asyncio.Event(), asyncio.Event()
        setattr(owner, name, self)

    async def __call__(self, *args: Any, **more: Any) -> Any:
        found = await self._real(*args, **more)
        if self._first:
            self._first = False
            self.called.set()
            await self.gate.wait()
        return found


def articles(tab: Tab) -> list[str]:
    return [n.attributes["id"] for n in tab.look().root.all() if n.tag == "article"]


# --- what cannot be answered ------------------------------------------------------------


@pytest.mark.parametrize("what", ["sent", "edited"])
async def test_what_cannot_be_answered_leaves_the_conversation_free(app: App, tab: Tab, what: str):
    await tab.ask("Hello")
    [asked, _] = await kept(app, tab.conversation)
    store = store_of(app)

    async def refuses(*_: Any, **__: Any) -> Any:
        raise Refused("Nobody is there.")

    begin, store.begin_reply = store.begin_reply, refuses
    if what == "sent":
        await tab.send("And then?")
    else:
        await tab.act("edit", message=asked.id, text="And then?")
    assert "Nobody is there." in tab.toasts
    assert not tab.busy
    assert "And then?" in tab.said
    assert "has no reply" in tab.look().having("chat-unanswered")[0].text
    store.begin_reply = begin
    await tab.act("retry", message=(await kept(app, tab.conversation))[-1].id)
    await tab.idle()
    assert tab.said[-2:] == ["And then?", "Five."]


async def test_what_is_brought_back_hides_no_reply_that_is_being_written(
    app: App, tab: Tab, model: Scripted
):
    await tab.ask("Hello")
    await tab.ask("And?")
    [*_, question, last] = await kept(app, tab.conversation)
    await tab.act("delete_message", message=last.id)
    await tab.act("delete_message", message=question.id)
    model.scripts, model.gate = ["Slowly said."], asyncio.Semaphore(1)
    await tab.send("Other words")
    await app.until(lambda: tab.said[-1] == "Slowly")
    await tab.act("undelete_message", message=question.id)
    assert tab.busy
    assert tab.said[-3:] == ["And?", "Other words", "Slowly"]
    await tab.act("stop", conversation=tab.conversation)
    await tab.idle()
    other = (await kept(app, tab.conversation))[-2]
    await tab.act("remove_last", conversation=tab.conversation)
    model.gate = asyncio.Semaphore(1)
    first = (await kept(app, tab.conversation))[0]
    await tab.act("edit", message=first.id, text="Again")
    await app.until(lambda: tab.said == ["Again", "Slowly"])
    await tab.act("unremove_last", message=other.id)
    assert tab.said == ["Again", "Slowly"]
    await tab.act("stop", conversation=tab.conversation)
    await tab.idle()


# --- what is held back ------------------------------------------------------------------


async def test_what_was_never_shown_was_never_said(app: App, tab: Tab, model: Scripted):
    """A modifier that slows a reply has most of it when somebody stops it."""
    held = asyncio.Event()

    async def slowly(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield delta
            if not turn.continue_:
                await held.wait()

    app.extension("chat").on(OUTPUT)(slowly)
    await tab.send("Hello")
    running = pages_of(app)._views._running[tab.conversation]
    await app.until(lambda: bool(running.reply and running.reply.raw == "One two three four."))
    await app.until(lambda: tab.said[-1] == "One")
    await tab.act("stop", conversation=tab.conversation)
    held.set()
    await tab.idle()
    [_, reply] = await kept(app, tab.conversation)
    assert (reply.raw, reply.state) == (reply.text, "stopped")
    assert reply.text.startswith("One")
    assert "three" not in reply.text
    model.scripts = [" and more."]
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    assert [m.text for m in model.asked[-1].messages or ()] == ["Hello", reply.text]
    assert tab.said[-1] == f"{reply.text} and more."


# --- pages that come, go on and leave ---------------------------------------------------


async def test_a_program_that_acted_is_forgotten(app: App, tab: Tab):
    await tab.ask("Hello")
    client = Client("program-1", "key:1", f"/chat/{tab.conversation}")
    await app.kernel.hub.actions.act(client, {"action": "chat.new"})
    await app.kernel.hub.actions.act(client, {"action": "chat.more"})
    seen = weakref.ref(client)
    del client
    gc.collect()
    assert seen() is None
    assert len(pages_of(app).open) == 1


async def test_however_large_it_is_a_page_goes_where_it_is_sent(app: App, tab: Tab):
    store, words = store_of(app), "word " * 5000
    asked = await store.add_user("", words)
    for _ in range(40):
        reply = await store.begin_reply(asked.id)
        ended = await store.finish(reply.id, "done", words, words)
        asked = await store.add_user(asked.conversation, words, ended.id)
    await tab.act("reveal", message=asked.id)
    assert not tab.page.client.outbox.overflowed
    sent = "".join(tab.page.client.outbox.take())
    assert len(sent) > 1 << 20
    assert f'data-path="/chat/{asked.conversation}"' in sent
    assert sent.count("<article") == 81


async def test_a_page_that_comes_in_the_middle_of_a_send_has_each_message_once(app: App, tab: Tab):
    await tab.ask("Hello")
    others = list[Tab]()
    store = store_of(app)
    add, begin = store.add_user, store.begin_reply

    async def come() -> None:
        others.append(await Tab(app, tab.page.client.path).connect())
        others[-1].look()

    async def adds(*args: Any, **more: Any) -> Any:
        said = await add(*args, **more)
        await come()
        return said

    async def begins(*args: Any, **more: Any) -> Any:
        said = await begin(*args, **more)
        await come()
        return said

    store.add_user, store.begin_reply = adds, begins
    await tab.ask("And then?")
    assert len(others) == 2
    for page in (tab, *others):
        assert articles(page) == [f"chat-m{m.id}" for m in await kept(app, tab.conversation)]
        assert page.said == tab.said
        assert not page.busy


async def test_who_went_on_is_not_drawn_back(app: App, tab: Tab):
    pages = pages_of(app)
    others = Held(pages, "_others")
    drawing = asyncio.create_task(pages.draw_anew())
    await others.called.wait()
    await tab.ask("Hello")
    others.gate.set()
    await drawing
    assert tab.page.client.path == f"/chat/{tab.conversation}" != "/chat/"
    assert tab.said == ["Hello", "One two three four."]


async def test_a_page_on_its_way_is_drawn_where_it_goes(app: App, tab: Tab):
    id = await grown(app, 2)
    pages = pages_of(app)
    others = Held(pages, "_others")
    going = asyncio.create_task(pages.move(tab.page.client, id))
    await others.called.wait()
    await pages.draw_anew()
    others.gate.set()
    await going
    assert tab.conversation == id
    assert len(tab.said) == 4


@pytest.mark.parametrize("more", ["earlier", "later"])
async def test_messages_of_another_conversation_come_too_late(app: App, tab: Tab, more: str):
    long, short = await grown(app, 70), await grown(app, 1)
    pages, client = pages_of(app), tab.page.client
    await pages.move(client, long)
    messages = (await store_of(app).get(long)).messages
    opened = Held(pages._views, "open")
    tell = pages.tell_earlier if more == "earlier" else pages.tell_later
    asking = asyncio.create_task(tell(client, long, messages[50].id))
    await opened.called.wait()
    await pages.move(client, short)
    opened.gate.set()
    await asking
    assert tab.said == ["Question 0", "Answer 0"]


async def test_who_works_on_an_old_message_stays_there(app: App, tab: Tab):
    id = await grown(app, 120)
    other = await Tab(app, f"/chat/{id}").connect()
    messages = await store_of(app).history((await store_of(app).conversation(id)).leaf)
    at = messages[30]
    await tab.act("reveal", message=at.id)
    assert "Question 15" in tab.said
    await tab.act("insert", message=at.id, text="Beside it", where="after")
    assert tab.said[tab.said.index("Question 15") + 1] == "Beside it"
    await tab.act("delete_message", message=messages[32].id)
    assert "Answer 15" in tab.said
    assert "Question 16" not in tab.said
    await tab.act("undelete_message", message=messages[32].id)
    assert "Question 16" in tab.said
    await tab.act("move", message=messages[33].id, step="1")
    assert tab.said.index("Answer 16") == tab.said.index("Question 17") + 1
    assert "Question 119" not in tab.said
    assert other.said[-1] == "Answer 119"
    assert len(other.said) == 100
    last = (await kept(app, id))[-1]
    await tab.act("delete_message", message=last.id)
    assert tab.said[-1] == "Question 119", "what is at the end leads there"


# --- what the model writes for the user -------------------------------------------------


async def impersonated(tab: Tab, model: Scripted, words: int = 1) -> asyncio.Semaphore:
    """It writes, and has written so many words."""
    await tab.ask("Hello")
    model.scripts, gate = ["One two three four."], asyncio.Semaphore(words)
    model.gate = gate
    model.asked.clear()
    await tab.act("impersonate", conversation=tab.conversation, text="")
    await tab.app.until(lambda: box(tab) == "One")
    return gate


def box(tab: Tab) -> str:
    draft = tab.look().get("chat-draft")
    return draft.text if draft else ""


async def test_the_words_follow_a_page_that_lost_its_connection(
    app: App, tab: Tab, model: Scripted
):
    other = await Tab(app).connect()
    gate = await impersonated(tab, model)
    await pages_of(app).move(other.page.client, tab.conversation)
    tab.page.close()
    again = await Tab(app, tab.page.client.path).connect()
    for _ in range(4):
        gate.release()
    await again.idle()
    assert box(again) == "One two three four."


async def test_the_words_wait_for_the_page_itself_when_it_lost_its_connection(
    app: App, tab: Tab, model: Scripted
):
    gate = await impersonated(tab, model)
    tab.page.lose()
    for _ in range(4):
        gate.release()
    await app.until(lambda: not pages_of(app)._views._running)
    await tab.page.connect()
    assert box(tab) == "One two three four."


async def test_the_words_wait_for_a_page_that_comes_later(app: App, tab: Tab, model: Scripted):
    gate = await impersonated(tab, model)
    path = tab.page.client.path
    tab.page.close()
    for _ in range(4):
        gate.release()
    await app.until(lambda: not pages_of(app)._views._running)
    again = await Tab(app, path).connect()
    assert box(again) == "One two three four."
    later = await Tab(app, path).connect()
    assert not box(later), "once"


async def test_the_words_wait_where_a_page_goes_on_before_it_has_them(
    app: App, tab: Tab, model: Scripted
):
    gate = await impersonated(tab, model)
    path, pages = tab.page.client.path, pages_of(app)
    tab.page.close()
    for _ in range(4):
        gate.release()
    await app.until(lambda: not pages._views._running)
    opened, passing = Held(pages._views, "open"), Tab(app, path)
    coming = asyncio.create_task(passing.connect())
    await opened.called.wait()
    await pages.move(passing.page.client, "")
    opened.gate.set()
    await coming
    assert not box(passing)
    assert box(await Tab(app, path).connect()) == "One two three four."


async def test_a_reply_that_ends_while_a_page_comes_looks_as_it_was_shown(app: App, tab: Tab):
    await tab.ask("Hello")
    path, views = tab.page.client.path, pages_of(app)._views
    reply = (await kept(app, tab.conversation))[1]
    shown = views._html.pop(reply.id)  # It is kept, and how it looks is not known yet.
    read, coming = Held(views, "_read_one"), Tab(app, path)
    opening = asyncio.create_task(coming.connect())
    await read.called.wait()
    views.remember(reply.id, shown.replace("two", "<span>2</span>"))
    read.gate.set()
    await opening
    assert coming.said == ["Hello", "One 2 three four."]


async def test_the_words_stay_out_of_another_conversation(app: App, tab: Tab, model: Scripted):
    short = await grown(app, 1)
    gate = await impersonated(tab, model)
    here = tab.conversation
    await pages_of(app).move(tab.page.client, short)
    assert not box(tab)
    for _ in range(4):
        gate.release()
    await app.until(lambda: not pages_of(app)._views._running)
    assert not box(tab)
    await pages_of(app).move(tab.page.client, here)
    assert box(tab) == "One two three four."


# --- what goes while something is written in it -----------------------------------------


def well(app: App) -> bool:
    return not app.kernel.guard._history


async def test_what_is_deleted_as_a_reply_begins_waits_for_its_end(app: App, tab: Tab):
    await tab.ask("Hello")
    id, store = tab.conversation, store_of(app)
    other = await Tab(app, f"/chat/{id}").connect()
    begun = Held(store, "begin_reply")
    sending = asyncio.create_task(other.send("And then?"))
    await begun.called.wait()
    deleting = asyncio.create_task(tab.act("delete", conversation=id))
    stopped = pages_of(app)._views._running[id]
    await app.until(lambda: stopped.stopped)
    begun.gate.set()
    await asyncio.gather(sending, deleting)
    assert not await store.list()
    await store.undelete(id)
    said = [(m.text, m.state) for m in await kept(app, id)]
    assert said[2:] == [("And then?", "done"), ("", "stopped")]
    assert well(app)


async def test_nobody_writes_under_what_is_being_deleted(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    id, store = tab.conversation, store_of(app)
    other = await Tab(app, f"/chat/{id}").connect()
    deleted = Held(store, "delete")
    deleting = asyncio.create_task(tab.act("delete", conversation=id))
    await deleted.called.wait()
    await other.send("precious words")
    assert box(other) == "precious words"
    deleted.gate.set()
    await deleting
    assert len(model.asked) == 1
    assert well(app)


async def test_what_is_said_while_the_last_reply_is_removed_goes_back(app: App, tab: Tab):
    await tab.ask("Hello")
    id, store = tab.conversation, store_of(app)
    other = await Tab(app, f"/chat/{id}").connect()
    looked = Held(store, "get")
    removing = asyncio.create_task(tab.act("remove_last", conversation=id))
    await looked.called.wait()
    await other.send("precious words")
    looked.gate.set()
    await removing
    assert box(other) == "precious words"
    assert other.said == [] == await kept(app, id)
    await other.ask("It goes on")
    assert other.said == ["It goes on", "Five."]


async def test_a_reply_that_is_deleted_while_it_is_written_is_gone(
    app: App, tab: Tab, model: Scripted
):
    """As a program may do, which asks nobody."""
    model.gate = asyncio.Semaphore(1)
    await tab.send("Hello")
    await app.until(lambda: tab.said[-1:] == ["One"])
    [_, reply] = await kept(app, tab.conversation)
    await store_of(app).delete_message(reply.id)
    for _ in range(4):
        model.gate.release()
    await tab.idle()
    await app.until(lambda: tab.said == ["Hello"])
    assert well(app)


async def test_a_conversation_that_is_deleted_under_its_reply_is_gone(
    app: App, tab: Tab, model: Scripted
):
    model.gate = asyncio.Semaphore(1)
    await tab.send("Hello")
    await app.until(lambda: tab.said[-1:] == ["One"])
    running = pages_of(app)._views._running
    task = running[tab.conversation].task
    assert task
    await store_of(app).delete(tab.conversation)
    for _ in range(4):
        model.gate.release()
    await task
    assert not running
    assert well(app)


# --- replies that never come to their first word ----------------------------------------


async def test_a_reply_that_was_begun_as_the_chat_went_is_interrupted(app: App, tab: Tab):
    await tab.ask("Hello")
    id, store = tab.conversation, store_of(app)
    writing, free = threading.Event(), threading.Event()

    def busy(_: object) -> bool:
        writing.set()
        return free.wait(10)

    begun = asyncio.Event()
    begin = store.begin_reply

    async def begins(*args: Any, **more: Any) -> Any:
        blocking = asyncio.create_task(store._database.write(busy))
        await asyncio.to_thread(writing.wait, 10)
        begun.set()
        try:
            return await begin(*args, **more)
        finally:
            free.set()
            await blocking

    store.begin_reply = begins
    sending = asyncio.create_task(tab.send("And then?"))
    await begun.wait()
    await app.kernel.stop("chat")
    await asyncio.gather(sending, return_exceptions=True)
    store.begin_reply = begin
    await app.kernel.start("chat")
    query = "SELECT error FROM messages WHERE state = 'interrupted'"
    while not (found := await store._database.read(lambda c: c.execute(query).fetchall())):
        await asyncio.sleep(0.005)
    assert [row["error"] for row in found] == ["This reply was stopped before its end. Try again."]
    assert not store.running
    assert (await kept(app, id))[-1].state == "interrupted"


async def test_a_reply_whose_task_never_began_is_interrupted(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch
):
    await tab.ask("Hello")
    store, ended = store_of(app), list[StoredMessage]()
    store.ended.append(ended.append)
    ending(app, monkeypatch, "reply")
    await tab.send("And then?")
    await app.until(lambda: not pages_of(app)._views._running)
    last = (await kept(app, tab.conversation))[-1]
    assert (last.state, last.error) == (
        "interrupted",
        "This reply was stopped before its end. Try again.",
    )
    assert [m.id for m in ended] == [last.id], "a title that waits for its end need not wait on"
    assert not store.running


async def test_words_for_the_user_that_never_began_leave_the_conversation_free(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch
):
    await tab.ask("Hello")
    ending(app, monkeypatch, "impersonating")
    await tab.act("impersonate", conversation=tab.conversation, text="")
    await tab.act("delete", conversation=tab.conversation)
    assert not await store_of(app).list()


async def test_a_reply_that_is_cut_off_before_its_end_is_kept_has_its_words(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch
):
    store, above = store_of(app), asyncio.Event()
    prompts: Any = app.kernel.registry.values(PROMPTS)[0]
    monkeypatch.setattr(prompts, "left_out", lambda _: LeftOut(first="a message"))

    async def counts(_: str) -> int:
        above.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(store, "above", counts)
    await tab.send("Hello")
    await above.wait()
    task = pages_of(app)._views._running[tab.conversation].task
    assert task
    task.cancel()
    await asyncio.wait({task})
    await app.until(lambda: not store.running)
    last = (await kept(app, tab.conversation))[-1]
    assert (last.text, last.state) == ("One two three four.", "interrupted")
    assert last.error == "This reply was stopped before its end. Continue it, or try again."


async def test_a_reply_that_cannot_be_gone_on_with_is_not_begun(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch
):
    await tab.ask("Hello")
    [_, reply] = await kept(app, tab.conversation)

    async def fails(*_: object) -> Any:
        raise Refused("Its thoughts cannot be read.")

    monkeypatch.setattr(Keeping, "of", fails)
    await tab.act("continue_", message=reply.id)
    assert "Its thoughts cannot be read." in tab.toasts
    assert [m.id for m in await kept(app, tab.conversation)][1:] == [reply.id]
    assert not tab.busy


# --- an incognito conversation that is kept ---------------------------------------------


async def test_what_is_said_while_a_conversation_is_kept_goes_back(app: App, tab: Tab):
    await tab.act("incognito")
    await tab.ask("Hello")
    id, store = tab.conversation, store_of(app)
    other = await Tab(app, f"/chat/{id}").connect()
    read = Held(store, "whole")
    keeping = asyncio.create_task(tab.act("keep", conversation=id))
    await read.called.wait()
    await other.send("precious words")
    assert box(other) == "precious words"
    await tab.act("keep", conversation=id)
    read.gate.set()
    await keeping
    assert len(await store.list()) == 1, "two clicks keep it once"
    assert other.conversation == tab.conversation != id
    await other.ask("precious words")
    assert other.said[2:] == ["precious words", "Five."]
