"""How a conversation is set up: kept with it, told to the mode, shown in the page."""

import asyncio
import errno
import importlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import structs

from extensions.chat.api import SETUPS, Setups
from extensions.chat.setup import as_typed, strings_of
from extensions.chat.test_chat import Tab, kept, store_of
from extensions.prompts.api import CAST, Face
from kernel.api import MODES, Disconnected, Message, Phase, Refused, Request, Turn
from kernel.testing import App, Scripted, running

ADA = Face("ada", "Ada", "/ext/characters/picture/ada", ("Good evening.", "We are closed."))
BEA = Face("bea", "Bea", "", ("One.", " ", "Two.", "Three."))
CYD = Face("cyd", "Cyd", "", ("*It looks up.* <b>Yes</b>?",))


class Players:
    """Somebody to speak as."""

    async def characters(self) -> list[Face]:
        return [ADA]

    async def personas(self) -> list[Face]:
        return [Face("eve", "Eve <b>")]

    async def face(self, character: str, persona: str, place: str) -> Face | None:
        for each in (ADA, BEA, CYD):
            if character == each.id:
                return each
        if character == "die":
            return Face("die", "Die", "", (f"At {place}.",))
        raise Refused("There is none.")

    async def expand(
        self, text: str, character: str, persona: str, *, conversation: str, seed: str
    ) -> str:
        return text.replace("{{user}}", persona or "You").replace("{{roll}}", seed)


class Played:
    """A mode with a character."""

    id, label = "played", "Played"
    wants = ("character", "persona", "start_reply_with", "command")
    usual_command = "Say <what> follows."

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    async def request(self, turn: Turn, history: Any) -> Request:
        self.turns.append(turn)
        messages: tuple[Message, ...] = (*history, *turn.messages)
        return Request(messages=messages, continue_=turn.continue_)


class Talking(Played):
    """The mode of characters, as it is called."""

    id, label = "chat", "Chat"


@pytest.fixture
def model() -> Scripted:
    return Scripted("One.", "Two.", "Three.")


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
async def app(model: Scripted, played: Played) -> AsyncIterator[App]:
    async with running("conversations", "chat", "parameters", model=model) as app:
        await app.page().act("parameters.set", name="max_new_tokens", value="50")
        how: Any = {"phase": Phase.NORMAL, "rank": 0, "rewrites": False}
        app.kernel.registry.add(MODES, played, "kernel", **how)
        app.kernel.registry.add(CAST, Players(), "kernel", **how)
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    return await Tab(app).connect()


def setups_of(app: App) -> Setups:
    return app.kernel.registry.values(SETUPS)[0]


async def set_up(tab: Tab, **fields: Any) -> None:
    await tab.act("set_up", conversation=tab.conversation, **fields)


# --- the sheet --------------------------------------------------------------------------


async def test_it_is_kept_with_the_conversation_and_told_to_the_mode(
    app: App, tab: Tab, played: Played
):
    await tab.ask("Hello")
    await set_up(tab, mode="played", command="Go", stopping_strings='"a", "b\\n"')
    await tab.ask("And?")
    assert played.turns[-1].mode == "played"
    told = {"command": "Go", "stopping_strings": ("a", "b\n")}
    assert {**played.turns[-1].options, "idle": 0} == {**told, "idle": 0}
    first = tab.conversation
    other = await Tab(app).connect()
    await other.ask("Hello")
    assert len(played.turns) == 2, "a new conversation takes the last one's"
    await set_up(other, mode="instruct")
    setup = await setups_of(app).of(first)
    assert (setup.mode, setup.options.command) == ("played", "Go")
    assert (await setups_of(app).of(other.conversation)).mode == "instruct"
    await app.kernel.restart("chat")
    assert (await setups_of(app).of("")).mode == "instruct"
    assert (await setups_of(app).of(first)).mode == "played"


async def test_what_is_not_named_stays_and_what_is_no_good_is_refused(app: App, tab: Tab):
    await set_up(tab, mode="played", command="Go", reasoning_effort="low", enable_thinking="on")
    await set_up(tab, enable_thinking="", preserve_thinking="off")
    options = (await setups_of(app).of("")).options
    assert msgspec.to_builtins(options) == {
        "command": "Go", "reasoning_effort": "low", "preserve_thinking": False,
    }  # fmt: skip
    await set_up(tab, reasoning_effort="endless")
    assert "The setup was not changed" in tab.toasts
    await set_up(tab, stopping_strings='"never closed')
    assert "Look at the quotes" in tab.toasts
    assert (await setups_of(app).of("")).options == options
    await tab.act("set_up", conversation="nowhere", mode="played")
    assert "is gone" in tab.toasts


async def test_a_damaged_setup_is_none(app: App, tab: Tab):
    await tab.ask("Hello")
    await store_of(app).set_state(tab.conversation, "chat", "setup", {"mode": 7})
    assert msgspec.to_builtins(await setups_of(app).of(tab.conversation)) == {}
    (app.kernel.data / "state" / "chat").mkdir(parents=True, exist_ok=True)
    (app.kernel.data / "state" / "chat" / "setup.json").write_text("{")
    await app.kernel.restart("chat")
    assert msgspec.to_builtins(await setups_of(app).of("")) == {}


async def test_the_sheet_shows_what_the_mode_reads(app: App, tab: Tab):
    dom = tab.look()
    assert dom.get("chat-setup-template")
    assert dom.get("chat-setup-system_message")
    assert not dom.get("chat-setup-character")
    await set_up(tab, mode="played")
    dom = tab.look()
    assert not dom.get("chat-setup-template")
    assert dom.get("chat-setup-command")
    names = [n.text for n in dom.root.all() if n.tag == "option"]
    assert "Ada" in names
    assert "Eve <b>" in names


async def test_the_usual_command_can_be_read_and_made_ones_own(app: App, tab: Tab):
    await set_up(tab, mode="played")
    dom = tab.look()
    box, button = dom.get("chat-setup-command"), dom.get("chat-setup-usual")
    assert box
    assert button
    assert (box.attributes["placeholder"], box.text.strip()) == (Played.usual_command, "")
    vals = json.loads(button.attributes["hx-vals"])
    await tab.page.act(vals.pop("action"), **vals)
    assert (await setups_of(app).of("")).options.command == Played.usual_command
    box = tab.look().get("chat-setup-command")
    assert box
    assert box.text.strip() == Played.usual_command
    assert not tab.look().get("chat-setup-usual")


async def test_the_box_names_who_will_answer(app: App, tab: Tab):
    def named() -> str | None:
        box = tab.look().get("chat-text")
        return box and box.attributes["placeholder"]

    assert named() == "Message scripted"
    await set_up(tab, mode="played", character="ada")
    assert named() == "Message Ada"
    await set_up(tab, mode="instruct")
    assert named() == "Message scripted"


async def test_thinking_is_offered_where_the_template_knows_it(app: App, tab: Tab, model: Scripted):
    assert not tab.look().get("chat-setup-enable_thinking")
    model.info = structs.replace(model.info, chat_template="{% if enable_thinking %}{% endif %}")
    await set_up(tab, system_message="x")
    assert tab.look().get("chat-setup-enable_thinking")
    assert not tab.look().get("chat-setup-reasoning_effort")


async def test_a_guessed_template_is_said(app: App, model: Scripted):
    model.info = structs.replace(model.info, chat_template="")
    tab = await Tab(app).connect()
    help_ = tab.look().get("chat-setup-template-help")
    assert help_
    assert "“Alpaca”, a guess" in help_.text


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ('"\\n", "### "', ("\n", "### ")), ("'one'", ("one",)), ("one\n two \n\n", ("one", "two")),
        ("", ()), ('"a", ""', ("a",)),
    ],
)  # fmt: skip
def test_stopping_strings_as_they_are_typed(typed: str, read: tuple[str, ...]):
    assert strings_of(typed) == read
    assert strings_of(as_typed(read)) == read


# --- characters -------------------------------------------------------------------------


async def test_a_conversation_begins_with_the_greeting_and_its_versions(app: App, tab: Tab):
    await set_up(tab, mode="played", character="ada")
    empty = tab.look().get("chat-empty")
    assert empty
    assert "Good evening." in empty.text
    await tab.ask("Is it open?")
    assert tab.said == ["Good evening.", "Is it open?", "One."]
    [greeting, *_] = await kept(app, tab.conversation)
    assert (greeting.role, greeting.number, greeting.versions) == ("assistant", 1, 2)
    article = next(n for n in tab.look().root.all() if n.tag == "article")
    assert [n.text for n in article.all() if n.tag == "h2"] == ["Ada"]
    picture = tab.dom.having("chat-face")[0].attributes["src"]
    assert picture == ADA.picture
    assert (await store_of(app).conversation(tab.conversation)).title == "Is it open?"


async def test_it_may_begin_with_nothing_but_a_greeting(app: App, tab: Tab, played: Played):
    await tab.act("begin")
    assert "no greeting" in tab.toasts
    await set_up(tab, mode="played", character="ada")
    await tab.act("begin", step=1)
    assert tab.said == ["We are closed."]
    [greeting] = await kept(app, tab.conversation)
    await tab.act("version", message=greeting.id, step=-1)
    assert tab.said == ["Good evening."]
    await tab.ask("Hello")
    assert tab.said == ["Good evening.", "Hello", "One."]
    assert [m.text for m in played.turns[-1].messages] == ["Hello"]


def offered(tab: Tab) -> str:
    shown = tab.look().get("chat-greeting")
    assert shown
    return shown.text


async def test_a_greeting_is_offered_as_it_will_look(app: App, tab: Tab):
    await set_up(tab, mode="played", character="cyd")
    dom = tab.look()
    shown = dom.get("chat-greeting")
    assert shown
    assert shown.text == "It looks up. <b>Yes</b>?"
    assert "em" in [node.tag for node in shown.all()]


async def test_each_beginning_has_dice_of_its_own_and_keeps_those_that_were_offered(
    app: App, tab: Tab
):
    await set_up(tab, mode="played", character="die")
    other = await Tab(app).connect()
    assert offered(other) != offered(tab)
    begun: list[str] = []
    for _ in range(2):
        await tab.act("new")
        begun.append(offered(tab))
        await tab.act("begin")
        assert tab.said == begun[-1:]
    assert begun[0] != begun[1]


async def test_what_replies_begin_with_has_dice_for_each(app: App, tab: Tab):
    await set_up(tab, mode="played", character="cyd", start_reply_with="{{roll}} ")
    for text in "ab":
        await tab.ask(text)
    at = tab.conversation
    assert [tab.said[2], tab.said[4]] == [f"{at} 2 One.", f"{at} 4 Two."]


async def test_all_greetings_are_gone_through_before_it_begins(app: App, tab: Tab):
    other = await Tab(app).connect()
    await tab.act("greet", step=1)
    assert "There is no other greeting." in tab.toasts
    await set_up(tab, mode="played", character="bea")
    await other.act("search", text="")
    seen = [offered(tab)]
    for _ in range(3):
        await tab.act("greet", step=1)
        seen.append(offered(tab))
    assert seen == ["One.", "Two.", "Three.", "One."], "a greeting without a word is none"
    await tab.act("swipe", conversation="", step=-1)  # By the keys.
    assert offered(tab) == "Three."
    assert "3/3" in tab.look().having("chat-versions")[0].text
    assert offered(other) == "One.", "another page is where it was"
    await tab.ask("Hello")
    assert tab.said == ["Three.", "Hello", "One."], "it begins with what is offered"
    greeting, *_ = await kept(app, tab.conversation)
    assert (greeting.number, greeting.versions) == (3, 3)
    await other.act("begin")
    assert other.said == ["One."]


async def test_greetings_go_round_as_versions_of_the_first_message(app: App, tab: Tab):
    await set_up(tab, mode="played", character="bea")
    await tab.act("begin", step=1)
    id, shown = tab.conversation, list[str]()
    for _ in range(3):
        shown += tab.said
        await tab.act("swipe", conversation=id, step=1)
    await tab.act("swipe", conversation=id, step=-1)
    assert shown + tab.said == ["Two.", "Three.", "One.", "One."], "before the first is none"
    buttons = [n.text for n in tab.look().root.all() if n.tag == "button"]
    assert "Edit" in buttons
    assert not {"Regenerate", "Continue"} & {*buttons}, "it answers nothing"
    assert len(await kept(app, id)) == 1


async def test_another_character_offers_its_first_greeting(app: App, tab: Tab):
    await set_up(tab, mode="played", character="bea")
    await tab.act("greet", step=1)
    await set_up(tab, command="Go")
    assert offered(tab) == "Two.", "the setup is another, the character the same"
    await set_up(tab, character="ada")
    assert offered(tab) == "Good evening."


async def test_a_dummy_and_what_is_inserted_have_the_characters_name(app: App, tab: Tab):
    await set_up(tab, mode="played", character="ada")
    await tab.act("dummy", conversation="", text="I am she.", role="assistant")
    id = tab.conversation
    said = await kept(app, id)
    assert [(m.name, m.text) for m in said] == [("Ada", "Good evening."), ("Ada", "I am she.")]
    await tab.act("insert", message=said[1].id, text="Hm.", role="assistant", where="before")
    await tab.act("insert", message=said[1].id, text="Yes?", role="user")
    await tab.act("insert", message=said[1].id, text="No.", role="assistant Nobody")
    assert [(m.name, m.text) for m in await kept(app, id)] == [
        ("Ada", "Good evening."), ("Ada", "Hm."), ("Ada", "I am she."), ("Ada", "No."),
        ("You", "Yes?"),
    ]  # fmt: skip
    heads = [n.text for n in tab.look().root.all() if n.tag == "h2"]
    assert [text for text in heads if text in ("Ada", "Reply")] == ["Ada"] * 4
    await tab.act("menu", message=said[1].id)
    who = [n for n in tab.look().root.all() if n.attributes.get("value", "") == "assistant Ada"]
    assert [n.text for n in who] == ["Ada"]


async def test_it_is_begun_from_another_tab(app: App, tab: Tab):
    other = await Tab(app, "/settings").connect()
    await other.act("start", character="ada")
    assert other.said == ["Good evening."]
    assert other.page.client.path.startswith("/chat/")
    setup = await setups_of(app).of(other.conversation)
    assert (setup.mode, setup.options.character) == ("played", "ada")


async def test_a_tab_that_begins_is_told_what_another_chose(app: App, tab: Tab):
    """A new conversation begins as the last that was set up, in whichever tab that is."""
    await set_up(tab, mode="played", character="ada")
    await tab.act("start", character="ada")
    other = await Tab(app).connect()
    assert offered(other) == "Good evening."
    await set_up(tab, character="bea")
    assert offered(other) == "One."


async def test_a_second_tap_begins_nothing_else(app: App, tab: Tab):
    async def conversations() -> int:
        return len(await store_of(app).list())

    await set_up(tab, mode="played", character="ada")
    await asyncio.gather(tab.act("begin"), tab.act("begin"))
    await tab.act("begin")
    assert (tab.toasts, tab.said, await conversations()) == ("", ["Good evening."], 1)
    other = await Tab(app, "/characters/ada").connect()
    await asyncio.gather(other.act("start", character="ada"), other.act("start", character="ada"))
    await other.act("start", character="ada")
    assert (other.toasts, other.said, await conversations()) == ("", ["Good evening."], 2)
    await other.ask("Hello")
    await other.act("start", character="ada")
    assert await conversations() == 3, "where more was said another one begins"
    await other.act("start", character="bea")
    assert (other.said, await conversations()) == (["One."], 4)


async def test_a_page_whose_connection_was_lost_is_offered_the_same_greeting(app: App, tab: Tab):
    box = "a" * 32
    await set_up(tab, mode="played", character="bea")
    come = tab.look().get("chat-come")
    assert come
    assert "data-names" in come.attributes, "the script presses it, with the page's box"
    await tab.act("come", box=box)
    await tab.act("greet", step=1)
    tab.close()
    app.kernel.bus.emit(Disconnected(tab.page.client))
    await app.settled()
    other = await Tab(app).connect()
    await other.act("come", box="b" * 32)
    back = await Tab(app).connect()
    await back.act("come", box=box)
    assert (offered(other), offered(back)) == ("One.", "Two.")
    await back.act("begin")
    assert back.said == ["Two."]
    await back.act("new")
    assert offered(back) == "One.", "the next one begins anew"
    await set_up(back, character="die")
    said = offered(back)
    app.kernel.bus.emit(Disconnected(back.page.client))
    await app.settled()
    again = await Tab(app).connect()
    await again.act("come", box=box)
    assert offered(again) == said, "with the same dice"


async def test_it_needs_a_mode_with_characters():
    async with running("chat", "instruct", model=Scripted("One.")) as app:
        tab = await Tab(app, "/chat").connect()
        await tab.act("start", character="ada")
        assert "No way of talking with a character is switched on. See Settings." in tab.toasts


async def test_an_incognito_conversation_leaves_no_setup_behind(app: App, tab: Tab):
    await set_up(tab, mode="played", character="ada")
    await tab.act("incognito")
    await set_up(tab, command="Secret")
    await tab.ask("Hello")
    assert tab.said == ["Good evening.", "Hello", "One."]
    assert (await setups_of(app).of(tab.conversation)).options.command == "Secret"
    assert (await setups_of(app).of("")).options.command == ""
    written = [file.read_bytes() for file in app.kernel.data.rglob("*") if file.is_file()]
    assert not any(b"Secret" in data for data in written)


async def test_an_empty_incognito_conversation_says_what_it_is(tab: Tab):
    for action, says in (("new", "stays on this machine"), ("incognito", "written to the disk")):
        await tab.act(action)
        empty = tab.look().get("chat-empty")
        assert empty
        assert says in empty.text


async def test_a_character_that_is_gone_costs_only_its_face(app: App, tab: Tab):
    await set_up(tab, mode="played", character="gone")
    options = [n.text for n in tab.look().root.all() if n.tag == "option"]
    assert "gone (gone)" in options
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One."]


# --- what belongs to a turn -------------------------------------------------------------


async def test_a_reply_begins_as_told(app: App, tab: Tab, model: Scripted):
    await set_up(tab, start_reply_with="Sure: ")
    await tab.ask("Hello")
    assert tab.said == ["Hello", "Sure: One."]
    [_, reply] = await kept(app, tab.conversation)
    assert (reply.text, reply.raw) == ("Sure: One.", "Sure: One.")
    assert [m.text for m in model.asked[0].messages or ()] == ["Hello", "Sure: "]
    assert model.asked[0].continue_
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    assert tab.said == ["Hello", "Sure: One.Two."]


async def test_a_message_keeps_the_name_under_which_it_was_said(app: App, tab: Tab, played: Played):
    def names() -> list[str]:
        shown = [n for n in tab.look().root.all() if n.tag == "h2"]
        return [n.text for n in shown if n.text in ("You", "Eve <b>")]

    await set_up(tab, mode="instruct")
    await tab.ask("Nobody")
    await set_up(tab, mode="played", character="ada")
    assert tab.look().having("chat-me") == []
    await tab.ask("You")
    await set_up(tab, persona="eve")
    assert names() == ["Eve <b>", "You"], "what was kept without a name is whoever speaks now"
    await tab.act("dummy", conversation=tab.conversation, text="Eve")
    await tab.ask("Eve")
    await set_up(tab, persona="")
    await tab.ask("And now?")
    assert [m.name for m in await kept(app, tab.conversation) if m.role == "user"] == [
        "", "You", "Eve <b>", "Eve <b>", "You",
    ]  # fmt: skip
    assert names() == ["You", "You", "Eve <b>", "Eve <b>", "You"]
    assert [each.text for each in tab.look().having("chat-me")] == ["Eve <b>"] * 2
    await tab.act("retry", message=(await kept(app, tab.conversation))[-2].id)
    await app.until(lambda: not tab.busy)
    await set_up(tab, mode="instruct")
    await tab.ask("Nobody again")
    assert (await kept(app, tab.conversation))[-2].name == ""
    assert names() == ["You", "You", "Eve <b>", "Eve <b>", "You", "You"]


async def test_what_comes_from_elsewhere_goes_on_with_its_character(app: App, tab: Tab):
    """And with nothing that was chosen in another conversation."""
    store, setups = store_of(app), setups_of(app)
    app.kernel.registry.add(MODES, Talking(), "test", phase=Phase.NORMAL, rank=0, rewrites=False)
    await tab.act("set_up", mode="played", character="bea", start_reply_with="Well")
    for name, expected in {
        "Ada": ("chat", "ada"),
        "ada": ("chat", "ada"),
        "Nobody": ("instruct", ""),
        "": ("instruct", ""),
    }.items():
        said = await store.say("", "user", "Hello")
        await store.say(said.conversation, "assistant", "Good evening.", name=name)
        setup = await setups.of(said.conversation)
        assert (setup.mode, setup.options.character) == expected, name
        assert not setup.options.start_reply_with
    assert (await setups.of("")).options.character == "bea", "a new one begins with the last"


async def test_a_reply_begins_with_the_names_of_those_who_talk(
    app: App, tab: Tab, played: Played, model: Scripted
):
    await set_up(tab, mode="played", character="cyd", persona="eve", start_reply_with="{{user}}, ")
    await tab.ask("Hello")
    assert tab.said[-1] == "eve, One."
    assert played.turns[-1].options["start_reply_with"] == "eve, "
    await set_up(tab, mode="instruct", start_reply_with="{{x}} ")
    await tab.ask("And?")
    assert tab.said[-1] == "{{x}} Two.", "nobody is played"


async def test_the_model_writes_into_the_text_box_of_one_page(app: App, tab: Tab, model: Scripted):
    await tab.act("impersonate", conversation="", text="")
    assert "Nothing was said yet" in tab.toasts
    await tab.ask("Hello")
    other = await Tab(app, tab.page.client.path).connect()
    gate = model.gate = asyncio.Semaphore(0)
    await tab.act("impersonate", conversation=tab.conversation, text="I was ")
    assert tab.busy
    assert other.busy
    await other.send("Not now")
    assert "A reply is being written" in other.toasts
    for _ in range(3):
        gate.release()
    await tab.idle()
    draft, others = tab.look().get("chat-draft"), other.look().get("chat-draft")
    assert draft
    assert others
    assert (draft.text, others.text) == ("I was Two.", "Not now"), "whose words were not taken"
    assert [m.text for m in model.asked[-1].messages or ()] == ["Hello", "One.", "I was "]
    assert model.asked[-1].continue_
    assert len(await kept(app, tab.conversation)) == 2, "nothing of it is kept"


async def test_it_can_be_stopped(app: App, tab: Tab, model: Scripted):
    await tab.ask("Hello")
    model.gate = asyncio.Semaphore(0)
    await tab.act("impersonate", conversation=tab.conversation, text="")
    await tab.act("stop", conversation=tab.conversation)
    await tab.idle()
    model.gate = None
    await tab.ask("Go on")


# --- what no longer fits ----------------------------------------------------------------


async def test_the_page_shows_from_where_on_the_model_sees(app: App, tab: Tab, model: Scripted):
    words = " ".join(["word"] * 20)
    model.scripts = [words]
    model.info = structs.replace(model.info, context_length=190)
    for number in range(3):
        await tab.ask(f"{number} {words}")
        if number == 0:
            assert not tab.look().having("chat-unseen")
    await tab.ask(f"3 {words}")
    fresh = await Tab(app, tab.page.client.path).connect()
    first, *_ = [message.id for message in model.asked[-1].messages or ()]
    for page in (tab, fresh):
        [line] = page.look().having("chat-unseen")
        assert line.attributes["id"] == f"chat-m{first}-unseen"
    model.info = structs.replace(model.info, context_length=8000)
    await tab.ask("Short")
    assert not tab.look().having("chat-unseen")


async def test_a_full_disk_keeps_nobody_from_setting_up(
    app: App, tab: Tab, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    await tab.ask("Hello")
    monkeypatch.setattr(importlib.import_module("extensions.chat.setup"), "write", full)
    for command in ("One.", "Two.", "Three.", "Four."):
        await tab.act("set_up", conversation=tab.conversation, command=command)
    setups = app.kernel.registry.values(SETUPS)[0]
    for conversation in (tab.conversation, ""):
        assert (await setups.of(conversation)).options.command == "Four."
    await setups.renamed("ada", "eva")
    assert app.kernel.records["chat"].status == "running"
    assert not app.kernel.guard._history
