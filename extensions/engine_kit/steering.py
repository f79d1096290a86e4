"""The samplers that choose last and learn from what was chosen; see stages.py."""

import math

import numpy as np

from extensions.engine_kit.stages import Row, keep, softmax

COUNTED = 100
"""The likeliest tokens by which mirostat 1 estimates how steep the distribution is."""


class Mirostat:
    """Keeps the text about as surprising as `tau` bits a token (Basu et al. 2021, arXiv
    2007.14966); mode 1 cuts to as many tokens as Zipf's law says, mode 2 by their surprise."""

    def __init__(self, mode: int, tau: float, eta: float, vocabulary: int) -> None:
        self._mode, self._tau, self._eta, self._vocabulary = mode, tau, eta, vocabulary
        self._most = [2 * tau]
        """The surprise that is let through, after each token of the reply."""
        self._ids: Row = np.zeros(0)
        self._shares: Row = np.zeros(0)

    def __call__(self, ids: Row, logits: Row) -> Row:
        if self._mode == 1:
            left = self._first(logits)
        else:
            least = 2 ** -max(self._most[-1], 0)
            left = keep(logits, softmax(logits) >= least)
        self._ids, self._shares = ids, softmax(left)
        return left

    def chose(self, token: int) -> None:
        share = share_of(token, self._ids, self._shares)
        error = -math.log2(share) - self._tau if share else 0.0
        self._most.append(self._most[-1] - self._eta * error)

    def take_back(self, count: int) -> None:
        del self._most[len(self._most) - count :]

    def _first(self, logits: Row) -> Row:
        """Of algorithm 1: as many as would be surprising by less."""
        count = min(COUNTED, len(logits))
        best = -np.sort(-logits[np.argpartition(logits, -count)[-count:]]).astype(np.float64)
        steps = np.log1p(1 / np.arange(1, count))
        steep = (steps * -np.diff(best)).sum() / (steps * steps).sum() if count > 1 else 0.0
        if steep <= 0:
            return logits
        error = steep - 1
        scale = math.log(self._vocabulary)
        if abs(error) > 1e-6:
            scale = (1 - math.exp(-error * scale)) / error
        many = (self._most[-1] * math.log(2) - math.log(scale)) / steep
        number = int(math.exp(many)) if many < math.log(len(logits)) else len(logits)
        least = np.partition(logits, -max(number, 1))[-max(number, 1)]
        return keep(logits, logits >= least)


class Adaptive:
    """Makes tokens likelier whose share is near to a target, which moves against the mean of those
    that were chosen (MrJackSpade's adaptive-p, as llama.cpp has it)."""

    WIDTH, PEAK, SHARPNESS = 0.3, 5.0, 10.0

    def __init__(self, target: float, decay: float) -> None:
        self._target, self._decay = target, decay
        self._means = [target]
        """Of the shares that were chosen, after each token of the reply."""
        self._ids: Row = np.zeros(0)
        self._shares: Row = np.zeros(0)

    def __call__(self, ids: Row, logits: Row) -> Row:
        self._ids, self._shares = ids, softmax(logits)
        wanted = min(1.0, max(0.0, 2 * self._target - self._means[-1]))
        away = np.abs(self._shares - wanted) / self.WIDTH
        moved = self.PEAK - self.SHARPNESS * away * away / (1 + away)
        return moved.astype(logits.dtype)

    def chose(self, token: int) -> None:
        share = share_of(token, self._ids, self._shares) or self._means[-1]
        self._means.append(self._decay * self._means[-1] + (1 - self._decay) * share)

    def take_back(self, count: int) -> None:
        del self._means[len(self._means) - count :]


def share_of(token: int, ids: Row, shares: Row) -> float:
    """The share that a token had; none, where it came otherwise, as an end that had to."""
    at = int(np.searchsorted(ids, token))
    return float(shares[at]) if at < len(ids) and ids[at] == token else 0.0
