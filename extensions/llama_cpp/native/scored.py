"""A text of which every token's likelihood is wanted: what perplexity is made of."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from extensions.engine_kit.api import Aside, TextStream
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.explained import best
from extensions.llama_cpp.native.row import Adapters, Row
from kernel.contract import Output


class Scored(Row):
    """It takes part in the steps as a prompt that is read from its beginning, and is answered at
    its end: `token_ids`; `logprobs` of each after those before it (None for the first); and `top`,
    the likeliest that may follow each, as pairs of id and logprob."""

    whole = True

    def __init__(self, aside: Aside, ids: Sequence[int], adapters: Adapters, top: int) -> None:
        super().__init__(aside.id, ids, self, TextStream([]), limit=1, adapters=adapters)
        self._aside, self._top = aside, top
        self._scores: list[float | None] = [None]
        self._following: list[list[tuple[int, float]]] = []
        self._heard = 0
        """Tokens after which it was told what may follow."""

    def hear(self, context: Context, count: int) -> None:
        """Take in what the step says of the `count` tokens that it read."""
        for row in range(self.at - count + 1, self.at + 1):
            logits = context.logits(row)
            values = logits - logits.max()
            total = math.log(np.exp(values).sum(dtype=np.float64))
            self._heard += 1
            if self._heard < len(self.tokens):
                self._scores.append(float(values[self.tokens[self._heard]]) - total)
            if self._top:
                likely = best(values, self._top)
                self._following.append([(id, float(values[id]) - total) for id in likely])

    def put_back(self) -> None:
        super().put_back()
        self._scores = [None]
        self._following, self._heard = [], 0

    def end(self) -> list[Output]:
        says = "There was no room for the whole text. Read it in parts."
        return [self.finish("error", says, "prompt")]

    # --- as its own chooser: what it answers with is no token that anybody hears of ---

    def sample(self, context: Context, row: int) -> int:
        said: dict[str, Any] = {"token_ids": self.tokens.tolist(), "logprobs": self._scores}
        self._aside.answer({**said, "top": self._following})
        return int(context.logits(row).argmax())

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """A single token is never taken back."""

    def close(self) -> None:
        """There is nothing to give back."""
