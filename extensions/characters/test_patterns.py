"""Regular expressions of lorebooks: as Python's where both know them, and never slow."""
# ruff: noqa: E501, rows of patterns

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.engine_kit.api import Pattern, Unsupported

from . import rows

KNOWN = [
    "a", "abc", "a|b", "a|bc|", "(a|b)c", "(?:ab)+", "a*b", "a+?b", "ab?c", "a{2}", "a{2,}b",
    "a{1,3}c", "[abc]", "[^abc]", "[a-c]b", r"[\d-]", r"\d+", r"\w+\s\w+", r"\bab\b",
    r"a\B", "^ab", "b$", "^$", "a.c", r"a\.c", "(?P<x>a)b", "(a*)*b", "(a|a)*c", "((a{0,2}b){1,2}c)?",
    r"dra(gon|ke)s?", r"[\]\\]", "a{,2}", "x{a}", "(|a)b", r"\/", "é+",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="abcx1- \né].\\/", max_size=12))
def test_they_find_what_python_finds(text: str):
    for pattern in KNOWN:
        if pattern == "a{,2}":
            continue  # To JavaScript these are letters, to Python a count.
        ours = Pattern(pattern, ignore=False).search(text)
        theirs = bool(re.search(pattern.replace("$", r"\Z"), text))
        assert ours == theirs, pattern


def test_flags():
    assert Pattern("/AB/i").search("xab")
    assert not Pattern("/AB/").search("xab")
    assert Pattern("AB").search("xab"), "without slashes case does not count, unless it should"
    assert not Pattern("AB", ignore=False).search("xab")
    assert not Pattern("/^b/").search("a\nb")
    assert Pattern("/^b/m").search("a\nb")
    assert not Pattern("/a.b/").search("a\nb")
    assert Pattern("/a.b/s").search("a\nb")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("a[^]b", "a\nb", True),
        ("a[]b", "a]b", False),
        (r"\x01Ann:[^\x01]*?hello", "\x01Bo: hi\n\x01Ann: well, hello", True),
        (r"\x01Ann:[^\x01]*?hello", "\x01Ann: hi\n\x01Bo: hello", False),
        (r"\u00e9\u{1F600}", "é\U0001f600", True),
        (r"[\x41-\x43]d", "Cd", True),
        (r"[\x41-\x43]d", "Dd", False),
    ],
)
def test_what_javascript_knows(pattern: str, text: str, found: bool):
    assert Pattern(pattern, ignore=False).search(text) == found


@pytest.mark.parametrize(
    "pattern",
    ["(a", "a)", "[a", "*a", "a{500}", "(?=a)b", r"(a)\1", "(?i)a", "a" * 3_000, "(" * 60 + ")" * 60,
     "[b-a]", "\\", "(a{100}){100}", r"\p{L}"],
)  # fmt: skip
def test_what_is_not_offered_is_said(pattern: str):
    with pytest.raises(Unsupported):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "a?" * 100 + "a" * 100])
def test_none_takes_for_ever(pattern: str):
    begun = time.monotonic()
    Pattern(pattern).search("a" * 400 + "!", begun + 3)
    assert time.monotonic() - begun < 3.5


def test_time_is_up():
    assert not Pattern("b").search("a" * 100 + "b", time.monotonic() - 1)


def test_keys_of_strangers_are_looked_at_for_a_second_at_most():
    keys = [f"(a{{90}}){{20}}{n}" for n in range(4_000)]
    begun = time.monotonic()
    shown = rows.shown({"entries": [{"keys": keys, "use_regex": True, "content": "x"}] * 3})
    assert time.monotonic() - begun < 3
    assert len(shown["entries"]) == 3
