"""C29 and its kin: no card, however it is made, costs more than a sentence."""
# ruff: noqa: E501, a name a line would be long

import base64
import io
import os
import time
import zlib
from pathlib import Path

import pytest

from kernel.api import Refused

from . import png, trees
from .cards import Card, in_png, of_png
from .folder import LARGEST, Folder, Unreadable, file_name, sniffed
from .incoming import read_bytes
from .reading import character_of
from .test_cards import BLANK, carrying

HOSTILE = Path(__file__).parents[2] / "tests" / "data" / "cards-hostile"
SLOW = 2.0
"""Seconds of the processor that a refusal may take."""


def text_chunk(data: bytes, keyword: bytes = b"chara") -> bytes:
    return png.chunk(b"tEXt", keyword + b"\0" + data)


def card_of(text: str | bytes) -> bytes:
    text = text if isinstance(text, bytes) else text.encode()
    return carrying(text_chunk(base64.b64encode(text)))


def bomb(kind: bytes) -> bytes:
    packed = zlib.compress(b" " * (48 << 20), 1)
    head = b"chara\0\0" if kind == b"zTXt" else b"chara\0\1\0\0\0"
    return carrying(png.chunk(kind, head + packed))


@pytest.fixture(scope="module")
def bombs() -> dict[bytes, bytes]:
    return {kind: bomb(kind) for kind in (b"zTXt", b"iTXt")}


@pytest.mark.parametrize("file", sorted(HOSTILE.glob("*.png")), ids=lambda file: file.name)
def test_every_planted_card_is_read_safely_or_refused(file: Path, tmp_path: Path):
    if file.name not in ("v1.png", "xss-v2.png", "path-name.png"):
        with pytest.raises(Refused, match=r"\.$"):
            read_bytes(file.name, file.read_bytes())
        return
    card, picture = read_bytes(file.name, file.read_bytes())
    id = Folder(tmp_path).create(character_of("x", card).name, card, picture)
    assert [each.name for each in tmp_path.iterdir()] == [f"{id}.png"]
    again = Folder(tmp_path).read(Folder(tmp_path).place(id)).data
    assert {key: again[key] for key in card.data} == card.data


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_packed_bomb(kind: bytes, bombs: dict[bytes, bytes]):
    begun = time.process_time()
    with pytest.raises(Refused, match="larger than 16 MB"):
        read_bytes("x.png", bombs[kind])
    assert time.process_time() - begun < SLOW


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (b"", "neither a name"),
        (b"\x89PNG", "not a PNG"),
        (BLANK[:8], "ends too early"),
        (BLANK[:-12], "ends too early"),
        (BLANK[:40], "ends too early"),
        (BLANK[:8] + BLANK[33:], "does not begin"),
        (BLANK[:8] + b"\xff\xff\xff\xff" + BLANK[12:], "ends too early"),
        (BLANK[:20] + b"\x07" + BLANK[21:], "checksum"),
        (carrying(text_chunk(b"e30=")[:-1] + b"\x00"), "checksum"),
        (carrying(text_chunk(b"###")), "no base64"),
        (carrying(text_chunk(b"")), "no JSON"),
        (carrying(png.chunk(b"zTXt", b"chara\0\0not packed")), "unpacked"),
        (carrying(png.chunk(b"tEXt", b"")) , "holds no character"),
        (carrying(png.chunk(b"abCd", b"") * 30_000), "never ends"),
        (card_of("[]"), "no character"),
        (card_of("{}"), "no character"),
        (card_of('{"data": {"name": []}}'), "no character"),
        (card_of('{"data": 5, "name": null}'), "no character"),
        (card_of("[" * 100_000), "nested too deeply|no JSON"),
        (card_of('{"name": "x", "a": ' + "[" * 70 + "]" * 70 + "}"), "nested too deeply"),
        (card_of('{"name": NaN}'), "no JSON"),
        (card_of('{"name": "x", "a": Infinity}'), "no JSON"),
        (card_of('{"name": "\\ud800"}'), "no JSON|half of a character"),
        (card_of(b'{"name": "\xff\xfe"}'), "no text in UTF-8"),
        (card_of('{"name": "x", "a": 1' + "0" * 400 + "}"), "too large|no JSON|none"),
        (card_of('{"name": "x", "a": [' + "0," * 400_000 + "0]}"), "holds too much"),
    ],
    ids=lambda each: "" if isinstance(each, bytes) else each[:20],
)  # fmt: skip
def test_a_sentence_for_each(picture: bytes, why: str):
    begun = time.process_time()
    with pytest.raises(Refused, match=why) as refusal:
        read_bytes("x.png", picture)
    assert str(refusal.value).endswith(".")
    assert time.process_time() - begun < SLOW


def test_a_chunk_of_fifty_megabytes():
    large = carrying(text_chunk(b"A" * (50 << 20)))
    with pytest.raises(Refused, match="larger than 32 MB"):
        read_bytes("x.png", large)
    with pytest.raises(Refused, match="larger than 16 MB"):
        of_png(io.BytesIO(large))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [x, x]\n" + "".join(
            f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *{'a' if not n else f'b{n - 1}'}]\n"
            for n in range(40)), "repeat too much"),
        ("name: !!python/object/apply:os.system ['true']", "not YAML|no YAML|no text"),
        ("name: !!binary aGk=", "no text|no character"),
        ("- a", "no character"),
        ("just words", "no character"),
        ("a: [" + "[" * 200_000, "nested too deeply"),
        ("? " * 100_000 + "a", "nested too deeply"),
        ("name: x\nname: y", "line 2"),
        ("name: .nan\nb: 1", "NaN"),
        ("name: x\n\tb: 1", "line 2"),
        ("x" * (2 << 20), "larger than 1 MB"),
        ("name: x\nbig: " + "9" * 30, "too large"),
    ],
    ids=lambda each: each[:14],
)  # fmt: skip
def test_yaml_that_cannot_be(text: str, why: str):
    begun = time.process_time()
    with pytest.raises(Refused, match=why):
        read_bytes("x.yaml", text.encode())
    assert time.process_time() - begun < 3 * SLOW


def test_what_people_write_is_not_nested():
    text = (
        "name: x\ncontext: |\n  " + "-" * 300 + "\n  " + ":[ " * 300 + "\n" + " " * 300 + "deep\n"
    )
    assert "-" * 300 in read_bytes("x.yaml", text.encode())[0].data["description"]


@pytest.mark.parametrize("data", [b"\xff\xfename", b"MZ\0\0\0", b"name: \xe9"])
def test_what_is_no_text(data: bytes):
    with pytest.raises(Refused):
        read_bytes("x.yaml", data)


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..", "", "a/b", "C:\\x", "CON", "nul.txt", "x" * 999, "a\0b", "a\nb",
     "\u202egnp", ".hidden", "-rf", "~", "%2e%2e%2f", "x::$DATA", "\u2215etc", "💃", "名前", "\ud800"],
)  # fmt: skip
def test_any_name_becomes_a_file_of_the_folder(name: str, tmp_path: Path):
    root = tmp_path / "characters"
    id = Folder(root).create(name, Card({"name": "x"}))
    assert [each.name for each in root.iterdir()] == [f"{id}.yaml"]
    assert [each.name for each in tmp_path.iterdir()] == ["characters"]
    assert Folder(root).create(name, Card({"name": "x"})) == f"{id}_001"


def test_names_stay_as_they_are_where_they_can():
    for name in (
        "Bo", "Ann-Marie O\u2019Neil (old)", "名前", "Eldoria v1.2", "Elves & Orcs!", "[A] 1+1, C++",
        "हिन्दी", "น้ำ", "क्\u200cष", "💃", "_x", "हि" * 26,
    ):  # fmt: skip
        assert file_name(name) == name


@pytest.mark.parametrize(
    "id", ["../x", "..", "", "/etc/passwd", "Bo/../Bo", "Bo.yaml", "\0", "x" * 300]
)
def test_an_id_reaches_no_other_file(id: str, tmp_path: Path):
    root = tmp_path / "characters"
    root.mkdir()
    (root / "Bo.yaml").write_text("name: Bo")
    (tmp_path / "x.yaml").write_text("name: secret")
    with pytest.raises(Refused):
        Folder(root).place(id)


def test_links_that_lead_out_are_neither_read_nor_written(tmp_path: Path):
    root, outside = tmp_path / "characters", tmp_path / "secret.yaml"
    root.mkdir()
    outside.write_text("name: secret")
    (tmp_path / "secret.png").write_bytes(BLANK)
    (root / "Bo.yaml").symlink_to(outside)
    (root / "Kim.yaml").write_text("name: Kim")
    (root / "Kim.png").symlink_to(tmp_path / "secret.png")
    folder = Folder(root)
    places = folder.places()
    assert [*places] == ["Kim"]
    assert places["Kim"].picture is None
    with pytest.raises(Refused):
        folder.place("Bo")
    with pytest.raises(Refused, match=r"leads out|is a link"):
        folder.show(folder.place("Kim"), BLANK)
    assert (tmp_path / "secret.png").read_bytes() == BLANK
    folder.create("Bo", Card({"name": "Bo"}))
    assert outside.read_text() == "name: secret"


def test_a_link_inside_is_read_and_never_written(tmp_path: Path):
    (tmp_path / "Bo.yaml").write_text("name: Bo")
    (tmp_path / "Other.yaml").symlink_to(tmp_path / "Bo.yaml")
    folder = Folder(tmp_path)
    with pytest.raises(Refused, match="is a link"):
        folder.update(folder.place("Other"), Card({"name": "x"}))


def test_what_is_no_file_is_passed_over(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert Folder(tmp_path).places() == {}


def test_a_file_that_is_too_large(tmp_path: Path):
    with (tmp_path / "Bo.json").open("wb") as file:
        file.truncate(LARGEST + 1)
    folder = Folder(tmp_path)
    with pytest.raises(Unreadable, match="larger than 32 MB"):
        folder.read(folder.place("Bo"))


def test_pixels_are_not_looked_at_when_a_folder_is_listed(tmp_path: Path):
    picture = bytearray(in_png(Card({"name": "Bo"}), BLANK))
    picture[picture.index(b"IDAT") + 5] ^= 255
    (tmp_path / "Bo.png").write_bytes(picture)
    folder = Folder(tmp_path)
    assert folder.read(folder.place("Bo")).data["name"] == "Bo"
    with pytest.raises(Refused, match="checksum"):
        read_bytes("Bo.png", bytes(picture))


@pytest.mark.parametrize(
    "data", [b"", b"<svg onload=x>", b"<html>", b"BM", b"RIFF0000WAVE", b"%PDF", b"GIF8"]
)
def test_what_is_no_picture(data: bytes):
    with pytest.raises(Refused, match="no picture"):
        sniffed(data)


def test_what_is_written_is_refused_where_it_could_not_be_read():
    with pytest.raises(Refused):
        trees.plain({"a": float("nan")})
