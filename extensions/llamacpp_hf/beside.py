"""A second memory of the model, for what is read beside replies: negative prompts, candidates.

It is a context of its own, so that nothing here disturbs the steps that replies share.
"""

from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np

from extensions.llama_cpp.api import FULL, PIECE, Adapters, Context
from kernel.contract import Refused

CANDIDATES = 32
"""Sequences for tokens that are only tried."""
IN_VAIN = 64
"""How often a line finds no room while it waits for older ones of which none goes on."""


class Line:
    """What is read beside one reply; `scores` are the logits after the last of its tokens."""

    def __init__(
        self, sequence: int, tokens: Sequence[int], adapters: Adapters, together: bool
    ) -> None:
        self.sequence, self.tokens, self.adapters = sequence, list(tokens), adapters
        self.together = together
        """Whether it may be read in one step with others, for its scores alone."""
        self.past, self.row = 0, -1
        self.scores: Any = None
        self.waited: tuple[int, int] = 0, 0
        """What was read of all lines when it began to wait, and how often it did since."""
        self.refused = -1
        """How often room was made when there was none for it."""

    def add(self, token: int) -> None:
        self.tokens.append(token)
        self.scores = None


class Beside:
    """The lines of all replies that have one; those that lag behind are read in one step.

    Where not all of them find room the older go first: each would push out what another read.
    """

    def __init__(self, context: Context, use: Callable[[Adapters], None]) -> None:
        self.context, self._use = context, use
        self._adapters: Adapters = ()
        self._hidden = False
        self._lines: list[Line] = []
        self._progress = self._made = 0
        self._free = list(range(CANDIDATES, context.sequences))

    def open(self, tokens: Sequence[int], adapters: Adapters, *, together: bool = False) -> Line:
        """A line of its own for a reply; it has to be closed."""
        if not self._free:
            raise Refused("Too many replies with guidance are written at once. Try again later.")
        line = Line(self._free.pop(), tokens, adapters, together)
        self._lines.append(line)
        return line

    def close(self, line: Line) -> None:
        self._lines.remove(line)
        self._forget(line)
        self._free.append(line.sequence)

    def scores(self, line: Line) -> "np.ndarray[Any, Any]":
        """The logits after a line's last token."""
        while line.scores is None:
            self.read(line)
        return line.scores

    def read(self, line: Line) -> None:
        """Read a piece of a line, unless it waits; others that have to be read are read with it."""
        if self.waits(line):
            return
        parts = self._gather(line)
        while not self.carried_out(line):
            if len(parts) == 1 and not self.make_room(line):
                return
            parts = self._gather(line, alone=True)
        for part, count in parts:
            part.past += count
            if part.past == len(part.tokens):
                part.scores = self.context.logits(part.row).copy()

    def take_back(self, line: Line, count: int) -> None:
        """A line's last tokens were not meant; the one before them is read again."""
        if not count:
            return
        del line.tokens[-count:]
        line.scores = None
        self.cut(line, min(line.past, len(line.tokens) - 1))

    def cut(self, line: Line, length: int) -> None:
        """Let a line forget what it read from a position on."""
        line.past = length if self.context.forget(line.sequence, length) else 0
        self._made += 1

    def carried_out(self, line: Line, *, hidden: bool = False) -> bool:
        """Carry out what is in the batch for a line, with the `hidden` states where they are
        wanted; False where there is no room, after which the batch has to be filled again."""
        self._prepare(line.adapters, hidden)
        code = self.context.decode()
        if code == FULL:
            return False
        if code:
            raise RuntimeError("reading beside a reply was stopped")
        self._progress += 1
        return True

    def make_room(self, line: Line) -> bool:
        """Let the longest younger line forget what it read, which is read again when it is needed;
        False where there are only older ones, for which this one waits."""
        others = [each for each in self._lines if each is not line and each.past]
        if not others:
            raise Refused(
                "There is no room for what has to be read beside this reply. Shorten the prompt "
                "or the negative prompt, or load the model with more context."
            )
        younger = [each for each in self._lines[self._lines.index(line) :] if each in others]
        if not younger and not self._in_vain(line):
            line.refused = self._made
            return False
        longest = max(younger or others, key=lambda each: each.past)
        self._forget(longest)
        longest.past = 0
        return True

    def waits(self, line: Line) -> bool:
        """Whether there is no more room than when there was none for it: llama.cpp would say so in
        its log each time."""
        return line.refused == self._made and not self._in_vain(line)

    def _forget(self, line: Line) -> None:
        self.context.forget(line.sequence)
        self._made += 1

    def _prepare(self, adapters: Adapters, hidden: bool) -> None:
        if adapters != self._adapters:
            self._use(adapters)
            self._adapters = adapters
        if hidden != self._hidden:
            C.llama_set_embeddings(self.context.handle, hidden)
            self._hidden = hidden

    def _gather(self, line: Line, *, alone: bool = False) -> list[tuple[Line, int]]:
        batch = self.context.batch
        batch.clear()
        others = [
            each
            for each in self._lines
            if each.together
            and each is not line
            and each.refused != self._made
            and each.scores is None
            and each.adapters == line.adapters
        ]
        others.sort(key=lambda each: len(each.tokens) - each.past)
        room = min(batch.room, max(PIECE, len(self._lines)))
        parts: list[tuple[Line, int]] = []
        for each in [line, *(() if alone else others)]:
            part = each.tokens[each.past : each.past + room - batch.used]
            if part:
                last = each.past + len(part) == len(each.tokens)
                ids = np.array(part, np.int32)
                each.row = batch.extend(ids, each.past, each.sequence, last=last)
                parts.append((each, len(part)))
        return parts

    def _in_vain(self, line: Line) -> bool:
        """Whether a line waits for older ones that wait too, as for room among the replies."""
        read, times = line.waited
        line.waited = self._progress, times + 1 if read == self._progress else 1
        return line.waited[1] > IN_VAIN
