"""A conversation, from a page's side: what is asked, what is kept, what every page then shows."""

import asyncio
import importlib
import json
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.conversations.api import STORE, Store, StoredMessage, StoreFailed
from kernel.api import (
    DISPLAY,
    OUTPUT,
    Delta,
    LoadFailed,
    Mark,
    Phase,
    Refused,
    Sampling,
    Status,
    Turn,
    WorkerError,
    whole_text,
)
from kernel.contract import Report
from kernel.testing import App, Page, Scripted, ScriptedLoader, running

VOID = {"input", "br", "hr", "img", "meta", "link"}


class Node:
    """An element of a page."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[Node | str] = []

    @property
    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    @property
    def answer(self) -> str:
        """Its text without the thoughts."""
        if "chat-thought" in self.attributes.get("class", "").split():
            return ""
        return "".join(c if isinstance(c, str) else c.answer for c in self.children)

    def all(self) -> "list[Node]":
        found: list[Node] = []
        ahead = [self]
        while ahead:
            node = ahead.pop()
            found.append(node)
            ahead += [child for child in reversed(node.children) if isinstance(child, Node)]
        return found


class Dom(HTMLParser):
    """What a browser makes of the fragments it is sent, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("body", {})

    def take(self, html: str) -> None:
        """One message: like htmx, find all targets in it before swapping any."""
        self.stack = [fragment := Node("", {})]
        self.feed(str(html))  # Markup would escape what follows it.
        assert len(self.stack) == 1, f"not closed: {[n.tag for n in self.stack]}"
        swaps: list[tuple[Node, list[Node]]] = []
        for node in fragment.children:
            if isinstance(node, Node):
                id = node.attributes.get("id", "")
                swaps.append((node, [n for n in self.root.all() if n.attributes.get("id") == id]))
            else:
                assert not node.strip(), f"text without a place: {node!r}"
        for node, places in swaps:
            self.swap(node, node.attributes.pop("hx-swap-oob"), places)

    def feed_page(self, closed: str, open_: str) -> None:
        """A page that shows a message `m` from now on."""
        self.root.children = [Node("div", {"id": f"chat-mm-{n}"}) for n in ("closed", "open")]
        for name, html in (("closed", closed), ("open", open_)):
            self.take(f'<div id="chat-mm-{name}" hx-swap-oob="innerHTML">{html}</div>')

    def swap(self, node: Node, how: str, places: list[Node]) -> None:
        for place in places:
            if how in ("innerHTML", "innerMorph"):
                place.children = node.children
            elif how == "beforeend":
                place.children = [*place.children, *node.children]
            elif how == "afterbegin":
                place.children = [*node.children, *place.children]
            else:
                new = [] if how == "delete" else [node]
                for parent in self.root.all():
                    if place in parent.children:
                        at = parent.children.index(place)
                        parent.children[at : at + 1] = new

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)

    def get(self, id: str) -> Node | None:
        return next((n for n in self.root.all() if n.attributes.get("id") == id), None)

    def having(self, css_class: str) -> list[Node]:
        return [n for n in self.root.all() if css_class in n.attributes.get("class", "").split()]


class Tab:
    """A page at an address, with what it shows."""

    def __init__(self, app: App, path: str = "/chat") -> None:
        self.app, self.dom = app, Dom()
        self.dom.root.children = [Node("main", {"id": "main"}), Node("div", {"id": "toasts"})]
        self.page: Page = app.page(path)

    async def connect(self) -> "Tab":
        await self.app.web.snapshot(self.page.client)
        return self

    def close(self) -> None:
        self.app.kernel.hub.clients.discard(self.page.client)

    def look(self) -> Dom:
        for part in self.page.client.outbox.take():
            self.dom.take(part)
        return self.dom

    @property
    def said(self) -> list[str]:
        """What is in the log: the words of each message."""
        articles = [n for n in self.look().root.all() if n.tag == "article"]
        return [
            "".join(
                n.answer for n in article.all() if "chat-body" in n.attributes.get("class", "")
            ).strip()
            for article in articles
        ]

    @property
    def busy(self) -> bool:
        go = self.look().get("chat-go")
        assert go
        return go.attributes["data-busy"] == "true"

    @property
    def toasts(self) -> str:
        toasts = self.look().get("toasts")
        assert toasts
        return toasts.text

    @property
    def conversation(self) -> str:
        return self.page.client.subject

    async def act(self, action: str, **values: Any) -> None:
        await self.page.act(f"chat.{action}", **values)

    async def send(self, text: str) -> None:
        await self.act("send", conversation=self.conversation, text=text)

    async def ask(self, text: str) -> None:
        """Send, and wait for the end of the reply."""
        await self.send(text)
        await self.idle()

    async def idle(self) -> None:
        await until(lambda: not self.busy)


async def until(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def store_of(app: App) -> Store:
    return app.kernel.registry.values(STORE)[0]


async def kept(app: App, conversation: str) -> list[StoredMessage]:
    return list((await store_of(app).get(conversation)).messages)


@pytest.fixture
def model() -> Scripted:
    return Scripted("One **two** three.", "Four five.", "Six.")


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("conversations", "chat", model=model) as app:
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    return await Tab(app).connect()


def slowly(model: Scripted, *scripts: str) -> asyncio.Semaphore:
    """From now on the model says a word for each release of this."""
    model.scripts, model.gate = list(scripts), asyncio.Semaphore(0)
    model.asked.clear()
    return model.gate


# --- talking ----------------------------------------------------------------------------


async def test_a_first_message_is_answered_and_makes_a_conversation(app: App, tab: Tab):
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One two three."]
    assert tab.page.client.path == f"/chat/{tab.conversation}"
    go = tab.dom.get("page-go")
    assert go is None or go.attributes["data-path"] == tab.page.client.path
    asked, reply = await kept(app, tab.conversation)
    assert (asked.text, reply.text, reply.raw) == ("Hello", "One **two** three.", reply.text)
    assert (reply.state, reply.model, reply.loader) == ("done", "scripted", "scripted")
    assert reply.usage.completion == 3
    [figures] = tab.look().having("chat-figures")
    known = reply.usage.cached
    assert figures.attributes["title"].startswith(f"{reply.usage.prompt} tokens were read")
    assert ("known already" in figures.attributes["title"]) == bool(known)


async def test_a_page_that_missed_a_change_of_branch_is_drawn_anew(
    app: App, tab: Tab, model: Scripted
):
    """Two tabs at once: what is new may follow another branch than the page shows."""
    await tab.ask("Hello")
    [_, first] = await kept(app, tab.conversation)
    await tab.act("regenerate", message=first.id)
    await tab.idle()
    [_, second] = await kept(app, tab.conversation)
    assert second.id != first.id
    await store_of(app).select_version(second.id, -1)
    await tab.ask("And then?")
    assert [m.id for m in await kept(app, tab.conversation)][1] == first.id
    shown = [n.attributes["id"] for n in tab.look().root.all() if n.tag == "article"]
    assert shown == [f"chat-m{m.id}" for m in await kept(app, tab.conversation)]


async def test_a_message_that_comes_twice_is_kept_once(app: App, tab: Tab, model: Scripted):
    """As when a page was not told that it arrived, and sent it again, in a new conversation too."""
    other = await Tab(app).connect()
    first = {"conversation": "", "text": "Hello", "idempotency_key": "a"}
    await tab.act("send", **first)
    await other.act("send", **first)
    await tab.idle()
    assert other.conversation == tab.conversation, "it is shown where it went"
    assert len(await store_of(app).list()) == 1
    gate = slowly(model, "Slow words.")
    again = {"conversation": tab.conversation, "text": "Hello", "idempotency_key": "b"}
    for _ in range(2):
        await tab.act("send", **again)
    for _ in range(3):
        gate.release()
    await tab.idle()
    assert tab.said == ["Hello", "One two three.", "Hello", "Slow words."]
    assert "A reply is being written" not in tab.toasts


async def test_a_message_bears_the_key_with_which_it_was_sent(tab: Tab):
    """By it the page knows that it arrived: the same words may have been said before."""
    await tab.ask("Hello")
    again = {"conversation": tab.conversation, "text": "Hello", "idempotency_key": "a"}
    await tab.act("send", **again)
    await tab.idle()
    keys = [node.attributes.get("data-once") for node in tab.look().having("chat-user")]
    assert keys == [None, "a"]
    await tab.act("regenerate_last", conversation=tab.conversation, text="")
    await tab.idle()
    keys = [node.attributes.get("data-once") for node in tab.look().having("chat-user")]
    assert keys == [None, "a"], "drawn anew it has it still"


async def test_a_page_that_goes_to_a_hidden_message_is_drawn_once(app: App, tab: Tab):
    """Drawn twice, one that shows older messages would go back to those."""
    await tab.ask("Hello")
    other = Tab(app, tab.page.client.path)
    await other.connect()
    _, first = await kept(app, tab.conversation)
    await tab.act("regenerate", message=first.id)
    await tab.idle()
    tab.look()
    other.page.client.outbox.take()
    await tab.act("reveal", message=first.id)
    drawn = tab.page.client.outbox.take()
    assert sum('id="chat-log"' in part for part in drawn) == 1
    told = other.page.client.outbox.take()
    assert any(f"chat-m{first.id}" in part and 'id="chat-log"' in part for part in told)


async def test_the_bin_of_an_incognito_conversation_only_opens_its_sheet(tab: Tab):
    """What it deletes is gone, so that this takes a second press."""
    for incognito in (False, True):
        if incognito:
            await tab.act("incognito")
        await tab.ask("Hello")
        bin = tab.look().get(f"chat-delete-{tab.conversation}")
        assert bin
        assert ("chat.delete" in bin.attributes["hx-vals"]) != incognito
        assert (bin.attributes.get("data-open") == "conversations-sheet") == incognito


async def test_a_message_that_was_not_kept_may_come_again(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    gate = slowly(model, "Slow words.")
    await tab.send("Go on")
    again = {"conversation": tab.conversation, "text": "More", "idempotency_key": "a"}
    await tab.act("send", **again)
    assert "A reply is being written" in tab.toasts
    for _ in range(3):
        gate.release()
    await tab.idle()
    model.gate = None
    await tab.act("send", **again)
    await tab.idle()
    assert tab.said[-2] == "More"


async def test_the_message_is_kept_before_the_model_is_asked(app: App, tab: Tab, model: Scripted):
    seen: list[list[str]] = []
    generate = model.generate

    def watched(request: Any) -> Any:
        with sqlite3.connect(app.kernel.data / "chats.sqlite3") as database:
            seen.append([row[0] for row in database.execute("SELECT text FROM messages")])
        database.close()
        return generate(request)

    model.generate = watched
    await tab.ask("Hello")
    assert seen[0][0] == "Hello"


async def test_the_model_sees_what_was_said_before(tab: Tab, model: Scripted):
    await tab.ask("Hello")
    await tab.ask("And?")
    assert tab.said == ["Hello", "One two three.", "And?", "Four five."]
    messages = model.asked[1].messages or ()
    assert [(m.role, m.text) for m in messages] == [
        ("user", "Hello"), ("assistant", "One **two** three."), ("user", "And?"),
    ]  # fmt: skip


async def test_words_appear_as_they_are_said_in_every_tab(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "First *word*.\n\nSecond `para`\ngraph.\n\n- a\n- b\n\nEnd.")
    await tab.send("Hello")
    second = await Tab(app, tab.page.client.path).connect()
    assert tab.busy
    assert second.busy
    for _ in range(8):
        gate.release()
        await asyncio.sleep(0.05)
        assert tab.said == second.said
    late = await Tab(app, tab.page.client.path).connect()
    for _ in range(8):
        gate.release()
        await asyncio.sleep(0.04)
        assert tab.said == second.said == late.said
    await tab.idle()
    assert tab.said == second.said == late.said
    assert tab.said[1].split() == ["First", "word.", "Second", "para", "graph.", "a", "b", "End."]


async def test_open_code_reaches_every_page_word_by_word(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "See:\n\n```python\nx = 1\ny < 2\n```\n\nDone.")
    await tab.send("Hello")
    await until(lambda: model.asked)
    seen: list[str] = []
    tabs = [tab]
    for _ in range(12):
        gate.release()
        await asyncio.sleep(0.05)
        tabs.append(await Tab(app, tab.page.client.path).connect())
        codes = {"".join(n.text for n in t.look().root.all() if n.tag == "code") for t in tabs}
        assert len(codes) == 1
        seen += codes
    await tab.idle()
    assert {"x = 1\n", "x = 1\ny", "x = 1\ny < 2\n"} & {*seen[:-2]}
    [code] = [n for n in tab.dom.root.all() if n.tag == "code" and n.text]
    assert code.text == "x = 1\ny < 2\n"


async def test_a_reply_goes_on_when_its_tab_closes(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "One two three.")
    await tab.send("Hello")
    tab.close()
    for _ in range(4):
        gate.release()
    again = await Tab(app, tab.page.client.path).connect()
    await again.idle()
    assert again.said == ["Hello", "One two three."]


async def test_conversations_are_answered_at_the_same_time(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "One two.", "Three four.")
    other = await Tab(app).connect()
    await tab.send("A")
    await other.send("B")
    assert tab.busy
    assert other.busy
    for _ in range(8):
        gate.release()
    await tab.idle()
    await other.idle()
    assert {*tab.said, *other.said} == {"A", "B", "One two.", "Three four."}
    assert tab.said[0] == "A"
    assert other.said[0] == "B"


async def test_a_second_tab_may_not_send_while_a_reply_is_written(
    app: App, tab: Tab, model: Scripted
):
    gate = slowly(model, "One two three.")
    await tab.send("Hello")
    second = await Tab(app, tab.page.client.path).connect()
    for action in (
        second.send("Mine"),
        second.act("regenerate", message=(await kept(app, tab.conversation))[1].id),
        second.act("version", message=(await kept(app, tab.conversation))[0].id, step=1),
    ):
        await action
    assert second.toasts.count("A reply is being written in this conversation.") == 3
    for _ in range(4):
        gate.release()
    await tab.idle()
    assert tab.said == ["Hello", "One two three."]


async def test_two_sends_at_once_give_one_answer(app: App, tab: Tab):
    await tab.ask("Hello")
    second = await Tab(app, tab.page.client.path).connect()
    await asyncio.gather(tab.send("A"), second.send("B"))
    await tab.idle()
    assert len(await kept(app, tab.conversation)) == 4


async def test_stop_keeps_what_was_said(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "One two three.", "Four.")
    await tab.send("Hello")
    gate.release()
    await until(lambda: tab.said[-1] == "One")
    await tab.act("stop", conversation=tab.conversation, text="the form it stands in")
    await tab.idle()
    assert tab.said == ["Hello", "One"]
    assert not tab.toasts
    assert [n.text for n in tab.dom.having("chat-note")][-1] == "Stopped."
    reply = (await kept(app, tab.conversation))[1]
    assert (reply.text, reply.state) == ("One", "stopped")
    for _ in range(2):
        gate.release()
    await tab.ask("More")
    assert tab.said[-1] == "Four."


# --- versions ---------------------------------------------------------------------------


async def test_regenerating_keeps_the_versions(app: App, tab: Tab):
    await tab.ask("Hello")
    first = (await kept(app, tab.conversation))[1]
    await tab.act("regenerate", message=first.id)
    await tab.idle()
    assert tab.said == ["Hello", "Four five."]
    second = (await kept(app, tab.conversation))[1]
    assert "2/2" in tab.dom.having("chat-versions")[0].text
    await tab.act("version", message=second.id, step=-1)
    assert tab.said == ["Hello", "One two three."]
    await tab.act("version", message=first.id, step=1)
    assert tab.said == ["Hello", "Four five."]


async def test_editing_a_message_answers_it_and_keeps_the_old_branch(
    app: App, tab: Tab, model: Scripted
):
    await tab.ask("Hello")
    await tab.ask("And?")
    asked = (await kept(app, tab.conversation))[0]
    await tab.act("edit", message=asked.id, text="Goodbye")
    await tab.idle()
    assert tab.said == ["Goodbye", "Six."]
    assert [m.text for m in model.asked[-1].messages or ()] == ["Goodbye"]
    edited = (await kept(app, tab.conversation))[0]
    await tab.act("version", message=edited.id, step=-1)
    assert tab.said == ["Hello", "One two three.", "And?", "Four five."]


@pytest.mark.parametrize("place", [0, 1], ids=["the user's", "a reply"])
async def test_other_words_leave_what_follows(app: App, tab: Tab, model: Scripted, place: int):
    await tab.ask("Hello")
    await tab.ask("And?")
    said, asked = tab.said, len(model.asked)
    old = (await kept(app, tab.conversation))[place]
    await tab.act("reword", message=old.id, text="Good evening")
    assert tab.said == [*said[:place], "Good evening", *said[place + 1 :]]
    assert len(model.asked) == asked, "nothing was answered"
    new = (await kept(app, tab.conversation))[place]
    assert (new.number, new.versions) == (2, 2)
    await tab.act("version", message=new.id, step=-1)
    assert tab.said == said[: place + 1], "what followed follows the new words"
    await tab.act("version", message=old.id, step=1)
    assert tab.said == [*said[:place], "Good evening", *said[place + 1 :]]


async def test_only_the_last_message_of_all_can_be_continued(app: App, tab: Tab):
    store = store_of(app)
    first = await store.say("", "user", "0")
    for number in range(1, 201):
        role = "assistant" if number % 2 == 0 else "user"
        await store.say(first.conversation, role, str(number))
    await tab.act("reveal", message=first.id)
    shown = (await store.get(first.conversation, 100, around=first.id)).messages[-1]
    assert (shown.text, shown.role) == ("50", "assistant")
    assert tab.look().get(f"chat-m{shown.id}-again")
    assert tab.look().get(f"chat-m{shown.id}-on") is None
    await tab.act("later", conversation=first.conversation)
    last = (await kept(app, first.conversation))[-1]
    assert tab.look().get(f"chat-m{last.id}-on")


async def test_an_edited_reply_is_what_the_model_sees(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    reply = (await kept(app, tab.conversation))[1]
    await tab.act("edit", message=reply.id, text="Another *answer*")
    assert tab.said == ["Hello", "Another answer"]
    await tab.ask("And?")
    assert [m.text for m in model.asked[-1].messages or ()][1] == "Another *answer*"


async def test_continuing_goes_on_in_a_new_version(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    reply = (await kept(app, tab.conversation))[1]
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    assert tab.said == ["Hello", "One two three.Four five."]
    assert model.asked[-1].continue_
    assert [m.text for m in model.asked[-1].messages or ()] == ["Hello", reply.raw]
    longer = (await kept(app, tab.conversation))[1]
    assert (longer.number, longer.versions, longer.raw) == (2, 2, reply.raw + "Four five.")


async def test_a_continuation_without_a_word_leaves_no_version(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    reply = (await kept(app, tab.conversation))[1]
    model.scripts = [""]
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    await until(lambda: "nothing to add" in tab.toasts)
    assert tab.said == ["Hello", "One two three."]
    assert (await kept(app, tab.conversation))[1].versions == 1


async def test_a_continuation_without_a_word_shows_the_version_that_it_was_to_continue(
    app: App, tab: Tab, model: Scripted
):
    await tab.ask("Hello")
    reply = (await kept(app, tab.conversation))[1]
    await tab.act("regenerate", message=reply.id)
    await tab.idle()
    assert tab.said == ["Hello", "Four five."]
    await tab.act("version", message=(await kept(app, tab.conversation))[1].id, step=-1)
    model.scripts = [""]
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    assert tab.said == ["Hello", "One two three."]
    assert (await kept(app, tab.conversation))[1].id == reply.id


# --- deleting, naming -------------------------------------------------------------------


async def test_deleting_a_message_can_be_undone(app: App, tab: Tab):
    await tab.ask("Hello")
    await tab.ask("And?")
    reply = (await kept(app, tab.conversation))[1]
    await tab.act("delete_message", message=reply.id)
    assert tab.said == ["Hello", "And?", "Four five."]
    assert "Undo" in tab.toasts
    await tab.act("undelete_message", message=reply.id)
    assert tab.said == ["Hello", "One two three.", "And?", "Four five."]


async def test_deleting_a_version_says_that_what_follows_goes_with_it(app: App, tab: Tab):
    await tab.ask("Hello")
    first = (await kept(app, tab.conversation))[0]
    await tab.act("edit", message=first.id, text="Hello!")
    await tab.idle()
    edited = (await kept(app, tab.conversation))[0]
    await tab.act("delete_message", message=edited.id)
    assert tab.said == ["Hello", "One two three."]
    assert "deleted, and what follows it." in tab.toasts
    await tab.act("undelete_message", message=edited.id)
    assert tab.said == ["Hello!", "Four five."]
    reply = (await kept(app, tab.conversation))[1]
    await tab.act("regenerate", message=reply.id)
    await tab.idle()
    tab.close()
    tab = await Tab(app, tab.page.client.path).connect()
    await tab.act("delete_message", message=(await kept(app, tab.conversation))[1].id)
    assert "The message was deleted." in tab.toasts
    assert tab.said == ["Hello!", "Four five."]


async def test_a_first_message_is_not_called_unanswered_before_its_reply_begins(
    tab: Tab, model: Scripted
):
    gate = slowly(model, "One")
    tab.look()
    await tab.send("Hello")
    parts = [str(part) for part in tab.page.client.outbox.take()]
    assert any("chat-user" in part for part in parts)
    assert not any("chat-unanswered" in part or 'data-busy="false"' in part for part in parts)
    gate.release()


async def test_a_first_message_whose_reply_cannot_begin_offers_another(app: App, tab: Tab):
    store = store_of(app)

    async def refuses(*_: Any, **__: Any) -> StoredMessage:
        raise Refused("Not now.")

    begin, store.begin_reply = store.begin_reply, refuses
    await tab.send("Hello")
    assert "Not now." in tab.toasts
    assert not tab.busy
    assert "has no reply" in tab.look().having("chat-unanswered")[0].text
    store.begin_reply = begin
    [asked] = await kept(app, tab.conversation)
    await tab.act("retry", message=asked.id)
    await tab.idle()
    assert tab.said == ["Hello", "One two three."]


async def test_a_message_whose_reply_was_deleted_offers_another(app: App, tab: Tab):
    await tab.ask("Hello")
    asked, reply = await kept(app, tab.conversation)
    await tab.act("delete_message", message=reply.id)
    assert "has no reply" in tab.look().having("chat-error")[0].text
    await tab.act("retry", message=asked.id)
    await tab.idle()
    assert tab.said == ["Hello", "Four five."]


async def test_deleting_a_conversation_can_be_undone(app: App, tab: Tab):
    await tab.ask("Hello")
    id, second = tab.conversation, await Tab(app, f"/chat/{tab.conversation}").connect()
    await tab.act("delete", conversation=id)
    for page in (tab, second):
        assert page.said == []
        assert page.page.client.path == "/chat"
        assert page.look().get(f"chat-row-{id}") is None
    assert "“Hello” was deleted." in tab.toasts
    await tab.act("undelete", conversation=id)
    for page in (tab, second):
        assert page.said == ["Hello", "One two three."]
        assert page.look().get(f"chat-row-{id}")


async def test_a_conversation_that_is_not_there_is_told_and_a_new_one_begins(app: App):
    tab = await Tab(app, "/chat/nowhere").connect()
    await until(lambda: "That conversation is not here" in tab.toasts)
    assert (tab.page.client.path, tab.conversation) == ("/chat", "")
    assert (await app.fetch("/chat/nowhere")).status == 200
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One two three."]


async def test_deleting_stops_what_is_being_written(app: App, tab: Tab, model: Scripted):
    slowly(model, "One two three.")
    await tab.send("Hello")
    id = tab.conversation
    await tab.act("delete", conversation=id)
    await tab.act("undelete", conversation=id)
    assert (await kept(app, id))[1].state == "stopped"


async def test_a_new_name_is_shown_everywhere(app: App, tab: Tab):
    await tab.ask("Hello")
    other = await Tab(app).connect()
    await tab.act("rename", conversation=tab.conversation, title="  Some <b>name</b> ")
    row = other.look().get(f"chat-row-{tab.conversation}")
    title = tab.look().get("chat-title")
    assert row
    assert title
    assert row.text.split("\n")[1].strip() == title.text == "Some <b>name</b>"


async def test_new_shows_an_empty_conversation(tab: Tab):
    await tab.ask("Hello")
    await tab.act("new")
    assert tab.said == []
    assert tab.page.client.path == "/chat"


# --- when things go wrong ---------------------------------------------------------------


def empty(tab: Tab) -> str:
    """What stands in an empty conversation."""
    found = tab.look().get("chat-empty")
    return found.text if found else ""


async def test_a_model_that_did_not_load_is_tried_again_from_the_empty_conversation(
    app: App, tab: Tab, model: Scripted, monkeypatch: pytest.MonkeyPatch
):
    good, tries = ScriptedLoader.open, list[Path]()

    async def no_network(self: ScriptedLoader, path: Path, options: Any, report: Report):
        tries.append(path)
        raise WorkerError("The package index does not answer.")

    monkeypatch.setattr(ScriptedLoader, "open", no_network)
    await app.kernel.slot().unload()
    await app.until(lambda: "No model is loaded" in empty(tab))
    assert "Try again" not in empty(tab)
    with pytest.raises(LoadFailed):
        await app.kernel.slot().load(Path("models/guide/guide.gguf"), "scripted")
    await app.until(lambda: "package index does not answer" in empty(tab))
    assert "Choose another model" in empty(tab)
    await tab.act("reload")
    assert len(tries) == 2
    monkeypatch.setattr(ScriptedLoader, "open", good)
    await tab.act("reload")
    await app.until(lambda: "Talk to scripted" in empty(tab))


@pytest.mark.parametrize(
    ("file", "note", "told"),
    [
        ("guide.gguf", "Installing Scripted: Asking the package index", True),
        ("guide.gguf", "Loading 3 MB", False), ("big.gguf", "Installing Scripted: a wheel", False),
    ],
)  # fmt: skip
async def test_a_first_start_tells_what_takes_its_time(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch, file: str, note: str, told: bool
):
    go_on = asyncio.Event()

    async def slowly(self: ScriptedLoader, path: Path, options: Any, report: Report) -> Scripted:
        report(0.1, note)
        await go_on.wait()
        return self.model

    monkeypatch.setattr(ScriptedLoader, "open", slowly)
    await app.kernel.slot().unload()
    loading = asyncio.create_task(app.kernel.slot().load(Path(f"models/{file}"), "scripted"))
    await app.until(lambda: note in empty(tab))
    assert ("The first start takes a moment" in empty(tab)) == told
    go_on.set()
    await loading


async def test_without_a_model_the_message_stays_and_one_click_tries_again(
    app: App, tab: Tab, model: Scripted
):
    await app.kernel.slot().unload()
    await tab.ask("Hello")
    assert tab.said == ["Hello", ""]
    [error] = tab.dom.having("chat-error")
    assert "No model is loaded" in error.text
    model.scripts = ["Here I am."]
    await app.kernel.slot().reload()
    failed = (await kept(app, tab.conversation))[1]
    await tab.act("retry", message=failed.id)
    await tab.idle()
    assert tab.said == ["Hello", "Here I am."]
    assert (await kept(app, tab.conversation))[1].versions == 1


async def test_a_model_that_dies_leaves_its_words_and_the_reason(
    app: App, tab: Tab, model: Scripted
):
    gate = slowly(model, "One two three.")
    await tab.send("Hello")
    gate.release()
    await until(lambda: tab.said[-1] == "One")
    model.die("The engine was killed by the system.")
    await tab.idle()
    assert tab.said[:2] == ["Hello", "One"]
    assert "killed by the system" in tab.dom.having("chat-error")[0].text
    reply = (await kept(app, tab.conversation))[1]
    assert (reply.text, reply.state) == ("One", "error")


async def test_switched_off_in_the_middle_it_keeps_the_words_and_says_why(
    app: App, tab: Tab, model: Scripted
):
    gate = slowly(model, "One two three.")
    await tab.send("Hello")
    gate.release()
    await until(lambda: tab.said[-1] == "One")
    await app.kernel.stop("chat")
    reply = (await kept(app, tab.conversation))[1]
    assert (reply.text, reply.state) == ("One", "stopped")
    assert reply.error == "Chat was switched off."
    assert await app.kernel.start("chat")
    again = await Tab(app, tab.page.client.path).connect()
    assert again.said == ["Hello", "One"]


async def test_switching_the_store_off_stops_the_chat_first(app: App, tab: Tab, model: Scripted):
    slowly(model, "One two three.")
    await tab.send("Hello")
    await app.kernel.stop("conversations")
    assert app.kernel.records["chat"].status is Status.OFF
    assert await app.kernel.start("chat")
    assert (await kept(app, tab.conversation))[1].state == "stopped"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("store", "Conversations was switched off."),
        ("mode", "Instruct was switched off."),
        ("loader", "One was switched off. It ran this model."),
        ("settings", "Chat is starting again with other settings."),
        ("failures", "Chat failed three times within a minute and was set aside."),
        ("server", "Spindle is stopping."),
    ],
)
async def test_a_reply_that_was_stopped_tells_by_what(tmp_path: Path, what: str, why: str):
    one_loader(tmp_path)
    model = Scripted("One two three.", gate=(gate := asyncio.Semaphore(0)))
    data = tmp_path / "data"
    async with running("chat", "one_loader", folders=[tmp_path], data=data) as app:
        kernel = app.kernel
        kernel.flags["one_loader"] = {"model": model}
        await kernel.slot().load(Path("one"))
        tab = await Tab(app).connect()
        await tab.send("Hello")
        gate.release()
        await until(lambda: tab.said[-1] == "One")
        if what == "settings":
            await kernel.restart("chat")
        elif what == "failures":
            for _ in range(3):
                kernel.guard.failed("chat", "test", RuntimeError("on purpose"))
            await app.settled()
        elif what == "server":
            await kernel.close()
        else:
            id = {"store": "conversations", "mode": "instruct", "loader": "one_loader"}[what]
            await kernel.changes.toggle(id, on=False)
        await app.settled()
    async with running("chat", data=data) as app:
        reply = (await kept(app, tab.conversation))[1]
        assert (reply.text, reply.error) == ("One", why)


def one_loader(root: Path) -> None:
    """A loader extension whose one model is the scripted one that its flag holds."""
    folder = root / "one_loader"
    folder.mkdir()
    (folder / "extension.toml").write_text(
        'id = "one_loader"\nname = "One"\nversion = "1"\nsummary = "Loads."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(
        "from kernel.api import LOADERS\n"
        "from kernel.testing import ScriptedLoader\n"
        "class Late(ScriptedLoader):\n"
        "    def __init__(self, ext): self.ext, self.loads = ext, 0\n"
        "    model = property(lambda self: self.ext.flag('model'))\n"
        "async def setup(ext):\n"
        "    ext.add(LOADERS, Late(ext))\n"
    )


async def room(app: App, pages: int) -> None:
    """Let the file of conversations grow to so many pages: SQLite's own full disk."""
    database, query = store_of(app)._database, f"PRAGMA max_page_count = {pages}"

    def limit() -> None:
        assert database._writing
        database._writing.execute(query)

    await database._on(database._writer, limit)


async def on_disk(app: App) -> list[str]:
    with closing(sqlite3.connect(app.kernel.data / "chats.sqlite3")) as file:
        return [text for (text,) in file.execute("SELECT text FROM messages ORDER BY seq")]


async def test_what_the_disk_refuses_is_said_and_not_lost(app: App, tab: Tab):
    await tab.ask("Hello")
    await room(app, 1)
    words = "x" * 100_000
    await tab.ask(words)
    assert "the disk is full" in tab.toasts
    warning = tab.look().get("conversations-warning")
    assert warning
    assert warning.text == "Kept in memory only"
    assert tab.said == ["Hello", "One two three.", words, "Four five."]
    assert len(await on_disk(app)) == 2
    await room(app, 100_000)
    await until(lambda: not store_of(app).failure)
    assert len(await on_disk(app)) == 4
    await until(lambda: (w := tab.look().get("conversations-warning")) and not w.text)


async def test_a_reply_that_cannot_be_saved_stays_on_the_page_and_is_saved_later(
    app: App, tab: Tab, model: Scripted
):
    words = "x" * 100_000
    gate = slowly(model, words)
    await tab.send("Hello")
    await room(app, 1)
    gate.release()
    gate.release()
    await tab.idle()
    assert tab.said == ["Hello", words]
    assert "the disk is full" in tab.toasts
    assert (await Tab(app, tab.page.client.path).connect()).said == tab.said
    await room(app, 100_000)
    await until(lambda: not store_of(app).failure)
    assert (await kept(app, tab.conversation))[1].state == "done"


async def test_what_is_gone_is_said(tab: Tab):
    await tab.act("regenerate", message="nothing")
    await tab.act("send", conversation="nothing", text="Hello")
    await tab.act("send", conversation="", text="  \n ")
    await tab.act("version", message="nothing", step="x")
    assert tab.toasts.count("has been deleted") == 2
    assert "Write something first." in tab.toasts
    assert "Step must be" in tab.toasts
    assert tab.said == []


async def test_an_address_that_leads_nowhere_is_a_new_conversation(app: App):
    tab = await Tab(app, "/chat/nothing").connect()
    assert tab.said == []
    composer = tab.look().get("chat-id")
    assert composer
    assert composer.attributes["value"] == ""


# --- what modifiers do ------------------------------------------------------------------


async def test_output_is_what_is_kept_and_raw_is_what_the_model_sees(
    app: App, tab: Tab, model: Scripted
):
    async def louder(text: str) -> str:
        return text.upper()

    app.kernel.registry.add(
        OUTPUT, whole_text(louder), "kernel", phase=Phase.NORMAL, rank=0, rewrites=True
    )
    await tab.ask("Hello")
    assert tab.said == ["Hello", "ONE TWO THREE."]
    reply = (await kept(app, tab.conversation))[1]
    assert (reply.text, reply.raw) == ("ONE **TWO** THREE.", "One **two** three.")
    await tab.ask("And?")
    assert [m.text for m in model.asked[1].messages or ()][1] == reply.raw


async def test_display_changes_the_page_alone(app: App, tab: Tab):
    async def dotted(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield Delta(delta.text.replace("t", "."), delta.channel, replace=delta.replace)

    app.kernel.registry.add(DISPLAY, dotted, "kernel", phase=Phase.NORMAL, rank=0, rewrites=False)
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One .wo .hree."]
    assert (await kept(app, tab.conversation))[1].text == "One **two** three."


async def thinking(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
    yield Delta("Hm <b>", "reasoning")
    async for delta in deltas:
        yield delta


async def test_reasoning_is_shown_apart_and_as_it_is(app: App, tab: Tab):
    app.kernel.registry.add(OUTPUT, thinking, "kernel", phase=Phase.NORMAL, rank=0, rewrites=False)
    await tab.ask("Hello")
    reply = (await kept(app, tab.conversation))[1]
    thought = tab.look().get(f"chat-m{reply.id}-thought-1")
    assert thought
    assert thought.text == reply.reasoning == "Hm <b>"
    assert tab.said[1] == "One two three."


async def test_a_page_that_does_not_wait_for_all_markdown_gets_it_when_it_is_read(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch
):
    app.kernel.registry.add(OUTPUT, thinking, "kernel", phase=Phase.NORMAL, rank=0, rewrites=False)
    for _ in range(3):
        await tab.ask("Hello")
    await app.kernel.stop("chat")
    await app.kernel.start("chat")
    views, gate = sys.modules["extensions.chat.views"], threading.Event()
    read = views.whole
    monkeypatch.setattr(views, "RUSH", -1.0)
    monkeypatch.setattr(views, "whole", lambda *given: gate.wait(20) and read(*given))
    other = await Tab(app, f"/chat/{tab.conversation}").connect()
    assert other.said[1::2] == ["One **two** three.", "Four five.", "Six."]  # As they were written.
    gate.set()
    await until(lambda: other.said[1::2] == ["One two three.", "Four five.", "Six."])
    ids = [f"chat-m{message.id}-thought-1" for message in await kept(app, tab.conversation)]
    thoughts = [node for id in ids if (node := other.look().get(id))]
    assert [thought.text for thought in thoughts] == ["Hm <b>"] * 3


async def test_marks_colour_the_words_and_nothing_in_them_is_markup(app: App, tab: Tab):
    async def colour(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            bad = Mark(0, 99, "outside"), Mark(2, 2, "empty"), Mark(0, 2, '"><b>', '"><i>')
            yield Delta(delta.text.replace("two", "<b>"), marks=bad)

    app.kernel.registry.add(DISPLAY, colour, "kernel", phase=Phase.NORMAL, rank=0, rewrites=False)
    await tab.ask("Hello")
    reply = (await kept(app, tab.conversation))[1]
    body = tab.look().get(f"chat-m{reply.id}-closed")
    assert body
    spans = [node for node in body.all() if node.tag == "span"]
    assert [span.attributes for span in spans] == [{"class": "b", "title": '"><i>'}] * 3
    assert [span.text for span in spans] == ["On", " *", " t"]
    assert tab.said[1] == "One **<b>** three."
    assert reply.text == "One **two** three."


# --- parameters and the mode ------------------------------------------------------------


async def test_a_reply_keeps_what_it_was_asked_with(model: Scripted):
    async with running("conversations", "chat", "parameters", model=model) as app:
        tab = await Tab(app).connect()
        await tab.ask("Hello")
        assert model.asked[0].sampling == Sampling(max_new_tokens=2048)
        assert (await kept(app, tab.conversation))[-1].sampling == model.asked[0].sampling
    async with running("conversations", "chat", model=model) as app:
        tab = await Tab(app).connect()
        await tab.ask("Hello")
        assert model.asked[1].sampling == Sampling(), "without them nothing is said"


class Cut(Scripted):
    """A model whose replies end where there is no room for more."""

    def generate(self, request: Any) -> Any:
        generation = super().generate(request)
        words = generation.__anext__

        async def cut() -> Delta:
            try:
                return await words()
            finally:
                if generation.finish:
                    generation.finish = structs.replace(generation.finish, reason="length")

        generation.__class__ = type("Cut", (type(generation),), {"__anext__": lambda _: cut()})
        return generation


async def test_a_reply_cut_by_its_length_says_by_which_limit(tmp_path: Path):
    settings = "extensions:\n  instruct:\n    system_message: Be brief.\n"
    model = Cut("One two three.", "One two.")
    async with running(
        "conversations", "chat", "parameters", model=model, settings=settings
    ) as app:
        tab = await Tab(app).connect()
        await tab.page.act("parameters.set", name="max_new_tokens", value="3")
        await tab.ask("Hello")
        assert "Cut off at 3 tokens" in tab.look().having("chat-note")[-1].text
        assert [m.text for m in model.asked[0].messages or ()] == ["Be brief.", "Hello"]
        await tab.ask("And?")
        assert "context ends" in tab.look().having("chat-note")[-1].text
        assert [m.reason for m in await kept(app, tab.conversation)] == ["", "length"] * 2


async def test_a_reply_as_long_as_it_may_be_is_not_called_cut_off(tmp_path: Path):
    model = Scripted("One two three.")
    async with running("conversations", "chat", "parameters", model=model) as app:
        tab = await Tab(app).connect()
        await tab.page.act("parameters.set", name="max_new_tokens", value="3")
        await tab.ask("Hello")
        assert tab.look().having("chat-note")[-1].text == ""


class Counting(Scripted):
    """A model that can be asked: a token is a word of the rendered conversation."""

    def __init__(self, *scripts: str, context: int) -> None:
        super().__init__(*scripts)
        self.info = structs.replace(self.info, context_length=context)

    async def call(self, name: str, **data: Any) -> Any:
        if name == "template":
            return " ".join(part["text"] for m in data["messages"] for part in m["parts"])
        return data["text"].split()


@pytest.mark.parametrize("counts", [True, False])
async def test_what_no_longer_fits_is_left_out_and_that_is_said(counts: bool):
    words = " ".join(["word"] * 20)  # 100 characters: 25 tokens where they are guessed.
    settings = "extensions:\n  instruct:\n    system_message: Be brief.\n"
    model = Counting(words, context=140) if counts else Scripted(words)
    model.info = structs.replace(model.info, context_length=140 if counts else 190)
    async with running(
        "conversations", "chat", "parameters", model=model, settings=settings
    ) as app:
        tab = await Tab(app).connect()
        await tab.page.act("parameters.set", name="max_new_tokens", value="50")
        for number in range(4):
            await tab.ask(f"{number} {words}")
        messages = model.asked[-1].messages or ()
        assert [m.text[0] for m in messages] == ["B", "2", "w", "3"]
        assert "The first 4 messages no longer fit into" in tab.look().having("chat-note")[-1].text
        assert [m.text[0] for m in model.asked[0].messages or ()] == ["B", "0"]
        again = await Tab(app, tab.page.client.path).connect()
        notes = [n.text for n in again.look().having("chat-note")]
        assert [text.count("no longer fit") for text in notes][1::2] == [0, 0, 1, 1]
        await tab.ask(" ".join([words] * 20))
        assert [m.text[:8] for m in model.asked[-1].messages or ()] == ["Be brief", words[:8]]


async def test_words_are_kept_where_what_did_not_fit_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch,
):
    async def unread(self: Store, id: str) -> int:
        raise StoreFailed("The disk cannot be read.")

    monkeypatch.setattr(Store, "above", unread)
    words = " ".join(["word"] * 20)
    async with running("conversations", "chat", model=Counting(words, context=140)) as app:
        tab = await Tab(app).connect()
        for _ in range(4):
            await tab.ask(words)
        assert "no longer fit into" in tab.look().having("chat-note")[-1].text
        found = await kept(app, tab.conversation)
        assert [(each.state, each.text) for each in found[1::2]] == [("done", words)] * 4
        assert app.kernel.trouble == {}


async def test_of_very_many_messages_all_that_do_not_fit_are_counted():
    """The model is given two thousand at most, and fewer fit."""
    model = Counting("Yes.", context=140)
    async with running("conversations", "chat", "parameters", model=model) as app:
        store = store_of(app)
        first = await store.say("", "user", "0")
        for number in range(1, 2100):
            await store.say(first.conversation, "assistant" if number % 2 else "user", "word " * 9)
        tab = await Tab(app, f"/chat/{first.conversation}").connect()
        await tab.ask("And?")
        sent = len([m for m in model.asked[-1].messages or () if m.role != "system"])
        assert 2 < sent < 40
        note = tab.look().having("chat-note")[-1].text
        assert f"The first {2101 - sent:,} messages no longer fit into" in note


async def test_a_message_that_was_not_read_to_its_end_says_so_for_good():
    """Not only in passing: at the message, at the reply, in every tab, until it is read whole."""
    model = Counting("Yes.", "Right.", "Whole.", context=60)  # Room for 45.
    async with running("conversations", "chat", "parameters", model=model) as app:
        tab = await Tab(app).connect()
        await tab.page.act("parameters.set", name="max_new_tokens", value="15")
        await tab.ask("word " * 60)

        def notes(tab: Tab) -> list[str]:
            return [n.text for n in tab.look().having("chat-note")]

        [asked] = [*(model.asked[0].messages or ())]
        last = len(asked.text)
        told = f"the last {300 - last:,} characters did not fit into the model's context"
        assert 0 < last < 300
        await app.until(lambda: told in notes(tab)[0])
        assert [told in note for note in notes(tab)] == [True, True]
        assert [told in n for n in notes(await Tab(app, tab.page.client.path).connect())] == [
            True, True,
        ]  # fmt: skip
        _, reply = await kept(app, tab.conversation)
        assert reply.cut == 300 - last
        await tab.ask("And?")
        assert [told in note for note in notes(tab)] == [True, True, False, False], "it lasts"
        model.info = structs.replace(model.info, context_length=1000)
        await tab.act("regenerate", message=reply.id)
        await tab.idle()
        assert [bool(note) for note in notes(tab)] == [False, False], "this one has read it all"


async def test_an_empty_reply_is_tried_again_and_not_continued(app: App, tab: Tab, model: Scripted):
    gate = slowly(model, "Two words.", "Here.")
    await tab.send("Hello")
    await until(lambda: model.asked)
    await tab.act("stop", conversation=tab.conversation)
    await tab.idle()
    assert tab.said == ["Hello", ""]
    buttons = [n for n in tab.look().root.all() if n.tag == "button"]
    said = [b.text for b in buttons if b.attributes.get("id", "").startswith("chat-m")]
    assert "Continue" not in said
    assert "Regenerate" not in said
    [retry] = [b for b in buttons if b.text == "Try again"]
    for _ in range(5):
        gate.release()
    await tab.act("retry", message=values_of(retry)["message"])
    await tab.idle()
    assert tab.said == ["Hello", "Here."]


# --- safety -----------------------------------------------------------------------------

HOSTILE = (
    "</textarea><script>alert(1)</script><img src=x onerror=alert(1)>"
    '" hx-get="/x" \' onclick=\'x {{7*7}} </title>'
)


async def test_no_field_gets_out_as_markup(app: App, tab: Tab, model: Scripted):
    model.scripts = [HOSTILE]
    await tab.ask(HOSTILE)
    await tab.act("rename", conversation=tab.conversation, title=HOSTILE)
    fresh = await Tab(app, tab.page.client.path).connect()
    for page in (tab, fresh):
        for node in page.look().root.all():
            assert node.tag not in ("script", "img")
            for name, value in node.attributes.items():
                assert not name.startswith("on")
                assert name != "hx-get"
                assert "alert" not in value or name in ("title", "value", "aria-label"), name
        assert page.said == [HOSTILE, HOSTILE]


# --- more than fits on a page ------------------------------------------------------------


async def grown(app: App, turns: int) -> str:
    store, id = store_of(app), ""
    for number in range(turns):
        asked = await store.add_user(id, f"Question {number}")
        reply = await store.begin_reply(asked.id)
        await store.finish(reply.id, "done", f"Answer {number}", f"Answer {number}")
        id = asked.conversation
    return id


async def test_earlier_messages_are_shown_on_demand(app: App):
    id = await grown(app, 120)
    tab = await Tab(app, f"/chat/{id}").connect()
    other = await Tab(app, f"/chat/{id}").connect()
    assert len(tab.said) == 100
    seen = [100]
    while button := tab.look().get("chat-earlier-show"):
        await tab.act(**values_of(button))
        seen.append(len(tab.said))
    assert seen == [100, 200, 240]
    assert tab.said == [f"{who} {n}" for n in range(120) for who in ("Question", "Answer")]
    assert len(other.said) == 100
    await tab.ask("More")
    assert len(tab.said) == 242
    assert len(other.said) == 102
    [on] = [n for n in tab.look().root.all() if n.attributes.get("id", "").endswith("-on")]
    assert (await kept(app, id))[-1].id in on.attributes["id"]


async def test_a_short_conversation_has_nothing_earlier(app: App, tab: Tab):
    await tab.ask("Hello")
    assert tab.look().get("chat-earlier-show") is None


def values_of(button: Node) -> dict[str, str]:
    values = json.loads(button.attributes["hx-vals"])
    return {**values, "action": values["action"].removeprefix("chat.")}


async def test_more_of_the_list_is_shown_on_demand(app: App):
    for number in range(150):
        await store_of(app).create(f"Talk {number}")
    await app.kernel.restart("chat")
    tab, other = await Tab(app).connect(), await Tab(app).connect()
    assert len(tab.look().having("entry")) == 100
    button = tab.look().get("chat-more")
    assert button
    await tab.act(**values_of(button))
    assert len(tab.look().having("entry")) == 150
    assert tab.look().get("chat-more") is None
    await other.ask("Hello")
    assert len(tab.look().having("entry")) == 151
    assert len(other.look().having("entry")) == 100
    assert "Talk 0" in [n.text.strip() for n in tab.dom.root.all() if n.tag == "a"]


async def test_conversations_are_found_by_their_words(app: App, tab: Tab):
    await tab.ask("About <i>apples</i>")
    id = tab.conversation
    await tab.act("new")
    await tab.ask("About pears")
    other = await Tab(app).connect()
    await tab.act("search", text=" apples ")
    [found] = tab.look().having("entry")
    assert found.attributes["id"] == f"chat-row-{id}"
    assert "About <i>apples</i>" in found.text
    assert len(other.look().having("entry")) == 2
    await tab.act("search", text="two three")
    assert [n.text for n in tab.look().root.all() if n.tag == "small"] == ["One **two** three."]
    await other.act("delete", conversation=id)
    assert not tab.look().having("entry")
    assert "No conversation holds" in tab.look().having("chat-none")[0].text
    await tab.act("search", text="")
    assert len(tab.look().having("entry")) == 1


# --- what cannot be drawn ---------------------------------------------------------------


def refuse(*_: Any) -> Any:
    raise RuntimeError("It cannot be drawn.")


@pytest.mark.parametrize(
    "broken",
    [
        "blocks.Blocks.frame", "blocks.Blocks.finish", "drawing.Drawing.finish",
        "reading.colour", "drawing.Drawing.draw", "drawing.Drawing.hear",
    ],
)  # fmt: skip
async def test_a_reply_that_cannot_be_drawn_is_kept_and_blocks_nothing(
    app: App, tab: Tab, model: Scripted, monkeypatch: pytest.MonkeyPatch, broken: str
):
    model.scripts = ["See <b>:\n\n```python\nx = 1\n```\n"]
    with monkeypatch.context() as patch:
        # As it runs: an extension is imported anew when started.
        module, *names = broken.split(".")
        thing: Any = importlib.import_module(f"extensions.chat.{module}")
        for name in names[:-1]:
            thing = getattr(thing, name)
        patch.setattr(thing, names[-1], refuse)
        await tab.ask("Hello")
        assert "See <b>:" in tab.said[1] or broken.endswith(("hear", "draw"))
    asked, reply = await kept(app, tab.conversation)
    assert reply.state == ("error" if broken.endswith(("hear", "draw")) else "done")
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    assert len(await kept(app, asked.conversation)) == 2


BESIDE = """
from kernel.api import PANELS, Panel
async def setup(ext):
    async def subject(client, subject):
        return {"subject": subject}
    ext.add(PANELS, Panel("sidebar", "side.html"))
    ext.add(PANELS, Panel("composer", "pill.html"))
    ext.add(PANELS, Panel("message_actions", "act.html", subject))
    ext.add(PANELS, Panel("message_footer", "foot.html", subject))
"""
TEMPLATES = {
    "side": '<p id="beside-side">at the side</p>',
    "pill": '<b id="beside-pill">in the composer</b>',
    "act": '<button id="act-{{ subject }}">Act</button>',
    "foot": '<i id="foot-{{ subject }}">Foot</i>',
}


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with an extension that has something in every place of the chat."""
    folder = tmp_path / "beside"
    (folder / "templates").mkdir(parents=True)
    (folder / "extension.toml").write_text(
        'id = "beside"\nname = "Beside"\nversion = "1"\nsummary = "Panels."\napi = 1\n'
    )
    (folder / "__init__.py").write_text(BESIDE)
    for name, html in TEMPLATES.items():
        (folder / "templates" / f"{name}.html").write_text(html)
    return tmp_path


async def test_other_extensions_have_a_place_at_the_side_and_in_the_composer(
    beside: Path, model: Scripted
):
    async with running("chat", "beside", folders=[beside], model=model) as app:
        tab = await Tab(app).connect()
        assert (side := tab.look().get("beside-side"))
        assert side.text == "at the side"
        assert tab.look().get("beside-pill")
        await tab.ask("Hello")
        await app.kernel.slot().unload()
        assert tab.look().get("beside-side")
        assert tab.look().get("beside-pill")


async def test_other_extensions_have_a_place_in_and_below_every_message(
    beside: Path, model: Scripted
):
    async with running("chat", "beside", folders=[beside], model=model) as app:
        tab = await Tab(app).connect()
        await tab.ask("Hello")
        late = await Tab(app, tab.page.client.path).connect()
        for message in await kept(app, tab.conversation):
            for page in (tab, late):
                assert not page.look().get(f"act-{message.id}")
                await page.act("menu", message=message.id)
                assert page.look().get(f"act-{message.id}")
                assert page.look().get(f"foot-{message.id}")
        await app.kernel.stop("beside")
        fresh = await Tab(app, tab.page.client.path).connect()
        await fresh.act("menu", message=(await kept(app, tab.conversation))[0].id)
        assert fresh.look().get("chat-menu-branch")
        assert not [n for n in fresh.look().root.all() if n.text in ("Act", "Foot")]


async def test_what_others_show_comes_and_goes_with_them_also_while_a_reply_is_written(
    beside: Path, model: Scripted
):
    async with running("chat", "beside", folders=[beside], model=model) as app:
        tab = await Tab(app).connect()
        await tab.ask("Hello")
        model.gate = asyncio.Semaphore(1)
        await tab.act("send", text="And?", conversation=tab.conversation)
        ids = ("beside-side", "beside-pill", f"foot-{(await kept(app, tab.conversation))[0].id}")
        await until(lambda: tab.said[-1:] == ["Four"] and all(map(tab.dom.get, ids)))
        await app.kernel.stop("beside")
        await until(lambda: not any(map(tab.look().get, ids)))
        assert tab.said == ["Hello", "One two three.", "And?", "Four"]
        await app.kernel.start("beside")
        await until(lambda: all(map(tab.look().get, ids)))
        model.gate.release()
        model.gate.release()
        await tab.idle()
        assert tab.said[-1] == "Four five."


async def test_what_takes_long_to_read_is_shown_as_it_was_written(
    app: App, monkeypatch: pytest.MonkeyPatch
):
    """A conversation of hostile texts is there at once, and nobody's failure."""
    store, id = store_of(app), ""
    for number in range(8):
        asked = await store.add_user(id, f"Question {number}")
        reply = await store.begin_reply(asked.id)
        await store.finish(reply.id, "done", f"*Reply {number}*", f"*Reply {number}*")
        id = asked.conversation
    views: Any = importlib.import_module("extensions.chat.views")
    real = views.whole

    def whole(*given: Any) -> str:
        time.sleep(0.3)
        return real(*given)

    monkeypatch.setattr(views, "whole", whole)
    shown = (await app.fetch(f"/chat/{id}")).text
    assert "<em>Reply 7</em>" in shown
    assert "<pre>*Reply 0*</pre>" in shown
    assert app.kernel.trouble == {}
    html = ""
    while "<em>Reply 0</em>" not in html:
        await asyncio.sleep(0.05)
        html = (await app.fetch(f"/chat/{id}")).text
