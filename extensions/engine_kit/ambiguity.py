"""Whether the ways to read a text multiply with each of its letters.

llama.cpp follows all of them at once, for every token of the vocabulary, and some tokens have a
hundred letters: `root ::= "-" root "b" | "-" root "c" | "d"` then never ends. This walks a few
letters ahead, always those that leave most ways open, and looks whether these get out of hand.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from extensions.engine_kit.gbnf import Letters, Rule

AHEAD = 16
"""Letters that are tried one after another."""
WIDTH = 2
"""How many beginnings are followed, those with most ways to go on."""
CHOICES = 4
"""Letters that are tried at a place, those that most ways begin with."""
MOST = 1000
"""Ways to go on, beside eight times as many as there are at the very beginning."""
WORK, ALTOGETHER = 120_000, 300_000
"""Ways that are looked at for a rule, and for all; what is not found by then is let through."""
SAMPLES = tuple(map(ord, "a-( 0Z\n"))
"""Letters that stand for "all but these"."""

Stack = Any
"""What is still to come: None, or an alternative, a place in it, and what comes after it."""


def doubles(rules: Mapping[str, Rule]) -> bool:
    """Whether what some rule stands for can be read in far too many ways after a few letters."""
    search = Search(rules)
    named = [name for name in rules if " " not in name and name != "root"]
    return any(search.doubles(name) for name in ("root", *named))


class Search:
    """Follows the rules as llama.cpp does; alternatives have numbers, so that stacks are short."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._parts = [parts for rule in rules.values() for parts in rule]
        self._rules: dict[str, range] = {}
        count = 0
        for name, rule in rules.items():
            self._rules[name] = range(count, count + len(rule))
            count += len(rule)
        self.work = 0

    def doubles(self, name: str) -> bool:
        """Whether the ways to read a rule multiply, as far as there is time to find out."""
        end = min(self.work + WORK, ALTOGETHER)
        first = self.advance((alternative, 0, None) for alternative in self._rules[name])
        beginnings = [first]
        for _ in range(AHEAD):
            after = [self.read(stacks, code) for stacks in beginnings for code in codes(stacks)]
            after.sort(key=len, reverse=True)
            beginnings = after[:WIDTH]
            if not beginnings or self.work > end:
                return False
            if len(beginnings[0]) > MOST + 8 * len(first):
                return True
        return False

    def advance(self, stacks: Iterable[Stack]) -> dict[Stack, Letters | None]:
        """The stacks that these become when rules are written out, each with its next letters."""
        found: dict[Stack, Letters | None] = {}
        todo, seen = list(stacks), set[Stack]()
        while todo and self.work <= 2 * ALTOGETHER:
            stack = todo.pop()
            if stack in seen:
                continue
            seen.add(stack)
            self.work += 1
            if stack is None:
                found[None] = None
                continue
            alternative, at, after = stack
            parts = self._parts[alternative]
            if at == len(parts):
                todo.append(after)
                continue
            part = parts[at]
            if isinstance(part, Letters):
                found[stack] = part
                continue
            rest = (alternative, at + 1, after) if at + 1 < len(parts) else after
            todo += [(each, 0, rest) for each in self._rules[part]]
        return found

    def read(self, stacks: Mapping[Stack, Letters | None], code: int) -> Any:
        """What they become after a letter."""
        self.work += len(stacks)
        return self.advance(
            (stack[0], stack[1] + 1, stack[2])
            for stack, letters in stacks.items()
            if letters and letters.have(code)
        )


def codes(stacks: Mapping[Stack, Letters | None]) -> list[int]:
    """Letters to try next."""
    counts = Counter[int]()
    for letters in stacks.values():
        if letters and letters.inverse:
            counts.update(code for code in SAMPLES if letters.have(code))
        elif letters:
            counts.update(low for low, _ in letters.spans)
    return [code for code, _ in counts.most_common(CHOICES)]
