"""Classifier-free guidance: a reply is pushed away from how another prompt would go on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from extensions.llama_cpp.api import Adapters
from extensions.llamacpp_hf.beside import Beside, Line


class Guidance:
    """The other prompt, which the reply is written after as well (arXiv 2306.17806)."""

    def __init__(
        self, beside: Beside, scale: float, negative: Sequence[int], adapters: Adapters
    ) -> None:
        self._beside, self._scale = beside, scale
        self._negative, self._adapters = negative, adapters
        self._line: Line | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """The logarithms of the probabilities, `scale` times as far from the other prompt's."""
        other = torch.from_numpy(self._beside.scores(self._opened())).log_softmax(-1)
        return self._scale * (scores.log_softmax(-1) - other) + other

    def behind(self) -> bool:
        """Read a piece of the other prompt; whether there is more."""
        line = self._opened()
        if line.scores is None:
            self._beside.read(line)
        return line.scores is None

    def add(self, token: int) -> None:
        """The reply goes on with this token."""
        assert self._line
        self._line.add(token)

    def take_back(self, count: int) -> None:
        if self._line:
            self._beside.take_back(self._line, count)

    def close(self) -> None:
        if self._line:
            self._beside.close(self._line)

    def _opened(self) -> Line:
        self._line = self._line or self._beside.open(self._negative, self._adapters, together=True)
        return self._line
