"""Cards: every form is read, and what is written again says all that it said."""

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.api import Refused

from . import png, trees
from .cards import OLD, REQUIRED, Card, changed, flat_of, in_png, of_png, of_tree, tree_of
from .folder import Folder, sniffed
from .incoming import read_bytes
from .reading import character_of

HERE = Path(__file__).parents[2] / "tests" / "data"
REAL = sorted((HERE / "cards").glob("*.png"))
BLANK = png.drawn(200, 2, 3)


def essence(card: Card) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a card says, without what every card must have and what is said twice."""
    data = {k: v for k, v in card.data.items() if k not in REQUIRED or v != REQUIRED[k]}
    skipped = ("spec", "spec_version", *OLD)
    return data, {k: v for k, v in card.beside.items() if k not in skipped}


def again(card: Card) -> dict[str, Card]:
    """The card after each way out and in."""
    picture = in_png(card, BLANK)
    return {
        "ccv3": of_tree(trees.from_json(base64.b64decode(png.texts(io.BytesIO(picture))["ccv3"]))),
        "chara": of_tree(
            trees.from_json(base64.b64decode(png.texts(io.BytesIO(picture))["chara"]))
        ),
        "png": read_bytes("x.png", picture)[0],
        "json": read_bytes("x.json", trees.to_json(tree_of(card)))[0],
        "yaml": read_bytes("x.yaml", trees.to_yaml(flat_of(card)))[0],
        "flat json": read_bytes("x.json", trees.to_json(flat_of(card)))[0],
    }


# --- what there is ------------------------------------------------------------------------

letters = st.characters(exclude_categories=("Cs",))
texts = st.text(letters, max_size=30) | st.sampled_from(
    ["", "a\nb", "  a\n\n b \n", "a: b", "# no", "- x", "null", "1e3", "2024-01-01", "yes",
     "'\"\\","\r\n", "\t", "a\r\nb", "\x85\u2028\ufeff",
     "{{user}}", "|", ">", "a\n", "\na", "é\n𝄞\n",
     "\x00"]
)  # fmt: skip
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {"keys": st.lists(texts, max_size=3), "content": texts, "enabled": st.booleans()},
    optional={"extensions": st.dictionaries(texts, values, max_size=2), "insertion_order": numbers},
)
known = st.fixed_dictionaries(
    {"name": texts.filter(str.strip)},
    optional={
        **{name: texts for name in ("description", "personality", "scenario", "first_mes",
                                    "mes_example", "system_prompt", "creator", "nickname")},
        "alternate_greetings": st.lists(texts, max_size=3),
        "group_only_greetings": st.lists(texts, max_size=2),
        "tags": st.lists(texts, max_size=3),
        "assets": st.lists(st.dictionaries(texts, texts, max_size=3), max_size=2),
        "character_book": st.fixed_dictionaries({"entries": st.lists(entries, max_size=2)}),
        "extensions": st.dictionaries(texts, values, max_size=3),
        "context": texts, "data": values, "card": values,
    },
)  # fmt: skip
datas = st.builds(lambda a, b: {**b, **a}, known, st.dictionaries(texts, values, max_size=3))
besides = st.dictionaries(texts.filter(lambda name: name != "data"), values, max_size=2)


@settings(max_examples=40, deadline=None)
@given(datas, besides)
def test_nothing_is_lost(data: dict[str, Any], beside: dict[str, Any]):
    card = of_tree({"spec": "chara_card_v2", "spec_version": "2.0", **beside, "data": data})
    for way, copy in again(card).items():
        assert essence(copy) == essence(card), way


@settings(max_examples=25, deadline=None)
@given(datas, texts, st.sampled_from([".json", ".yaml"]), st.booleans())
def test_an_edit_changes_only_what_it_says(
    data: dict[str, Any], text: str, suffix: str, nested: bool
):
    tree: dict[str, Any] = {"data": data, "more": 1} if nested else {**data, "data": 1}
    card = of_tree(tree)
    card.data["scenario"] = text
    new = changed(tree, card)
    if suffix == ".json":
        made = trees.to_json(new)
    else:
        made = trees.to_yaml(new, trees.to_yaml(tree).decode())
    copy = read_bytes(f"x{suffix}", made)[0]
    assert essence(copy) == essence(card)


@pytest.mark.parametrize("file", REAL, ids=lambda file: file.stem)
def test_real_cards(file: Path):
    with file.open("rb") as opened:
        card = of_png(opened)
    assert card
    for way, copy in again(card).items():
        assert essence(copy) == essence(card), way
    character = character_of("x", card)
    assert character.name in file.stem
    assert character.greetings
    if character.name == "Sakana":
        assert character.book
        assert len(character.book.entries) > 5
        assert "program" in character.book.entries[0].keys
    if character.name == "Amy":
        assert len(character.greetings) > 1
        assert character.group_greetings
        assert card.beside["creatorcomment"]


def test_there_are_real_cards():
    assert len(REAL) == 3


# --- old files ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["name", "bot", "<|bot|>", "char_name"])
@pytest.mark.parametrize("user", ["your_name", "user", "<|user|>"])
def test_every_old_name_of_a_field(name: str, user: str):
    text = f'"{name}": Bo\n"{user}": Kim\ncontext: A fox.\ngreeting: Hello.\nmood: sly\n'
    card, _ = read_bytes("Bo.yaml", text.encode())
    read = character_of("x", card)
    assert (read.name, read.user_name, read.description) == ("Bo", "Kim", "A fox.")
    assert read.greetings == ("Hello.",)
    assert card.data["mood"] == "sly"


def test_pygmalion_fields():
    tree = {"char_name": "Bo", "name": "", "char_persona": "A fox.", "world_scenario": "A wood.",
            "example_dialogue": "You: Hi", "char_greeting": "Hello."}  # fmt: skip
    read = character_of("x", read_bytes("Bo.json", json.dumps(tree).encode())[0])
    assert (read.name, read.description, read.scenario) == ("Bo", "A fox.", "A wood.")
    assert (read.examples, read.greetings) == ("You: Hi", ("Hello.",))


def test_a_card_of_the_first_version():
    tree = {"name": "Bo", "description": "d", "personality": "p", "scenario": "s",
            "first_mes": "f", "mes_example": "m", "create_date": 5}  # fmt: skip
    picture = png.with_texts(BLANK, {"chara": base64.b64encode(json.dumps(tree).encode())})
    card, _ = read_bytes("Bo.png", picture)
    read = character_of("x", card)
    assert (read.description, read.personality, read.scenario) == ("d", "p", "s")
    assert card.data["create_date"] == 5


def test_an_edited_old_file_keeps_its_names_and_comments(tmp_path: Path):
    old = "# mine\nname: Bo\ncontext: |\n  A fox.\n  Red.\ngreeting: Hello.  # short\n"
    (tmp_path / "Bo.yaml").write_text(old)
    folder = Folder(tmp_path)
    place = folder.place("Bo")
    card = folder.read(place)
    card.data |= {"description": "A fox.\nGrey.\n", "tags": ["wood"]}
    folder.update(place, card)
    assert (tmp_path / "Bo.yaml").read_text() == (
        "# mine\nname: Bo\ncontext: |\n  A fox.\n  Grey.\ngreeting: Hello.  # short\n"
        "tags:\n- wood\n"
    )


def test_a_new_file_can_be_read_by_a_person():
    card = Card({"name": "Bo", "description": "One.\nTwo.", "tags": ["a"]}, {"made": 1})
    assert trees.to_yaml(flat_of(card)).decode() == (
        "name: Bo\ndescription: |-\n  One.\n  Two.\ntags:\n- a\ncard:\n  made: 1\n"
    )


# --- PNG ----------------------------------------------------------------------------------


def forms(text: bytes, keyword: bytes = b"chara") -> dict[str, bytes]:
    packed = zlib.compress(text)
    return {
        "tEXt": png.chunk(b"tEXt", keyword + b"\0" + text),
        "zTXt": png.chunk(b"zTXt", keyword + b"\0\0" + packed),
        "iTXt": png.chunk(b"iTXt", keyword + b"\0\0\0en\0word\0" + text),
        "packed iTXt": png.chunk(b"iTXt", keyword + b"\0\1\0\0\0" + packed),
    }


def carrying(chunk: bytes) -> bytes:
    """A picture with one more chunk right before its end."""
    return BLANK[:-12] + chunk + BLANK[-12:]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("form", ["tEXt", "zTXt", "iTXt", "packed iTXt"])
def test_every_form_of_a_text(form: str, raw: bool):
    said = json.dumps({"data": {"name": "Bo é"}}, ensure_ascii=raw).encode()
    text = said if raw else base64.b64encode(said)
    assert read_bytes("x.png", carrying(forms(text)[form]))[0].data["name"] == "Bo é"
    capitals = forms(text, b"Chara")[form]
    assert read_bytes("x.png", carrying(capitals))[0].data["name"] == "Bo é"


def test_the_third_version_comes_before_the_second():
    picture = png.with_texts(
        BLANK,
        {name: base64.b64encode(json.dumps({"name": name}).encode()) for name in ("chara", "ccv3")},
    )
    assert read_bytes("x.png", picture)[0].data["name"] == "ccv3"
    broken = png.with_texts(picture, {"ccv3": b"###"})
    assert read_bytes("x.png", broken)[0].data["name"] == "chara"


def test_a_card_that_is_written_keeps_the_picture_and_other_chunks():
    picture = carrying(png.chunk(b"tEXt", b"Author\0Ann") + png.chunk(b"gAMA", b"\0\0\0\1"))
    for name in ("Bo", "Kim"):
        picture = in_png(Card({"name": name}), picture)
    kinds = [kind for kind, _ in png.chunks(io.BytesIO(picture))]
    assert kinds == [b"IHDR", b"IDAT", b"tEXt", b"gAMA", b"tEXt", b"tEXt", b"IEND"]
    assert read_bytes("x.png", picture)[0].data["name"] == "Kim"
    assert sniffed(picture) == ".png"


def test_a_picture_without_a_card():
    with pytest.raises(Refused, match="holds no character"):
        read_bytes("x.png", BLANK)
