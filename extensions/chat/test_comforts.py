"""What is done to the last reply and to the order of messages, as pages see it."""

import json
from collections.abc import AsyncIterator

import pytest

from extensions.chat.test_chat import Tab, kept, slowly, store_of
from kernel.testing import App, Scripted, running


@pytest.fixture
def model() -> Scripted:
    return Scripted("One.", "Two.", "Three.", "Four.")


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("conversations", "chat", model=model) as app:
        yield app


@pytest.fixture(params=["kept", "incognito"])
async def tab(app: App, request: pytest.FixtureRequest) -> Tab:
    """A page of a conversation in which one question was answered."""
    tab = await Tab(app).connect()
    if request.param == "incognito":
        await tab.act("incognito")
    await tab.ask("A")
    return tab


async def beside(app: App, tab: Tab) -> Tab:
    return await Tab(app, tab.page.client.path).connect()


def box(tab: Tab, how: str = "") -> str:
    """What the server put into the text box, and how."""
    draft = tab.look().get("chat-draft")
    assert draft
    assert draft.children, "nothing was put there"
    [mark] = [n for n in draft.all() if n.tag == "i"]
    assert mark.attributes["data-how"] == how
    return draft.text


async def test_the_last_reply_is_replaced_by_the_words_of_the_box(app: App, tab: Tab):
    other = await beside(app, tab)
    await tab.act("replace_last", conversation=tab.conversation, text="Better.")
    assert tab.said == other.said == ["A", "Better."]
    assert box(tab) == ""
    assert "2/2" in other.dom.having("chat-versions")[0].text
    await tab.act("replace_last", conversation=tab.conversation, text=" ")
    assert "The text box is empty." in tab.toasts
    await tab.act("swipe", conversation=tab.conversation, step="-1")
    assert tab.said == other.said == ["A", "One."]


async def test_removing_the_last_reply_returns_its_question_to_the_box_of_that_page(
    app: App, tab: Tab
):
    other = await beside(app, tab)
    await tab.ask("B")
    await tab.act("remove_last", conversation=tab.conversation)
    assert tab.said == other.said == ["A", "One."]
    assert box(tab, "before") == "B"
    draft = other.look().get("chat-draft")
    assert draft
    assert not draft.children
    asked = tab.look()
    assert "Undo" in tab.toasts
    [undo] = [n for n in asked.root.all() if "unremove_last" in n.attributes.get("hx-vals", "")]
    message = undo.attributes["hx-vals"].split('"message": "')[1].split('"')[0]
    await tab.act("unremove_last", message=message)
    assert tab.said == other.said == ["A", "One.", "B", "Two."]
    assert box(tab, "out") == "B"
    await tab.act("remove_last", conversation=tab.conversation)
    await tab.act("remove_last", conversation=tab.conversation)
    assert tab.said == other.said == []
    assert box(tab, "before") == "A"
    await tab.act("remove_last", conversation=tab.conversation)
    assert "Nothing was said yet." in tab.toasts
    await tab.ask("C")
    assert tab.said == other.said == ["C", "Three."]


async def test_dummies_are_kept_and_nothing_is_generated(app: App, tab: Tab, model: Scripted):
    asked, other = len(model.asked), await beside(app, tab)
    await tab.act("dummy", conversation=tab.conversation, text="B", role="user")
    assert box(tab) == ""
    await tab.act("dummy", conversation=tab.conversation, text="Mine *too*", role="assistant")
    await tab.act("dummy", conversation=tab.conversation, text="\n", role="assistant")
    assert "The text box is empty." in tab.toasts
    assert tab.said == other.said == ["A", "One.", "B", "Mine too"]
    assert len(model.asked) == asked
    await tab.ask("C")
    seen = [m.text for m in model.asked[-1].messages or ()]
    assert seen == ["A", "One.", "B", "Mine *too*", "C"]


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_a_conversation_may_begin_with_a_dummy(app: App, model: Scripted, role: str):
    tab = await Tab(app).connect()
    await tab.act("dummy", conversation="", text="First", role=role)
    assert tab.conversation
    assert tab.said == ["First"]
    assert tab.look().get(f"chat-row-{tab.conversation}")
    assert not model.asked
    await tab.ask("And?")
    assert tab.said == ["First", "And?", "One."]


async def test_messages_are_inserted_and_moved_in_every_page(app: App, tab: Tab, model: Scripted):
    other = await beside(app, tab)
    question, reply = await kept(app, tab.conversation)
    await tab.act("insert", message=reply.id, text="Before", role="user", where="before")
    await other.act("insert", message=reply.id, text="After", role="assistant", where="after")
    assert tab.said == other.said == ["A", "Before", "One.", "After"]
    await tab.act("move", message=reply.id, step="-1")
    assert tab.said == other.said == ["A", "One.", "Before", "After"]
    await tab.act("move", message=question.id, step="1")
    assert tab.said == other.said == ["One.", "A", "Before", "After"]
    await tab.act("move", message=reply.id, step="-1")
    assert "first message" in tab.toasts
    await tab.act("insert", message=reply.id, text=" ", role="user", where="before")
    assert "Write what the message should say." in tab.toasts
    await tab.ask("B")
    seen = [m.text for m in model.asked[-1].messages or ()]
    assert seen == ["One.", "A\n\nBefore", "After", "B"]


async def test_a_branch_is_opened_and_the_other_conversation_stays(app: App, tab: Tab):
    await tab.ask("B")
    id, other = tab.conversation, await beside(app, tab)
    reply = (await kept(app, id))[1]
    await tab.act("branch", message=reply.id)
    assert tab.conversation != id
    assert tab.said == ["A", "One."]
    assert other.said == ["A", "One.", "B", "Two."]
    branch = await store_of(app).conversation(tab.conversation)
    assert branch.incognito == (await store_of(app).conversation(id)).incognito
    await tab.ask("C")
    assert tab.said == ["A", "One.", "C", "Three."]
    assert other.said == ["A", "One.", "B", "Two."]
    await tab.act("branch", conversation=tab.conversation)
    assert tab.said == ["A", "One.", "C", "Three."]
    title = (await store_of(app).conversation(tab.conversation)).title
    assert title.count("(branch)") == 1


async def test_swiping_shows_the_versions_and_writes_a_new_one_after_the_last(app: App, tab: Tab):
    id, other = tab.conversation, await beside(app, tab)
    await tab.act("swipe", conversation=id, step="1")
    await tab.idle()
    assert tab.said == other.said == ["A", "Two."]
    await tab.act("swipe", conversation=id, step="-1")
    assert tab.said == other.said == ["A", "One."]
    await tab.act("swipe", conversation=id, step="-1")
    assert tab.said == ["A", "One."]
    await tab.act("swipe", conversation=id, step="1")
    assert tab.said == other.said == ["A", "Two."]
    await tab.act("dummy", conversation=id, text="B")
    await tab.act("swipe", conversation=id, step="1")
    assert "The last message is not a reply." in tab.toasts


async def test_what_followed_an_old_reply_that_is_written_anew_comes_back(
    app: App, tab: Tab, model: Scripted
):
    await tab.ask("B")
    first, reply, _, _ = await kept(app, tab.conversation)
    gate = slowly(model, "Slow words.")
    for action in (
        tab.act("regenerate", message=reply.id),
        tab.act("edit", message=first.id, text="C"),
    ):
        await action
        assert len(tab.said) == 2
        assert tab.toasts.count("Another version is written.") == 1
        undos = [
            n for n in tab.look().root.all() if "show_again" in n.attributes.get("hx-vals", "")
        ]
        await tab.act("show_again", message=json.loads(undos[-1].attributes["hx-vals"])["message"])
        assert tab.said == ["A", "One.", "B", "Two."]
        assert not tab.busy
        tab.dom.get("toasts").children.clear()  # type: ignore[union-attr]
    gate.release()


async def test_what_is_only_answered_anew_hides_nothing(app: App, tab: Tab):
    first, reply = await kept(app, tab.conversation)
    await tab.act("regenerate", message=reply.id)
    await tab.idle()
    await tab.act("edit", message=first.id, text="C")
    await tab.idle()
    assert "Another version" not in tab.toasts


async def test_the_last_reply_is_regenerated_and_continued(app: App, tab: Tab, model: Scripted):
    await tab.act("regenerate_last", conversation=tab.conversation)
    await tab.idle()
    assert tab.said == ["A", "Two."]
    await tab.act("continue_last", conversation=tab.conversation)
    await tab.idle()
    assert tab.said == ["A", "Two.Three."]
    await tab.act("dummy", conversation=tab.conversation, text="B")
    await tab.act("regenerate_last", conversation=tab.conversation)
    await tab.idle()
    assert tab.said == ["A", "Two.Three.", "B", "Four."]


async def test_while_a_reply_is_written_nothing_else_is_done(app: App, tab: Tab, model: Scripted):
    id = tab.conversation
    first = (await kept(app, id))[0]
    gate = slowly(model, "Slow words.")
    await tab.send("B")
    for action in (
        tab.act("replace_last", conversation=id, text="x"),
        tab.act("remove_last", conversation=id),
        tab.act("dummy", conversation=id, text="x"),
        tab.act("insert", message=first.id, text="x"),
        tab.act("move", message=first.id, step="1"),
        tab.act("swipe", conversation=id, step="-1"),
        tab.act("regenerate_last", conversation=id),
    ):
        await action
    assert tab.toasts.count("A reply is being written in this conversation.") == 7
    for _ in range(3):
        gate.release()
    await tab.idle()
    assert tab.said == ["A", "One.", "B", "Slow words."]


async def test_a_reply_whose_question_was_deleted_is_written_again(app: App, tab: Tab):
    await tab.ask("B")
    *_, question, reply = await kept(app, tab.conversation)
    await tab.act("delete_message", message=question.id)
    await tab.act("regenerate", message=reply.id)
    await tab.idle()
    assert tab.said == ["A", "One.", "Three."]
