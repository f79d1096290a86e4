"""The mode `instruct`: the exact text that a model is given."""

from typing import Any

import pytest
from msgspec import structs

from extensions.prompts.api import PROMPTS
from kernel.api import MODES, Message, Mode, Refused, Request, Text, Turn
from kernel.testing import App, Scripted, running

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def said(role: Any, text: str) -> Message:
    return Message(role, (Text(text),))


PAST = [said("user", "Hello?"), said("assistant", "Hi there!")]
ASKED = said("user", "How are you?")


@pytest.fixture
def model() -> Scripted:
    model = Scripted("Fine.", samplers=("max_new_tokens", "custom_stopping_strings"))
    model.info = structs.replace(model.info, chat_template=CHATML)
    return model


async def prompt(app: App, turn: Turn, history: list[Message], **settings: Any) -> str:
    """What an engine makes of the mode's request."""
    request = await made(app, turn, history)
    prompts = app.kernel.registry.values(PROMPTS)[0]
    how = {"continue_": request.continue_, "add_generation_prompt": True}
    return prompts.render(
        request.template or CHATML, request.messages or (), request.template_options, **how
    )


async def made(app: App, turn: Turn, history: list[Message]) -> Request:
    [mode] = [m for m in app.kernel.registry.values(MODES) if m.id == "instruct"]
    assert isinstance(mode, Mode)
    return await mode.request(turn, history)


async def test_the_exact_prompt(model: Scripted):
    async with running("instruct", model=model) as app:
        assert await prompt(app, Turn((ASKED,)), PAST) == (
            "<|im_start|>user\nHello?<|im_end|>\n"
            "<|im_start|>assistant\nHi there!<|im_end|>\n"
            "<|im_start|>user\nHow are you?<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        told = Turn((ASKED,), options={"system_message": "Be brief.\n"})
        assert await prompt(app, told, []) == (
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nHow are you?<|im_end|>\n"
            "<|im_start|>assistant\n"
        )


async def test_the_setting_tells_where_the_conversation_does_not(model: Scripted):
    settings = {"instruct": {"system_message": "From the settings."}}
    async with running("instruct", model=model, settings=settings) as app:
        first = (await made(app, Turn((ASKED,)), [])).messages or ()
        assert [m.text for m in first] == ["From the settings.", "How are you?"]
        told = Turn((ASKED,), options={"system_message": "Mine."})
        own = (await made(app, told, [])).messages or ()
        assert [m.text for m in own] == ["Mine.", "How are you?"]
        mine = [said("system", "Theirs.")]
        assert [m.text for m in (await made(app, Turn((ASKED,)), mine)).messages or ()] == [
            "Theirs.", "How are you?",
        ]  # fmt: skip


async def test_a_reply_goes_on_and_begins_as_told(model: Scripted):
    async with running("instruct", model=model) as app:
        assert await prompt(app, Turn(continue_=True), PAST) == (
            "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\nHi there!"
        )
        begun = Turn((ASKED,), options={"start_reply_with": "Sure thing!"})
        assert (await prompt(app, begun, [])).endswith(
            "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\nSure thing!"
        )
        both = Turn(continue_=True, options={"start_reply_with": "Sure thing!"})
        assert (await prompt(app, both, PAST)).endswith("assistant\nHi there!")


async def test_the_model_writes_in_the_users_place(model: Scripted):
    async with running("instruct", model=model) as app:
        turn = Turn(options={"impersonate": True})
        assert (await prompt(app, turn, PAST)).endswith(
            "<|im_start|>assistant\nHi there!<|im_end|>\n<|im_start|>user\n"
        )
        turn = Turn((said("user", "I was"),), options={"impersonate": True})
        assert (await prompt(app, turn, PAST)).endswith("<|im_end|>\n<|im_start|>user\nI was")


async def test_a_chosen_template_and_its_stopping_strings(model: Scripted):
    async with running("instruct", model=model) as app:
        options = {"template": "Alpaca", "stopping_strings": ("Enough",), "enable_thinking": False}
        turn = Turn((ASKED,), options=options)
        assert await prompt(app, turn, PAST) == (
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n"
            "### Instruction:\nHello?\n\n"
            "### Response:\nHi there!\n\n"
            "### Instruction:\nHow are you?\n\n"
            "### Response:\n"
        )
        request = await made(app, turn, PAST)
        assert request.sampling.custom_stopping_strings == (
            "Enough", "\n\n### Response:", "\n\n### Instruction:",
        )  # fmt: skip
        assert request.template_options["enable_thinking"] is False
        with pytest.raises(Refused, match="no instruction template “Nowhere”"):
            await made(app, Turn((ASKED,), options={"template": "Nowhere"}), [])
        with pytest.raises(Refused, match="option of this turn"):
            await made(app, Turn((ASKED,), options={"template": 7}), [])


async def test_neighbours_of_one_role_are_joined_for_the_model(model: Scripted):
    async with running("instruct", model=model) as app:
        history = [said("user", "A"), said("user", "B"), said("assistant", "C")]
        request = await made(app, Turn((said("user", "D"),)), history)
        assert [(m.role, m.text) for m in request.messages or ()] == [
            ("user", "A\n\nB"), ("assistant", "C"), ("user", "D"),
        ]  # fmt: skip
