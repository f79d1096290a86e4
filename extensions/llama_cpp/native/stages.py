"""The samplers that llama.cpp lacks, each on all candidates at once.

A stage gets the ids and logits of the candidates and answers new logits; what may not be chosen
any more has minus infinity. The likeliest candidate always stays.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from extensions.engine_kit.api import neutral
from kernel.contract import Sampling

Row = Any
"""An array of numpy, one entry a candidate."""
Stage = Callable[[Row, Row], Row]
"""`(ids, logits) -> logits`."""


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

    @property
    def tokens(self) -> Row:
        return self._all[: self.length]


def stage(name: str, sampling: Sampling, history: History) -> Stage | None:
    """The stage that `sampler_priority` calls so; None where it would change nothing."""

    def value(field: str) -> Any:
        return neutral(sampling, field)

    match name:
        case "quadratic_sampling" if value("smoothing_factor"):
            return quadratic(value("smoothing_factor"), value("smoothing_curve"))
        case "top_a" if value("top_a"):
            return top_a(value("top_a"))
        case "tfs" if value("tfs") < 1:
            return tail_free(value("tfs"))
        case "epsilon_cutoff" if value("epsilon_cutoff"):
            return epsilon(value("epsilon_cutoff") * 1e-4)
        case "eta_cutoff" if value("eta_cutoff"):
            return eta(value("eta_cutoff") * 1e-4)
        case "no_repeat_ngram_size" if value(name):
            return no_repeat(value(name), history)
        case "encoder_repetition_penalty" if value(name) != 1:
            return from_prompt(value(name), history)
        case _:
            return None


def quadratic(factor: float, curve: float) -> Stage:
    """Flattens (below 1) or sharpens around the best by the square and cube of the distance."""
    square, cube = factor * (3 - curve) / 2, factor * (curve - 1) / 2

    def work(ids: Row, logits: Row) -> Row:
        best = logits.max()
        away = logits - best
        return best + away * away * (cube * away - square)

    return work


def top_a(a: float) -> Stage:
    """Drops what is less likely than `a` times the square of the best (BlinkDL's top-a)."""

    def work(ids: Row, logits: Row) -> Row:
        shares = softmax(logits)
        return keep(logits, shares >= a * shares.max() ** 2)

    return work


def tail_free(z: float) -> Stage:
    """Drops the tail where the curve of sorted probabilities is flat (Phénix & Egan 2019)."""

    def work(ids: Row, logits: Row) -> Row:
        if len(logits) < 3:
            return logits
        falling = np.argsort(-logits)
        bends = np.abs(np.diff(softmax(logits)[falling], 2))
        if not (total := bends.sum()):
            return logits
        stay = np.zeros(len(logits), bool)
        stay[falling[1:-1]] = np.cumsum(bends / total) <= z  # the very last one is always tail
        return keep(logits, stay)

    return work


def epsilon(least: float) -> Stage:
    """Drops what is less likely than `least` (Hewitt et al. 2022, arXiv 2210.15191)."""
    return lambda ids, logits: keep(logits, softmax(logits) >= least)


def eta(least: float) -> Stage:
    """As `epsilon`, with a bound that falls where the choice is open (arXiv 2210.15191)."""

    def work(ids: Row, logits: Row) -> Row:
        shares = softmax(logits)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum()
        return keep(logits, shares >= min(least, math.sqrt(least) * math.exp(-entropy)))

    return work


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


def softmax(logits: Row) -> Row:
    """Probabilities; summed up in double precision."""
    shares = np.exp(logits - logits.max())
    return shares / shares.sum(dtype=np.float64)


def keep(logits: Row, stay: Row) -> Row:
    stay[logits.argmax()] = True
    return np.where(stay, logits, -np.inf)
