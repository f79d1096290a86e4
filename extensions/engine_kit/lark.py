"""Grammars as llguidance reads them: Lark, each of whose terminals is one letter.

llguidance cuts text into lexemes before it parses, always the longest: letters are the only ones
with which that never changes what a grammar means. What it finds costly is written otherwise:
rules that end with themselves, and optional items within one another.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from extensions.engine_kit.gbnf import ANY, Letters, Part, Rule, read
from kernel.contract import Refused

LAST = 0x10FFFF
SURROGATES = 0xD800, 0xDFFF
"""Halves of letters, which no text has."""


def as_lark(grammar: str) -> str:
    """The Lark of GBNF that `as_gbnf` let through; raises Refused for what names tokens."""
    return Writer(read(grammar)).text()


class Writer:
    """Writes the rules that can be reached from the root."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules, self._optional = rules, optional(rules)
        self._names = {"root": "start"}
        self._letters: dict[Letters, str] = {}
        self._todo = deque(["root"])

    def text(self) -> str:
        lines: list[str] = []
        while self._todo:
            lines += self._rule(self._todo.popleft())
        lines += [f"{name}: /{pattern(each)}/" for each, name in self._letters.items()]
        return "\n".join(lines)

    def _rule(self, name: str) -> list[str]:
        own, rule = self._named(name), self._rules[name]
        if name in self._optional:
            item, most = self._optional[name]
            return [f"{own}: ({self._row(item)}){{0,{most}}}"]
        again = [parts[:-1] for parts in rule if len(parts) > 1 and parts[-1] == name]
        others = [parts for parts in rule if not parts or parts[-1] != name]
        if not again or not others or any(name in parts for parts in (*again, *others)):
            return [f"{own}: {' | '.join(map(self._row, rule))}"]
        more = f"{own}_more"
        repeated = " | ".join(f"{more} {self._row(parts)}" for parts in again)
        ends = " | ".join(f"{more} {self._row(parts)}" if parts else more for parts in others)
        return [f'{more}: "" | {repeated}', f"{own}: {ends}"]

    def _row(self, parts: Sequence[Part]) -> str:
        return " ".join(map(self._part, parts)) or '""'

    def _part(self, part: Any) -> str:
        if isinstance(part, Letters):
            return self._letters.setdefault(part, f"L{len(self._letters)}")
        return self._named(part)

    def _named(self, name: str) -> str:
        if name not in self._names:
            self._names[name] = f"r{len(self._names)}"
            self._todo.append(name)
        return self._names[name]


def optional(rules: Mapping[str, Rule]) -> dict[str, tuple[list[Part], int]]:
    """The rules that hold an item or nothing, and how often where the item is followed by another
    such rule: what repetitions with an end become, the innermost first."""
    found: dict[str, tuple[list[Part], int]] = {}
    for name, rule in rules.items():
        if len(rule) != 2 or not rule[0] or rule[1] or rule[0][-1] == name:
            continue
        found[name] = rule[0], 1
        last = rule[0][-1]
        if isinstance(last, str) and last in found and found[last][0] == rule[0][:-1]:
            found[name] = found[last][0], found[last][1] + 1
    return found


def pattern(letters: Letters) -> str:
    """A class of a regular expression."""
    if letters == ANY:
        return "(?s:.)"
    inside = "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in written(letters))
    if not inside:
        raise Refused(
            "The grammar asks for a token by its number, or for a letter that there is not, which "
            "the Transformers loader cannot. Write the letters of the token."
        )
    return f"[{'^' * letters.inverse}{inside}]"


def written(letters: Letters) -> Iterator[tuple[int, int]]:
    """The spans that texts can have letters of."""
    for low, high in letters.spans:
        for begin, end in ((0, SURROGATES[0] - 1), (SURROGATES[1] + 1, LAST)):
            if max(low, begin) <= min(high, end):
                yield max(low, begin), min(high, end)
