"""How a reply's next token is chosen: by transformers' logits processors, on llama.cpp's logits."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from extensions.engine_kit.api import as_gbnf, neutral
from extensions.llama_cpp.api import (
    Candidates,
    Constraint,
    Context,
    Model,
    Processors,
)
from extensions.llamacpp_hf.contrast import Contrast
from extensions.llamacpp_hf.guidance import Guidance
from extensions.transformers.api import Sampler, Tokens
from kernel.contract import EngineFailed, Refused, Request, Sampling


class Chooser:
    """The sampling of one request; it knows what the reply says so far."""

    def __init__(
        self,
        model: Model,
        request: Request,
        prompt: Sequence[int],
        encode: Callable[[str], Sequence[int]],
        guidance: Guidance | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        self._ids, self._prompt = list(prompt), len(prompt)
        self._processors = Processors(request.processors)
        tokens = Tokens(model.vocabulary_size, model.eog, torch.device("cpu"), encode)
        self._sampler = Sampler(request.sampling, prompt, tokens)
        self._guidance, self._contrast = guidance, contrast
        self._not_here: list[int] = []
        grammar = as_gbnf(request.grammar)
        self._constraint = Constraint(model, grammar) if grammar else None
        self._candidates = Candidates(model.vocabulary_size) if grammar else None

    def behind(self) -> bool:
        """Read a piece of what is read beside the prompt; whether there is more before a choice."""
        beside = self._guidance or self._contrast
        return bool(beside and beside.behind())

    def sample(self, context: Context, row: int) -> int:
        """Choose, and note what was chosen; raises Refused where nothing can be."""
        scores = self._scores(context, row)
        spared, self._not_here = self._not_here, []
        before = scores[spared]
        scores[spared] = -torch.inf
        token = self._choose(scores)
        if token is None and spared:  # Rather what is banned here than nothing.
            scores[spared] = before
            token = self._choose(scores)
        if token is None:
            raise Refused("No token may come next: everything is banned or forbidden. Allow more.")
        if self._constraint:
            self._constraint.accept(token)
        if self._guidance:
            self._guidance.add(token)
        self._sampler.chose(token)
        self._ids.append(token)
        return token

    def considered(self, context: Context, row: int) -> tuple[Tensor, Tensor, dict[int, str]]:
        """Instead of a choice: the model's scores, the probabilities after guidance and samplers,
        and which parameter took each token out."""
        raw = torch.from_numpy(context.logits(row).copy())
        after, cut_by = self._sampler.explained(self._ids, self._scores(context, row))
        return raw, after, cut_by

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """Forget the last tokens; the next choice is none of those `banned`."""
        del self._ids[len(self._ids) - count :]
        self._not_here = list(banned)
        self._sampler.take_back(count)
        for each in (self._guidance, self._contrast):
            if each:
                each.take_back(count)
        if self._constraint:
            self._constraint.restart(self._ids[self._prompt :])

    def close(self) -> None:
        for each in (self._guidance, self._contrast, self._constraint):
            if each:
                each.close()
        self._guidance = self._contrast = self._constraint = None

    def _scores(self, context: Context, row: int) -> Tensor:
        """What the model says, with guidance, as the processors of extensions leave it."""
        scores = torch.from_numpy(context.logits(row).copy())
        if self._guidance:
            scores = self._guidance(scores)
        if scores.isnan().any():
            raise EngineFailed("This model answers with what is no number; its file is damaged.")
        if self._processors.any:
            answer = self._processors(np.array(self._ids, np.int32), scores.numpy())
            scores = torch.from_numpy(np.array(answer))
        return scores

    def _choose(self, scores: Tensor) -> int | None:
        """A choice; None where there is nothing to choose from."""
        constraint = self._constraint
        if not constraint:
            return self._allowed(scores)
        if not self._contrast:
            token = self._allowed(scores)
            if token is not None and constraint.allows(token):
                return token
        token = self._allowed(self._masked(scores, constraint))
        return constraint.end if token is None else token

    def _allowed(self, scores: Tensor) -> int | None:
        scores = self._sampler.process(self._ids, scores)
        if not self._contrast:
            return self._sampler.choose(scores)
        return None if scores.max() == -torch.inf else self._contrast(scores)

    def _masked(self, scores: Tensor, constraint: Constraint) -> Tensor:
        """The scores without those that the grammar forbids."""
        candidates = self._candidates
        assert candidates
        candidates.fill(scores.numpy())
        constraint.mask(candidates)
        masked = torch.full_like(scores, -torch.inf)
        view = candidates.view
        masked[torch.from_numpy(view["id"].astype(np.int64))] = torch.from_numpy(
            view["logit"].copy()
        )
        return masked


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
