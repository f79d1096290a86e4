"""The grammars that come along take what they are called for, letter by letter."""

from pathlib import Path

import pytest

from extensions.engine_kit.ambiguity import Search
from extensions.engine_kit.gbnf import read

GRAMMARS = Path(__file__).parent.parent / "extensions" / "parameters" / "grammars"
PROGRAM = """\
#include <stdio.h>
int sum(int *list, int many) {
  int total = 0;
  for (int i = 0; i < many; i++) {
    total += list[i] * 2;
  }
  if (total > 10 && many != 0) {
    printf("%d\\n", total);
  } else {
    return -1;
  }
  return total;
}
int main() {
  int list[3];
  list[0] = sum(&list[1], 2) + (3 - 1);
  return 0;
}
"""


def takes(grammar: str, text: str) -> bool:
    """Whether a whole text is one that the grammar allows."""
    rules = read((GRAMMARS / f"{grammar}.gbnf").read_text("utf-8"))
    search = Search(rules)
    root = search._rules["root"]
    stacks = search.advance((alternative, 0, None) for alternative in root)
    for letter in text:
        search.work = 0
        stacks = search.read(stacks, ord(letter))
    return None in stacks


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("c", PROGRAM),
        ("json_w_trailing_space", '{ "a": [1, {"b" : null} ] , "c": "d" }\n'),
        ("simple_arithmetic", "1 + 2 * 3 = 7\n10 - 12 = -2\n"),
    ],
)
def test_what_it_is_for(grammar: str, text: str):
    assert takes(grammar, text)


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("c", "int main() { return 0; "),
        ("c", "def main():\n"),
        ("json_w_trailing_space", "[1]"),
        ("json_w_trailing_space", '{"a": 1,}'),
        ("simple_arithmetic", "(1 + 2) = 3\n"),
        ("simple_arithmetic", "1 + 2 = 3"),
    ],
)
def test_what_it_is_not_for(grammar: str, text: str):
    assert not takes(grammar, text)
