"""Classifier-free guidance: a reply is pushed away from how another prompt would go on."""

from collections.abc import Sequence

from torch import Tensor

from extensions.engine_kit.api import neutral
from extensions.transformers.batch import Row
from extensions.transformers.vocabulary import Vocabulary
from kernel.contract import Refused, Request

LONGEST = 40
"""Letters of a token: a longer prompt is refused before the time it takes to count it."""


class Guidance(Row):
    """The row of the negative prompt, which the reply is written after as well (arXiv
    2306.17806)."""

    kept = False

    def __init__(self, scale: float, negative: Sequence[int], request: Request) -> None:
        super().__init__(list(negative), request.adapters)
        self._scale = scale
        self.scores: Tensor | None = None
        """What the model says after the last of its tokens."""

    def __call__(self, scores: Tensor) -> Tensor:
        """The logarithms of the probabilities, `scale` times as far from the other prompt's."""
        assert self.scores is not None
        other = self.scores.log_softmax(-1)
        return self._scale * (scores.log_softmax(-1) - other) + other


def guidance(
    request: Request, prompt: Sequence[int], vocabulary: Vocabulary, context: int
) -> Guidance | None:
    """Of a request that asks for it, with its negative prompt or else the prompt's last token;
    raises Refused where that leaves no room."""
    scale = neutral(request.sampling, "guidance_scale")
    if scale == 1:
        return None
    text = neutral(request.sampling, "negative_prompt")
    if len(text) > context * LONGEST:
        says = f"The negative prompt has {len(text):,} characters, far too many for this model."
        raise Refused(f"{says} Shorten it.")
    special = neutral(request.sampling, "add_bos_token")
    negative = vocabulary.encode(text, special) if text else prompt[-1:]
    if len(negative) >= context:
        raise Refused(
            f"The negative prompt has {len(negative):,} tokens, and the context of this model "
            f"{context:,}. Shorten it."
        )
    return Guidance(scale, negative or prompt[-1:], request)
