"""The samplers that llama.cpp or transformers lack, each on all candidates at once.

A stage gets the ids and logits of the candidates and answers new logits; what may not be chosen
any more has minus infinity. The likeliest candidate always stays, except where XTC takes it.
Only workers whose environment has numpy import this.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Row = Any
"""An array of numpy, one entry a candidate."""
Stage = Callable[[Row, Row], Row]
"""`(ids, logits) -> logits`."""


def dynamic(low: float, high: float, exponent: float) -> Stage:
    """A temperature between low and high by the entropy's share of the greatest one (kalomaze)."""

    def work(ids: Row, logits: Row) -> Row:
        if len(logits) < 2:
            return logits
        share = min(1.0, entropy(softmax(logits)) / math.log(len(logits)))
        return logits / (low + (high - low) * share**exponent)

    return work


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
        return keep(logits, shares >= min(least, math.sqrt(least) * math.exp(-entropy(shares))))

    return work


def xtc(
    probability: float, threshold: float, spared: Sequence[int], chance: Callable[[], float]
) -> Stage:
    """Now and then drops all likely tokens but the last of them, unless one that is to be `spared`
    would go (p-e-w's "exclude top choices")."""

    def work(ids: Row, logits: Row) -> Row:
        if chance() >= probability:
            return logits
        shares = softmax(logits)
        likely = np.flatnonzero(shares >= threshold)
        gone = np.delete(likely, shares[likely].argmin()) if len(likely) else likely
        if np.isin(ids[gone], spared).any():
            return logits
        left = logits.copy()
        left[gone] = -np.inf
        return left

    return work


def entropy(shares: Row) -> float:
    return -float((shares * np.log(np.maximum(shares, 1e-300))).sum())


def softmax(logits: Row) -> Row:
    """Probabilities; summed up in double precision."""
    shares = np.exp(logits - logits.max())
    return shares / shares.sum(dtype=np.float64)


def keep(logits: Row, stay: Row) -> Row:
    stay[logits.argmax()] = True
    return np.where(stay, logits, -np.inf)
