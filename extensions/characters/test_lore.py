"""Lorebooks: what brings an entry, what keeps it out, and what there is room for."""

from typing import Any

import pytest

from . import lore
from .books import book_of
from .lore import fitted, found_in
from .macros import Macros
from .records import Book
from .scenes import guessed
from .search import Said

MACROS = Macros("Ann", "Bo")


def book(*entries: dict[str, Any], **more: Any) -> Book:
    read = book_of({"entries": [{"id": n, **entry} for n, entry in enumerate(entries)], **more})
    assert read
    return read


def names(read: Book, *lines: str, seed: int = 0, replies: int = 0, greeting: int = 0) -> set[str]:
    """The ids of what is found in these lines."""
    said = Said(lines, (0,) * replies, greeting)
    return {entry.id for entry, _ in found_in(read, said, MACROS, seed)}


DRAGON: dict[str, Any] = {"keys": ["dragon", "wyrm"], "content": "It sleeps."}


@pytest.mark.parametrize(
    ("entry", "line", "found"),
    [
        ({}, "A DRAGON!", True),
        ({}, "dragonfly", True),
        ({}, "a lizard", False),
        ({"enabled": False}, "dragon", False),
        ({"constant": True}, "nothing", True),
        ({"case_sensitive": True}, "A DRAGON", False),
        ({"extensions": {"case_sensitive": True}}, "A DRAGON", False),
        ({"extensions": {"match_whole_words": True}}, "dragonfly", False),
        ({"extensions": {"match_whole_words": True}}, "a dragon.", True),
        ({"keys": ["{{user}}"]}, "ann is here", True),
        ({"keys": ["/dra(gon|ke)s?/"]}, "two drakes", True),
        ({"keys": ["/DRAKE/"]}, "two drakes", False),
        ({"keys": ["/drake/i", "cat"]}, "a CAT", True),
        ({"keys": ["/\\x01{{char}}: [^\\x01]*hello/i"]}, "Bo: Well, hello", True),
        ({"keys": ["/\\x01{{user}}: [^\\x01]*hello/i"]}, "Bo: Well, hello", False),
        ({"keys": ["dr.ke"], "use_regex": True}, "Drake", True),
        ({"keys": ["(a+)+\\1"], "use_regex": True}, "aaaa", False),
        ({"keys": "cat, dog"}, "a dog", True),
        ({"keys": []}, "dragon", False),
        ({"keys": [""]}, "dragon", False),
    ],
)
def test_what_brings_an_entry(entry: dict[str, Any], line: str, found: bool):
    assert (names(book({**DRAGON, **entry}), line) == {"0"}) == found


@pytest.mark.parametrize(
    ("logic", "line", "found"),
    [
        (0, "dragon", False), (0, "dragon gold", True),
        (1, "dragon gold", True), (1, "dragon gold cave", False),
        (2, "dragon", True), (2, "dragon cave", False),
        (3, "dragon gold", False), (3, "dragon gold cave", True),
    ],
)  # fmt: skip
def test_secondary_keys(logic: int, line: str, found: bool):
    entry = {
        **DRAGON, "selective": True, "secondary_keys": ["gold", "cave"],
        "extensions": {"selectiveLogic": logic},
    }  # fmt: skip
    assert (names(book(entry), line) == {"0"}) == found
    assert names(book({**entry, "selective": False}), "dragon") == {"0"}


def test_how_far_back_is_looked():
    lines = ["dragon", "a", "b", "c"]
    assert names(book(DRAGON), *lines) == {"0"}
    assert names(book(DRAGON), *lines, "d") == set()
    assert names(book(DRAGON, scan_depth=9), *lines, "d", "e") == {"0"}
    assert names(book(DRAGON, scan_depth=0), "dragon") == set()
    assert names(book({**DRAGON, "extensions": {"scan_depth": 1}}), *lines) == set()


def test_recursion_and_its_end():
    chain = [{"keys": [f"k{n}"], "content": f"k{n + 1}"} for n in range(20)]
    assert names(book(*chain), "k0") == {"0"}
    assert names(book(*chain, recursive_scanning=True), "k0") == {str(n) for n in range(6)}


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({}, {}, {"0", "1"}),
        ({"prevent_recursion": True}, {}, {"0"}),
        ({}, {"exclude_recursion": True}, {"0"}),
        ({}, {"delay_until_recursion": True}, {"0", "1"}),
    ],
)
def test_what_recursion_leaves_out(first: dict[str, Any], second: dict[str, Any], found: set[str]):
    entries = (
        {"keys": ["a"], "content": "gold", "extensions": first},
        {"keys": ["gold"], "content": "x", "extensions": second},
    )
    assert names(book(*entries, recursive_scanning=True), "a") == found
    if "delay_until_recursion" in second:
        assert names(book(*entries, recursive_scanning=True), "gold") == set()


def test_levels_of_recursion_come_one_after_another():
    """As SillyTavern has them: a level is looked at when the one before brings nothing more."""
    gold = {"keys": ["a"], "content": "gold"}

    def later(level: int, key: str, content: str) -> dict[str, Any]:
        more = {"delay_until_recursion": level}
        return {"keys": [key], "content": content, "extensions": more}

    first, second = later(1, "gold", "silver"), later(2, "silver", "iron")
    third = later(3, "gold", "x")
    for entries, found in (
        ((gold, first, second, third), {"0", "1", "2", "3"}),
        ((gold, second, third), {"0", "2"}),  # Nobody speaks of silver.
        ((gold, later(2, "gold", "x"), later(2, "a", "x")), {"0", "1", "2"}),
        ((later(1, "a", "x"), later(1, "gold", "x")), set()),
    ):
        assert names(book(*entries, recursive_scanning=True), "a") == found
        assert names(book(*entries), "a") == ({"0"} if gold in entries else set())
    read = book(gold, third, first, recursive_scanning=True)
    order = [entry.id for entry, _ in found_in(read, Said(("a",)), MACROS, 0)]
    assert order == ["0", "2", "1"], "the lower level before the higher one"


def test_no_turn_of_recursion_begins_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch):
    """Each level has a turn over all entries: a book of 12,000 levels took over a minute."""
    turns: list[object] = []
    monkeypatch.setattr(lore, "one_of_each", lambda new, *_: turns.append(new) or new)
    monkeypatch.setattr(lore, "PATIENCE", -1)
    levels = [
        {"keys": ["a"], "content": "a", "extensions": {"delay_until_recursion": n + 1}}
        for n in range(50)
    ]
    assert names(book(*levels, recursive_scanning=True), "a") == set()
    assert len(turns) == 1


def test_chance_is_the_seeds():
    read = book({**DRAGON, "extensions": {"probability": 40, "useProbability": True}})
    found = [names(read, "dragon", seed=seed) == {"0"} for seed in range(300)]
    assert 90 < sum(found) < 150
    assert found == [names(read, "dragon", seed=seed) == {"0"} for seed in range(300)]
    always = book({**DRAGON, "extensions": {"probability": 0, "useProbability": False}})
    assert names(always, "dragon") == {"0"}


@pytest.mark.parametrize(
    ("head", "lines", "found"),
    [
        ("@@activate", ["nothing"], True),
        ("@@dont_activate", ["dragon"], False),
        ("@@additional_keys drake, newt", ["a newt"], True),
        ("@@exclude_keys gold", ["dragon gold"], False),
        ("@@scan_depth 1", ["dragon", "x"], False),
        ("@@keep_activate_after_match", ["dragon", *"abcdef"], True),
        ("@@dont_activate_after_match", ["dragon"], True),
        ("@@dont_activate_after_match", ["dragon", "a dragon"], False),
        ("@@unknown x\n@@@activate", ["nothing"], True),
        ("@@scan_depth 4\n@@@activate", ["nothing"], False),
        ("@@is_greeting 1", ["dragon"], False),
    ],
)
def test_decorators(head: str, lines: list[str], found: bool):
    read = book({**DRAGON, "content": f"{head}\nIt sleeps."})
    assert read.entries[0].content == "It sleeps."
    assert (names(read, *lines) == {"0"}) == found


def test_decorators_that_count_replies():
    after = book({**DRAGON, "content": "@@activate_only_after 2\nx"})
    assert [bool(names(after, "dragon", replies=n)) for n in range(4)] == [False, False, True, True]
    every = book({**DRAGON, "content": "@@activate_only_every 2\nx"})
    assert [bool(names(every, "dragon", replies=n)) for n in range(4)] == [True, False, True, False]
    greeting = book({**DRAGON, "content": "@@is_greeting 1\nx"})
    assert names(greeting, "dragon", greeting=1) == {"0"}


def test_where_an_entry_stands():
    heads = ["", "@@depth 2\n@@role user", "@@position personality", "@@position after_desc"]
    read = book(*({**DRAGON, "content": f"{head}\nx"} for head in heads))
    assert [entry.place for entry in read.entries] == ["before", "depth", "personality", "after"]
    assert (read.entries[1].depth, read.entries[1].role) == (2, "user")
    world = book(
        {**DRAGON, "position": "after_char"},
        {**DRAGON, "position": "after_char", "extensions": {"position": 4, "depth": 1, "role": 2}},
    )
    assert [entry.place for entry in world.entries] == ["after", "depth"]
    assert (world.entries[1].depth, world.entries[1].role) == (1, "assistant")


async def words(text: str) -> int:
    return len(text.split())


async def test_what_there_is_room_for():
    read = book(
        {"keys": ["a"], "content": "one two three", "insertion_order": 3},
        {"keys": ["a"], "content": "one two", "insertion_order": 1, "priority": 5},
        {"keys": ["a"], "content": "one two", "insertion_order": 2, "comment": "The last"},
        {"constant": True, "content": "{{char}} knows", "insertion_order": 9},
        token_budget=6,
    )
    hits = found_in(read, Said(["a"]), MACROS, 0)
    told = await fitted(read, hits, MACROS, words, None)
    assert [lore.text for _, lore in told.lore] == ["one two", "one two", "Bo knows"]
    assert told.left_out == ("a",)
    less = await fitted(read, hits, MACROS, words, 2)
    assert [lore.text for _, lore in less.lore] == ["Bo knows"]
    everything = await fitted(book_without_limit(read), hits, MACROS, words, None)
    assert len(everything.lore) == 4


def book_without_limit(read: Book) -> Book:
    return Book(read.entries, budget=0)


def test_a_world_of_sillytavern_is_read():
    world = {
        "entries": {
            "0": {"uid": 0, "key": ["elf"], "keysecondary": ["wood"], "selective": True,
                  "content": "Old.", "order": 7, "disable": False, "excludeRecursion": True},
            "1": {"uid": 1, "key": ["orc"], "content": "Loud.", "disable": True},
        }
    }  # fmt: skip
    read = book_of(world)
    assert read
    assert names(read, "an elf in a wood") == {"0"}
    assert names(read, "an elf") == set()
    assert names(read, "an orc") == set()
    assert read.entries[0].order == 7
    assert not read.entries[0].by_recursion


@pytest.mark.parametrize("odd", [None, 7, "x", [], {"entries": 5}, {"entries": [1, None, "x"]}])
def test_what_is_no_book(odd: Any):
    read = book_of(odd)
    assert read is None or not read.entries


def test_odd_values_break_nothing():
    odd: list[Any] = [None, [], {}, True, -1, 1e300, "nan", {"a": 1}]
    fields = (
        "id", "keys", "secondary_keys", "content", "insertion_order", "position", "extensions",
        "probability", "scan_depth", "role", "depth", "selectiveLogic", "priority", "name",
    )  # fmt: skip
    for value in odd:
        for field in fields:
            read = book({"keys": ["a"], "content": "x", field: value})
            found_in(read, Said(["a", "b"]), MACROS, 0)


async def test_a_budget_counts_letters_of_every_script():
    chinese = "从前有一座古老的城市城里住着精灵与龙守着书" * 20
    rows = [{"constant": True, "content": f"{n}{chinese}"} for n in range(10)]
    book = book_of({"entries": rows, "token_budget": 1024})
    assert book
    told = await fitted(book, [(e, "") for e in book.entries], MACROS, guessed, None)
    assert len(chinese) == 420
    assert len(told.lore) == 3, "of some 300 tokens each"
