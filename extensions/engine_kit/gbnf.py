"""Reads GBNF, llama.cpp's notation of grammars, as far as is needed to judge it.

What llama.cpp makes of groups and repetitions is counted as it makes it: S{m,n} is m copies of S
and n - m rules more.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kernel.contract import Refused

DEEPEST = 100
"""Brackets within brackets; llama.cpp overflows its stack at some point."""
MOST = 2000
"""Repetitions; llama.cpp takes a greater upper limit for none, and refuses a greater lower one."""
LARGEST = 300_000
"""Elements of all rules together, when repetitions are written out."""

SPACE, LINES = re.compile(r"(?:[ \t]|#[^\r\n]*)*"), re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
NAME = re.compile(r"[A-Za-z0-9-]+")
ESCAPE = r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[trn\\\"\[\]-])"
LETTER = re.compile(rf"{ESCAPE}|[^\\]", re.DOTALL)
LITERAL = re.compile(rf'"((?:{ESCAPE}|[^"\\])*)"', re.DOTALL)
CLASS = re.compile(rf"\[\^?((?:{ESCAPE}|[^\]\\])*)\]", re.DOTALL)
TOKEN = re.compile(r"!?<[^>]*>")
TIMES = re.compile(r"\{\s*([0-9]{1,9})\s*(?:(,)\s*([0-9]{0,9})\s*)?\}")


class Letters(NamedTuple):
    """The letters that may stand in one place: spans of code points, or all but these."""

    spans: tuple[tuple[int, int], ...]
    inverse: bool = False

    def have(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.spans) != self.inverse


ANY, NONE = Letters((), True), Letters(())
"""What a dot stands for, and what a token does: no letter."""
Part = str | Letters
Rule = list[list[Part]]
"""Alternatives, each the rules' names and the letters that follow one another."""


@dataclass
class Open:
    """A rule or group that is being read."""

    name: str
    rule: Rule = field(default_factory=lambda: [[]])
    last: list[Part] | None = None
    """The item before, which a repetition would repeat."""
    size: int = 0
    """Its elements."""


class Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.rules: dict[str, Rule] = {}
        self._made = self._elements = 0
        self._single: dict[str, Letters] = {}

    def read(self) -> None:
        self._skip(LINES)
        while self._at < len(self._text):
            name = self._take(NAME, "a rule's name")
            self._skip(SPACE)
            if not self._text.startswith("::=", self._at):
                self._wrong("::= after a rule's name")
            self._at += 3
            self._skip(LINES)
            self.rules[name] = self._alternatives(name)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                self._wrong("the end of a rule")
            self._skip(LINES)

    def _alternatives(self, name: str) -> Rule:
        """All of a rule; groups are kept on a stack of our own."""
        stack = [Open(name)]
        while True:
            top = stack[-1]
            letter = self._text[self._at : self._at + 1]
            if letter == "(":
                if len(stack) > DEEPEST:
                    raise Refused("The grammar is nested too deeply. Simplify it.")
                stack.append(Open(self._new(name)))
                self._at += 1
                self._skip(LINES)
                continue
            if letter == ")" and len(stack) > 1:
                stack.pop()
                self.rules[top.name] = top.rule
                outer = stack[-1]
                self._item(outer, [top.name], 1)
                self._at += 1
            elif letter == "|":
                top.rule.append([])
                top.last = None
                self._at += 1
                self._skip(LINES)
                continue
            elif letter in ("*", "+", "?", "{") and letter:
                self._repeat(top, letter)
            elif not self._plain(top, letter):
                if len(stack) > 1:
                    self._wrong("a closing bracket")
                return top.rule
            self._skip(LINES if len(stack) > 1 else SPACE)

    def _plain(self, top: Open, letter: str) -> bool:
        """A literal, a class, a token, a dot or a name, if there is one."""
        found_at = self._at
        if letter in ('"', "["):
            kind = LITERAL if letter == '"' else CLASS
            inner = self._take(kind, "the end of a literal or class, or a known escape,", 1)
            letters = [found[0] for found in LETTER.finditer(inner)]
            if letter == '"':
                self._item(top, [self._one(each) for each in letters], len(letters))
            else:
                inverse = self._text.startswith("[^", found_at)
                self._item(top, [Letters(spans(letters), inverse)], len(letters))
        elif letter in ("<", "!") and letter:
            self._take(TOKEN, "a token like <[123]>")
            self._item(top, [NONE], 1)
        elif letter == ".":
            self._at += 1
            self._item(top, [ANY], 1)
        elif found := NAME.match(self._text, self._at):
            self._at = found.end()
            self._item(top, [found[0]], 1)
        else:
            return False
        return True

    def _item(self, top: Open, item: list[Part], size: int) -> None:
        top.rule[-1] += item
        top.last, top.size = item, size
        self._count(size)

    def _repeat(self, top: Open, letter: str) -> None:
        if not top.last:
            self._wrong("something before a repetition")
        assert top.last
        least, most = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}.get(letter, (0, 0))
        if letter == "{":
            found = TIMES.match(self._text, self._at)
            if not found:
                self._wrong("a repetition like {2,5}")
            assert found
            self._at = found.end()
            least = int(found[1])
            most = least if not found[2] else int(found[3]) if found[3] else -1
        else:
            self._at += 1
        if least > MOST:
            raise Refused(f"The grammar repeats something {least:,} times; {MOST:,} are the most.")
        if most > MOST:
            most = -1
        item = top.last
        if not least:
            del top.rule[-1][len(top.rule[-1]) - len(item) :]
        self._count(top.size * max(0, least - 1))
        top.rule[-1] += item * (least - 1)
        rest = self._optional(top, item, 1 if most < 0 else most - least, endless=most < 0)
        top.rule[-1] += rest
        top.last, top.size = [*item * least, *rest], top.size * least + 1

    def _optional(self, top: Open, item: list[Part], count: int, *, endless: bool) -> list[Part]:
        """The rules for what may follow; the name of the outermost."""
        last: list[Part] = []
        for _ in range(count):
            name = self._new(top.name.split(" ")[0])
            self._count(top.size + 3)
            self.rules[name] = [[*item, *([name] if endless else last)], []]
            last = [name]
        return last

    def _one(self, letter: str) -> Letters:
        if letter not in self._single:
            self._single[letter] = Letters(spans([letter]))
        return self._single[letter]

    # --- the text ---

    def _new(self, name: str) -> str:
        self._made += 1
        return f"{name} {self._made}"

    def _count(self, elements: int) -> None:
        self._elements += elements
        if self._elements > LARGEST:
            raise Refused("The grammar repeats too much. Ask for fewer repetitions.")

    def _skip(self, space: re.Pattern[str]) -> None:
        found = space.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _take(self, pattern: re.Pattern[str], wanted: str, group: int = 0) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            self._wrong(wanted)
        assert found
        self._at = found.end()
        return found[group]

    def _wrong(self, wanted: str) -> None:
        line = self._text.count("\n", 0, self._at) + 1
        raise Refused(
            f"The grammar cannot be read in line {line}: {wanted} is missing. Correct it."
        )


def spans(letters: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The code points of letters and of the ranges between them."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(letters):
        low = high = code(letters[at])
        at += 1
        if letters[at : at + 1] == ["-"] and at + 1 < len(letters):
            high = code(letters[at + 1])
            at += 2
        found.append((low, high))
    return tuple(found)


def code(letter: str) -> int:
    if letter[:2] in ("\\x", "\\u", "\\U"):
        return int(letter[2:], 16)
    return ord(
        {"t": "\t", "r": "\r", "n": "\n"}.get(letter[1], letter[1]) if letter[1:] else letter
    )


def read(text: str) -> dict[str, Rule]:
    """The rules of a grammar, with those that groups and repetitions become; raises Refused."""
    if "\0" in text:
        raise Refused("The grammar contains a zero byte. Remove it.")
    reader = Reader(text)
    reader.read()
    return reader.rules
