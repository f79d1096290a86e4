"""Sentences come whole, once each, wherever the stream was cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.api import Delta, Sentences

TEXT = "Dr. Fee paid 3.14 at noon! “Why?” she asked…\nA line without an end"


def heard(*pieces: Delta) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.hear(piece)]
    return [*found, sentences.end()]


def test_each_ends_where_it_ends():
    assert heard(Delta(TEXT)) == [
        "Dr. ",
        "Fee paid 3.14 at noon! ",
        "“Why?” ",
        "she asked…\n",
        "A line without an end",
    ]
    assert heard(Delta("你好。再见\uff01")) == ["你好。", "再见\uff01"]


@given(st.lists(st.integers(0, len(TEXT))))
def test_cuts_do_not_matter(cuts: list[int]):
    places = [0, *sorted(cuts), len(TEXT)]
    pieces = [Delta(TEXT[a:b]) for a, b in pairwise(places)]
    assert heard(*pieces) == heard(Delta(TEXT))


@pytest.mark.parametrize(
    ("replaced", "then"),
    [("One. Two. Three.", ["Two. ", "Three."]), ("Uno. Dos.", ["Uno. ", "Dos."])],
)
def test_what_replaces_is_said_from_where_it_differs(replaced: str, then: list[str]):
    assert heard(Delta("One. Tw"), Delta(replaced, replace=True)) == ["One. ", *then]


def test_thoughts_and_other_choices_are_not_said():
    assert heard(Delta("Hm. Hm.", channel="reasoning"), Delta("No. No.", choice=1)) == [""]
