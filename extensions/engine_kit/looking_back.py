"""The samplers that look at what was read and written, beside those of libraries; see stages.py."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from extensions.engine_kit.stages import Row, Stage

LONGEST = 50
"""Tokens of a run that DRY follows; the penalty is beyond all choice long before."""


class History:
    """The tokens of a prompt and of its reply so far."""

    def __init__(self, prompt: Any) -> None:
        self._all = np.array(prompt, np.int32)
        self.prompt = self.length = len(self._all)

    def append(self, token: int) -> None:
        if self.length == len(self._all):
            self._all = np.concatenate([self._all, np.zeros(self.length + 64, np.int32)])
        self._all[self.length] = token
        self.length += 1

    def follow(self, ids: Sequence[int]) -> None:
        """Be these tokens, which begin as the history does as far as both go."""
        self.length = min(self.length, len(ids))
        for token in ids[self.length :]:
            self.append(token)

    @property
    def tokens(self) -> Row:
        return self._all[: self.length]


def no_repeat(size: int, history: History) -> Stage:
    """Drops what would complete a run of `size` tokens that was there before."""

    def work(ids: Row, logits: Row) -> Row:
        tokens = history.tokens
        if len(tokens) < size:
            return logits
        runs = np.lib.stride_tricks.sliding_window_view(tokens, size)
        same = (runs[:, :-1] == tokens[len(tokens) - size + 1 :]).all(axis=1)
        left = np.where(np.isin(ids, runs[same, -1]), -np.inf, logits)
        return left if left.max() > -np.inf else logits

    return work


def from_prompt(penalty: float, history: History) -> Stage:
    """Makes what stands in the prompt likelier above 1, the reverse of a repetition penalty."""
    wanted = np.unique(history.tokens[: history.prompt])
    has = np.zeros(int(wanted.max(initial=0)) + 2, bool)
    has[wanted] = True

    def work(ids: Row, logits: Row) -> Row:
        known = has[np.minimum(ids, len(has) - 1)]  # the last says no, for all beyond
        lifted = np.where(logits < 0, logits / penalty, logits * penalty)
        return np.where(known, lifted, logits)

    return work


def dry(
    history: History,
    *,
    multiplier: float,
    base: float,
    allowed: int,
    reach: int,
    breakers: Collection[int],
) -> Stage:
    """Holds back what would go on with a run that was there before, the more the longer it is;
    runs do not go past breakers, and 0 reaches back to the beginning (p-e-w's "don't repeat
    yourself")."""
    stops = np.array(sorted(breakers), np.int32)

    def work(ids: Row, logits: Row) -> Row:
        tokens = history.tokens[-reach:]
        lengths = runs(tokens, stops, int(ids.max()) + 1)[ids]
        held = np.flatnonzero(lengths >= allowed)
        left = logits.copy()
        left[held] -= multiplier * base ** (lengths[held] - float(allowed))
        return left

    return work


def runs(tokens: Row, stops: Row, size: int) -> Row:
    """For each token of a vocabulary, the longest run at the end that it followed before."""
    longest = np.zeros(size, np.int32)
    ends = np.arange(len(tokens) - 1)
    """Where a run that is the same as that at the end may end."""
    for length in range(1, min(LONGEST, len(tokens)) + 1):
        wanted = tokens[-length]
        if wanted in stops:
            break
        ends = ends[ends >= length - 1]
        ends = ends[tokens[ends - (length - 1)] == wanted]
        if not len(ends):
            break
        follows = tokens[ends + 1]
        longest[follows[follows < size]] = length
    longest[stops[stops < size]] = 0
    return longest
