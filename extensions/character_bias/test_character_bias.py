"""The model sees the words, and nobody else does."""

import json
from typing import Any

import pytest

from kernel.testing import App, Scripted, running

HAPPY = {"character_bias": {"words": "*Hooray!*"}}


def seen(model: Scripted, number: int = -1) -> list[str]:
    request: Any = model.asked[number]
    return [message.text for message in request.messages]


async def chat(app: App, text: str, until: str) -> Any:
    page = await app.open("/chat")
    await page.act("chat.send", conversation="", text=text)
    await page.until(until)
    await page.until('data-busy="false"')
    return page


async def test_the_reply_goes_on_from_hidden_words():
    model = Scripted("Rain again.", "More rain.")
    async with running("character_bias", "chat", model=model, settings=HAPPY) as app:
        page = await chat(app, "Weather?", "Rain again")
        assert seen(model) == ["Weather?", "*Hooray!* "]
        assert model.asked[0].continue_
        assert "Hooray" not in page.html
        conversation = page.client.subject
        await page.act("chat.send", conversation=conversation, text="And now?")
        await page.until("More rain")
        assert seen(model) == ["Weather?", "Rain again.", "And now?", "*Hooray!* "]


async def test_a_reply_that_is_continued_keeps_its_beginning():
    model = Scripted("Rain", " again.")
    async with running("character_bias", "chat", model=model, settings=HAPPY) as app:
        page = await chat(app, "Weather?", "Rain")
        message = page.html.rsplit('"chat.continue_", "message": "', 1)[1].split('"')[0]
        await page.act("chat.continue_", message=message)
        await page.until("Rain again")
        assert seen(model) == ["Weather?", "Rain"]


@pytest.mark.parametrize(
    ("mode", "begun"), [("chat", "*Hooray!* "), ("chat-instruct", "Ada: *Hooray!* ")]
)
async def test_a_character_believes_it_too_and_the_user_does_not(mode: str, begun: str):
    model = Scripted("Hush.", "I go.", "Sure.")
    with_characters = running(
        "character_bias", "chat", "chat_instruct", model=model, settings=HAPPY
    )
    async with with_characters as app:
        app.kernel.characters.mkdir(exist_ok=True)
        (app.kernel.characters / "Ada.json").write_text(
            json.dumps({"name": "Ada", "context": "A."})
        )
        page = await app.open("/chat")

        async def act(name: str, **values: str) -> None:
            page.html = ""
            await page.act(f"chat.{name}", conversation=page.client.subject, **values)

        await act("set_up", mode=mode, character="Ada")
        await act("send", text="Hello?")
        await page.until('Hush.*data-busy="false"')
        assert seen(model)[-1] == begun
        await act("impersonate", text="")
        await page.until('I go.*data-busy="false"')
        assert "Hooray" not in seen(model)[-1], "the user's words are the user's"
        await act("set_up", start_reply_with="Well:")
        await act("send", text="And?")
        await page.until('Sure.*data-busy="false"')
        assert "Hooray" not in seen(model)[-1]


async def test_without_words_or_in_a_plain_completion_nothing_changes():
    model = Scripted("Yes.")
    async with running("character_bias", model=model, settings=HAPPY) as app:
        await app.say("Once")
        assert (model.asked[-1].prompt, model.asked[-1].continue_) == ("Once", False)
    async with running(
        "character_bias", "chat", settings={"character_bias": {"words": " "}}
    ) as app:
        await app.load(model)
        await chat(app, "Weather?", "Yes")
        assert seen(model) == ["Weather?"]
