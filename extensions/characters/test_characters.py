"""The tab and its addresses: gallery, editor, trash, personas, import and export."""

import asyncio
import importlib
import json
import re
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kernel.api import Message, Refused, Text
from kernel.testing import ROOT, App, running

from . import charx, png
from .api import CHARACTERS
from .cards import Card, in_png, tree_of
from .incoming import read_bytes
from .pages import brief
from .records import Character, Persona
from .test_cards import BLANK, REAL

BO = {"name": "Bo", "description": "A fox.", "tags": ["wood"], "mood": {"sly": 1}}


def put(app: App, name: str, data: bytes | dict[str, Any]) -> Path:
    folder = app.kernel.characters
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return file


def on_disk(app: App) -> list[str]:
    return sorted(file.name for file in app.kernel.characters.iterdir())


def multipart(*files: tuple[str, bytes]) -> dict[str, Any]:
    """The body of a form that sends files."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n" % (name.encode(), data)
        for name, data in files
    ]
    headers = {"content-type": "multipart/form-data; boundary=x"}
    return {"body": b"".join(parts) + b"--x--\r\n", "headers": headers}


# --- the gallery --------------------------------------------------------------------------


async def test_the_gallery_shows_what_lies_there_and_what_cannot_be_read():
    async with running("characters") as app:
        put(app, "Bo.png", in_png(Card(BO), BLANK))
        put(app, "Broken.json", b"{")
        about, endless = "{{char}} {{// secret}}knows <USER>, and {{wonders}}.", "{{char}}" * 60
        put(app, "Old.yaml", f"name: Old\ncontext: '{about}'\n".encode())
        put(app, "Endless.yaml", f"name: {'x' * 50_000}\ncontext: '{endless}'\n".encode())
        page = await app.open("/characters")
        await page.until("Old knows You, and {{wonders}}.")
        await page.until("<b>x+</b>")
        await page.until(r'href="/characters/Bo".*img src="/ext/characters/picture/Bo\?v=.*>Bo</b>')
        await page.until("Broken.json: This is no JSON")
        page.html = ""
        put(app, "Kim.yaml", b"name: Kim\n")
        await page.act("characters.new", name="Ann")
        assert {"Ann.yaml", "Kim.yaml"} < {*on_disk(app)}
        await page.until("page-go.*/characters/Ann")


@pytest.mark.parametrize(
    ("notes", "about"),
    [
        ("<h1>Big</h1><p style='a'>notes <a href='http://x'>link</a></p>", "Big notes link"),
        ("<style>p { color: red }</style>Draws &amp; maps.<br/>Well", "Draws & maps. Well"),
        ("<!-- secret -->Knows <USER>, 1 < 2 <3, {{char}}.<img src='x", "Knows You, 1 < 2 <3, Bo."),
        ("<script>" + "x" * 20_000, ""),
    ],
)
def test_the_gallery_shows_notes_in_html_as_words(notes: str, about: str):
    assert brief(notes, Character("Bo", "Bo"), Persona()) == about


async def test_a_link_to_a_file_elsewhere_is_named(tmp_path: Path):
    async with running("characters") as app:
        (elsewhere := tmp_path / "far.yaml").write_text("name: Far\n")
        put(app, "Near.yaml", b"name: Near\n")
        folder = app.kernel.characters
        (folder / "Far.yaml").symlink_to(elsewhere)
        (folder / "Twin.yaml").symlink_to(folder / "Near.yaml")
        page = await app.open("/characters")
        html = await page.until("Far.yaml is a link to another folder. Copy the file here")
        assert "/characters/Far" not in html
        assert "Twin.yaml is" not in html


async def test_a_file_in_another_coding_is_told_in_words():
    async with running("characters") as app:
        page = await app.open("/characters")
        for name, coding, byte in (("old", "latin-1", 11), ("wide", "utf-16", 0)):
            page.html = ""
            data = json.dumps({"name": "Jörg"}, ensure_ascii=False).encode(coding)
            put(app, f"{name}.json", data)
            page = await app.open("/characters")
            await page.until(rf"{name}.json: This is no text in UTF-8 \(byte {byte}\). Save it as")


async def test_the_palette_offers_whom_to_talk_to():
    async with running("characters", "commands") as app:
        put(app, "Bo.yaml", b"name: Bo <b>\n")
        page = await app.open("/settings")
        await page.act("commands.show")
        await page.until("chat.start.*Talk to Bo &lt;b&gt;")


async def test_a_change_in_an_editor_shows():
    async with running("characters") as app:
        page = await app.open("/characters")
        pages = app.page("/characters")
        await pages.connect()
        await asyncio.sleep(2.1)  # The first look.
        put(app, "Bo.yaml", b"name: Bo\n")
        await page.until(r"characters-gallery.*/characters/Bo", 10)


async def test_a_picture_is_served_as_what_it_is_and_nothing_else_is():
    async with running("characters") as app:
        put(app, "Bo.png", in_png(Card(BO), BLANK))
        put(app, "Kim.yaml", b"name: Kim\n")
        put(app, "Kim.jpg", b"<svg onload=alert(1)>")
        put(app, "Ann.yaml", b"name: Ann\n")
        (app.kernel.data / "secret.png").write_bytes(BLANK)
        answer = await app.fetch("/ext/characters/picture/Bo")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        for id in ("Kim", "Ann", "nobody", "..%2fsecret", "%2e%2e%2fsecret", "Bo.png"):
            assert (await app.fetch(f"/ext/characters/picture/{id}")).status == 404
        assert (await app.fetch("/ext/characters/picture/Bo", who="nobody")).status == 401


# --- one character ------------------------------------------------------------------------


async def stamp(page: Any) -> str:
    """The newest that the page was told."""
    await page.until('name="stamp"')
    return re.findall(r'name="stamp" value="([^"]*)"', page.html)[-1]


async def test_an_edit_is_kept_and_what_is_not_shown_stays():
    async with running("characters") as app:
        file = put(app, "Bo.json", {"spec": "chara_card_v2", "beside": 1, "data": BO})
        page = await app.open("/characters/Bo")
        await page.until("Also in the file.*mood")
        said = {
            "id": "Bo",
            "stamp": await stamp(page),
            "description": "A grey fox.",
            "tags": "a, b,a",
        }
        await page.act("characters.save", **said)
        await page.until("Saved")
        tree = json.loads(file.read_text())
        assert tree["beside"] == 1
        assert tree["data"] == {**BO, "description": "A grey fox.", "tags": ["a", "b"]}


async def test_of_two_changes_at_once_none_is_lost():
    async with running("characters") as app:
        one, other = await app.open("/characters"), await app.open("/characters")
        for n in range(8):
            file = put(app, f"Bo{n}.png", in_png(Card(BO), BLANK))
            old = await stamp(await app.open(f"/characters/Bo{n}"))
            one.html = other.html = ""
            await asyncio.gather(
                one.act("characters.save", id=f"Bo{n}", stamp=old, description="One."),
                other.act("characters.save", id=f"Bo{n}", stamp=old, scenario="Other."),
            )
            assert sorted("changed elsewhere" in page.html for page in (one, other)) == [0, 1]

            await asyncio.gather(
                one.act("characters.save", id=f"Bo{n}", description="Mine."),
                other.act("characters.rename", id=f"Bo{n}", to=f"Kim{n}"),
            )
            assert not file.exists()

            put(app, f"Ash{n}.yaml", b"name: Ash\n")
            await asyncio.gather(
                one.act("characters.save", id=f"Ash{n}", description="Mine."),
                other.act("characters.delete", id=f"Ash{n}"),
            )
            assert not (app.kernel.characters / f"Ash{n}.yaml").exists()

            await asyncio.gather(
                *(
                    app.fetch("/ext/characters/import", "POST", **multipart(("Cy.yaml", data)))
                    for data in (b"name: Cy\n", b"name: Cy\nscenario: x\n")
                )
            )
            assert len([name for name in on_disk(app) if name.startswith("Cy")]) == 2 * (n + 1)


async def test_a_file_that_was_changed_elsewhere_is_not_written_over_unasked():
    async with running("characters") as app:
        file = put(app, "Bo.yaml", b"name: Bo\n")
        page = await app.open("/characters/Bo")
        old = await stamp(page)
        file.write_text("name: Bo\ndescription: Mine.\n")
        page.html = ""
        await page.act("characters.save", id="Bo", stamp=old, description="Yours.")
        await page.until("changed elsewhere")
        assert "Mine." in file.read_text()
        await page.act("characters.save", id="Bo", stamp=await stamp(page), scenario="A wood.")
        assert file.read_text() == "name: Bo\ndescription: Mine.\nscenario: A wood.\n"


async def test_a_lorebook_is_edited_by_its_rows():
    entries = [
        {"keys": ["a"], "content": "A", "id": 7, "odd": 1, "extensions": {"sticky": 3}},
        {"keys": ["b"], "content": "B"},
        {"keys": ["c"], "content": "C"},
    ]
    async with running("characters") as app:
        file = put(app, "Bo.json", {"data": {**BO, "character_book": {"entries": entries, "x": 1}}})
        page = await app.open("/characters/Bo")
        await page.act(
            "characters.save",
            id="Bo",
            book="true",
            entry_0_keys="a, /b,c/i",
            entry_0_content="A",
            entry_0_enabled="true",
            entry_0_place="depth",
            entry_0_depth="2",
            entry_2_content="C",
            entry_2_enabled="true",
            entry_3_keys="new",
            entry_3_content="N",
            entry_3_enabled="true",
            entry_3_constant="true",
            entry_4_content=" ",
            book_token_budget="300",
            book_recursive="true",
        )
        book = json.loads(file.read_text())["data"]["character_book"]
        assert book == {
            "extensions": {},
            "entries": [
                {"keys": ["a", "/b,c/i"], "content": "A", "id": 7, "odd": 1,
                 "position": "after_char",
                 "extensions": {"sticky": 3, "position": 4, "depth": 2, "role": 0}},
                {"keys": ["c"], "content": "C"},
                {"keys": ["new"], "content": "N", "extensions": {}, "enabled": True,
                 "insertion_order": 100, "use_regex": False, "constant": True},
            ],
            "x": 1, "token_budget": 300, "recursive_scanning": True,
        }  # fmt: skip


@pytest.mark.parametrize("file", REAL, ids=lambda file: file.stem)
async def test_a_form_that_is_sent_as_it_was_drawn_changes_nothing(file: Path):
    async with running("characters") as app:
        before = file.read_bytes()  # noqa: ASYNC240
        kept = put(app, "x.png", before)
        page = await app.open("/characters/x")
        html = await page.until("<form class=.characters-form.*</form>")
        await page.act("characters.save", **as_sent(html))
        if kept.read_bytes() != before:
            new, old = (read_bytes("x.png", data)[0].data for data in (kept.read_bytes(), before))
            assert new == old
            raise AssertionError("it was written although it is the same")


def as_sent(html: str) -> dict[str, Any]:
    """What a browser sends of a form."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.sent: dict[str, Any] = {}
            self.area = self.select = ""
            self.inside = 0
            self.option = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            said = dict(attrs)
            self.inside += tag == "template"
            if tag == "form":
                self.sent |= json.loads(said["hx-vals"] or "")
            name = said.get("name") or ""
            if self.inside:
                return
            if tag == "input" and name:
                ticked = said.get("type") != "checkbox" or "checked" in said
                if ticked:
                    self.sent[name] = said.get("value") or ""
            if tag == "textarea":
                self.area = name
                self.sent[name] = ""
            if tag == "select":
                self.select = name
            if tag == "option" and ("selected" in said or self.select not in self.sent):
                self.sent[self.select] = said.get("value") or ""
                self.option = "value" not in said

        def handle_endtag(self, tag: str) -> None:
            self.inside -= tag == "template"
            if tag == "textarea" and self.area:
                text = self.sent[self.area].replace("\r\n", "\n").replace("\r", "\n")
                self.sent[self.area] = text.removeprefix("\n")
                self.area = ""

        def handle_data(self, data: str) -> None:
            if self.area:
                self.sent[self.area] += data
            if self.option:  # One without a value says its text.
                self.sent[self.select] = data
                self.option = False

    reader = Reader()
    reader.feed(html)
    reader.sent.pop("action")
    return reader.sent


async def test_greetings_come_and_go():
    card = {**BO, "first_mes": "one", "alternate_greetings": ["two", "three"]}
    async with running("characters") as app:
        file = put(app, "Bo.json", card)
        page = await app.open("/characters/Bo")
        await page.act(
            "characters.save",
            id="Bo",
            alternate_greetings="true",
            alternate_greetings_1="three",
            alternate_greetings_2="four",
            alternate_greetings_3="",
        )
        assert json.loads(file.read_text())["alternate_greetings"] == ["three", "four"]
        await page.act("characters.save", id="Bo", name=" ")
        await page.until("needs a name")


async def test_a_duplicate_is_a_file_of_its_own():
    async with running("characters") as app:
        put(app, "Bo.png", in_png(Card(BO), BLANK))
        put(app, "Kim.yaml", b"name: Kim\n")
        put(app, "Kim.png", BLANK)
        page = await app.open("/characters/Bo")
        await page.act("characters.duplicate", id="Bo")
        await page.act("characters.duplicate", id="Kim")
        names = ["Bo.png", "Bo_001.png", "Kim.png", "Kim.yaml", "Kim_001.png", "Kim_001.yaml"]
        assert on_disk(app) == names


async def test_a_file_gets_another_name_and_its_old_one_back():
    async with running("characters") as app:
        put(app, "Bo.yaml", b"name: Bo\n# mine\n")
        put(app, "Bo.jpg", b"\xff\xd8\xff picture")
        put(app, "Kim.yaml", b"name: Kim\n")
        page = await app.open("/characters/Bo")
        await page.act("characters.rename", id="Bo", to="The ../fox")
        assert on_disk(app) == ["Kim.yaml", "The fox.jpg", "The fox.yaml"]
        assert (app.kernel.characters / "The fox.yaml").read_bytes() == b"name: Bo\n# mine\n"
        await page.until("page-go.*/characters/The%20fox")
        await page.until("img src=./ext/characters/picture/The%20fox")
        await page.until("The file of “Bo” is called “The fox” now")
        await page.act("characters.rename", id="The fox", to="kim")
        await page.until("There is a file called kim already")
        await page.act("characters.rename", id="The fox", to="  ")
        await page.until("A file needs a name")
        await page.act("characters.rename", id="../secrets", to="x")
        await page.until("There is no character “../secrets” any more")
        undo = re.findall(r"hx-vals='(\{[^']*characters.rename[^']*)'", page.html or "")[-1]
        vals = json.loads(undo)
        await page.act(vals.pop("action"), **vals)
        assert on_disk(app) == ["Bo.jpg", "Bo.yaml", "Kim.yaml"]
        await page.act("characters.rename", id="Bo", to="bo")
        assert on_disk(app) == ["Kim.yaml", "bo.jpg", "bo.yaml"]


async def test_an_old_name_is_known_until_somebody_else_has_it():
    async with running("characters") as app:
        put(app, "Bo.yaml", b"name: Bo\n")
        library = app.extension("characters").one(CHARACTERS)
        page = await app.open("/characters")
        await page.act("characters.rename", id="Bo", to="Fox")
        await page.act("characters.rename", id="Fox", to="Reynard")
        assert {(await library.get(id)).id for id in ("Bo", "Fox", "Reynard")} == {"Reynard"}
        await app.toggle("characters", on=False)
        await app.toggle("characters", on=True)
        library = app.extension("characters").one(CHARACTERS)
        assert (await library.get("Bo")).id == "Reynard", "after a start, too"
        file = put(app, "Bo.yaml", b"name: Another Bo\n")
        assert (await library.get("Bo")).name == "Another Bo"
        file.unlink()
        with pytest.raises(Refused, match="There is no character “Bo” any more"):
            await library.get("Bo")
        await page.act("characters.rename", id="Reynard", to="Fox")
        assert (await library.get("Reynard")).id == "Fox"


# --- the trash ----------------------------------------------------------------------------


async def test_what_comes_back_is_called_as_before():
    """Conversations know it by that name, whatever we would have called its file."""
    async with running("characters") as app:
        for name in ("Dr. Watson", "Who am I?"):
            put(app, f"{name}.yaml", b"name: Somebody\n")
            page = await app.open("/characters/" + name)
            await page.act("characters.delete", id=name)
            token = (await page.until(r'"token": "([\w-]+)"')).split('"')[3]
            assert on_disk(app) == []
            await page.act("characters.restore", token=token)
            assert on_disk(app) == [f"{name}.yaml"]
            (app.kernel.characters / f"{name}.yaml").unlink()


async def test_a_file_whose_name_we_would_not_give_is_opened():
    async with running("characters") as app:
        put(app, "Who am I?.yaml", b"name: Nobody\n")
        page = await app.open("/characters/Who am I?")
        await page.until("<h1[^>]*>Nobody")
        await page.act("characters.save", id="Who am I?", description="Nobody yet.")
        await page.until("“Who am I\\?.yaml” cannot be the name of a file: .*Choose another name")
        await page.act("characters.rename", id="Who am I?", to="Who")
        await page.act("characters.save", id="Who", description="Nobody yet.")
        await page.until("Saved")
        assert on_disk(app) == ["Who.yaml"]


async def test_what_is_deleted_comes_back():
    async with running("characters") as app:
        put(app, "Bo.yaml", b"name: Bo\n# mine\n")
        put(app, "Bo.jpg", b"\xff\xd8\xff picture")
        page = await app.open("/characters/Bo")
        await page.act("characters.delete", id="Bo")
        assert on_disk(app) == []
        await page.until("page-go.*data-path=./characters.")
        token = (await page.until(r'"token": "([\w-]+)"')).split('"')[3]
        put(app, "Bo.yaml", b"name: Another Bo\n")
        await page.act("characters.restore", token=token)
        assert on_disk(app) == ["Bo.yaml", "Bo_001.jpg", "Bo_001.yaml"]
        assert (app.kernel.characters / "Bo_001.yaml").read_bytes() == b"name: Bo\n# mine\n"
        await page.act("characters.restore", token=token)
        await page.until("no longer in the trash")
        await page.act("characters.delete", id="Bo")
        await page.until(r"Trash \(1\)")
        await page.act("characters.empty_trash")
        assert not [*(app.extension("characters").data / "trash").iterdir()]
        for odd in ("", "..", "character-x", "../../x", "character-1/../.."):
            await page.act("characters.restore", token=odd)
        assert on_disk(app) == ["Bo_001.jpg", "Bo_001.yaml"]


# --- in and out ---------------------------------------------------------------------------


async def test_files_are_imported_several_at_once():
    async with running("characters") as app:
        page = await app.open("/characters")
        answer = await app.fetch(
            "/ext/characters/import",
            "POST",
            **multipart(
                ("a.png", in_png(Card({"name": "Bo"}), BLANK)),
                ("b.yaml", b"name: Kim\ncontext: x\n"),
                ("Ann.json", b'{"char_name": "Ann"}'),
                ("Ann.jpg", b"\xff\xd8\xff picture"),
                ("evil.json", b'{"name": "../../../evil"}'),
                ("broken.png", BLANK[:30]),
                ("lonely.png", BLANK),
            ),
        )
        assert answer.status == 204
        names = ["Ann.jpg", "Ann.yaml", "Bo.png", "Kim.yaml", "evil.yaml"]
        assert sorted(on_disk(app)) == sorted(names)
        await page.until("Imported Bo, Kim, Ann and 1 more")
        await page.until("broken.png: This picture is damaged")
        await page.until("lonely: it is a picture without a character")
        await page.until("/characters/evil")


async def test_a_large_card_stays_json(monkeypatch: pytest.MonkeyPatch):
    large = json.dumps({"data": {**BO, "description": "A fox. " * 2_000}}).encode()
    async with running("characters") as app:
        trees = importlib.import_module("extensions.characters.trees")
        monkeypatch.setattr(trees, "LARGEST_YAML", 10_000)  # Writing a megabyte takes seconds.
        page = await app.open("/characters")
        files = multipart(("Bo.json", large), ("Bo.png", BLANK))
        await app.fetch("/ext/characters/import", "POST", **files)
        await page.until("Imported Bo.")
        assert on_disk(app) == ["Bo.json", "Bo.png"]
        await page.act("characters.duplicate", id="Bo")
        assert on_disk(app) == ["Bo.json", "Bo.png", "Bo_001.json", "Bo_001.png"]
        answer = await app.fetch("/ext/characters/export/Bo.yaml")
        assert answer.status == 404
        assert b"larger than 1 MB" in answer.body


async def test_a_number_without_end_as_a_key_costs_its_own_file_alone():
    endless = b"name: Evil\n? 0x" + b"F" * 5_000 + b"\n: 1\n"
    async with running("characters") as app:
        page = await app.open("/characters")
        files = multipart(("evil.yaml", endless), ("ok.yaml", b"name: Ok\ncontext: x\n"))
        answer = await app.fetch("/ext/characters/import", "POST", **files)
        assert answer.status == 204
        await page.until("evil.yaml: This file holds a number that is too large")
        assert on_disk(app) == ["Ok.yaml"]
        put(app, "Evil.yaml", endless)
        page = await app.open("/characters")
        await page.until("Evil.yaml: This file holds a number that is too large")
        await page.until("/characters/Ok")


@pytest.mark.parametrize("reader", ["library", "exchange"])
async def test_a_file_that_its_reader_fails_at_costs_the_others_nothing(
    reader: str, monkeypatch: pytest.MonkeyPatch
):
    async with running("characters") as app:
        module = importlib.import_module(f"extensions.characters.{reader}")
        character_of = module.character_of

        def failing(id: str, card: Card, *more: str) -> object:
            if card.data["name"] == "Odd":
                raise RuntimeError("what nobody thought of")
            return character_of(id, card, *more)

        monkeypatch.setattr(module, "character_of", failing)
        page = await app.open("/characters")
        files = multipart(("odd.yaml", b"name: Odd\n"), ("ok.yaml", b"name: Ok\n"))
        answer = await app.fetch("/ext/characters/import", "POST", **files)
        assert answer.status == 204
        await page.until("(?i)odd.yaml:? [^<]*cannot be read. The log says why")
        await page.until("/characters/Ok")


async def test_keys_that_are_never_found_are_named():
    book = {"entries": [{"keys": [r"/(?<=big )dragon/i", "cave", r"/(a)\1/"], "content": "x"}]}
    card = json.dumps({"data": {"name": "Bo", "character_book": book}})
    async with running("characters") as app:
        page = await app.open("/characters")
        await app.fetch("/ext/characters/import", "POST", **multipart(("b.json", card.encode())))
        await page.until(r"Bo: these keys of its lorebook are never found: /\(\?(<|&lt;)=big \)")
        await page.until(r"it looks ahead or back.*/\(a\)\\1/ \(it refers back")
        page.html = ""
        await page.act("characters.paste", text=card)
        await page.until("never found")
        editor = await app.open("/characters/Bo")
        await editor.until("Never found: .*dragon/i")


async def test_nothing_comes_in_from_elsewhere():
    async with running("characters") as app:
        files = multipart(("a.yaml", b"name: Kim\n"))
        headers = {
            **files["headers"],
            "origin": "https://evil.test",
            "sec-fetch-site": "cross-site",
        }
        answer = await app.fetch(
            "/ext/characters/import", "POST", body=files["body"], headers=headers
        )
        assert answer.status == 403
        assert not app.kernel.characters.exists()


async def test_a_name_without_end_is_refused_at_once():
    async with running("characters") as app:
        page = await app.open("/characters")
        for action in ("new", "new_persona"):
            await page.act(f"characters.{action}", name="x" * 500_000)
        assert not app.kernel.characters.exists()
        begun = time.process_time()
        card = '{"name": "' + "x" * 500_000 + '"}'
        await page.act("characters.paste", text=card)
        assert on_disk(app) == ["x" * 160 + ".yaml"]
        assert time.process_time() - begun < 5


async def test_a_notice_says_what_came_in_by_its_name():
    async with running("characters") as app:
        page = await app.open("/characters")
        card = in_png(Card({"name": "Maren <i>x</i>"}), BLANK)
        await app.fetch("/ext/characters/import", "POST", **multipart(("a.png", card)))
        await page.until("Imported Maren &lt;i&gt;x&lt;/i&gt;.")


async def test_text_is_pasted():
    async with running("characters") as app:
        page = await app.open("/characters")
        await page.act("characters.paste", text='{"data": {"name": "Bo", "x": 1}}')
        await page.act("characters.paste", text="name: Kim\ngreeting: Hi\n")
        await page.act("characters.paste", text="{}")
        await page.until("neither a name nor a word about it. Give it a name.")
        await page.act("characters.paste", text="{}")
        await page.until("neither a name nor a word about it. Give it a name.")
        await page.act("characters.paste", text="{")
        await page.until("This is no JSON")
        assert on_disk(app) == ["Bo.yaml", "Kim.yaml"]


@pytest.mark.parametrize("suffix", ["png", "yaml", "json"])
async def test_an_export_is_the_character(suffix: str):
    async with running("characters") as app:
        put(app, "Bo é.json", {"data": BO})
        answer = await app.fetch(f"/ext/characters/export/Bo%20%C3%A9.{suffix}")
        assert answer.status == 200
        card, _ = read_bytes(f"x.{suffix}", answer.body)
        assert {key: card.data[key] for key in BO} == BO
        assert "attachment; filename*=UTF-8''Bo%20%C3%A9." in answer.headers["content-disposition"]
        for odd in ("Bo", "Bo é.html", "../x.json", ".json"):
            answer = await app.fetch(f"/ext/characters/export/{odd.replace(' ', '%20')}")
            assert answer.status == 404


async def test_a_portrait():
    async with running("characters") as app:
        put(app, "Bo.png", in_png(Card(BO), BLANK))
        put(app, "Kim.yaml", b"name: Kim\n")
        page = await app.open("/characters/Bo")
        red = png.drawn(0, 4, 4)
        at = "/ext/characters/portrait/character"
        await app.fetch(f"{at}/Bo", "POST", **multipart(("x", red)))
        assert read_bytes("x.png", (app.kernel.characters / "Bo.png").read_bytes())[0].data == {
            **read_bytes("x.png", in_png(Card(BO), red))[0].data
        }
        await app.fetch(f"{at}/Bo", "POST", **multipart(("x", b"\xff\xd8\xff")))
        await page.until("must be a PNG file")
        await app.fetch(f"{at}/Kim", "POST", **multipart(("x", b"\xff\xd8\xff")))
        await app.fetch(f"{at}/Kim", "POST", **multipart(("x", b"GIF89a")))
        await app.fetch(f"{at}/Kim", "POST", **multipart(("x", b"<svg>")))
        await page.until("This is no picture")
        assert on_disk(app) == ["Bo.png", "Kim.gif", "Kim.yaml"]


# --- personas -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("Bo.yaml", b"name: Bo\n"),
        ("Bo.png", in_png(Card(BO), BLANK)),
        ("Bo.charx", charx.packed(tree_of(Card(BO)), b"", "")),
    ],
)
async def test_another_picture_is_shown_and_is_no_change_of_the_words(name: str, data: bytes):
    async with running("characters") as app:
        put(app, name, data)
        page = await app.open("/characters/Bo")
        old = await stamp(page)
        page.html = ""
        sent = multipart(("x.png", png.drawn(20, 40, 60)))
        await app.fetch("/ext/characters/portrait/character/Bo", "POST", **sent)
        await page.until('<img src="/ext/characters/picture/Bo[^>]*id="characters-face"[^>]*oob')
        await page.act("characters.save", id="Bo", stamp=old, description="Yours.")
        await page.until("Saved.")
        assert "characters-form" not in page.html


async def test_personas_are_kept_chosen_and_deleted():
    async with running("characters") as app:
        users = app.kernel.data / "users"
        page = await app.open("/characters")
        await page.act("characters.new_persona", name="Ann", description="A rider.")
        file = users / "Ann.yaml"
        assert file.read_text() == "name: Ann\nuser_bio: A rider.\n"
        file.write_text("# mine\nname: Ann\nuser_bio: A rider.\nmore: 1\n")
        await page.act("characters.keep_persona", id="Ann", name="Anna", description="A rider.")
        assert file.read_text() == "# mine\nname: Anna\nuser_bio: A rider.\nmore: 1\n"
        drawn = (await page.until(r'Anna.*name="stamp" value="\w+')).rpartition('"')[2]
        file.write_text("name: Anna\nuser_bio: A sailor.\n")
        said = {"id": "Ann", "name": "Anna", "description": "A pilot."}
        await page.act("characters.keep_persona", stamp=drawn, **said)
        now = r'of-Ann-stamp.*value="\w+'
        now = (await page.until(now + '"((?!</span>).)*changed elsewhere')).split('"')[-2]
        assert file.read_text() == "name: Anna\nuser_bio: A sailor.\n"
        await page.act("characters.keep_persona", stamp=now, **said)
        assert file.read_text() == "name: Anna\nuser_bio: A pilot.\n"
        await page.act("characters.choose_persona", id="Ann")
        assert app.extension("characters").settings.persona == "Ann"
        await page.until("Not the default")
        at = "/ext/characters/portrait/persona/Ann"
        await app.fetch(at, "POST", **multipart(("x", BLANK)))
        assert (await app.fetch("/ext/characters/persona/Ann")).body == BLANK
        await page.act("characters.delete_persona", id="Ann")
        assert not [*users.iterdir()]
        token = (await page.until(r'"token": "(persona-\w+)"')).split('"')[3]
        await page.act("characters.restore", token=token)
        assert sorted(each.name for each in users.iterdir()) == ["Ann.png", "Ann.yaml"]
        await page.act("characters.new_persona", name=" ")
        await page.until("A persona needs a name")


# --- what comes with Spindle ----------------------------------------------------------------


async def test_the_characters_that_are_shipped():
    async with running("characters") as app:
        library = app.extension("characters").one(CHARACTERS)
        library.folder.root = ROOT / "characters"
        found = {each.id: each for each in await library.all()}
        assert {"Assistant", "Odile", "Quill"} <= found.keys()
        for each in (found["Assistant"], found["Odile"], found["Quill"]):
            assert each.greetings
            assert each.description
            scene = await library.scene(each)
            assert "{{" not in scene.system
        asked = Message("user", (Text("What is in the ledger?"),))
        scene = await library.scene("Odile", history=[asked])
        assert [lore.name for lore in scene.lore] == ["The ledger"]


async def test_a_folder_that_takes_long_costs_no_page_its_patience(monkeypatch):
    async with running("characters") as app:
        put(app, "Bo.yaml", b"name: Bo\n")
        library = app.extension("characters").one(CHARACTERS)
        gate, read = threading.Event(), type(library.folder).read

        def slow(folder: Any, place: Any) -> Any:
            gate.wait(20)
            return read(folder, place)

        monkeypatch.setattr(type(library.folder), "read", slow)
        page = await app.open("/characters")
        await page.until("Reading the folder")
        page.html = ""
        gate.set()
        await page.until("/characters/Bo")
        again = await app.open("/characters")
        assert "Reading the folder" not in again.html
