"""A call that has to be, told while it is written: a grammar sees to it that it is one.

Of any other call it is known only at its end that it is one, so it is told then.
"""

import json
import re
from collections.abc import Iterator
from typing import Literal

from kernel.api import Delta, Token

from .finding import Finder
from .reading import NoCall
from .streaming import BREAKS, Stream, new_id
from .values import Tools

HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')
LONGEST = 2000
"""Characters within which a call's arguments begin."""
SIGNS = re.compile(r'["{}\[\]\\]')


class Growing(Stream):
    """One choice of a reply that is held to a call. Where it is none after all, its words are what
    they would be anywhere."""

    def __init__(self, choice: int, tools: Tools) -> None:
        super().__init__(choice, Finder(tools))
        self._tools, self._words, self._fresh = tools, "", True
        self._spent: tuple[Token, ...] = ()
        """Tokens of words that were not told yet."""
        self._state: Literal["head", "arguments", "tail", "none"] = "head"
        self._depth, self._quoted, self._escaped = 0, False, False

    def hear(self, delta: Delta) -> Iterator[Delta]:
        if self._state == "none":
            yield from super().hear(delta)
            return
        self._words += delta.text
        self._spent += delta.tokens
        if told := "".join(self._read()):
            yield Delta(told, "tool", choice=self._choice, tokens=self._spent)
            self._spent = ()
        if self._state == "none":
            yield from self._give_back()

    def end(self) -> Iterator[Delta]:
        """A call that was cut off stays a line without an end."""
        if self._state == "head" and (self._fresh or self._words.strip()):
            yield from self._give_back()
        yield from super().end()

    # --- inside ------------------------------------------------------------------------

    def _give_back(self) -> Iterator[Delta]:
        return super().hear(Delta(self._words, choice=self._choice, tokens=self._spent))

    def _read(self) -> Iterator[str]:
        """What is told of the words, which are passed as far as they are."""
        while self._words:
            match self._state:
                case "head" if found := HEAD.match(self._words):
                    yield from self._begin(found)
                case "head":
                    words = self._words.lstrip()
                    if words and (words[0] != "{" or len(words) > LONGEST):
                        self._state = "none"
                    return
                case "arguments":
                    end = self._end_in(self._words)
                    yield inside(self._words[:end])
                    self._words = "" if end is None else self._words[end:]
                    if end is not None:
                        self._state = "tail"
                        yield '"}\n'
                case "tail":
                    _, closed, self._words = self._words.partition("}")
                    self._state = "head" if closed else "tail"
                case _:
                    return

    def _begin(self, found: re.Match[str]) -> Iterator[str]:
        try:
            name = self._tools.known(json.loads(found[1], strict=False))
        except NoCall:
            self._state = "none"
            return
        told = json.dumps({"id": new_id(), "name": name}, ensure_ascii=False)
        yield told[:-1].translate(BREAKS) + ', "arguments": "'
        self._words, self._state, self._fresh = self._words[found.end() :], "arguments", False

    def _end_in(self, words: str) -> int | None:
        """Where the arguments end in these words, if they do."""
        at, self._escaped = int(self._escaped), False
        while found := SIGNS.search(words, at):
            at, sign = found.end(), found[0]
            if sign == "\\":
                self._escaped = at == len(words)
                at += 1
            elif sign == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if sign in "{[" else -1
                if not self._depth:
                    return at
        return None


def inside(words: str) -> str:
    """Words within a text of JSON."""
    return json.dumps(words, ensure_ascii=False)[1:-1].translate(BREAKS)
