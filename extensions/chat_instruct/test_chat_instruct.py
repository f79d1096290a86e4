"""The mode `chat-instruct`: the exact text that a model is given."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from extensions.prompts.api import PROMPTS
from kernel.api import MODES, Message, Mode, Request, Sampling, Text, Turn
from kernel.testing import App, Scripted, running

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COMMAND = "Go on as <|character|>, with {{user}}.\n<|prompt|>\n(end)"


def said(role: Any, text: str) -> Message:
    return Message(role, (Text(text),))


PAST = [said("user", "Hello?"), said("assistant", "Yes? ")]
ASKED = said("user", "Is it {{char}}?")


class Worded(Scripted):
    """A token is a word; the model's own template is ChatML."""

    async def call(self, name: str, **data: Any) -> Any:
        if name == "tokenize":
            return data["text"].split()
        assert name == "template"
        text = "\n".join(part["text"] for m in data["messages"] for part in m["parts"])
        if data.get("add_generation_prompt", True):
            return text
        turns = text.split("\n")
        return "".join(f"<|im_start|>x\n{turn}<|im_end|>\n" for turn in turns)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    model = Worded("Fine.", samplers=("max_new_tokens", "custom_stopping_strings"))
    model.info = structs.replace(model.info, chat_template=CHATML, context_length=200)
    async with running("chat_instruct", model=model) as app:
        folder = app.kernel.data / "characters"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Ada.json").write_text(json.dumps({"name": "Ada", "context": "A librarian."}))
        yield app


async def made(app: App, turn: Turn, history: list[Message]) -> Request:
    [mode] = [m for m in app.kernel.registry.values(MODES) if m.id == "chat-instruct"]
    assert isinstance(mode, Mode)
    return await mode.request(turn, history)


async def prompt(app: App, turn: Turn, history: list[Message]) -> str:
    request = await made(app, turn, history)
    prompts = app.kernel.registry.values(PROMPTS)[0]
    source = request.template or CHATML
    how = {"continue_": request.continue_}
    return prompts.render(source, request.messages or (), request.template_options, **how)


def turn(*messages: Message, continue_: bool = False, **options: Any) -> Turn:
    options = {"character": "Ada", "command": COMMAND, **options}
    return Turn(messages, mode="chat-instruct", continue_=continue_, options=options)


async def test_the_exact_prompt(app: App):
    assert await prompt(app, turn(ASKED), PAST) == (
        "<|im_start|>user\n"
        "Go on as Ada, with You.\n"
        "A librarian.\n\nYou: Hello?\nAda: Yes?\nYou: Is it Ada?\n"
        "(end)<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Ada:"
    )


async def test_a_system_message_stands_outside(app: App):
    assert (await prompt(app, turn(ASKED, system_message="Be brief."), [])).startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGo on as Ada, with You.\nA lib"
    )


async def test_a_reply_goes_on_and_begins_as_told(app: App):
    assert await prompt(app, turn(continue_=True), PAST) == (
        "<|im_start|>user\n"
        "Go on as Ada, with You.\n"
        "A librarian.\n\nYou: Hello?\n"
        "(end)<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Ada: Yes? "
    )
    assert (await prompt(app, turn(ASKED, start_reply_with="Sure"), PAST)).endswith(
        "You: Is it Ada?\n(end)<|im_end|>\n<|im_start|>assistant\nAda: Sure"
    )


async def test_the_model_writes_in_the_users_place(app: App):
    text = await prompt(app, turn(impersonate=True), PAST)
    assert text.startswith("<|im_start|>user\nGo on as You, with You.\n")
    assert text.endswith("Ada: Yes?\n(end)<|im_end|>\n<|im_start|>assistant\nYou:")


async def test_a_chosen_template_and_our_own_command(app: App):
    text = await prompt(app, turn(ASKED, template="Alpaca", command=""), [])
    assert text.startswith("Below is an instruction")
    assert "what Ada says next" in text
    assert text.endswith("\nYou: Is it Ada?\n\n### Response:\nAda:")


async def test_the_setting_is_the_command_where_the_conversation_has_none(app: App):
    await app.configure("chat_instruct", command="As <|character|>: <|prompt|>")
    text = await prompt(app, turn(ASKED, command=""), [])
    assert "user\nAs Ada: A librarian.\n\nYou: Is it Ada?<|im_end|>" in text


async def test_the_dice_of_the_command_are_thrown_for_each_reply(app: App):
    def asked(seed: int, command: str = "{{roll:d1000}}") -> Turn:
        options = {"character": "Ada", "command": command}
        return Turn((ASKED,), conversation_id="c", sampling=Sampling(seed=seed), options=options)

    async def rolls(*turns: Turn) -> list[str]:
        return [(await prompt(app, each, PAST[:n])) for n, each in enumerate(turns)]

    assert len({*await rolls(*[asked(-1)] * 3)}) == 3, "as much was said before"
    first, again, other = [await prompt(app, asked(seed), PAST) for seed in (1, 1, 2)]
    assert first == again != other, "the same seed, the same dice"


async def test_a_reply_ends_at_a_turn_and_at_a_line(app: App):
    stops = (await made(app, turn(ASKED), PAST)).sampling.custom_stopping_strings
    assert stops == ("<|im_end|>", "\nYou:", "\nAda:")


async def test_the_oldest_lines_go_and_the_character_stays(app: App):
    words = " ".join(["word"] * 30)
    past = [said(role, f"{n} {words}") for n in range(6) for role in ("user", "assistant")]
    asked = Turn(
        (ASKED,), mode="chat-instruct", conversation_id="c", sampling=Sampling(max_new_tokens=40),
        options={"character": "Ada", "command": COMMAND},
    )  # fmt: skip
    request = await made(app, asked, past)
    user, begun = list(request.messages or ())
    assert "A librarian.\n\nAda: 4 word" in user.text
    assert user.text.endswith("You: Is it Ada?\n(end)")
    assert begun.text == "Ada:"
