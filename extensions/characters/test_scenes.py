"""Scenes: what stands where, with names, notes, lore and examples."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.api import Message, Refused, Role, Text
from kernel.testing import App, running

from .api import CHARACTERS, Note, Persona

CARD: dict[str, Any] = {
    "name": "Bo",
    "description": "{{char}} is a fox.",
    "personality": "sly",
    "scenario": "{{char}} meets {{user}}.",
    "first_mes": "Hello, {{user}}!",
    "alternate_greetings": ["Go away, <USER>."],
    "mes_example": "<START>\n{{user}}: Hi\n{{char}}: Ho\nho\n<START>\nA dark wood.",
    "system_prompt": "{{original}} Be brief.",
    "post_history_instructions": "Stay {{char}}.",
    "extensions": {"depth_prompt": {"prompt": "{{char}} is hungry.", "depth": 1, "role": "user"}},
    "character_book": {
        "entries": [
            {"keys": ["wood"], "content": "The wood is old.", "position": "after_char"},
            {"keys": ["wood"], "content": "@@depth 0\nAn owl calls."},
            {"keys": ["sea"], "content": "The sea is far."},
        ]
    },
}
ANN = Persona("ann", "Ann", "{{user}} is a rider.")


def said(*texts: str) -> list[Message]:
    """Messages of the two in turn, the character's first."""
    roles: tuple[Role, Role] = ("assistant", "user")
    return [Message(roles[n % 2], (Text(text),), id=str(n)) for n, text in enumerate(texts)]


def put(app: App, name: str, card: dict[str, Any]) -> None:
    folder = app.kernel.characters
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(msgspec.json.encode(card))


def library(app: App):
    return app.extension("characters").one(CHARACTERS)


async def test_everything_in_its_place():
    async with running("characters") as app:
        put(app, "Bo.json", {"spec": "chara_card_v3", "data": CARD})
        scene = await library(app).scene(
            "Bo",
            ANN,
            said("Hello, {{user}}!", "Into the wood, <BOT>?"),
            system="Write as {{char}}.",
            note=Note("It rains.", depth=2),
        )
    assert [(part.source, part.text) for part in scene.parts] == [
        ("system prompt", "Write as Bo. Be brief."),
        ("description", "Bo is a fox."),
        ("personality", "Bo's personality: sly"),
        ("scenario", "Scenario: Bo meets Ann."),
        ("lore", "The wood is old."),
        ("persona", "Ann is a rider."),
    ]
    assert scene.system.startswith("Write as Bo. Be brief.\nBo is a fox.\n")
    assert [(m.role, m.name, m.text) for m in scene.history] == [
        ("system", "", "It rains."),
        ("assistant", "Bo", "Hello, Ann!"),
        ("user", "", "Bo is hungry."),
        ("user", "Ann", "Into the wood, Bo?"),
        ("system", "", "An owl calls."),
    ]
    assert [[(m.role, m.name, m.text) for m in block] for block in scene.examples] == [
        [("user", "Ann", "Hi"), ("assistant", "Bo", "Ho\nho")],
        [("system", "", "A dark wood.")],
    ]
    assert scene.post_history == "Stay Bo."
    assert scene.greetings == ("Hello, Ann!", "Go away, Ann.")
    assert [(lore.text, lore.why) for lore in scene.lore] == [
        ("The wood is old.", "“wood”"),
        ("An owl calls.", "“wood”"),
    ]


async def test_a_continued_message_stays_the_last():
    async with running("characters") as app:
        put(app, "Bo.json", {"data": CARD})
        scene = await library(app).scene(
            "Bo", ANN, said("Hi", "wood", "I"), note=Note("Now.", depth=0), continuing=True
        )
        assert [m.text for m in scene.history][-3:] == ["An owl calls.", "Now.", "I"]


async def test_a_note_every_second_message():
    async with running("characters") as app:
        put(app, "Bo.json", {"name": "Bo"})
        note = Note("Now.", depth=0, every=2)
        texts = ("a", "b", "c", "d")
        for count, there in ((2, False), (4, True)):
            scene = await library(app).scene("Bo", ANN, said(*texts[:count]), note=note)
            assert any(m.text == "Now." for m in scene.history) == there


async def test_general_texts_where_the_character_has_none():
    async with running("characters") as app:
        put(app, "Bo.json", {"name": "Bo"})
        scene = await library(app).scene("Bo", ANN, system="Be {{char}}.", post_history="Go on.")
        assert (scene.system, scene.post_history) == ("Be Bo.\nAnn is a rider.", "Go on.")


async def test_the_same_seed_gives_the_same_scene():
    async with running("characters") as app:
        put(app, "Bo.json", {"name": "Bo", "description": "{{roll:d1000}} {{random:a,b,c}}"})
        scenes = [await library(app).scene("Bo", seed=seed) for seed in (1, 1, 2)]
        assert scenes[0] == scenes[1] != scenes[2]
        assert await library(app).expand("{{char}}", "Bo") == "Bo"


async def test_settings_stand_in_for_what_a_book_does_not_say():
    card = {"name": "Bo", "character_book": {"entries": [{"keys": ["wood"], "content": "x " * 50}]}}
    async with running("characters", settings={"characters": {"scan_depth": 1}}) as app:
        put(app, "Bo.json", card)
        assert (await library(app).scene("Bo", history=said("a", "wood"))).lore
        assert not (await library(app).scene("Bo", history=said("wood", "a"))).lore
        await app.configure("characters", lore_tokens=3)
        scene = await library(app).scene("Bo", history=said("a", "wood"))
        assert not scene.lore
        assert scene.left_out == ("wood",)


@pytest.mark.parametrize("texts", ["alternate_greetings", "character_book"])
async def test_a_small_card_does_not_become_gigabytes(texts: str):
    many = ["{{description}}"] * 50
    book = {"entries": [{"constant": True, "content": text} for text in many]}
    card = {"name": "Bo", "description": "x" * 100_000}
    async with running("characters") as app:
        put(app, "Bo.json", {**card, texts: many if texts == "alternate_greetings" else book})
        with pytest.raises(Refused, match="grows without end"):
            await library(app).scene("Bo")


async def test_personas_and_the_default_one():
    async with running("characters") as app:
        users = app.kernel.data / "users"
        users.mkdir()
        (users / "ann.yaml").write_text("name: Ann\nuser_bio: A rider.\n")
        (users / "broken.yaml").write_text("a: [")
        assert (await library(app).persona()).name == "You"
        await app.configure("characters", persona="ann")
        for id in ("", "gone"):
            found = await library(app).persona(id)
            assert (found.id, found.name, found.description) == ("ann", "Ann", "A rider.")
        assert [each.id for each in await library(app).personas()] == ["ann"]


async def test_an_old_file_names_the_user():
    async with running("characters") as app:
        put(app, "Bo.json", {"name": "Bo", "your_name": "Kim", "context": "{{user}}!"})
        assert (await library(app).scene("Bo")).system == "Kim!"
        assert (await library(app).scene("Bo", ANN)).user == "Ann"


async def test_files_are_read_as_they_are_now(tmp_path: Path):
    async with running("characters") as app:
        put(app, "Bo.json", {"name": "Bo", "description": "one"})
        assert (await library(app).get("Bo")).description == "one"
        put(app, "Bo.json", {"name": "Bo", "description": "other"})
        assert (await library(app).get("Bo")).description == "other"
        (app.kernel.characters / "Bo.json").write_text("{")
        with pytest.raises(Refused, match=r"Bo\.json: This is no JSON"):
            await library(app).get("Bo")
        assert len(await library(app).troubles()) == 1
        (app.kernel.characters / "Bo.json").unlink()
        with pytest.raises(Refused, match="no character “Bo” any more"):
            await library(app).get("Bo")
        assert await library(app).all() == []
