"""One request's sampling: what works on its scores, one after another, and the choice."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from extensions.engine_kit.api import Adaptive, History, Mirostat, neutral
from extensions.transformers.processes import Ours, Processes, Tokens, greedy
from kernel.contract import EngineFailed, Refused, Sampling


class Grammar(Protocol):
    """What a reply keeps to; see constraint.py."""

    def allows(self, token: int) -> bool: ...
    def mask(self, scores: Tensor) -> Tensor: ...
    def accept(self, token: int) -> None: ...
    @property
    def end(self) -> int | None: ...


class Sampler:
    """Chooses the tokens of one request; knows nothing of the batch that it is in."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], tokens: Tokens) -> None:
        self._history, self._device = History(prompt), tokens.device
        self._random = torch.Generator()
        self._greedy = greedy(sampling)
        """Why the likeliest token is taken; empty where lots are drawn."""
        self._processes = Processes(sampling, self._history, tokens, self._chance).in_order()
        self._last = None if self._greedy else steering(sampling, tokens.size)
        """What chooses last, and learns from what was chosen."""
        if self._last:
            self._processes.append((self._last[0], Ours(self._last[1])))
        if (seed := neutral(sampling, "seed")) == -1:
            self._random.seed()
        else:
            self._random.manual_seed(seed)

    def __call__(
        self,
        ids: Sequence[int],
        scores: Tensor,
        grammar: Grammar | None = None,
        spared: Sequence[int] = (),
    ) -> int:
        """The next token after `ids`, from the model's scores [vocabulary], rather none of those
        `spared`; raises Refused where none can be."""
        token = self._token(ids, without(scores, spared), grammar)
        if token is None and spared:
            token = self._token(ids, scores, grammar)
        if token is None:
            raise nothing(scores)
        if grammar:
            grammar.accept(token)
        self.chose(token)
        return token

    def _token(self, ids: Sequence[int], scores: Tensor, grammar: Grammar | None) -> int | None:
        token = self.choose(self.process(ids, scores))
        if grammar and (token is None or not grammar.allows(token)):
            token = self.choose(self.process(ids, grammar.mask(scores)))
            return grammar.end if token is None else token
        return token

    def process(self, ids: Sequence[int], scores: Tensor) -> Tensor:
        """The scores as penalties and filters leave them."""
        if not self._processes:
            return scores
        scores, so_far = scores[None], self._so_far(ids)
        for _, process in self._processes:
            scores = process(so_far, scores)
        return scores[0]

    def explained(self, ids: Sequence[int], scores: Tensor) -> tuple[Tensor, dict[int, str]]:
        """The probabilities after all of that and the choice, and which parameter took each token
        out."""
        cut_by: dict[int, str] = {}
        so_far = self._so_far(ids)

        def note(name: str, before: Tensor, after: Tensor) -> None:
            gone = (before > -torch.inf) & (after == -torch.inf)
            cut_by.update(dict.fromkeys(gone.nonzero()[:, 0].tolist(), name))

        for name, process in self._processes:
            after = process(so_far, scores[None])[0]
            note(name, scores, after)
            scores = after
        if self._greedy:
            after = torch.full_like(scores, -torch.inf)
            after[scores.argmax()] = 0
            note(self._greedy, scores, after)
            scores = after
        if scores.max() == -torch.inf:
            return torch.zeros_like(scores), cut_by
        return scores.softmax(-1, dtype=torch.float64), cut_by

    def choose(self, scores: Tensor) -> int | None:
        """The best token, or one by its share; None where none has a chance. By hand, as PyTorch's
        multinomial needs milliseconds for a large vocabulary."""
        if self._greedy:
            best = int(scores.argmax())
            return best if scores[best] > -torch.inf else None
        sums = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        total = float(sums[-1])
        if not total > 0:  # of nothing but minus infinity, it is no number
            return None
        point = total * self._chance()
        found = torch.searchsorted(sums, torch.tensor(point, dtype=sums.dtype, device=sums.device),
                                   right=True)  # fmt: skip
        return min(int(found), len(sums) - 1)

    def chose(self, token: int) -> None:
        """The reply goes on with this token."""
        if self._last:
            self._last[1].chose(token)

    def take_back(self, count: int) -> None:
        """Forget that the last tokens were chosen."""
        if self._last:
            self._last[1].take_back(count)

    def _chance(self) -> float:
        return torch.rand((), generator=self._random, dtype=torch.float64).item()

    def _so_far(self, ids: Sequence[int]) -> Tensor:
        self._history.follow(ids)
        return torch.from_numpy(self._history.tokens.astype(np.int64))[None].to(self._device)


def steering(sampling: Sampling, vocabulary: int) -> tuple[str, Mirostat | Adaptive] | None:
    """What chooses last, with the parameter that asks for it."""
    if mode := neutral(sampling, "mirostat_mode"):
        given = neutral(sampling, "mirostat_tau"), neutral(sampling, "mirostat_eta")
        return "mirostat_mode", Mirostat(mode, *given, vocabulary)
    if target := neutral(sampling, "adaptive_target"):
        return "adaptive_target", Adaptive(target, neutral(sampling, "adaptive_decay"))
    return None


def without(scores: Tensor, spared: Sequence[int]) -> Tensor:
    """The scores where these have no chance."""
    if not spared:
        return scores
    return scores.index_fill(0, torch.tensor(spared, device=scores.device), -torch.inf)


def nothing(scores: Tensor) -> Exception:
    """Why there is no token to choose from."""
    if scores.isnan().any():
        return EngineFailed("This model answers with what is no number; its file is damaged.")
    return Refused("No token may come next: everything is banned or forbidden. Allow more.")


def likeliest(row: Tensor, count: int) -> list[int]:
    """The ids of the largest of a row, from the first on."""
    return row.topk(count).indices.tolist()
