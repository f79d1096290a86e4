"""YAML from strangers: what would grow or nest without end costs nothing, wherever it is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from extensions.characters import trees
from extensions.downloader import cards, starters
from extensions.models import entries
from extensions.parameters import presets
from kernel import yamltext
from kernel.api import Malformed, Refused, read_yaml

HUNDRED = range(1, 100)
MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in HUNDRED
)
"""Doubled a hundred times, inside the library itself; 1 KB of it would take weeks."""
ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in HUNDRED)
DEEP = {
    "brackets": "a: " + "[" * 100_000,
    "braces": "{a: " * 100_000,
    "dashes": "- " * 100_000 + "x",
    "questions": "? " * 100_000 + "x",
    "indents": "".join(f"{' ' * n}a:\n" for n in range(2_000)),
}


def starting(text: str, folder: Path) -> None:
    file = folder / "starters.yaml"
    file.write_text(text, "utf-8")
    found = starters.read(file)
    assert not found.models
    raise ValueError(*found.troubles)


READERS: dict[str, Callable[[str, Path], object]] = {
    "kernel": lambda text, _: read_yaml(text),
    "settings": lambda text, _: yamltext.load(text),
    "a character": lambda text, _: trees.from_yaml(text.encode()),
    "a preset": lambda text, _: presets.parse("odd", text),
    "config-user.yaml": lambda text, _: entries.pairs(text),
    "starters.yaml": starting,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bomb", [MERGES, ALIASES], ids=["merges", "aliases"])
def test_no_bomb_goes_off(reader: str, bomb: str, tmp_path: Path):
    with pytest.raises((ValueError, Refused), match="aliases"):
        READERS[reader](bomb, tmp_path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bomb", [MERGES, ALIASES], ids=["merges", "aliases"])
def test_a_card_with_a_bomb_says_nothing(bomb: str):
    head = "license: mit\n"
    assert cards.card_of(f"---\n{head}---\nWords.").licence == "mit"
    assert cards.card_of(f"---\n{head}{bomb}---\nWords.").licence == ""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_nothing_is_nested_without_end(text: str):
    with pytest.raises(Malformed, match="nested too deeply"):
        read_yaml(text)


def test_anchors_that_people_write_are_read():
    text = "base: &base {top_k: 40, min_p: 0.1}\nwarm:\n  <<: *base\n  temperature: 1.2\n"
    assert read_yaml(text)["warm"] == {"top_k": 40, "min_p": 0.1, "temperature": 1.2}
    many = "a: &a {x: 1}\n" + "".join(f"a{n}: *a\n" for n in range(2_000))
    assert read_yaml(many)["a1999"] == {"x": 1}
    assert read_yaml("a: R&D & more*\n") == {"a": "R&D & more*"}


def test_what_holds_itself_is_read():
    tree = read_yaml("a: &a [*a]")
    assert tree["a"][0] is tree["a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb: [\n", "^line 3: "),
        ("a: 1\n---\nb: 2\n", "^line 2: but found another document"),
        ("a: 2026-13-45\n", "month"),
        ("a: *nobody\n", "^line 1: found undefined alias"),
        ("!!python/object:os.system {}\n", "line 1: could not determine a constructor"),
    ],
)
def test_it_says_where_and_why(text: str, why: str):
    with pytest.raises(Malformed, match=why):
        read_yaml(text)


def test_an_empty_text_holds_nothing():
    assert read_yaml("") is read_yaml("# a comment\n") is None
