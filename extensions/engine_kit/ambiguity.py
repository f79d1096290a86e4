"""Whether the ways to read a text multiply with each of its letters.

llama.cpp follows all of them at once, for every token of the vocabulary, and some tokens have a
hundred letters: `root ::= "-" root "b" | "-" root "c" | "d"` then never ends. Within a token it
even follows ways that have met again one by one: `root ::= ("a"?){400}` goes on as one of 401, but
comes there by eighty thousand after a letter. This walks a few letters ahead, always those that
leave most ways open, and looks whether these get out of hand.
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
SHORT = 8
"""Letters that a usual token has at most."""
PATHS = 20_000
"""Ways through a usual token, beside twice as many as there are at the very beginning; and steps
that llama.cpp may take for one of them after one letter."""
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
    return any(search.doubles(name) for name in ("root", *named)) or Search(rules).winds()


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

    def winds(self) -> bool:
        """Whether a usual token can be gone through in too many ways, be it to few places,
        wherever in the rules it begins."""
        return any(
            self._winds((alternative, at, None))
            for alternative, parts in enumerate(self._parts)
            for at, part in enumerate(parts[:-1])  # the last one begins in a rule of its own
            if isinstance(part, str) and part not in parts[max(0, at - 1) : at]
            if self.work <= WORK
        )

    def _winds(self, begin: Stack) -> bool:
        letters = self.advance([begin])
        most, known = PATHS + 2 * len(letters), dict[Stack, list[Stack]]()
        ways = Counter(dict.fromkeys(letters, 1))
        for _ in range(SHORT):
            code = next(iter(codes({stack: letters[stack] for stack in ways})), -1)
            after, paths = Counter[Stack](), 0
            for stack, count in ways.items():
                if not (letter := letters[stack]) or not letter.have(code):
                    continue
                if stack not in known:
                    before = self.work
                    found = self.advance([(stack[0], stack[1] + 1, stack[2])])
                    if self.work - before > PATHS:
                        return True
                    known[stack] = list(found)
                    letters.update(found)
                for each in known[stack]:
                    after[each] += count
                paths += count * len(known[stack])
                if paths > most:
                    return True
            ways = after
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
