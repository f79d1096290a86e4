"""CharX files: what is in them comes along, and nothing of them does harm."""

import io
import json
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernel.api import Refused
from kernel.testing import App, running

from . import charx, png
from .folder import of_charx
from .incoming import read_bytes
from .test_characters import as_sent, multipart, on_disk

ICON, SMILE = png.drawn(10, 4, 4), png.drawn(200, 4, 4)
ASSETS = [
    {"type": "emotion", "uri": "embeded://assets/emotion/images/smile.png", "name": "smile",
     "ext": "png"},
    {"type": "icon", "uri": "embeded://assets/icon/images/other.png", "name": "side", "ext": "png"},
    {"type": "icon", "uri": "embeded://assets/icon/images/main.png", "name": "main", "ext": "png"},
    {"type": "background", "uri": "https://example.org/x.png", "name": "main", "ext": "png"},
]  # fmt: skip
CARD = {"spec": "chara_card_v3", "spec_version": "3.0",
        "data": {"name": "Bo", "description": "A fox.", "assets": ASSETS, "odd": 1}}  # fmt: skip
FILES: dict[str, bytes] = {
    "assets/icon/images/main.png": ICON,
    "assets/icon/images/other.png": SMILE,
    "assets/emotion/images/smile.png": SMILE,
    "module.risum": b"\0\1 anything",
    "x_meta/main.json": b"{}",
}


def packed(card: Any = CARD, files: dict[str, bytes] = FILES) -> bytes:
    """The same bytes for the same files, whenever it is made: ZipInfo has a date of its own."""
    with io.BytesIO() as made:
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            if card is not None:
                archive.writestr(part("card.json"), json.dumps(card))
            for name, data in files.items():
                archive.writestr(part(name), data)
        return made.getvalue()


def part(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_what_is_in_it():
    card, picture = of_charx(io.BytesIO(packed()))
    assert card.data == CARD["data"]
    assert picture == ICON
    assert read_bytes("x.charx", packed())[1] == packed()
    side = {**CARD, "data": {**CARD["data"], "assets": ASSETS[:2]}}
    assert of_charx(io.BytesIO(packed(side)))[1] == SMILE, "the only icon is the main one"
    none = {**CARD, "data": {"name": "Bo", "assets": [{"type": "icon", "uri": "ccdefault:"}, 5]}}
    assert of_charx(io.BytesIO(packed(none)))[1] == b""
    lost = packed(files={})
    assert of_charx(io.BytesIO(lost))[1] == b"", "what is not in it is no picture"
    film = packed(files={**FILES, "assets/icon/images/main.png": b"<svg onload=x>"})
    assert of_charx(io.BytesIO(film))[1] == b"", "nor is what no page shows"


# --- harm -------------------------------------------------------------------------------


def named(name: str) -> bytes:
    """A file of that very name in the archive, which the library would make better."""
    made = packed(files={"x" * len(name.encode()): b"1"})
    return made.replace(b"x" * len(name.encode()), name.encode())


def linked() -> bytes:
    with io.BytesIO() as made:
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("card.json", json.dumps(CARD))
            link = zipfile.ZipInfo("assets/link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        return made.getvalue()


def twice() -> bytes:
    return packed(files={"a.png": b"1", "b.png": b"2"}).replace(b"b.png", b"a.png")


def encrypted() -> bytes:
    data = bytearray(packed())
    at = data.find(b"PK\1\2")
    data[at + 8] |= 1
    return bytes(data)


def says(size: int) -> bytes:
    """An archive that tells of a file of that size."""
    data = bytearray(packed(files={"big": b"x" * 5_000_000}))
    at = data.rfind(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def many(count: int) -> bytes:
    return packed(files={f"{n:x}": b"" for n in range(count)})


def wrong_end() -> bytes:
    data = bytearray(packed())
    at = data.rfind(b"PK\5\6")
    data[at + 12 : at + 16] = struct.pack("<I", 900 << 20)
    return bytes(data)


HARM: dict[str, tuple[Callable[[], bytes], str]] = {
    "up": (lambda: named("../../evil.png"), "leads elsewhere"),
    "absolute": (lambda: named("/etc/cron.d/evil"), "leads elsewhere"),
    "drive": (lambda: named("C:evil.png"), "leads elsewhere"),
    "backslash": (lambda: named("a\\..\\evil.png"), "leads elsewhere"),
    "nul": (lambda: named("a.png\0.exe"), "leads elsewhere"),
    "dot": (lambda: named("a/./evil.png"), "leads elsewhere"),
    "link": (linked, "no file"),
    "twice": (twice, "same name"),
    "encrypted": (encrypted, "encrypted"),
    "bomb": (lambda: packed(files={"bomb": b"\0" * (64 << 20)}), "beyond measure"),
    "declared": (lambda: says(0xFFFFFFF0), "more than 128 MB"),
    "many": (lambda: many(2_001), "more than 2000 files"),
    "very many": (lambda: many(60_000), "more than 2000 files"),
    "list": (wrong_end, "more than 2000 files"),
    "no card": (lambda: packed(None), "no card.json"),
    "no character": (lambda: packed({"x": 1}), "no character"),
    "no zip": (lambda: b"PK\3\4" + b"x" * 100, "no zip file"),
    "cut": (lambda: packed()[:-40], "no zip file"),
    "empty": (lambda: b"PK\3\4", "no zip file"),
    "deep": (lambda: deep(), "nested too deeply"),
}


def deep() -> bytes:
    with io.BytesIO() as made:
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("card.json", '{"data":' + "[" * 100_000)
        return made.getvalue()


@pytest.mark.parametrize("kind", HARM)
def test_what_could_do_harm_is_refused_at_once(kind: str):
    make, why = HARM[kind]
    data = make()
    begun = time.process_time()
    with pytest.raises(Refused, match=why):
        read_bytes("x.charx", data)
    assert time.process_time() - begun < 1


def test_a_file_that_is_larger_than_it_says_ends_where_it_says():
    """The size in the list is what is believed, so that no more than that is unpacked."""
    with (
        charx.opened(io.BytesIO(says(1_000))) as archive,
        pytest.raises(Refused, match="cannot be unpacked"),
    ):
        charx.read(archive, "big")


def test_any_broken_byte_is_a_sentence_or_nothing():
    whole = packed(files={"assets/icon/images/main.png": ICON})
    for at in range(0, len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 0xFF
        try:
            read_bytes("x.charx", bytes(data))
        except Refused:
            continue


# --- in the folder ----------------------------------------------------------------------


def put(app: App, name: str, data: bytes) -> Path:
    app.kernel.characters.mkdir(exist_ok=True)
    file = app.kernel.characters / name
    file.write_bytes(data)
    return file


async def test_it_comes_in_is_shown_and_stays_what_it_is():
    async with running("characters") as app:
        page = await app.open("/characters")
        sent = multipart(("Fox.charx", packed()), ("evil.charx", linked()))
        assert (await app.fetch("/ext/characters/import", "POST", **sent)).status == 204
        await page.until("Imported Bo.")
        await page.until("evil.charx: This CharX file could do harm: it holds something that is no")
        assert on_disk(app) == ["Bo.charx"]
        assert (app.kernel.characters / "Bo.charx").read_bytes() == packed()
        await page.until("img src=./ext/characters/picture/Bo")
        shown = await app.fetch("/ext/characters/picture/Bo")
        assert (shown.status, shown.body) == (200, ICON)
        assert shown.headers["content-type"] == "image/png"


async def test_a_change_keeps_everything_else_in_it():
    async with running("characters") as app:
        file = put(app, "Bo.charx", packed())
        page = await app.open("/characters/Bo")
        html = await page.until("<form class=.characters-form.*</form>")
        await page.act("characters.save", **as_sent(html))
        assert file.read_bytes() == packed(), "nothing was changed"
        await page.act("characters.save", **{**as_sent(html), "description": "A vixen."})
        await page.until("Saved.")
        now = unpacked(file.read_bytes())
        assert json.loads(now.pop("card.json"))["data"].items() >= {
            **CARD["data"], "description": "A vixen.",
        }.items()  # fmt: skip
        assert now == FILES


async def test_another_picture_lies_beside_it_and_goes_out_with_it():
    async with running("characters") as app:
        put(app, "Bo.charx", packed())
        page = await app.open("/characters/Bo")
        portrait = multipart(("x", b"\xff\xd8\xff picture"))
        await app.fetch("/ext/characters/portrait/character/Bo", "POST", **portrait)
        assert on_disk(app) == ["Bo.charx", "Bo.jpg"]
        assert (await app.fetch("/ext/characters/picture/Bo")).body == b"\xff\xd8\xff picture"
        out = unpacked((await app.fetch("/ext/characters/export/Bo.charx")).body)
        data = json.loads(out["card.json"])["data"]
        main = next(each for each in data["assets"] if each["name"] == "main")
        assert main["uri"] == "embeded://assets/icon/images/main.jpg"
        assert out["assets/icon/images/main.jpg"] == b"\xff\xd8\xff picture"
        assert out["module.risum"] == FILES["module.risum"]
        assert "assets/icon/images/main.png" not in out
        await page.act("characters.duplicate", id="Bo")
        assert on_disk(app) == ["Bo.charx", "Bo.jpg", "Bo_001.charx", "Bo_001.jpg"]
        await page.act("characters.delete", id="Bo")
        token = (await page.until(r'"token": "(character-\w+)"')).split('"')[3]
        await page.act("characters.restore", token=token)
        assert on_disk(app) == ["Bo.charx", "Bo.jpg", "Bo_001.charx", "Bo_001.jpg"]


async def test_every_character_goes_out_as_one():
    async with running("characters") as app:
        put(app, "Kim.yaml", b"name: Kim\n")
        answer = await app.fetch("/ext/characters/export/Kim.charx")
        assert answer.headers["content-type"] == "application/zip"
        card, picture = of_charx(io.BytesIO(answer.body))
        assert card.data["name"] == "Kim"
        assert picture.startswith(png.SIGNATURE), "one is drawn"
        again, _ = read_bytes("Kim.charx", answer.body)
        assert again.data == card.data


async def test_as_a_png_its_icon_is_the_picture_itself():
    async with running("characters") as app:
        put(app, "Bo.charx", packed())
        answer = await app.fetch("/ext/characters/export/Bo.png")
        card, _ = read_bytes("Bo.png", answer.body)
        uris = [each["uri"] for each in card.data["assets"]]
        assert uris == [ASSETS[0]["uri"], ASSETS[1]["uri"], "ccdefault:", ASSETS[3]["uri"]]


async def test_a_lorebook_that_goes_with_a_card_goes_out_in_it():
    async with running("characters") as app:
        put(app, "Kim.json", b'{"name": "Kim", "extensions": {"world": "Sea"}}')
        world = app.kernel.data / "worlds" / "Sea.json"
        world.parent.mkdir()
        world.write_text('{"entries": {"0": {"uid": 0, "key": ["sea"], "content": "Wet."}}}')
        for suffix in ("png", "charx", "json", "yaml"):
            answer = await app.fetch(f"/ext/characters/export/Kim.{suffix}")
            book = read_bytes(f"Kim.{suffix}", answer.body)[0].data["character_book"]
            assert (book["name"], book["entries"][0]["keys"]) == ("Sea", ["sea"])
