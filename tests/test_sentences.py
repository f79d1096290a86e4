"""Sentences come whole, once each, wherever the stream was cut."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.api import Delta, Sentences

TEXT = "Dr. Fee paid 3.14 at noon! “Why?” she asked…\nA line without an end"
ENDLESS = "word " * 110 + "!" * 600 + " Yes. " + "\u0e01" * 600


def heard(*pieces: Delta) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.hear(piece)]
    return [*found, sentences.end()]


def test_each_ends_where_it_ends():
    assert heard(Delta(TEXT)) == [
        "Dr. Fee paid 3.14 at noon! ",
        "“Why?” ",
        "she asked…\n",
        "A line without an end",
    ]
    assert heard(Delta("你好。再见\uff01")) == ["你好。", "再见\uff01"]
    assert heard(Delta("नमस्ते। कैसे हो\u06d4 كيف؟ No")) == ["नमस्ते। ", "कैसे हो\u06d4 ", "كيف؟ ", "No"]


def test_a_number_of_a_list_and_a_shortened_word_end_none():
    assert heard(Delta("1. Figs\n12. Mr. and Mrs. Fee met e.g. Bo. It was 10. So.")) == [
        "1. Figs\n",
        "12. Mr. and Mrs. Fee met e.g. Bo. ",
        "It was 10. ",
        "So.",
    ]


@pytest.mark.parametrize("text", [TEXT, ENDLESS], ids=["sentences", "endless"])
@given(cuts=st.lists(st.integers(0, len(ENDLESS))))
def test_cuts_do_not_matter(text: str, cuts: list[int]):
    places = [0, *sorted(cuts), len(text)]
    pieces = [Delta(text[a:b]) for a, b in pairwise(places)]
    assert heard(*pieces) == heard(Delta(text))


def test_what_has_no_end_is_cut_after_a_word():
    pieces = heard(Delta(ENDLESS))
    assert "".join(pieces) == ENDLESS
    assert [len(piece) for piece in pieces] == [500, 50, 500, 101, 5, 500, 100]


@pytest.mark.parametrize("token", ["!!!!", "....", " word", "\n\n", "。", "\u0e01"])
def test_a_model_that_says_the_same_for_ever_costs_little(token: str):
    sentences, started = Sentences(), time.process_time()
    for _ in range(1000):
        sentences.hear(Delta(token))
    sentences.hear(Delta(token * 10_000))
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("replaced", "then"),
    [("One. Two. Three.", ["Two. ", "Three."]), ("Uno. Dos.", ["Uno. ", "Dos."])],
)
def test_what_replaces_is_said_from_where_it_differs(replaced: str, then: list[str]):
    assert heard(Delta("One. Tw"), Delta(replaced, replace=True)) == ["One. ", *then]


def test_thoughts_and_other_choices_are_not_said():
    assert heard(Delta("Hm. Hm.", channel="reasoning"), Delta("No. No.", choice=1)) == [""]
