"""Regular expressions by strangers, in time that grows with the text and no faster.

Python's own can take for ever on a short text, which a card from elsewhere could use. These know
literals, classes, groups, `|`, `* + ? {m,n}`, `^ $ \\b \\B`, letters by number, and the flags i, s
and m; what needs going back (back references, looking ahead) is refused. Why no library does this:
docs/decisions/0026.
"""

import re
import time
from collections.abc import Callable
from typing import NamedTuple

LARGEST = 2_000
"""Steps of one pattern."""
REPEATS = 200
EDGE, LINE, WORD, OTHER = range(4)
"""What stands beside a place: nothing, the end of a line, a letter of a word, any other."""
REMEMBERED = 5_000
"""Ways from one point to the next, of one pattern."""
_NUMBERED = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
_FORM = re.compile(r"/(.*)/([a-z]*)", re.DOTALL)


class Unsupported(ValueError):
    """A pattern that is none, or needs what is not offered."""


class Step(NamedTuple):
    """One step of a machine: a test of a letter or of a place, or none, and where it leads."""

    letter: Callable[[str], bool] | None
    place: str
    to: tuple[int, ...]


def _word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _class(name: str) -> Callable[[str], bool] | None:
    tests: dict[str, Callable[[str], bool]] = {
        "d": str.isdecimal,
        "w": _word,
        "s": str.isspace,
        "D": lambda c: not c.isdecimal(),
        "W": lambda c: not _word(c),
        "S": lambda c: not c.isspace(),
    }
    return tests.get(name)


def _kind(letter: str) -> int:
    if letter == "\n":
        return LINE
    return WORD if _word(letter) else OTHER


class Point:
    """How far one may be at a place of a text, and where each letter leads from there."""

    def __init__(self, came: frozenset[int], before: int) -> None:
        self.came, self.before = came, before
        self.to: dict[str, Point] = {}


class Pattern:
    """A pattern, ready to be looked for; `/x/i` has its flags, else `ignore` says whether case
    counts."""

    def __init__(self, text: str, *, ignore: bool = True) -> None:
        flags = "i" if ignore else ""
        if found := _FORM.fullmatch(text.strip()):
            text, flags = found[1], found[2]
        self._text, self._at = text, 0
        self._ignore, self._lines, self._dots = "i" in flags, "m" in flags, "s" in flags
        self._steps: list[Step] = []
        self._first, self._found = Point(frozenset(), EDGE), Point(frozenset(), EDGE)
        self._points: dict[tuple[frozenset[int], int], Point] = {}
        self._remembered = 0
        start, ends = self._either()
        if self._at < len(text):
            raise Unsupported("a bracket closes nothing")
        self._end = self._add(None, "end", ())
        self._join(ends, self._end)
        self._start = start

    def search(self, text: str, until: float = float("inf")) -> bool:
        """Whether it is anywhere in the text; not, if `time.monotonic()` passes `until` before."""
        point = self._first
        for start in range(0, len(text), 64):
            if time.monotonic() > until:
                return False
            for letter in text[start : start + 64]:
                point = point.to.get(letter) or self._walked(point, letter)
                if point is self._found:
                    return True
        return self._end in self._reach(point.came, point.before, EDGE)

    # --- inside ------------------------------------------------------------------------

    def _walked(self, point: "Point", letter: str) -> "Point":
        """Where a letter leads from a point; remembered there."""
        kind = _kind(letter)
        now, led = self._reach(point.came, point.before, kind), set[int]()
        for number in now:
            step = self._steps[number]
            if step.letter and self._takes(step.letter, letter):
                led.update(step.to)
        if self._remembered >= REMEMBERED:  # A pattern can be made to need very many.
            self._remembered, self._points = 0, {}
        self._remembered += 1
        where = frozenset(led), kind
        to = self._points.setdefault(where, Point(*where))
        point.to[letter] = self._found if self._end in now else to
        return point.to[letter]

    def _reach(self, came: frozenset[int], before: int, after: int) -> set[int]:
        """All steps that are reached without taking a letter, between letters of these kinds."""
        into, todo = set[int](), [self._start, *came]
        while todo:
            number = todo.pop()
            if number in into:
                continue
            step = self._steps[number]
            if step.place not in ("", "end") and not self._holds(step.place, before, after):
                continue
            into.add(number)
            if not step.letter:
                todo += step.to
        return into

    def _takes(self, test: Callable[[str], bool], letter: str) -> bool:
        return test(letter) or (self._ignore and (test(letter.lower()) or test(letter.upper())))

    def _holds(self, place: str, before: int, after: int) -> bool:
        if place == "^":
            return before == EDGE or (self._lines and before == LINE)
        if place == "$":
            return after == EDGE or (self._lines and after == LINE)
        return ((before == WORD) != (after == WORD)) == (place == "b")

    def _add(self, letter: Callable[[str], bool] | None, place: str, to: tuple[int, ...]) -> int:
        if len(self._steps) >= LARGEST:
            raise Unsupported("it is too large")
        self._steps.append(Step(letter, place, to))
        return len(self._steps) - 1

    def _join(self, ends: list[int], to: int) -> None:
        for end in ends:
            self._steps[end] = self._steps[end]._replace(to=(*self._steps[end].to, to))

    def _more(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, wanted: str) -> bool:
        if self._text.startswith(wanted, self._at):
            self._at += len(wanted)
            return True
        return False

    def _either(self, depth: int = 0) -> tuple[int, list[int]]:
        if depth > 50:
            raise Unsupported("it is nested too deeply")
        start, ends = self._row(depth)
        while self._take("|"):
            other, more = self._row(depth)
            start, ends = self._add(None, "", (start, other)), ends + more
        return start, ends

    def _row(self, depth: int) -> tuple[int, list[int]]:
        start = self._add(None, "", ())
        ends = [start]
        while (more := self._more()) and more not in "|)":
            begun = self._at
            first, last = self._atom(depth)
            first, last = self._repeated(begun, first, last, depth)
            self._join(ends, first)
            ends = last
        return start, ends

    def _repeated(
        self, begun: int, first: int, last: list[int], depth: int
    ) -> tuple[int, list[int]]:
        low, high = 1, 1
        if self._take("*"):
            low, high = 0, -1
        elif self._take("+"):
            low, high = 1, -1
        elif self._take("?"):
            low, high = 0, 1
        elif found := re.compile(r"\{(\d{1,4})(,?)(\d{0,4})\}").match(self._text, self._at):
            self._at = found.end()
            low = int(found[1])
            high = int(found[3]) if found[3] else -1 if found[2] else low
        else:
            return first, last
        self._take("?")  # As few as can be: whether it is there is the same.
        after = self._at
        if max(low, high) > REPEATS or (high >= 0 and high < low):
            raise Unsupported("it repeats too often")
        start = self._add(None, "", ())
        ends, skips = [start], list[int]()
        for number in range(max(low, high, 1)):
            if number:  # Once more the same.
                self._at = begun
                first, last = self._atom(depth)
            fork = self._add(None, "", (first,))
            self._join(ends, fork)
            if number >= low:
                skips.append(fork)
            ends = last
        self._at = after
        if high < 0:
            again = self._add(None, "", (first,))
            self._join(ends, again)
            ends = [again]
        return start, (skips if high == 0 else [*ends, *skips])

    def _atom(self, depth: int) -> tuple[int, list[int]]:
        if self._take("("):
            if self._take("?") and not self._take(":"):
                named = re.compile(r"P?<[A-Za-z_]\w*>").match(self._text, self._at)
                if not named:
                    raise Unsupported("it looks ahead or back, or sets flags inside")
                self._at = named.end()
            inside = self._either(depth + 1)
            if not self._take(")"):
                raise Unsupported("a bracket is not closed")
            return inside
        letter = self._more()
        self._at += 1
        if letter in "^$":
            return self._one(self._add(None, letter, ()))
        if letter in "*+?":
            raise Unsupported("there is nothing to repeat")
        if letter == "[":
            return self._one(self._add(self._set(), "", ()))
        if letter == ".":
            return self._one(self._add(lambda c: self._dots or c != "\n", "", ()))
        if letter == "\\":
            if self._more() in ("b", "B"):
                self._at += 1
                return self._one(self._add(None, self._text[self._at - 1], ()))
            return self._one(self._add(self._escaped(), "", ()))
        return self._one(self._add(letter.__eq__, "", ()))

    def _one(self, number: int) -> tuple[int, list[int]]:
        return number, [number]

    def _escaped(self) -> Callable[[str], bool]:
        if found := _class(self._more()):
            self._at += 1
            return found
        return self._letter().__eq__

    def _letter(self) -> str:
        """The letter that stands escaped."""
        if number := _NUMBERED.match(self._text, self._at):
            self._at = number.end()
            return chr(min(int(next(filter(None, number.groups())), 16), 0x10FFFF))
        name = self._more()
        self._at += 1
        if name.isdecimal() or not name or name in "kpPuxcAZ":
            if name and name in "k123456789":
                raise Unsupported("it refers back to what it has found")
            raise Unsupported(f"\\{name} is not offered")
        return {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}.get(name, name)

    def _set(self) -> Callable[[str], bool]:
        wrong = self._take("^")
        tests: list[Callable[[str], bool]] = []
        while self._more() != "]":  # As in JavaScript `[^]` is any letter and `[]` none.
            low = self._more()
            if not low:
                raise Unsupported("a set of letters is not closed")
            self._at += 1
            if low == "\\":
                if (name := self._more()) and _class(name):
                    tests.append(self._escaped())
                    continue
                low = self._letter()
            if self._text[self._at : self._at + 1] == "-" and self._text[
                self._at + 1 : self._at + 2
            ] not in ("", "]"):
                high = self._text[self._at + 1]
                self._at += 2
                if high == "\\":
                    high = self._letter()
                if high < low:
                    raise Unsupported("a range of letters goes backwards")
                tests.append(lambda c, low=low, high=high: low <= c <= high)
            else:
                tests.append(low.__eq__)
        self._at += 1
        if wrong:
            return lambda c: not any(test(c) for test in tests)
        return lambda c: any(test(c) for test in tests)
