"""Entries that stay, rest and wait, counted in messages, and groups of which one is told."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from .books import book_of
from .lore import found_in
from .macros import Macros
from .records import Book
from .search import Said

MACROS = Macros("Ann", "Bo")
QUIET = "Nothing."


def book(*entries: dict[str, Any], **more: Any) -> Book:
    read = book_of({"entries": [{"content": "x", **entry} for entry in entries], **more})
    assert read
    return read


def told(read: Book, lines: Sequence[str], *, seed: int = 0, place: str = "here") -> set[str]:
    """What is told after these lines, each of which but the last was answered by the next."""
    said = Said(lines, range(1, len(lines)))
    return {entry.id for entry, _ in found_in(read, said, MACROS, seed, place)}


def course(read: Book, *lines: str, **more: Any) -> list[bool]:
    """Whether the first entry is told at each count of messages, from 1 on."""
    return [told(read, lines[:n], **more) >= {"0"} for n in range(1, len(lines) + 1)]


def timed(**fields: int) -> Book:
    return book({"keys": ["dragon"], "extensions": fields}, scan_depth=1)


def test_the_example_of_sillytaverns_documentation():
    """sticky 3, cooldown 2, delay 2; its messages are counted from 0, ours from 1."""
    read = timed(sticky=3, cooldown=2, delay=2)
    assert course(read, *["a dragon"] * 8) == [
        False,  # delay
        True,  # activated
        True, True, True,  # sticky
        False, False,  # cooldown
        True,  # again
    ]  # fmt: skip


def test_it_stays_without_being_spoken_of_and_is_not_renewed():
    read = timed(sticky=2)
    assert course(read, "dragon", QUIET, QUIET, QUIET) == [True, True, True, False]
    assert course(read, "dragon", QUIET, "dragon", QUIET, QUIET) == [True, True, True, False, False]


def test_it_rests_after_it_was_told():
    read = timed(cooldown=2)
    assert course(read, *["dragon"] * 6) == [True, False, False, True, False, False]
    assert course(timed(cooldown=0), *["dragon"] * 3) == [True] * 3


def test_it_waits_for_messages():
    assert course(timed(delay=3), *["dragon"] * 4) == [False, False, True, True]


def test_a_world_says_it_beside_the_keys():
    world = {"entries": {"0": {"uid": 0, "key": ["dragon"], "content": "x", "sticky": 1,
                               "cooldown": None, "delay": None}}, "scan_depth": 1}  # fmt: skip
    read = book_of(world)
    assert read
    assert course(read, "dragon", QUIET, QUIET) == [True, True, False]


def test_only_turns_count_that_led_to_a_reply():
    """Two messages of the user's one after the other are one turn, with the later one."""
    read = timed(sticky=3)
    said = Said(["dragon", QUIET, "Yes.", QUIET], [2])
    assert not found_in(read, said, MACROS, 0), "the model was never asked right after the dragon"
    said = Said(["Hi.", "dragon", "Yes.", QUIET], [0, 2])
    assert found_in(read, said, MACROS, 0)
    greeted = Said(["dragon", QUIET], [0])
    assert not found_in(read, greeted, MACROS, 0), "a greeting is no answer to anything"


def test_what_was_said_decides_and_nothing_is_remembered():
    """Regenerating asks the same again; a branch or an edit is another past."""
    read = timed(sticky=4, cooldown=4)
    past = ["dragon", QUIET, QUIET]
    assert told(read, past) == told(read, past) == {"0"}
    assert told(read, [QUIET, QUIET, QUIET]) == set(), "edited: it was never spoken of"
    assert told(read, past) == {"0"}


def test_a_reply_that_goes_on_is_told_what_its_beginning_was():
    read = timed(cooldown=5)
    whole = Said(["dragon", "It begins with a dragon"], [1])
    assert found_in(read, whole, MACROS, 0, "here", True)
    assert not found_in(read, whole, MACROS, 0, "here", False)


def test_chances_of_timed_entries_depend_on_the_place_alone():
    """And what stays is not thrown for again."""
    entry = {
        "keys": ["dragon"], "extensions": {"sticky": 5, "probability": 50, "useProbability": True}
    }  # fmt: skip
    read = book(entry, scan_depth=1)
    seen: Counter[bool] = Counter()
    for n in range(60):
        first, *rest = course(read, "dragon", QUIET, QUIET, place=f"c{n}")
        assert rest == [first, first]
        assert course(read, "dragon", seed=7, place=f"c{n}") == [first]
        seen[first] += 1
    assert 15 < seen[True] < 45


def test_what_others_bring_in_a_book_that_recurses():
    read = book(
        {"keys": ["gold"], "extensions": {"sticky": 2}},
        {"keys": ["cave"], "content": "gold"},
        scan_depth=1,
        recursive_scanning=True,
    )
    assert course(read, "cave", QUIET, QUIET, QUIET) == [True, True, True, False]


def test_a_long_conversation_takes_no_long_time():
    """And the oldest of it is left out by whole hundreds: the phase of a cooldown stays."""
    read = timed(cooldown=6)
    begun = time.process_time()
    many = course_at(read, range(2_600, 2_610))
    assert sum(many) in (1, 2)
    at = many.index(True)
    assert course_at(read, range(2_600 + at + 1, 2_600 + at + 8)) == [*[False] * 6, True]
    assert time.process_time() - begun < 5


def course_at(read: Book, counts: Sequence[int]) -> list[bool]:
    lines = ["a dragon"] * max(counts)
    return [bool(told(read, lines[:n])) for n in counts]


# --- groups -----------------------------------------------------------------------------


def grouped(*entries: dict[str, Any], **more: Any) -> Book:
    return book(*({"keys": ["song"], "extensions": each} for each in entries), **more)


def test_of_a_group_one_is_told_by_its_weight():
    read = grouped(
        {"group": "songs", "group_weight": 300}, {"group": "songs", "group_weight": 100}, {}
    )
    seen: Counter[str] = Counter()
    for seed in range(400):
        [one] = told(read, ["a song"], seed=seed) - {"2"}
        seen[one] += 1
    assert 250 < seen["0"] < 350
    assert told(read, ["a song"], seed=3) == told(read, ["a song"], seed=3)
    with_none = grouped({"group": "s", "group_weight": 0}, {"group": "s", "group_weight": 0})
    assert told(with_none, ["a song"]) == {"0"}


def test_one_that_is_prioritized_goes_first():
    prioritized = {"group": "s", "group_override": True}
    read = book(
        {"keys": ["song"], "insertion_order": 5, "extensions": {**prioritized}},
        {"keys": ["song"], "insertion_order": 9, "extensions": {**prioritized}},
        {"keys": ["song"], "insertion_order": 99, "extensions": {"group": "s"}},
    )  # fmt: skip
    assert all(told(read, ["a song"], seed=seed) == {"1"} for seed in range(30))


def test_the_most_keys_win_where_they_are_counted():
    more = {"group": "s", "use_group_scoring": True}
    read = book(
        {"keys": ["song", "sing", "Black Cat"], "extensions": more},
        {"keys": ["song", "sing", "Ghosts"], "extensions": more},
    )
    either = {frozenset(told(read, ["sing me a song"], seed=seed)) for seed in range(30)}
    assert either == {frozenset("0"), frozenset("1")}
    ghosts = ["sing me a song about Ghosts"]
    assert all(told(read, ghosts, seed=seed) == {"1"} for seed in range(30))


@pytest.mark.parametrize(("logic", "points"), [(0, True), (3, True), (2, False)])
def test_secondary_keys_count_too(logic: int, points: bool):
    more = {"group": "s", "use_group_scoring": True}
    second = {"keys": ["song"], "secondary_keys": ["sad"], "selective": True,
              "extensions": {**more, "selectiveLogic": logic}}  # fmt: skip
    read = book({"keys": ["song"], "extensions": more}, second)
    line = ["a sad song" if points else "a song"]
    seen = {frozenset(told(read, line, seed=seed)) for seed in range(30)}
    assert seen == ({frozenset("1")} if points else {frozenset("0"), frozenset("1")})


def test_one_of_two_groups_puts_out_both():
    first = {"group": "a, b", "group_override": True}
    read = grouped(first, {"group": "a"}, {"group": "b"}, {"group": "c"})
    assert told(read, ["a song"]) == {"0", "3"}


def test_what_recursion_brings_does_not_join_a_group_that_spoke():
    read = book(
        {"keys": ["song"], "content": "ghost", "extensions": {"group": "s"}},
        {"keys": ["ghost"], "extensions": {"group": "s"}},
        {"keys": ["ghost"]},
        recursive_scanning=True,
    )
    assert told(read, ["a song"]) == {"0", "2"}


def test_many_groups_take_no_long_time():
    names = [",".join(f"g{n}-{m}" for m in range(20)) for n in range(2_000)]
    rows = ({"constant": True, "keys": [], "extensions": {"group": name}} for name in names)
    read = book(*rows)
    begun = time.process_time()
    assert len(told(read, ["a song"])) == 2_000
    assert time.process_time() - begun < 1.5


def test_what_stays_keeps_its_group_to_itself():
    read = book(
        {"keys": ["song"], "extensions": {"group": "s", "sticky": 2, "group_weight": 1}},
        {"keys": ["poem"], "extensions": {"group": "s", "group_override": True}},
        scan_depth=1,
    )
    assert told(read, ["a song", "a poem"]) == {"0"}
    assert told(read, ["a song", "a poem", "a poem"]) == {"0"}
    assert told(read, ["a song", "a poem", "a poem", "a poem"]) == {"1"}
