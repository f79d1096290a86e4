"""Several characters in one conversation: who speaks, what they are told, and what is kept."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extensions.chat.api import SPEAKERS
from extensions.chat.test_chat import Tab, store_of
from extensions.chat.test_meanwhile import Held, pages_of
from kernel.api import Refused
from kernel.testing import App, Scripted, running

CARDS = {
    "Ada": {
        "description": "{{char}} is a librarian.\n\nNobody else knows her secret.",
        "first_mes": "Good evening, {{user}}.",
        "group_only_greetings": ["You are all late, {{user}}.", "Sit down."],
    },
    "Bo": {"description": "{{char}} is a fox who likes {{user}}.", "first_mes": "Yip."},
    "Cy": {"description": "A clock."},
}


@pytest.fixture
def model() -> Scripted:
    return Scripted(
        " Ada: Hush.", " Yip!", " Tick.", samplers=("max_new_tokens", "custom_stopping_strings")
    )


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("group_chat", "chat_instruct", model=model) as app:
        folder = app.kernel.data / "characters"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in CARDS.items():
            card = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {"name": name, **data}}
            (folder / f"{name}.json").write_text(json.dumps(card), "utf-8")
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    return await Tab(app).connect()


async def act(tab: Tab, action: str, **fields: Any) -> None:
    await tab.page.act(f"group_chat.{action}", conversation=tab.conversation, **fields)


async def gather(tab: Tab, mode: str = "chat") -> None:
    """All three, in a conversation of their own."""
    await tab.act("set_up", conversation="", mode=mode)
    for name in CARDS:
        await act(tab, "add", character=name)


def reads(tab: Tab, id: str) -> str:
    """What a part of the page says; nothing as long as it is not there."""
    part = tab.look().get(id)
    return part.text if part else ""


async def said(app: App, tab: Tab) -> list[tuple[str, str]]:
    await app.until(lambda: not tab.busy)
    opened = await store_of(app).get(tab.conversation)
    return [(m.name, m.text) for m in opened.messages]


async def talked(app: App, tab: Tab) -> None:
    """Ada and Bo have answered."""
    await gather(tab)
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    await app.until(lambda: not tab.busy)
    await tab.act("send", conversation=tab.conversation, text="Who is there?")
    await app.until(lambda: not tab.busy)


def words(model: Scripted, number: int = -1) -> list[str]:
    request = model.asked[number]
    return [f"{m.name}: {m.text}" if m.name else m.text for m in request.messages or ()]


async def test_each_reply_is_kept_and_shown_under_its_speaker(app: App, tab: Tab):
    await talked(app, tab)
    assert await said(app, tab) == [
        ("Ada", "You are all late, You."), ("You", "Hello?"), ("Bo", "Ada: Hush."),
        ("You", "Who is there?"), ("Cy", "Yip!"),
    ]  # fmt: skip
    shown = [n.text.strip() for n in tab.look().root.all() if n.tag == "h2"]
    assert [name for name in shown if name in CARDS] == ["Ada", "Bo", "Cy"]


async def test_what_a_speaker_is_told(app: App, tab: Tab, model: Scripted):
    await talked(app, tab)
    system, *lines = words(model)
    assert system == (
        "A clock.\n\nAlso there:\nAda: Ada is a librarian.\nBo: Bo is a fox who likes You."
    )
    assert lines == [
        "Ada: You are all late, You.", "You: Hello?", "Bo: Ada: Hush.", "You: Who is there?",
    ]  # fmt: skip
    stops = model.asked[-1].sampling.custom_stopping_strings
    assert stops == ("\nYou:", "\nCy:", "\nAda:", "\nBo:")
    assert model.asked[-1].template_options["name2"] == "Cy"


async def test_macros_say_who_is_there(app: App, tab: Tab, model: Scripted):
    file = app.kernel.data / "characters" / "Ada.json"
    who = "{{group}}; {{groupNotMuted}}; {{charIfNotGroup}}; not {{notChar}}"
    card = {"name": "Ada", "description": "Ada.", "system_prompt": who, "first_mes": "{{group}}?"}
    file.write_text(json.dumps({"data": card}), "utf-8")
    await gather(tab)
    await act(tab, "mute", character="Cy", on=True)
    await act(tab, "turns", order="manual")
    await act(tab, "choose", chosen="Ada")
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    await app.until(lambda: not tab.busy)
    assert words(model)[0].startswith("Ada, Bo, Cy; Ada, Bo; Ada, Bo, Cy; not Bo, Cy, You\n")
    assert (await said(app, tab))[0] == ("Ada", "Ada, Bo, Cy?")
    for name in ("Bo", "Cy"):
        await act(tab, "remove", character=name)
    await tab.act("send", conversation=tab.conversation, text="And now?")
    await app.until(lambda: not tab.busy)
    assert words(model)[0].startswith("Ada; Ada; Ada; not You\n")


async def test_the_greetings_of_a_group_grow_together(app: App, tab: Tab):
    await gather(tab)
    file = app.kernel.data / "characters" / "Ada.json"
    many = ["{{description}}"] * 50
    card = {"name": "Ada", "description": "x" * 100_000, "group_only_greetings": many}
    file.write_text(json.dumps({"data": card}), "utf-8")
    with pytest.raises(Refused, match="grows without end"):
        await app.extension("chat").one(SPEAKERS).faces(tab.conversation)


@pytest.mark.parametrize("mode", ["chat", "chat-instruct"])
async def test_how_long_the_user_was_silent(
    app: App, tab: Tab, model: Scripted, mode: str, monkeypatch: pytest.MonkeyPatch
):
    card = {"name": "Ada", "description": "{{user}} was away: {{idle_duration}}."}
    (app.kernel.data / "characters" / "Ada.json").write_text(json.dumps({"data": card}), "utf-8")
    await tab.act("set_up", conversation="", mode=mode, character="Ada")
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    await app.until(lambda: not tab.busy)
    assert "You was away: just now." in words(model)[0]
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 2 * 3600 + 60)
    await tab.act("send", conversation=tab.conversation, text="Here I am again.")
    await app.until(lambda: not tab.busy)
    assert "You was away: 2 hours." in words(model)[0]
    reply = (await store_of(app).get(tab.conversation)).messages[-1]
    await tab.act("regenerate", message=reply.id)
    await app.until(lambda: not tab.busy)
    assert "You was away: 2 hours." in words(model)[0]
    monkeypatch.setattr(time, "time", lambda: now() + 5 * 3600 + 60)
    await tab.act("impersonate", conversation=tab.conversation, text="")
    await app.until(lambda: len(model.asked) == 4)
    assert "You was away: 3 hours." in words(model)[0]


async def test_it_works_inside_an_instruction(app: App, tab: Tab, model: Scripted):
    await gather(tab, "chat-instruct")
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    await app.until(lambda: not tab.busy)
    asked, begun = words(model)
    assert "Also there:\nAda: Ada is a librarian.\nCy: A clock." in asked
    assert "write what Bo says next" in asked
    assert asked.endswith("Ada: You are all late, You.\nYou: Hello?")
    assert begun == "Bo:"


async def test_versions_continuing_and_editing_keep_the_speaker(app: App, tab: Tab):
    await talked(app, tab)
    id = tab.conversation
    await act(tab, "turns", order="manual")
    await act(tab, "choose", chosen="Cy")  # Who would be next.
    bo = (await store_of(app).get(id)).messages[2]
    await tab.act("regenerate", message=bo.id)
    again = await said(app, tab)
    assert again[2][0] == "Bo"
    assert len(again) == 3
    shown = (await store_of(app).get(id)).messages[2]
    assert (shown.number, shown.versions) == (2, 2)
    await tab.act("continue_", message=shown.id)
    assert (await said(app, tab))[2][0] == "Bo"
    shown = (await store_of(app).get(id)).messages[2]
    await tab.act("edit", message=shown.id, text="Yap.")
    assert (await said(app, tab))[2] == ("Bo", "Yap.")
    await tab.act("version", message=(await store_of(app).get(id)).messages[2].id, step=-3)
    names = [name for name, _ in await said(app, tab)]
    assert names == ["Ada", "You", "Bo", "You", "Cy"], "the branch"


async def test_they_go_on_until_they_are_stopped(app: App, tab: Tab, model: Scripted):
    await gather(tab)
    await tab.act("begin", step=0)
    await act(tab, "go_on", turns="3")
    await app.until(lambda: len(tab.said) == 4 and not tab.busy)
    assert [name for name, _ in await said(app, tab)] == ["Ada", "Bo", "Cy", "Ada"]
    gate = model.gate = asyncio.Semaphore(1)  # The next one says one word, and is still speaking.
    await act(tab, "go_on", turns=50)
    await app.until(lambda: len(model.asked) == 4)
    await app.until(lambda: tab.busy and gate.locked())
    await tab.act("stop", conversation=tab.conversation)
    before = await said(app, tab)
    await app.settled()
    assert await said(app, tab) == before
    assert len(before) == 5
    assert len(model.asked) == 4


async def test_stop_stays_between_the_replies_and_ends_them_all(
    app: App, tab: Tab, model: Scripted
):
    await gather(tab)
    await tab.act("begin", step=0)
    tab.look()
    shown = list[bool]()

    def round_is_over() -> bool:
        for part in tab.page.client.outbox.take():
            tab.dom.take(part)
            go = tab.dom.get("chat-go")
            shown.append(bool(go) and go.attributes["data-busy"] == "true")
        return True in shown and not shown[-1]

    await act(tab, "go_on", turns=3)
    await app.until(round_is_over)
    busy = shown[shown.index(True) :]
    assert busy == sorted(busy, reverse=True), "it never looked as if the round were over"
    assert len(model.asked) == 3
    replies = importlib.import_module("extensions.chat.replies").Replies
    follows, stopped = replies.answer, list[bool]()

    async def answer(self: Any, *args: Any, **more: Any) -> None:
        """Stop is pressed while no reply is under way: the first one has ended."""
        await follows(self, *args, **more)
        if not stopped:
            stopped.append(False)
            running = args[0]

            def stop(_: object) -> None:
                running.within.stop()
                stopped.append(True)

            running.task.add_done_callback(stop)

    replies.answer = answer
    try:
        await act(tab, "go_on", turns=5)
        await app.until(lambda: stopped == [False, True] and not tab.busy)
    finally:
        replies.answer = follows
    await app.settled()
    assert len(model.asked) == 4
    assert [name for name, _ in await said(app, tab)] == ["Ada", "Bo", "Cy", "Ada", "Bo"]
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    assert (await said(app, tab))[-1][0] == "Cy", "the conversation is free again"


async def test_a_round_whose_extension_stops_leaves_the_conversation_free(
    app: App, tab: Tab, model: Scripted
):
    await gather(tab)
    await tab.act("begin", step=0)
    model.pause = 0.05
    await act(tab, "go_on", turns=50)
    await app.until(lambda: len(model.asked) == 1 and tab.busy)
    await app.kernel.stop("group_chat")
    await app.until(lambda: not tab.busy)
    model.pause = 0.0
    await tab.act("send", conversation=tab.conversation, text="Alone?")
    await app.until(lambda: not tab.busy)
    assert (await store_of(app).get(tab.conversation)).messages[-1].role == "assistant"


async def test_who_is_chosen_speaks_now_muted_or_not(app: App, tab: Tab, model: Scripted):
    await gather(tab)
    await tab.act("begin", step=0)
    await act(tab, "mute", character="Cy", on=True)
    await act(tab, "speak", character="Cy")
    await app.until(lambda: len(model.asked) == 1)
    assert (await said(app, tab))[-1][0] == "Cy"
    await act(tab, "turns", order="manual")
    await act(tab, "choose", chosen="Ada")
    await tab.act("send", conversation=tab.conversation, text="And you?")
    assert (await said(app, tab))[-1][0] == "Ada"
    await act(tab, "move", id="Ada", to="2")

    def order() -> list[str]:
        members = tab.look().get("group_chat-members")
        every = members.all() if members else ()
        return [n.attributes["data-item"] for n in every if "data-item" in n.attributes]

    await app.until(lambda: order() == ["Bo", "Cy", "Ada"])
    await act(tab, "remove", character="Ada")
    assert (await said(app, tab))[-1][0] == "Ada", "what was said stays"
    await act(tab, "speak", character="Ada")
    await app.until(lambda: "not in the group any more" in tab.toasts)
    (app.kernel.data / "characters" / "Bo.json").unlink()
    await act(tab, "speak", character="Bo")
    await app.until(lambda: "The file of this character is gone" in tab.toasts)


async def test_a_group_may_begin_with_nothing(app: App, tab: Tab):
    await tab.act("set_up", conversation="", mode="chat")
    await app.until(lambda: "Bo" in reads(tab, "group_chat-character"))
    await act(tab, "add", character="Ada")  # It can be begun with her greeting.
    await app.until(lambda: "You are all late, You." in tab.look().root.text)


async def test_of_two_clicks_at_once_none_is_lost(app: App, tab: Tab):
    await tab.act("start", character="Ada")
    await asyncio.gather(*(act(tab, "add", character=name) for name in ("Bo", "Cy")))
    kept = await store_of(app).state(tab.conversation, "group_chat", "group")
    assert {member["id"] for member in kept["members"]} == {"Ada", "Bo", "Cy"}
    await asyncio.gather(*(act(tab, "mute", character=name, on=True) for name in ("Bo", "Cy")))
    kept = await store_of(app).state(tab.conversation, "group_chat", "group")
    assert {member["id"] for member in kept["members"] if member.get("muted")} == {"Bo", "Cy"}


async def test_who_was_alone_is_the_first_member(app: App, tab: Tab):
    await tab.act("start", character="Bo")
    id = tab.conversation
    await act(tab, "add", character="Cy")
    assert tab.conversation == id
    assert (await said(app, tab)) == [("Bo", "Yip.")]
    for name in ("Bo", "Cy"):
        await app.until(lambda name=name: name in reads(tab, "group_chat-members"))


@pytest.mark.parametrize("what", ["all", "composer"])
async def test_who_looked_earlier_and_was_later_is_not_shown(app: App, tab: Tab, what: str):
    await tab.act("start", character="Bo")
    pages = pages_of(app)
    held = Held(pages._enclosures, "waiting")
    drawing = pages.draw_anew() if what == "all" else pages.tell_composer(tab.page.client)
    drawn = asyncio.create_task(drawing)
    await held.called.wait()  # It has seen who is here.
    await act(tab, "add", character="Cy")
    held.gate.set()
    await drawn
    assert "Cy" in reads(tab, "group_chat-members")


async def test_what_a_member_panel_told_meanwhile_is_not_undone(app: App, tab: Tab):
    await gather(tab)
    pages, groups = pages_of(app), app.kernel.records["group_chat"]
    held = Held(pages._enclosures, "waiting")
    drawn = asyncio.create_task(pages.tell_composer(tab.page.client))
    await held.called.wait()
    state = await store_of(app).state(tab.conversation, "group_chat", "group")
    fewer = {**state, "members": state["members"][:2]}
    await store_of(app).set_state(tab.conversation, "group_chat", "group", fewer)
    assert groups.handle
    groups.handle.push_html('<i id="toasts" hx-swap-oob="beforeend"></i>', tab.page.client)
    held.gate.set()
    await drawn
    assert "Cy" not in reads(tab, "group_chat-members")


async def test_a_page_that_comes_knows_who_came_meanwhile(app: App, tab: Tab):
    await gather(tab)
    await tab.act("begin", step=0)
    await act(tab, "remove", character="Cy")
    other = Tab(app, f"/chat/{tab.conversation}")
    held = Held(pages_of(app)._views, "open")
    coming = asyncio.create_task(other.connect())
    await held.called.wait()
    await act(tab, "add", character="Cy")
    held.gate.set()
    await coming
    await app.until(lambda: "Cy" in reads(other, "group_chat-members"))


async def test_names_are_exported_and_imported(app: App, tab: Tab):
    await talked(app, tab)
    before = await said(app, tab)
    answer = await app.fetch(f"/ext/conversations/export/{tab.conversation}/sillytavern")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    names = [line["name"] for line in lines if "mes" in line]
    assert names == ["Ada", "You", "Bo", "You", "Cy"]
    group = b"\n".join(json.dumps(line).encode() for line in lines if "mes" in line)
    path = f"/ext/conversations/incoming/{'a' * 24}/0?name=2024-1-1@1h1m.jsonl&at=0"
    assert (await app.fetch(path, "POST", body=group)).status == 204
    await tab.page.act("conversations.take", batch="a" * 24)
    store = store_of(app)
    while len(kept := await store.list()) < 2:
        await app.settled()
    [other] = [each for each in kept if each.id != tab.conversation]
    opened = await store.get(other.id)
    assert [(m.name, m.text) for m in opened.messages] == before


async def test_another_persona_leaves_what_was_said_before_to_who_said_it(
    app: App, tab: Tab, model: Scripted
):
    users = app.kernel.data / "users"
    users.mkdir()
    for name in ("Mo", "Zed"):
        (users / f"{name}.yaml").write_text(f"name: {name}\nuser_bio: It is {name}.\n")
    await tab.act("set_up", conversation="", mode="chat", character="Ada", persona="Mo")
    await tab.act("send", conversation="", text="I am Mo.")
    await app.until(lambda: not tab.busy)
    await tab.act("set_up", conversation=tab.conversation, persona="Zed")
    await tab.act("send", conversation=tab.conversation, text="I am Zed.")
    assert [name for name, _ in await said(app, tab)] == ["Ada", "Mo", "Ada", "Zed", "Ada"]
    assert words(model)[1:] == [
        "Ada: Good evening, Mo.", "Mo: I am Mo.", "Ada: Hush.", "Zed: I am Zed.",
    ]  # fmt: skip
    stops = model.asked[-1].sampling.custom_stopping_strings
    assert stops == ("\nZed:", "\nAda:", "\nMo:")
    shown = [n.text.strip() for n in tab.look().having("chat-me")]
    assert shown == ["Mo", "Zed"]
    for id in CARDS:
        await act(tab, "add", character=id) if id != "Ada" else None
    await tab.act("send", conversation=tab.conversation, text="And you?")
    await app.until(lambda: not tab.busy)
    assert "Mo: I am Mo." in words(model)
    at = f"/ext/conversations/export/{tab.conversation}"
    lines = [json.loads(each) for each in (await app.fetch(f"{at}/sillytavern")).text.splitlines()]
    assert [each["name"] for each in lines if each.get("is_user")] == ["Mo", "Zed", "Zed"]


async def test_who_was_removed_can_be_brought_back(app: App, tab: Tab):
    await gather(tab)
    await act(tab, "remove", character="Ada")
    assert "Ada has left the group." in tab.toasts
    assert "Ada" not in reads(tab, "group_chat-members")
    buttons = [n.attributes for n in tab.look().root.all() if n.text == "Undo"]
    await tab.page.act(**json.loads(buttons[-1]["hx-vals"]))
    names = [n.text for n in tab.look().having("group_chat-name")]
    assert names == ["Ada", "Bo", "Cy"]


async def test_what_a_member_said_stays_its_own_under_its_new_name(
    app: App, tab: Tab, model: Scripted
):
    await talked(app, tab)
    id = tab.conversation
    for file, name, about in (("Bo", "Bob", "A fox."), ("Cy", "Cyril", "A clock.")):
        card = json.dumps({"data": {"name": name, "description": about}})
        (app.kernel.data / "characters" / f"{file}.json").write_text(card, "utf-8")
    [groups] = app.kernel.registry.values(SPEAKERS)
    told = (await store_of(app).get(id)).messages
    after_bo = await groups.speaker(id, told[:3])
    assert after_bo
    assert after_bo.name == "Cyril", "in turn, though Bo is Bob by now"
    await act(tab, "turns", order="manual")
    await act(tab, "choose", chosen="Bo")
    cy = (await store_of(app).get(id)).messages[-1]
    await tab.act("continue_", message=cy.id)
    await app.until(lambda: not tab.busy)
    went_on = (await store_of(app).get(id)).messages[-1]
    assert (went_on.name, went_on.text) == ("Cy", "Yip! Tick.")
    assert words(model)[0].startswith("A clock."), "Cyril's own card"
    await tab.act("regenerate", message=went_on.id)
    assert (await said(app, tab))[-1][0] == "Cyril"


async def test_what_nobody_here_said_is_not_put_into_a_member_s_mouth(
    app: App, tab: Tab, model: Scripted
):
    await gather(tab)
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    await app.until(lambda: not tab.busy)
    store, id = store_of(app), tab.conversation
    bear = await store.say(id, "assistant", "Grr.", name="Bear")
    for times, action in enumerate(("regenerate", "continue_"), 1):
        await tab.act(action, message=bear.id)
        assert tab.toasts.count("Nobody in this group is called “Bear” any more.") == times
    assert (await said(app, tab))[-1] == ("Bear", "Grr.")
    before = len(model.asked)
    await tab.act("impersonate", conversation=id, text="")
    await app.until(lambda: not tab.busy and len(model.asked) > before)
    asked = await store.add_user(id, "Well?", name="You")
    await tab.act("retry", message=asked.id)
    assert (await said(app, tab))[-1][0] == "Ada", "who is next answers a user of any name"


async def test_a_group_goes_on_with_a_member_whose_file_was_renamed(app: App, tab: Tab):
    await gather(tab)
    await act(tab, "choose", chosen="Bo")
    await act(tab, "turns", order="manual")
    await tab.page.act("characters.rename", id="Bo", to="The fox")
    state = await store_of(app).state(tab.conversation, "group_chat", "group")
    await app.until(lambda: not tab.busy)
    while "Bo" in [member["id"] for member in state["members"]]:
        state = await store_of(app).state(tab.conversation, "group_chat", "group")
    assert [member["id"] for member in state["members"]] == ["Ada", "The fox", "Cy"]
    await tab.act("send", conversation=tab.conversation, text="Hello?")
    assert (await said(app, tab))[-1][0] == "Bo"


async def test_the_setup_of_a_group_leads_to_its_list_and_offers_no_character(app: App, tab: Tab):
    await tab.act("set_up", conversation="", mode="chat", character="Ada")
    await app.until(lambda: bool(tab.look().get("chat-setup-character")))
    assert not tab.look().get("chat-setup-group")
    await gather(tab)  # A character would change nothing now.
    await app.until(lambda: not tab.look().get("chat-setup-character"))
    dom = tab.look()
    assert dom.get("chat-setup-persona")
    link, box = dom.get("chat-setup-group"), dom.get("chat-text")
    assert link
    assert dom.get(link.attributes["data-press"]), "the button of the list"
    assert box
    assert box.attributes["placeholder"] == "Message the group"
    pill = dom.get("chat-setup-open")
    assert pill
    assert pill.text.strip() == "Chat", "none of them alone; who is here says the button beside it"


async def test_a_group_tells_the_chat_who_speaks_through_its_point(app: App, tab: Tab):
    await gather(tab)
    speakers = app.extension("chat").one(SPEAKERS)
    speaker = await speakers.speaker(tab.conversation, ())
    assert speaker
    assert (speaker.name, speaker.character, speaker.others) == ("Ada", "Ada", ("Bo", "Cy"))


async def test_dummies_and_what_is_inserted_are_said_by_who_is_next_or_chosen(app: App, tab: Tab):
    await gather(tab)
    id = tab.conversation
    await tab.act("dummy", conversation=id, text="Well.", role="assistant")
    await tab.act("dummy", conversation=id, text="So?", role="user")
    await act(tab, "turns", order="manual")
    await act(tab, "choose", chosen="Ada")
    await tab.act("dummy", conversation=id, text="I.", role="assistant")
    assert await said(app, tab) == [
        ("Ada", "You are all late, You."), ("Bo", "Well."), ("You", "So?"), ("Ada", "I."),
    ]  # fmt: skip
    *_, last = (await store_of(app).get(id)).messages
    await tab.act("menu", message=last.id)
    options = [n for n in tab.look().root.all() if n.tag == "option"]
    who = [n.attributes["value"] for n in options if n.attributes["value"].startswith("assistant")]
    assert who == ["assistant Ada", "assistant Bo", "assistant Cy"]
    await tab.act("insert", message=last.id, text="Tock.", role="assistant Cy")
    assert (await said(app, tab))[-1] == ("Cy", "Tock.")
    for name in ("Ada", "Bo", "Cy"):
        await act(tab, "mute", character=name, on=True)
    await act(tab, "turns", order="list")
    await tab.act("dummy", conversation=id, text="Tick.", role="assistant")
    assert (await said(app, tab))[-1] == ("Cy", "Tick."), "nobody is next: who spoke last"
