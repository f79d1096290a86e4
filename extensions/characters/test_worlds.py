"""Lorebooks of their own: SillyTavern's worlds come in, are changed, told, and go out again."""

import asyncio
import json
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.testing import App, running

from .api import CHARACTERS
from .books import book_of
from .cards import Card, in_png
from .conversion import AMONG, BESIDE, to_book, to_world
from .lore import fitted, found_in
from .macros import Macros
from .records import Book, Character, Entry
from .rows import entries, taken
from .search import Said
from .test_cards import BLANK
from .test_characters import as_sent, multipart
from .test_scenes import said
from .together import about, together
from .worlds import is_world, world_of

WORLD: dict[str, Any] = {
    "entries": {
        "3": {
            "uid": 3, "key": ["elf", "/el(f|ves)/i"], "keysecondary": ["wood"],
            "comment": "Elves", "content": "Elves are old.", "constant": False,
            "vectorized": False, "selective": True, "selectiveLogic": 3, "addMemo": True,
            "order": 90, "position": 4, "disable": False, "ignoreBudget": False,
            "excludeRecursion": True, "preventRecursion": False, "delayUntilRecursion": 2,
            "probability": 80, "useProbability": True, "depth": 2, "outletName": "",
            "group": "folk", "groupOverride": True, "groupWeight": 70, "scanDepth": 7,
            "caseSensitive": None, "matchWholeWords": True, "useGroupScoring": None,
            "automationId": "a1", "role": 1, "sticky": 3, "cooldown": 4, "delay": 0,
            "displayIndex": 1, "triggers": [], "characterFilter": {"isExclude": False,
            "names": ["Bo"], "tags": []}, "matchScenario": True,
        },
        "0": {"uid": 0, "key": ["orc"], "content": "Orcs are loud.", "disable": True},
    },
    "name": "Middle", "mine": {"kept": [1, None]},
}  # fmt: skip
BOOK: dict[str, Any] = {
    "name": "Lore", "description": "d", "scan_depth": 5, "token_budget": 300, "x": 1,
    "recursive_scanning": True, "extensions": {"y": 2},
    "entries": [
        {"keys": ["a"], "secondary_keys": ["b"], "content": "A", "enabled": False, "id": 7,
         "insertion_order": 3, "priority": 4, "use_regex": True, "case_sensitive": True,
         "name": "N", "comment": "C", "constant": True, "position": "before_char", "z": [1],
         "selective": True, "extensions": {"position": 4, "depth": 1, "role": 2, "odd": {"k": 1},
         "sticky": 2, "match_whole_words": False, "case_sensitive": True, "group_weight": 5}},
        {"keys": ["c"], "content": "", "enabled": True, "id": "text", "position": 4,
         "insertion_order": 0, "extensions": {}},
        {"keys": [], "key": ["both"], "content": "", "disable": False, "enabled": True},
    ],
}  # fmt: skip


def holds(more: Any, less: Any) -> bool:
    """Whether everything of one tree is in another, which may say more beside."""
    if isinstance(less, dict):
        return isinstance(more, dict) and all(k in more and holds(more[k], less[k]) for k in less)
    if isinstance(less, list):
        same = isinstance(more, list) and len(more) == len(less)
        return same and all(map(holds, more, less))
    return more == less and type(more) is type(less)


# --- one as the other -------------------------------------------------------------------


def test_nothing_is_lost_on_the_way_there_and_back():
    book = to_book(WORLD)
    back = to_world(book)
    assert holds(back, WORLD)
    assert holds(to_book(to_world(BOOK)), BOOK)
    assert [*back["entries"]] == [*WORLD["entries"]], "in the same order"
    assert book["entries"][0]["extensions"]["exclude_recursion"] is True
    assert book["entries"][0]["position"] == "after_char"
    assert to_world(BOOK)["entries"]["7"]["key"] == ["a"]


@pytest.mark.parametrize("kept", [WORLD, BOOK], ids=["world", "book"])
def test_both_are_read_alike(kept: dict[str, Any]):
    there = to_book(kept) if kept is WORLD else to_world(kept)
    first, second = book_of(kept), book_of(there)
    assert first
    assert second
    assert [*map(plain, first.entries)] == [*map(plain, second.entries)]
    assert (first.scan_depth, first.budget) == (second.scan_depth, second.budget)


def plain(entry: Entry) -> tuple[object, ...]:
    return entry.keys, entry.content, entry.place, entry.depth, entry.role, entry.order, (
        entry.enabled, entry.constant, entry.logic, entry.case_sensitive, entry.whole_words,
        entry.probability, entry.sticky, entry.groups, entry.weight, entry.scan_depth, entry.regex,
    )  # fmt: skip


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.text(max_size=4),
    st.lists(st.text(max_size=3)), st.sampled_from(["before_char", "after_char"]),
)  # fmt: skip
BOTH = ("comment", "content", "constant", "selective", "name", "odd", "other")


def rows_of(*names: str, among: tuple[str, ...]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Entries with any values in fields of these names, and `among` the extensions."""
    more = st.dictionaries(st.sampled_from((*among, "odd")), VALUES, max_size=5)
    fields = st.dictionaries(st.sampled_from((*BOTH, *names)), VALUES, max_size=8)
    whole = st.tuples(fields, more).map(lambda both: {**both[0], "extensions": both[1]})
    return st.lists(st.one_of(fields, whole), max_size=4)


CARDS = rows_of("id", "keys", "secondary_keys", "insertion_order", "enabled", "position",
                "case_sensitive", "priority", among=(*AMONG.values(),))  # fmt: skip
WORLDS = rows_of(*BESIDE, "disable", *AMONG, among=("mine",))


@settings(max_examples=50, deadline=None)
@given(CARDS, WORLDS)
def test_nothing_is_lost_whatever_it_is(card: list[dict[str, Any]], world: list[dict[str, Any]]):
    assert holds(to_book(to_world({"entries": card}))["entries"], card)
    numbered = {"entries": {str(n): row for n, row in enumerate(world)}}
    assert holds(entries(to_world(to_book(numbered))), world)


def test_what_is_a_lorebook():
    assert is_world(WORLD)
    assert is_world({"entries": []})
    assert is_world({"spec": "lorebook_v3", "data": BOOK})
    assert world_of({"spec": "lorebook_v3", "data": BOOK}) == to_world(BOOK)
    assert world_of(WORLD) is WORLD
    for other in (
        {"name": "Bo"},
        {"data": {"name": "Bo"}, "entries": []},
        [],
        None,
        {"entries": 1},
    ):
        assert not is_world(other)


# --- together ---------------------------------------------------------------------------


def test_several_are_one_and_each_stays_what_it_was():
    first = Book((Entry("a"),), "A", scan_depth=2, budget=10, recursive=True)
    second = Book((Entry("b", scan_depth=9), Entry("c")), "B")
    both = together([first, second], 4, 100)
    assert both
    assert [entry.scan_depth for entry in both.entries] == [2, 9, 4]
    assert [entry.by_recursion for entry in both.entries] == [True, False, False]
    assert both.rooms == (100, 10)
    assert [entry.pool for entry in both.entries] == [1, 0, 0]
    assert together([], 4, 100) is None


def test_what_is_told_of_some_characters_only():
    bo, kim = Character("bo", "Bo", tags=("Fox",)), Character("kim", "Kim")

    def told(**whose: Any) -> list[str]:
        read = book_of({"entries": [{"keys": ["a"], "content": "x", "characterFilter": whose}]})
        assert read
        return [each.name for each in (bo, kim) if about(read, each).entries]

    assert told() == ["Bo", "Kim"]
    assert told(names=["BO"], tags=[], isExclude=False) == ["Bo"]
    assert told(names=["bo"], tags=[], isExclude=True) == ["Kim"]
    assert told(names=[], tags=["fox"]) == ["Bo"]


async def test_what_has_an_outlet_is_told_where_it_is_asked_for():
    entries = {
        "0": {"uid": 0, "key": ["orc"], "content": "Orcs bite {{user}}.", "position": 7,
              "outletName": "Foes", "order": 2},
        "1": {"uid": 1, "constant": True, "content": "Be wary.", "position": 7,
              "outletName": "Foes", "order": 1},
        "2": {"uid": 2, "constant": True, "content": "Lost.", "position": 7},
    }  # fmt: skip
    async with running("characters") as app:
        put(app, {"entries": entries})
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        system = "({{outlet::Foes}})({{outlet::foes}})({{outlet:: Foes }})"
        card = {"name": "Bo", "system_prompt": system, "extensions": {"world": "Middle"}}
        (folder / "Bo.json").write_text(json.dumps(card))
        library = app.extension("characters").one(CHARACTERS)
        scene = await library.scene("Bo", history=said("", "An orc?"))
        foes = "(Be wary.\nOrcs bite You.)"
        assert scene.system == f"{foes}(){foes}"


async def test_what_ignores_the_budget_has_room():
    rows = [{"keys": ["a"], "content": "one two", "insertion_order": n} for n in range(3)]
    rows[0]["extensions"] = {"ignore_budget": True}
    read = book_of({"entries": rows, "token_budget": 2})
    assert read
    hits = found_in(read, Said(["a"]), Macros(), 0)

    async def count(text: str) -> int:
        return len(text.split())

    found = await fitted(read, hits, Macros(), count, None)
    assert [entry.order for entry, _ in found.lore] == [0, 2]


# --- the page ---------------------------------------------------------------------------


def world(app: App, name: str = "Middle") -> Path:
    return app.kernel.data / "worlds" / f"{name}.json"


def put(app: App, tree: Any = WORLD, name: str = "Middle") -> Path:
    file = world(app, name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(tree), "utf-8")
    return file


async def test_a_world_comes_in_and_goes_out_as_it_was():
    async with running("characters") as app:
        page = await app.open("/characters")
        sent = json.dumps({k: v for k, v in WORLD.items() if k != "name"}).encode()
        answer = await app.fetch(
            "/ext/characters/import", "POST", **multipart(("Old world.json", sent))
        )
        assert answer.status == 204
        await page.until("Imported Old world.")
        await page.until("Old world</span> <span class=.quiet.>2 entries")
        out = await app.fetch("/ext/characters/world/Old%20world.json")
        assert json.loads(out.body) == json.loads(sent)
        assert "attachment" in out.headers["content-disposition"]
        await page.act("characters.paste", text=json.dumps({"name": "Listed", **BOOK}))
        out = await app.fetch("/ext/characters/world/Lore.json")
        assert json.loads(out.body) == to_world(BOOK)
        for odd in ("Old%20world", "x.json", "..%2f..%2fsettings.json", "Old%20world.yaml"):
            assert (await app.fetch(f"/ext/characters/world/{odd}")).status == 404


async def test_a_form_that_is_sent_as_it_was_drawn_changes_nothing():
    async with running("characters") as app:
        file = put(app)
        before = file.read_bytes()
        page = await app.open("/characters/lore%3AMiddle")
        html = await page.until("<form class=.characters-form.*</form>")
        await page.act("characters.save_world", **as_sent(html))
        assert file.read_bytes() == before


async def test_it_is_edited_in_its_own_form():
    async with running("characters") as app:
        file = put(app)
        page = await app.open("/characters/lore%3AMiddle")
        html = await page.until("<form class=.characters-form.*</form>")
        changes = {
            "entry_0_keys": "elf, dwarf", "entry_0_sticky": "9", "entry_0_group": "folk, kin",
            "entry_0_prioritized": "", "entry_0_place": "after", "entry_1_enabled": "true",
            "entry_1_case_sensitive": "true", "entry_1_probability": "50", "entry_1_delay": "2",
            "entry_5_keys": "troll", "entry_5_content": "Stone.", "entry_5_enabled": "true",
            "entry_5_weight": "30", "book_recursive": "true",
        }  # fmt: skip
        await page.act("characters.save_world", **{**as_sent(html), **changes})
        await page.until("Saved.")
        now = json.loads(file.read_text())
        old, orc, troll = (now["entries"][name] for name in ("3", "0", "4"))
        assert old == {
            **WORLD["entries"]["3"], "key": ["elf", "dwarf"], "sticky": 9, "group": "folk, kin",
            "groupOverride": False, "position": 1,
        }  # fmt: skip
        assert orc == {
            **WORLD["entries"]["0"], "disable": False, "caseSensitive": True, "probability": 50,
            "useProbability": True, "delay": 2,
        }  # fmt: skip
        assert troll == {
            "uid": 4, "key": ["troll"], "keysecondary": [], "comment": "", "content": "Stone.",
            "constant": False, "selective": True, "order": 100, "position": 0, "disable": False,
            "groupWeight": 30,
        }  # fmt: skip
        assert now["mine"] == WORLD["mine"]
        assert now["recursive_scanning"] is True
        file.write_text(json.dumps({**WORLD, "name": "Other"}))
        await page.act("characters.save_world", **{**as_sent(html), "entry_0_keys": "x"})
        await page.until("was changed elsewhere")
        assert json.loads(file.read_text()) == {**WORLD, "name": "Other"}


def test_a_card_keeps_time_and_groups_among_its_extensions():
    row = {"entry_0_keys": "a", "entry_0_sticky": "2", "entry_0_group": "g",
           "entry_0_scoring": "on", "entry_0_enabled": "true"}  # fmt: skip
    [entry] = taken({"entries": [{"keys": ["a"], "content": "A"}]}, row)["entries"]
    assert entry["extensions"] == {"sticky": 2, "group": "g", "use_group_scoring": True}
    world = {"keys": ["a"], "content": "A", "sticky": 1, "extensions": {"sticky": 1}}
    [entry] = taken({"entries": [world]}, row)["entries"]
    assert (entry["sticky"], entry["extensions"]["sticky"]) == (2, 2), "wherever it was said"


async def test_it_is_made_deleted_and_brought_back():
    async with running("characters") as app:
        page = await app.open("/characters")
        await page.act("characters.new_world", name="The ../sea")
        assert world(app, "The sea").exists()
        await page.until("page-go.*/characters/lore%3AThe%20sea")
        await page.act("characters.delete_world", id="The sea")
        assert not world(app, "The sea").exists()
        token = (await page.until(r'"token": "(lorebook-\w+)"')).split('"')[3]
        await page.act("characters.restore", token=token)
        assert world(app, "The sea").exists()
        await page.act("characters.new_world", name=" ")
        await page.until("A lorebook needs a name")
        for action in ("delete_world", "tell_everywhere"):
            page.html = ""
            await page.act(f"characters.{action}", id="../../settings", on=True)
            await page.until("There is no lorebook “../../settings” any more")


async def test_it_is_told_with_a_character_or_everywhere():
    async with running("characters") as app:
        put(app, {"entries": {"0": {"uid": 0, "key": ["orc"], "content": "Orcs are loud."}}})
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        card = {"name": "Bo", "extensions": {"world": "Middle", "x": 1}}
        (folder / "Bo.json").write_text(json.dumps(card))
        (folder / "Kim.json").write_text('{"name": "Kim"}')
        library = app.extension("characters").one(CHARACTERS)

        async def told(character: str) -> list[str]:
            scene = await library.scene(character, history=said("", "An orc?"))
            return [lore.text for lore in scene.lore]

        assert await told("Bo") == ["Orcs are loud."]
        assert await told("Kim") == []
        page = await app.open("/characters/lore%3AMiddle")
        await page.act("characters.tell_everywhere", id="Middle", on=True)
        await page.until("Told in every conversation")
        assert await told("Kim") == ["Orcs are loud."]
        assert await told("Bo") == ["Orcs are loud."], "and not twice"
        copy = {**card, "character_book": {"name": "Middle", "entries": [
            {"keys": ["orc"], "content": "Orcs were loud.", "extensions": {}}]}}  # fmt: skip
        (folder / "Bo.json").write_text(json.dumps(copy))
        assert await told("Bo") == ["Orcs are loud."], "the lorebook, not its copy in the card"
        (folder / "Bo.json").write_text(json.dumps(card))
        await page.act("characters.tell_everywhere", id="Middle", on=False)
        assert await told("Kim") == []
        editor = await app.open("/characters/Bo")
        html = await editor.until("<form class=.characters-form.*</form>")
        await editor.act("characters.save", **{**as_sent(html), "world": ""})
        assert json.loads((folder / "Bo.json").read_text())["extensions"] == {"world": "", "x": 1}
        assert await told("Bo") == []


async def test_who_has_it_has_it_by_its_new_name():
    async with running("characters") as app:
        put(app, {"entries": {"0": {"uid": 0, "key": ["orc"], "content": "Orcs are loud."}}})
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        for name, has in (("Bo", "Middle"), ("Kim", ["Sea", "Middle"]), ("Al", "Sea")):
            card = {"name": name, "extensions": {"world": has, "x": 1}}
            (folder / f"{name}.json").write_text(json.dumps(card))
        page = await app.open("/characters/lore%3AMiddle")
        await page.act("characters.tell_everywhere", id="Middle", on=True)
        await page.act("characters.rename_world", id="Middle", to="The ../east")
        await page.until("“Middle” is called “The east” now")
        assert world(app, "The east").exists()
        assert not world(app, "Middle").exists()
        assert page.client.path == "/characters/lore:The east"

        def of(name: str) -> Any:
            return json.loads((folder / f"{name}.json").read_text())["extensions"]

        assert of("Bo") == {"world": "The east", "x": 1}
        assert of("Kim") == {"world": ["Sea", "The east"], "x": 1}
        assert of("Al") == {"world": "Sea", "x": 1}
        assert [*app.extension("characters").settings.worlds] == ["The east"]
        await page.act("characters.new_world", name="Taken")
        for to, says in ((" ", "A lorebook needs a name"), ("taken", "is a file called taken")):
            await page.act("characters.rename_world", id="The east", to=to)
            await page.until(says)
        await page.act("characters.rename_world", id="The east", to="Middle")
        assert of("Kim")["world"] == ["Sea", "Middle"]


async def test_who_cannot_be_told_of_its_new_name_holds_up_nobody_else():
    async with running("characters") as app:
        put(app, WORLD)
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        card = {"name": "Ann", "extensions": {"world": "Middle"}}
        picture = in_png(Card(card), BLANK)
        at = picture.index(b"IDAT") + 6  # What is read is whole, but not the picture around it.
        (folder / "Ann.png").write_bytes(picture[:at] + b"\xff" + picture[at + 1 :])
        (folder / "Zoe.json").write_text(json.dumps({**card, "name": "Zoe"}))
        page = await app.open("/characters/lore%3AMiddle")
        await page.act("characters.tell_everywhere", id="Middle", on=True)
        await page.act("characters.rename_world", id="Middle", to="East")
        await page.until("“Ann” could not be told of the lorebook&#39;s new name: [^<]*damaged")
        assert '"world": "East"' in (folder / "Zoe.json").read_text()
        assert [*app.extension("characters").settings.worlds] == ["East"]
        await page.until("“Middle” is called “East” now")


async def test_the_lorebook_of_a_card_is_set_free_and_taken_in_again():
    async with running("characters") as app:
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        file = folder / "Bo.json"
        file.write_text(json.dumps({"data": {"name": "Bo", "character_book": BOOK}}))
        page = await app.open("/characters/Bo")
        html = await page.until("<form class=.characters-form.*</form>")
        form = as_sent(html)
        file.write_text(json.dumps({"data": {"name": "Bo!", "character_book": BOOK}}))
        await page.act("characters.set_free", **form)
        await page.until("This character was changed elsewhere")
        form["stamp"] = ""
        await page.act("characters.set_free", **{**form, "description": "Typed."})
        await page.until("Its lore is the lorebook “Lore” now")
        assert json.loads(world(app, "Lore").read_text()) == to_world(BOOK)
        assert json.loads(file.read_text())["data"]["description"] == "Typed.", "and kept"
        data = json.loads(file.read_text())["data"]
        assert "character_book" not in data
        assert data["extensions"] == {"world": "Lore"}
        await page.act("characters.set_free", id="Bo")
        await page.until("This character has no lorebook")
        await page.act("characters.take_in", id="Bo", world="Lore")
        data = json.loads(file.read_text())["data"]
        assert holds(data["character_book"], BOOK)
        assert data["extensions"] == {}
        assert world(app, "Lore").exists(), "it stays for others"


ELVES: dict[str, Any] = {"entries": {"0": {"uid": 0, "key": ["elf"], "content": "Elves are old."}}}
SEA: dict[str, Any] = {"entries": {"0": {"uid": 0, "key": ["elf"], "content": "The sea is deep."}}}


def put_bo(app: App, world: Any, **data: Any) -> Path:
    """A character that has a lorebook."""
    file = app.kernel.characters / "Bo.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"data": {"name": "Bo", "extensions": {"world": world}, **data}}))
    return file


async def told_of_elves(app: App, id: str = "Bo") -> list[str]:
    library = app.extension("characters").one(CHARACTERS)
    scene = await library.scene(id, history=said("", "An elf?"))
    return sorted(lore.text for lore in scene.lore)


async def test_a_copy_in_a_card_stays_one_when_its_lorebook_is_called_otherwise():
    async with running("characters") as app:
        put(app, ELVES)
        file = put_bo(app, "Middle", character_book={**to_book(ELVES), "name": "Middle"})
        page = await app.open("/characters/lore%3AMiddle")
        await page.act("characters.rename_world", id="Middle", to="East")
        assert await told_of_elves(app) == ["Elves are old."]
        await page.act("characters.take_in", id="Bo", world="East")
        assert await told_of_elves(app) == ["Elves are old."], "in the place of its copy"
        data = json.loads(file.read_text())["data"]
        assert data["character_book"] == {**to_book(ELVES), "name": "East"}
        assert data["extensions"] == {}


async def test_what_a_copy_in_a_card_has_otherwise_stays_when_its_lorebook_is_taken_in():
    async with running("characters") as app:
        put(app, ELVES)
        [elves], [sea] = to_book(ELVES)["entries"], to_book(SEA)["entries"]
        own = {"name": "Middle", "scan_depth": 9, "x": 1, "entries": [{**elves, "id": 7}, sea]}
        file = put_bo(app, "Middle", character_book=own)
        page = await app.open("/characters/Bo")
        await page.act("characters.take_in", id="Bo", world="Middle")
        book = json.loads(file.read_text())["data"]["character_book"]
        assert book["entries"] == [elves, {**sea, "enabled": False}]
        assert holds(book, {"name": "Middle", "scan_depth": 9, "x": 1})
        assert await told_of_elves(app) == ["Elves are old."], "once, and no more than before"


async def test_other_lorebooks_still_go_with_a_character_whose_own_is_set_free_or_taken_in():
    async with running("characters") as app:
        put(app, SEA, "Sea")
        file = put_bo(app, "Sea", character_book=to_book(ELVES))
        both = ["Elves are old.", "The sea is deep."]

        def has() -> Any:
            return json.loads(file.read_text())["data"]["extensions"].get("world")

        page = await app.open("/characters/Bo")
        await page.act("characters.set_free", id="Bo")
        assert (has(), await told_of_elves(app)) == (["Bo lore", "Sea"], both)
        await page.until('<option value="Bo lore, Sea" selected>Bo lore, Sea</option>')
        await page.until('value="Take the entries of “Sea” in"[^>]*"world": "Sea"')
        await page.act("characters.take_in", id="Bo", world="Bo lore")
        assert (has(), await told_of_elves(app)) == ("Sea", both)
        await page.act("characters.take_in", id="Bo", world="Sea")
        assert (has(), await told_of_elves(app)) == (None, both)


async def test_a_copy_that_is_set_free_is_told_instead_of_its_lorebook():
    async with running("characters") as app:
        put(app, ELVES)
        file = put_bo(app, ["Middle", "Gone"], character_book={**to_book(ELVES), "name": "Middle"})
        page = await app.open("/characters/Bo")
        await page.act("characters.set_free", id="Bo")
        extensions = json.loads(file.read_text())["data"]["extensions"]
        assert extensions == {"world": ["Middle_001", "Gone"]}
        assert await told_of_elves(app) == ["Elves are old."]


@pytest.mark.parametrize("name", ["Eldoria v1.2", "Elves & Orcs", "हिन्दी"])
async def test_a_world_comes_in_under_the_name_that_its_card_says(name: str):
    async with running("characters") as app:
        put_bo(app, name)
        page = await app.open("/characters/Bo")
        option = f'<option value="{escape(name)}" selected>{escape(name)}'
        await page.until(re.escape(f"{option} (is not there)"))
        sent = multipart((f"{name}.json", json.dumps({**ELVES, "name": "Other"}).encode()))
        await app.fetch("/ext/characters/import", "POST", **sent)
        assert await told_of_elves(app) == ["Elves are old."]
        page = await app.open("/characters/Bo")
        await page.until(f"<option selected>{re.escape(escape(name))}</option>")
        assert "is not there" not in page.html


async def test_an_export_has_the_lorebook_where_the_card_has_no_entries_of_its_own():
    async with running("characters") as app:
        put(app, ELVES)
        for own in (None, {"entries": [], "x": 1}, {"entries": {}}):
            put_bo(app, "Middle", character_book=own)
            sent = await app.fetch("/ext/characters/export/Bo.json")
            book = json.loads(sent.body)["data"]["character_book"]
            assert holds(book, {**(own or {}), **to_book(ELVES), "name": "Middle"})


@pytest.mark.parametrize("odd", ["[", "{}", '{"entries": 5}', '"x"', '{"entries":' + "[" * 99_999])
async def test_a_file_that_is_no_lorebook_costs_nothing(odd: str):
    async with running("characters") as app:
        put(app)
        file = put(app, name="Odd")
        file.write_text(odd)
        page = await app.open("/characters")
        await page.until("Odd</span> <span class=.quiet.>cannot be read")
        other = await app.open("/characters/lore%3AOdd")
        await other.until("role=.alert.>[^<]*(JSON|lorebook|nested)")
        library = app.extension("characters").one(CHARACTERS)
        assert [*library.worlds.books(["Odd", "Middle", "Gone"])] == ["Middle"]


async def test_two_that_are_told_everywhere_at_once_both_are():
    async with running("characters") as app:
        pages = [await app.open("/characters") for _ in range(2)]
        for name in ("A", "B"):
            await pages[0].act("characters.new_world", name=name)
        told = [
            page.act("characters.tell_everywhere", id=name, on=True)
            for page, name in zip(pages, ("A", "B"), strict=True)
        ]
        await asyncio.gather(*told)
        assert {*app.extension("characters").settings.worlds} == {"A", "B"}
