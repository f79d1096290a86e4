"""`chat_generation_attempts` and `stop_at_newline`: replies that are gone on with, or one line."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from extensions.chat.test_chat import Tab, kept, slowly
from kernel.api import OUTPUT, Phase, whole_text
from kernel.testing import App, Scripted, running

EMPTY = " "


@pytest.fixture
def model() -> Scripted:
    return Scripted("One.", samplers=("max_new_tokens", "custom_stopping_strings"))


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("instruct", "chat", model=model) as app:
        yield app


@pytest.fixture
async def tab(app: App) -> Tab:
    return await Tab(app).connect()


async def attempts(tab: Tab, many: int, **more: Any) -> None:
    await tab.act("set_up", conversation="", chat_generation_attempts=str(many), **more)


def asked(model: Scripted, number: int) -> list[str]:
    return [m.text for m in model.asked[number].messages or ()]


async def test_one_attempt_is_one_request(tab: Tab, model: Scripted):
    await tab.ask("Hello")
    assert (tab.said, len(model.asked)) == (["Hello", "One."], 1)


async def test_a_reply_is_gone_on_with_until_nothing_new_comes(app: App, tab: Tab, model: Scripted):
    await attempts(tab, 10)
    model.scripts = ["One **two**.", " Three four.", EMPTY, "never"]
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One two. Three four."]
    assert [asked(model, n) for n in range(3)] == [
        ["Hello"], ["Hello", "One **two**."], ["Hello", "One **two**. Three four."],
    ]  # fmt: skip
    assert [request.continue_ for request in model.asked] == [False, True, True]
    _, reply = await kept(app, tab.conversation)
    assert (reply.raw, reply.state) == ("One **two**. Three four.", "done")
    assert (reply.usage.prompt, reply.usage.completion) == (10, 4)
    fresh = await Tab(app, tab.page.client.path).connect()
    assert fresh.said == tab.said


async def test_there_are_no_more_attempts_than_allowed(tab: Tab, model: Scripted):
    await attempts(tab, 3)
    model.scripts = [" and"]
    await tab.ask("Hello")
    assert (tab.said[1].split(), len(model.asked)) == (["and"] * 3, 3)


async def test_an_empty_reply_is_tried_again(tab: Tab, model: Scripted):
    await attempts(tab, 4)
    model.scripts = [EMPTY, EMPTY, "At last.", EMPTY]
    await tab.ask("Hello")
    assert tab.said == ["Hello", "At last."]
    assert [asked(model, n) for n in (0, 1, 2)] == [["Hello"]] * 3
    assert asked(model, 3)[1].strip() == "At last."


async def test_a_given_beginning_and_what_is_continued_stay_before_it(
    app: App, tab: Tab, model: Scripted
):
    await attempts(tab, 2, start_reply_with="Sure: ")
    model.scripts = ["one", " two"]
    await tab.ask("Hello")
    assert tab.said == ["Hello", "Sure: one two"]
    assert asked(model, 1) == ["Hello", "Sure: one"]
    _, reply = await kept(app, tab.conversation)
    await tab.act("continue_", message=reply.id)
    await tab.idle()
    assert tab.said == ["Hello", "Sure: one twoone two"]
    assert asked(model, 2) == ["Hello", "Sure: one two"]
    assert asked(model, 3) == ["Hello", "Sure: one twoone"]


async def test_stop_ends_all_attempts(tab: Tab, model: Scripted):
    await attempts(tab, 10)
    gate = slowly(model, "One.", " Two.", " Three.")
    await tab.send("Hello")
    for _ in range(3):
        gate.release()
    await tab.app.until(lambda: len(model.asked) == 2)
    await tab.act("stop", conversation=tab.conversation)
    await tab.idle()
    assert len(model.asked) == 2
    assert tab.said[1].startswith("One.")
    assert "Stopped." in tab.look().having("chat-note")[-1].text


async def test_an_extension_that_rewrites_keeps_the_words_of_the_attempts_before(
    app: App, tab: Tab, model: Scripted
):
    async def louder(text: str) -> str:
        return text.upper()

    app.kernel.registry.add(
        OUTPUT, whole_text(louder), "kernel", phase=Phase.NORMAL, rank=0, rewrites=True
    )
    await attempts(tab, 2)
    model.scripts = ["One.", " Two."]
    await tab.ask("Hello")
    assert tab.said == ["Hello", "ONE. TWO."]
    _, reply = await kept(app, tab.conversation)
    assert (reply.text, reply.raw) == ("ONE. TWO.", "One. Two.")


async def test_what_is_no_number_of_attempts_is_refused(tab: Tab):
    await attempts(tab, 11)
    assert "The setup was not changed" in tab.toasts
    await tab.ask("Hello")
    assert tab.said == ["Hello", "One."]


async def test_a_reply_may_end_with_its_line(tab: Tab, model: Scripted):
    await tab.act("set_up", conversation="", stop_at_newline="on", stopping_strings="Enough")
    await tab.ask("Hello")
    assert model.asked[-1].sampling.custom_stopping_strings[:2] == ("Enough", "\n")  # type: ignore[index]
    shown = tab.look().get("chat-setup-stop_at_newline")
    assert shown
    [chosen] = [n.text for n in shown.all() if "selected" in n.attributes]
    assert chosen == "On"
    await tab.act("set_up", conversation=tab.conversation, stop_at_newline="off")
    await tab.ask("And?")
    assert "\n" not in (model.asked[-1].sampling.custom_stopping_strings or ())


async def test_an_attempt_that_fails_at_once_costs_nothing(
    app: App, tab: Tab, model: Scripted, monkeypatch: pytest.MonkeyPatch
):
    says = model.generate

    def once(request: Any) -> Any:
        if model.asked:
            raise RuntimeError("No room for more.")
        return says(request)

    monkeypatch.setattr(model, "generate", once)
    await attempts(tab, 3)
    await tab.ask("Hello")
    _, reply = await kept(app, tab.conversation)
    assert (tab.said, reply.state, reply.error) == (["Hello", "One."], "done", "")
    await tab.ask("And?")
    assert (await kept(app, tab.conversation))[-1].error == "No room for more.", "the first tells"
