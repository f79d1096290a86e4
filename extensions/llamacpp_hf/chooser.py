"""How a reply's next token is chosen: by transformers' logits processors, on llama.cpp's logits."""

from collections.abc import Iterable, Sequence

import torch

from extensions.engine_kit.api import neutral
from extensions.llama_cpp.api import Context
from extensions.llamacpp_hf.contrast import Contrast
from extensions.llamacpp_hf.guidance import Guidance
from extensions.transformers.api import Sampler
from kernel.contract import Refused, Sampling


class Chooser:
    """The sampling of one request; it knows what the reply says so far."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        eog: Iterable[int],
        guidance: Guidance | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        self._ids = list(prompt)
        self._sampler = Sampler(sampling, prompt, sorted(eog), torch.device("cpu"))
        self._guidance, self._contrast = guidance, contrast
        self._not_here: list[int] = []

    def sample(self, context: Context, row: int) -> int:
        """Choose, and note what was chosen; raises Refused where nothing can be."""
        scores = torch.from_numpy(context.logits(row).copy())
        if self._guidance:
            scores = self._guidance(scores)
        if scores.isnan().any():
            raise Refused("This model answers with what is no number; its file is damaged.")
        if self._not_here:
            scores[self._not_here] = -torch.inf
            self._not_here = []
        if self._contrast:
            token = self._contrast(self._sampler.process(self._ids, scores))
        else:
            token = self._sampler(self._ids, scores)
        self._ids.append(token)
        if self._guidance:
            self._guidance.add(token)
        return token

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """Forget the last tokens; the next choice is none of those `banned`."""
        del self._ids[len(self._ids) - count :]
        self._not_here = list(banned)
        for each in (self._guidance, self._contrast):
            if each:
                each.take_back(count)

    def close(self) -> None:
        for each in (self._guidance, self._contrast):
            if each:
                each.close()
        self._guidance = self._contrast = None


def wants(sampling: Sampling) -> tuple[bool, bool]:
    """Whether a request wants guidance, and contrastive search; raises Refused for both at once,
    and where they cannot be."""
    guided = neutral(sampling, "guidance_scale") != 1
    contrasted = bool(neutral(sampling, "penalty_alpha"))
    if contrasted and neutral(sampling, "do_sample") and neutral(sampling, "temperature"):
        raise Refused(
            "Contrastive search (penalty_alpha) draws no lots. Switch do_sample off, or leave "
            "penalty_alpha at 0."
        )
    if contrasted and guided:
        raise Refused("Contrastive search and guidance do not go together. Leave one out.")
    return guided, contrasted
