"""A text of which every token's likelihood is wanted: what perplexity is made of."""

from collections.abc import Iterable, Sequence
from typing import Any

from extensions.engine_kit.api import Aside, TextStream
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.explained import best
from extensions.llama_cpp.native.library import Model
from extensions.llama_cpp.native.row import Adapters, Row, log_softmax
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

    def hear(self, context: Context, count: int) -> None:
        """Take in what the step says of the `count` tokens that it read."""
        for row in range(self.at - count + 1, self.at + 1):
            found = log_softmax(context.logits(row))
            after = len(self._following) + 1
            if after < len(self.tokens):
                self._scores.append(float(found[self.tokens[after]]))
            likely = best(found, min(self._top, len(found))) if self._top else ()
            self._following.append([(id, float(found[id])) for id in likely])

    def put_back(self) -> None:
        super().put_back()
        self._scores, self._following = [None], []

    def choose(self, context: Context, model: Model) -> list[Output]:
        following = self._following if self._top else []
        said: dict[str, Any] = {"token_ids": self.tokens.tolist(), "logprobs": self._scores}
        self._aside.answer({**said, "top": following})
        return [self.finish("stop")]

    # --- it chooses no token ---

    def sample(self, context: Context, row: int) -> int:
        raise NotImplementedError

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to give back."""
