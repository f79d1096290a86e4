"""Words and tokens of a conversation, counted once and then as they come."""

import re

from kernel.api import Delta

WORD = re.compile(r"\w+(?:['\u2019.,-]\w+)*")
"""“It's”, “3.14” and “well-known” are one word each."""


def words(text: str) -> int:
    return sum(1 for _ in WORD.finditer(text))


class Growing:
    """A reply that is being written: each delta costs as much as it is long."""

    def __init__(self, words_before: int, tokens_before: int) -> None:
        self._before, self._tokens = words_before, tokens_before
        self._closed, self._open = 0, ""

    def hear(self, delta: Delta) -> None:
        self._tokens += len(delta.tokens) or 1
        if delta.channel != "text" or delta.choice:
            return
        if delta.replace:
            self._closed, self._open = 0, ""
        closed, space, rest = (self._open + delta.text).rpartition(" ")
        self._closed += words(closed)
        self._open = space + rest if not closed else rest

    @property
    def figures(self) -> dict[str, int]:
        return {"words": self._before + self._closed + words(self._open), "tokens": self._tokens}
