"""Changes that meet: no word of either is lost, and a region stays what the model wrote."""

import random
import sys

import pytest

from extensions.writing.edits import Region, Splice, clean, point, units


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (Splice(0, 0, "X"), Splice(3, 0, "Y"), "XabcYdef"),
        (Splice(3, 0, "X"), Splice(0, 0, "Y"), "YabcXdef"),
        (Splice(3, 0, "X"), Splice(3, 0, "Y"), "abcXYdef"),
        (Splice(1, 2), Splice(4, 1, "Y"), "adYf"),
        (Splice(1, 4), Splice(2, 2, "Y"), "aYf"),
        (Splice(2, 2, "X"), Splice(1, 4, "Y"), "aYXf"),
        (Splice(0, 3, "X"), Splice(2, 2, "Y"), "XYef"),
        (Splice(2, 3, "X"), Splice(0, 3, "Y"), "YXf"),
        (Splice(6, 0, " more"), Splice(6, 0, "!"), "abcdef more!"),
        (Splice(0, 6, "new"), Splice(6, 0, "!"), "new!"),
    ],
)
def test_of_two_changes_of_one_text(first: Splice, second: Splice, result: str):
    assert second.after(first).on(first.on("abcdef")) == result


def test_no_word_is_lost_whatever_meets():
    chance = random.Random(5)
    for _ in range(2000):
        text = "".join(chance.choice("ab😀é") for _ in range(chance.randrange(8)))

        def some(mark: str, text: str = text) -> Splice:
            begin, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
            at = units(text[:begin])
            return Splice(at, units(text[begin:end]), mark * chance.randrange(3))

        first, second = some("X"), some("Y")
        both = second.after(first).on(first.on(text))
        assert both.count("X") == first.put.count("X")
        assert both.count("Y") == second.put.count("Y")


def test_places_are_counted_as_browsers_count_them():
    text = "a😀é\n"
    assert units(text) == 5
    assert [point(text, unit) for unit in range(7)] == [0, 1, 1, 2, 3, 4, 4]
    assert Splice(1, 2, "b").on(text) == "abé\n"
    assert clean("a\r\nb\rc\0") == "a\nb\nc\ufffd"


def test_a_long_text_is_counted_in_as_many_steps_as_a_short_one():
    def steps(text: str) -> int:
        taken: list[str] = []
        sys.setprofile(lambda _, event, __: taken.append(event))
        units(text)
        sys.setprofile(None)
        return len(taken)

    assert steps("ж😀" * 1000) == steps("ж😀"), "each piece of a reply counts its text"


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Splice(0, 0, "__"), "model"),  # before it
        (Splice(4, 0, "__"), "model"),  # just before it
        (Splice(9, 0, "__"), "model"),  # just after it
        (Splice(6, 0, "__"), "mo__del"),  # within it
        (Splice(6, 3), "mo"),
        (Splice(6, 7, "__"), "mo"),  # its end and what follows
        (Splice(2, 4, "__"), "del"),  # its beginning and what is before
        (Splice(2, 9, "__"), ""),
    ],
)
def test_a_region_is_what_the_model_wrote(change: Splice, left: str):
    text = "sometextmodel!more".replace("text", "", 1)
    assert text[4:9] == "model"
    region = Region(4)
    region.end = 9
    region.follow(change)
    changed = change.on(text)
    assert changed[region.begin : region.end] == left
