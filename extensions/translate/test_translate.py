"""Each side reads its own language; the model's own words are what is kept for it."""

import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from kernel.api import Message, Text, Turn
from kernel.testing import Scripted, running

OFFLINE = '''"""A dictionary: what a translator is, without a network."""
import asyncio

from extensions.translate.api import TRANSLATORS

WORDS = {"hallo": "hello", "wetter": "weather", "und": "and", "morgen": "tomorrow"}

class Dictionary:
    id = "dictionary"
    label = "A small dictionary"

    def __init__(self):
        self.asked = []
        self.between = set()
        self.nothing = None
        self.opened = asyncio.Event()

    async def translate(self, text, source, target):
        self.asked.append(text)
        self.between.add((source, target))
        if "explode" in text:
            raise RuntimeError("the dictionary burnt")
        if text == "Nichts":
            return self.nothing
        if "slowly" in text:
            await self.opened.wait()
        pairs = WORDS if target == "en" else {b: a for a, b in WORDS.items()}
        return " ".join(_word(word, pairs) for word in text.split(" "))

def _word(word, pairs):
    core = word.strip(".!?").lower()
    return word.lower().replace(core, pairs.get(core, core))

async def setup(ext):
    ext.dictionary = ext.add(TRANSLATORS, Dictionary())
'''


def dictionary(root: Path) -> Path:
    folder = root / "offline"
    folder.mkdir()
    (folder / "__init__.py").write_text(OFFLINE)
    (folder / "extension.toml").write_text(
        'id = "offline"\nname = "Offline"\nversion = "1"\nsummary = "Tests."\napi = 1\n'
        '[requires]\nextensions = ["translate"]\n'
    )
    return folder


def seen(model: Scripted, time: int) -> list[str]:
    """What the model was sent."""
    request: Any = model.asked[time]
    return [message.text for message in request.messages]


async def test_a_chat_in_two_languages(tmp_path: Path):
    model = Scripted("Hello. Weather and hello.", "Tomorrow.")
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Wetter!")
        await page.until(r"hallo\. wetter und hallo\.")
        await page.until('data-busy="true".*data-busy="false"')
        await page.act("chat.send", conversation=page.client.subject, text="Und morgen?")
        await page.until(r"<p>morgen\.")
        assert seen(model, 1) == ["weather!", "Hello. Weather and hello.", "and tomorrow?"]
        handle: Any = app.extension("offline")
        asked = handle.dictionary.asked
        assert asked.count("Wetter!") == 1  # remembered, not asked again with the second turn
        assert "Wetter!" in (await app.open(page.client.path)).html


async def test_the_model_s_own_words_cost_no_translation(tmp_path: Path):
    model = Scripted("Hello. And weather.", "Tomorrow.")
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        page = await app.open("/chat")
        await page.act("chat.send", conversation="", text="Wetter!")
        await page.until('data-busy="true".*data-busy="false"')
        await page.act("chat.send", conversation=page.client.subject, text="Und morgen?")
        await page.until(r"<p>morgen\.")
        handle: Any = app.extension("offline")
        assert handle.dictionary.asked == [
            "Wetter!", "Hello.", "And weather.", "Und morgen?", "Tomorrow."
        ]  # fmt: skip


async def test_what_a_program_sends_back_of_a_reply_is_the_model_s_own_words_again(tmp_path: Path):
    model = Scripted("Hello. And WEATHER.", "Tomorrow.", "Tomorrow.")
    extensions = ("translate", "openai_api", "instruct", dictionary(tmp_path))
    async with running(*extensions, model=model) as app:

        async def ask(*messages: str) -> str:
            roles = ("user", "assistant", "user")
            said = [{"role": r, "content": m} for r, m in zip(roles, messages, strict=False)]
            body = {"messages": said}
            answer = await app.fetch("/v1/chat/completions", "POST", who="key", json=body)
            return answer.json()["choices"][0]["message"]["content"]

        reply = await ask("Wetter!")
        assert reply == "hallo. und wetter."
        await ask("Wetter!", reply, "Und?")
        assert seen(model, 1) == ["weather!", "Hello. And WEATHER.", "and?"]
        await ask("Wetter!", "Hallo Wetter.", "Und?")
        assert seen(model, 2) == ["weather!", "hello weather.", "and?"], "it was edited there"


async def test_of_a_long_history_the_newest_is_translated_first_and_the_rest_by_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = Scripted("Hello.", "Hello.", "Hello.")
    hm = Message("assistant", (Text("Hm."),))
    asked = [Message("user", (Text(text),)) for text in ("Hallo", "slowly Wetter", "Morgen")]
    past = [message for each in asked for message in (each, hm)]
    turn = Turn(messages=(Message("user", (Text("Und"),)),))
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        monkeypatch.setattr(sys.modules["extensions.translate.attempt"], "PATIENCE", 0.3)
        page, handle = await app.open("/chat"), cast(Any, app.extension("offline"))
        _ = [delta async for delta in app.run(turn, past)]
        assert seen(model, 0)[::2] == ["Hallo", "slowly Wetter", "tomorrow", "and"]
        assert "took too long" in page.html
        handle.dictionary.opened.set()
        _ = [delta async for delta in app.run(turn, past)]
        assert seen(model, 1)[::2] == ["hello", "slowly weather", "tomorrow", "and"]
        assert handle.dictionary.asked.count("slowly Wetter") == 1, "it was not asked again"
        handle.dictionary.opened.clear()
        slow = Message("user", (Text("slowly Und"),))
        _ = [delta async for delta in app.run(turn, [*past, slow, hm])]
        before = ["hello", "slowly weather", "tomorrow", "slowly Und", "and"]
        assert [text for text in seen(model, 2) if text.strip(".").lower() != "hm"] == before, (
            "these are known"
        )
        assert page.html.count("took too long") == 1
        assert app.kernel.records["translate"].reason == ""


async def test_sentences_come_while_the_reply_is_written(tmp_path: Path):
    model = Scripted("Hello! Weather. And so on")
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        hello = Message("user", (Text("Hallo"),))
        reply = app.run(Turn(messages=(hello,)))
        assert [delta.text async for delta in reply] == ["hallo! ", "wetter. ", "und so on"]
        assert reply.raw == "Hello! Weather. And so on"


async def test_the_languages_and_the_translator_are_chosen_in_the_settings(tmp_path: Path):
    chosen = {"mine": "fr", "model": "nl", "translator": "dictionary"}
    model, hello = Scripted("Hello."), Turn(messages=(Message("user", (Text("Hallo"),)),))
    async with running(
        "translate", "chat", "settings", dictionary(tmp_path),
        model=model, settings={"translate": chosen},
    ) as app:  # fmt: skip
        handle: Any = app.extension("offline")
        dictionary_ = handle.dictionary
        assert [delta.text async for delta in app.run(hello)] == ["hallo."]
        assert dictionary_.between == {("fr", "nl"), ("nl", "fr")}
        page = await app.open("/settings/translate")
        await page.until("A small dictionary does: what you write from “fr” into “nl”")
        dictionary_.asked.clear()
        await app.configure("translate", mine="nl")
        assert [delta.text async for delta in app.run(hello)] == ["Hello."]
        assert dictionary_.asked == [], "both speak the same"
        await app.configure("translate", mine="fr", translator="another")
        assert [delta.text async for delta in app.run(hello)] == ["Hello."]
        assert dictionary_.asked == [], "the one that was chosen is not there"


async def test_one_that_fails_costs_one_sentence_its_translation(tmp_path: Path):
    model = Scripted("Hello! This will explode. And so on.")
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        page = await app.open("/chat")
        reply = app.run(Turn(messages=(Message("user", (Text("Hallo"),)),)))
        said = [delta.text async for delta in reply]
        assert said == ["hallo! ", "This will explode. ", "und so on."]
        assert page.html.count("The translator failed") == 1


@pytest.mark.parametrize("nothing", [None, "", " "])
async def test_nothing_is_no_translation_and_is_not_remembered(tmp_path: Path, nothing: Any):
    model = Scripted("Hello.", "Hello.")
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        handle: Any = app.extension("offline")
        turn = Turn(messages=(Message("user", (Text("Nichts"),)),))
        handle.dictionary.nothing = nothing
        _ = [delta async for delta in app.run(turn)]
        handle.dictionary.nothing = "nothing"
        _ = [delta async for delta in app.run(turn)]
        assert seen(model, 0) == ["Nichts"]
        assert seen(model, 1) == ["nothing"]


async def test_one_that_takes_too_long_costs_the_rest_of_a_reply_its_translation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = Scripted("Hello! This goes slowly. And so on.")
    async with running("translate", "chat", dictionary(tmp_path), model=model) as app:
        monkeypatch.setattr(sys.modules["extensions.translate.attempt"], "PATIENCE", 0.3)
        page = await app.open("/chat")
        reply = app.run(Turn(messages=(Message("user", (Text("Hallo"),)),)))
        said = [delta.text async for delta in reply]
        assert said == ["hallo! ", "This goes slowly. ", "And so on."]
        assert page.html.count("The translator took too long") == 1


async def test_without_a_translator_nothing_changes_and_it_says_so_once():
    async with running("translate", "chat", "settings", model=Scripted("Hello.")) as app:
        page = await app.open("/chat")
        for _ in range(2):
            reply = app.run(Turn(messages=(Message("user", (Text("Hallo"),)),)))
            assert "".join([delta.text async for delta in reply]) == "Hello."
        assert page.html.count("finds no translator") == 1
        settings = await app.open("/settings/translate")
        await settings.until("Nothing is translated yet")


async def test_a_plain_completion_is_left_alone(tmp_path: Path):
    async with running("translate", dictionary(tmp_path), model=Scripted("Hello.")) as app:
        assert await app.say("Hello") == "Hello."


async def test_the_readme_s_translator_runs(tmp_path: Path):
    text = (Path(__file__).parent / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    (dictionary(tmp_path) / "__init__.py").write_text(code.group(1))
    async with running("translate", "settings", tmp_path / "offline") as app:
        await (await app.open("/settings/translate")).until(
            "My program can translate. My program does: what you write from “de” into “en”"
        )
