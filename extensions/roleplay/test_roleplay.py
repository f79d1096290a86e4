"""The mode `chat`: the exact text that a model is given, and what becomes of its reply."""

import importlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from extensions.prompts.api import CAST, PROMPTS
from extensions.roleplay.naming import Beginning
from kernel.api import MODES, Delta, Message, Mode, Refused, Request, Sampling, Text, Token, Turn
from kernel.testing import App, Scripted, running

ADA = {
    "name": "Ada",
    "description": "{{char}} is a librarian. She likes {{user}}.",
    "first_mes": "Good evening, {{user}}.",
    "alternate_greetings": ["We are closed."],
    "mes_example": "<START>\n{{user}}: A book?\n{{char}}: Which one?",
    "post_history_instructions": "",
}


def said(role: Any, text: str) -> Message:
    return Message(role, (Text(text),))


PAST = [said("assistant", "Good evening."), said("user", " Hello? "), said("assistant", " Yes? ")]
ASKED = said("user", "Is it open?")
CONTEXT = "Ada is a librarian. She likes You.\n\nYou: A book?\nAda: Which one?\n\n"


@pytest.fixture
def model() -> Scripted:
    return Scripted(" Ada: It is.", samplers=("max_new_tokens", "custom_stopping_strings"))


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("roleplay", model=model) as app:
        put(app, "Ada", **ADA)
        yield app


def put(app: App, id: str, **data: Any) -> None:
    folder = app.kernel.data / "characters"
    folder.mkdir(parents=True, exist_ok=True)
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    (folder / f"{id}.json").write_text(json.dumps(card), "utf-8")


async def made(app: App, turn: Turn, history: list[Message]) -> Request:
    [mode] = [m for m in app.kernel.registry.values(MODES) if m.id == "chat"]
    assert isinstance(mode, Mode)
    return await mode.request(turn, history)


async def prompt(app: App, turn: Turn, history: list[Message]) -> str:
    """What an engine makes of the mode's request."""
    request = await made(app, turn, history)
    prompts = app.kernel.registry.values(PROMPTS)[0]
    how = {"continue_": request.continue_, "add_generation_prompt": True}
    return prompts.render(request.template, request.messages or (), request.template_options, **how)


def turn(*messages: Message, continue_: bool = False, **options: Any) -> Turn:
    return Turn(messages, mode="chat", continue_=continue_, options={"character": "Ada", **options})


async def test_the_exact_prompt(app: App):
    assert await prompt(app, turn(ASKED), PAST) == (
        CONTEXT + "Ada: Good evening.\nYou: Hello?\nAda: Yes?\nYou: Is it open?\nAda:"
    )


async def test_a_reply_goes_on_and_begins_as_told(app: App):
    assert await prompt(app, turn(continue_=True), PAST) == (
        CONTEXT + "Ada: Good evening.\nYou: Hello?\nAda: Yes? "
    )
    assert (await prompt(app, turn(ASKED, start_reply_with="Sure"), PAST)).endswith(
        "\nYou: Is it open?\nAda: Sure"
    )


async def test_the_model_writes_in_the_users_place(app: App):
    assert (await prompt(app, turn(impersonate=True), PAST)).endswith("\nAda: Yes?\nYou:")
    begun = turn(said("user", "I was"), impersonate=True)
    assert (await prompt(app, begun, PAST)).endswith("\nAda: Yes?\nYou: I was")


async def test_a_system_prompt_and_what_is_said_after_the_conversation(app: App):
    put(app, "Bo", name="Bo", description="A fox.", system_prompt="{{original}} Be bold.",
        post_history_instructions="Answer as {{char}}.")  # fmt: skip
    turn_ = Turn((ASKED,), options={"character": "Bo", "system_message": "Write."})
    assert await prompt(app, turn_, []) == (
        "Write. Be bold.\nA fox.\n\nYou: Is it open?\nAnswer as Bo.\nBo:"
    )


async def test_a_chat_template_of_the_conversations_own(app: App):
    own = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[{{ name2 }}]"
    assert (await prompt(app, turn(ASKED, chat_template=own), [])).endswith(
        "[user] Is it open?\n[Ada]"
    )
    with pytest.raises(Refused, match="template fails"):
        await prompt(app, turn(ASKED, chat_template="{{ ''.__class__.__mro__ }}"), [])


async def test_a_reply_ends_where_another_line_begins(app: App):
    request = await made(app, turn(ASKED, stopping_strings=("Enough",)), PAST)
    assert request.sampling.custom_stopping_strings == ("Enough", "\nYou:", "\nAda:")


async def test_a_persona_gives_the_user_a_name(app: App):
    users = app.kernel.data / "users"
    users.mkdir()
    (users / "Eve.yaml").write_text("name: Eve\nuser_bio: A reader.\n")
    assert await prompt(app, turn(ASKED, persona="Eve"), []) == (
        "Ada is a librarian. She likes Eve.\nA reader.\n\nEve: A book?\nAda: Which one?\n\n"
        "Eve: Is it open?\nAda:"
    )


async def test_without_a_character_it_says_what_to_do(app: App):
    with pytest.raises(Refused, match="No character is chosen"):
        await made(app, Turn((ASKED,)), [])
    with pytest.raises(Refused, match="no character “Nobody”"):
        await made(app, Turn((ASKED,), options={"character": "Nobody"}), [])


async def test_a_repeated_name_is_taken_off_the_reply(app: App, model: Scripted):
    async def say(turn: Turn) -> tuple[str, str]:
        reply = app.run(turn, PAST)
        _ = [delta async for delta in reply]
        return reply.text, reply.raw

    assert await say(turn(ASKED)) == ("It is.", " Ada: It is.")
    assert (await say(turn(continue_=True)))[0] == " Ada: It is.", "it goes on with words"
    model.scripts = [" You: Bye."]
    assert (await say(turn(impersonate=True)))[0] == "Bye."
    assert await prompt(app, turn(ASKED), [said("user", "Hi"), said("assistant", " Ada: It is.")])


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([" Ada", ": It", " is."], "It is."),
        (["\nAda", " is here."], "Ada is here."),
        (["Ad", "mirable."], "Admirable."),
        ([" ", "Ada:", " ", "Ada: twice"], "Ada: twice"),
        (["  Hello."], "Hello."),
        (["Ada"], "Ada"),
        ([" "], ""),
    ],
)
def test_what_a_reply_begins_with(pieces: list[str], shown: str):
    beginning, text, tokens = Beginning("Ada"), "", []
    for number, piece in enumerate(pieces):
        delta: Delta | None = Delta(piece, tokens=(Token(number, piece.encode()),))
        if not beginning.over:
            delta = beginning.hear(delta)
        if delta:
            text += delta.text
            tokens += [token.id for token in delta.tokens]
    if not beginning.over and (delta := beginning.end()):
        text += delta.text
        tokens += [token.id for token in delta.tokens]
    assert (text, tokens) == (shown, [*range(len(pieces))])


async def test_who_the_page_may_offer(app: App):
    [cast] = app.kernel.registry.values(CAST)
    assert [face.name for face in await cast.characters()] == ["Ada"]
    face = await cast.face("Ada", "", "c")
    assert face
    assert face.greetings == ("Good evening, You.", "We are closed.")


async def test_dice_in_greetings_are_those_of_their_place(app: App):
    text = "{{roll:d1000}} {{random:a,b,c,d}} {{pick:a,b,c,d,e,f}}"
    put(app, "Die", name="Die", first_mes=text)
    [cast] = app.kernel.registry.values(CAST)

    async def greeted(place: str) -> str:
        face = await cast.face("Die", "", place)
        assert face
        return face.greetings[0]

    async def begun(seed: str) -> str:
        return await cast.expand(text, "Die", "", conversation="c", seed=seed)

    for said in (greeted, begun):
        assert len({await said(str(n)) for n in range(20)}) > 10
        assert await said("a") == await said("a")


async def test_the_page_hears_of_other_characters(app: App):
    heard: list[object] = []

    async def hear(event: object) -> None:
        heard.append(event)

    prompts = importlib.import_module("extensions.prompts.api")  # as it runs: loaded anew
    characters = importlib.import_module("extensions.characters.api")
    app.extension("roleplay").on(prompts.CastChanged)(hear)
    app.kernel.bus.emit(characters.LibraryChanged())
    await app.until(lambda: len(heard) == 1)


@pytest.mark.parametrize("mode", ["chat", "chat-instruct"])
@pytest.mark.parametrize("size", [10, 40, 90])
async def test_a_note_and_lore_outlive_the_messages_that_stood_above_them(mode: str, size: int):
    note = {"depth_prompt": {"prompt": "[A dragon]", "depth": 4, "role": "user"}}
    lore = {"keys": ["open"], "content": "Open at nine.", "extensions": {"position": 4, "depth": 2}}
    model = Scripted("x")
    model.info = structs.replace(model.info, context_length=600)
    async with running("roleplay", "chat_instruct", model=model) as app:
        put(app, "Ada", name="Ada", extensions=note, character_book={"entries": [lore]})
        [way] = [each for each in app.kernel.registry.values(MODES) if each.id == mode]
        [prompts] = app.kernel.registry.values(PROMPTS)
        past = [
            Message(role, (Text(f"{role}{n}. " + "word " * size),), id=f"{role}{n}")
            for n in range(12)
            for role in ("user", "assistant")
        ]
        asked = structs.replace(
            turn(ASKED), mode=mode, conversation_id="c", sampling=Sampling(max_new_tokens=180)
        )
        request = await way.request(asked, past)
        text = " ".join(message.text for message in request.messages or ())
        assert text.count("[A dragon]") == text.count("Open at nine.") == 1
        left_out = prompts.left_out("c")
        kept = [m for m in past if f"{m.id}. " in text]
        assert kept == past[-len(kept) :]
        assert left_out == (len(past) - len(kept), kept[0].id, 0)
