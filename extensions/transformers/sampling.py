"""One request's sampling: transformers' own logits processors in the user's order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from extensions.engine_kit.api import neutral
from kernel.contract import Sampling
from transformers.generation import logits_process as lp

Process = Callable[[Tensor, Tensor], Tensor]
"""`(token ids [1, n], scores [1, vocabulary]) -> scores`."""

FILTERS: dict[str, Callable[[Any], Process]] = {
    "temperature": lp.TemperatureLogitsWarper,
    "top_n_sigma": lambda value: TopNSigma(value),
    "top_k": lp.TopKLogitsWarper,
    "top_p": lp.TopPLogitsWarper,
    "typical_p": lp.TypicalLogitsWarper,
    "epsilon_cutoff": lambda value: lp.EpsilonLogitsWarper(value * 1e-4),
    "eta_cutoff": lambda value: lp.EtaLogitsWarper(value * 1e-4),
    "min_p": lp.MinPLogitsWarper,
}
"""What a user may put in order, in the usual one; the cutoffs are in units of 1e-4."""


class Sampler:
    """Chooses the tokens of one request; knows nothing of the batch that it is in."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], eos: Sequence[int], device: torch.device
    ) -> None:
        def value(name: str) -> Any:
            return neutral(sampling, name)

        self._greedy = "temperature" if value("temperature") == 0 else ""
        """Why the likeliest token is taken; empty where lots are drawn."""
        if not value("do_sample"):
            self._greedy = "do_sample"
        self._processes = penalties(sampling, prompt, eos, device)
        if not self._greedy:
            self._processes += [
                (name, FILTERS[name](value(name)))
                for name in order(sampling)
                if value(name) != neutral(Sampling(), name)
            ]
        self._random = torch.Generator()
        if value("seed") == -1:
            self._random.seed()
        else:
            self._random.manual_seed(value("seed"))

    def __call__(self, ids: Sequence[int], scores: Tensor) -> int:
        """The next token after `ids`, from the model's scores [vocabulary]."""
        return self.choose(self.process(ids, scores))

    def process(self, ids: Sequence[int], scores: Tensor) -> Tensor:
        """The scores as penalties and filters leave them."""
        if not self._processes:
            return scores
        scores, so_far = scores[None], torch.tensor([ids], device=scores.device)
        for _, process in self._processes:
            scores = process(so_far, scores)
        return scores[0]

    def explained(self, ids: Sequence[int], scores: Tensor) -> tuple[Tensor, dict[int, str]]:
        """The probabilities after all of that and the choice, and which parameter took each token
        out."""
        cut_by: dict[int, str] = {}
        so_far = torch.tensor([ids], device=scores.device)

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

    def choose(self, scores: Tensor) -> int:
        """The best token, or one by its share: by hand, as PyTorch's multinomial needs milliseconds
        for a large vocabulary."""
        if self._greedy:
            return int(scores.argmax())
        sums = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        point = sums[-1] * torch.rand((), generator=self._random, dtype=torch.float64).item()
        return int(torch.searchsorted(sums, point, right=True).clamp_(max=len(sums) - 1))


def order(sampling: Sampling) -> list[str]:
    wished = [name for name in neutral(sampling, "sampler_priority") if name in FILTERS]
    names = [name for name in FILTERS if name not in wished] + list(dict.fromkeys(wished))
    if neutral(sampling, "temperature_last"):
        names.sort(key=lambda name: name == "temperature")
    return names


def penalties(
    sampling: Sampling, prompt: Sequence[int], eos: Sequence[int], device: torch.device
) -> list[tuple[str, Process]]:
    """What works on greedy choices too, and always before the filters."""

    def value(name: str) -> Any:
        return neutral(sampling, name)

    processes: list[tuple[str, Process]] = []
    banned = float("-inf")
    for name, biases in (
        ("logit_bias", dict[int, float](value("logit_bias"))),
        ("custom_token_bans", dict.fromkeys(value("custom_token_bans"), banned)),
        ("ban_eos_token", dict.fromkeys(eos if value("ban_eos_token") else (), banned)),
    ):
        if biases:
            processes.append((name, Bias(biases)))
    if value("min_length"):
        least = lp.MinNewTokensLengthLogitsProcessor
        process = least(len(prompt), value("min_length"), list(eos), device=device)
        processes.append(("min_length", process))
    if (penalty := value("encoder_repetition_penalty")) != 1:
        inputs = torch.tensor([list(prompt)], device=device)
        process = lp.EncoderRepetitionPenaltyLogitsProcessor(penalty, inputs)
        processes.append(("encoder_repetition_penalty", process))
    recent = Recent(value("repetition_penalty_range"))
    if (penalty := value("repetition_penalty")) != 1:
        process = recent.only(lp.RepetitionPenaltyLogitsProcessor(penalty))
        processes.append(("repetition_penalty", process))
    if value("frequency_penalty") or value("presence_penalty"):
        counted = Counted(value("frequency_penalty"), value("presence_penalty"))
        processes.append(("penalties", recent.only(counted)))
    if size := value("no_repeat_ngram_size"):
        processes.append(("no_repeat_ngram_size", lp.NoRepeatNGramLogitsProcessor(size)))
    return processes


class Recent:
    """Shows a process only the last tokens; 0 is all of them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def only(self, process: Process) -> Process:
        return lambda ids, scores: process(ids[:, -self._count :], scores)


class Bias:
    """Adds to the scores of some tokens; a token that the model does not have is passed over."""

    def __init__(self, biases: Mapping[int, float]) -> None:
        self._wanted = biases
        self._added: Tensor | None = None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        if self._added is None:
            added = torch.zeros(scores.shape[-1])
            for id, bias in self._wanted.items():
                if 0 <= id < len(added):
                    added[id] = bias
            self._added = added.to(scores)
        return scores + self._added


class Counted:
    """OpenAI's penalties: by how often a token was there, and for having been there at all."""

    def __init__(self, frequency: float, presence: float) -> None:
        self._frequency, self._presence = frequency, presence

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        counts = torch.bincount(ids[0], minlength=scores.shape[-1]).to(scores)
        return scores - self._frequency * counts - self._presence * (counts > 0)


class TopNSigma:
    """Keeps what lies within n standard deviations of the best score (arXiv 2411.07641)."""

    def __init__(self, n: float) -> None:
        self._n = n

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        alive = scores[scores > -torch.inf]
        least = scores.max() - self._n * alive.std(correction=0)
        return scores.masked_fill(scores < least, -torch.inf)


def likeliest(row: Tensor, count: int) -> list[int]:
    """The ids of the largest of a row, from the first on."""
    return row.topk(count).indices.tolist()
