"""What works on the scores of one request: transformers' own logits processors and the engine kit's
stages, in the user's order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from extensions.engine_kit.api import (
    History,
    Stage,
    dry,
    dynamic,
    in_order,
    neutral,
    stage,
    xtc,
)
from kernel.contract import Sampling
from transformers.generation import logits_process as lp

Process = Callable[[Tensor, Tensor], Tensor]
"""`(token ids [1, n], scores [1, vocabulary]) -> scores`."""

PENALTIES = (
    "encoder_repetition_penalty", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "no_repeat_ngram_size", "dry",
)  # fmt: skip
"""What works on greedy choices too."""
ORDER = (
    *PENALTIES, "temperature", "dynamic_temperature", "quadratic_sampling", "top_n_sigma", "top_k",
    "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "xtc",
)  # fmt: skip
"""What a user may put in order, in the usual one."""
CALLED = {"quadratic_sampling": "smoothing_factor"}
"""Samplers whose parameter has another name."""
BREAKER = 200
"""Letters of a sequence breaker that are looked at, from its end."""
LEAST = 1e-6
"""As little as typical_p keeps: transformers refuses nothing at all."""


class Tokens(NamedTuple):
    """What sampling knows of a model."""

    size: int
    """Of its vocabulary."""
    ends: frozenset[int]
    """Those that end a reply."""
    device: torch.device
    encode: Callable[[str], Sequence[int]]
    """The ids of a text, without a beginning."""


def greedy(sampling: Sampling) -> str:
    """The parameter by which the likeliest token is taken, whatever filters would leave."""
    if not neutral(sampling, "do_sample"):
        return "do_sample"
    heats = neutral(sampling, "dynamic_temperature")
    return "temperature" if neutral(sampling, "temperature") == 0 and not heats else ""


class Processes:
    """Makes those of one request; what would change nothing is left out."""

    def __init__(
        self, sampling: Sampling, history: History, tokens: Tokens, chance: Callable[[], float]
    ) -> None:
        self._sampling, self._history, self._tokens = sampling, history, tokens
        self._chance = chance

    def in_order(self) -> list[tuple[str, Process]]:
        """With the parameter that asks for each."""
        names = in_order(self._sampling, ORDER)
        if greedy(self._sampling):
            names = [name for name in names if name in PENALTIES]
        found = self._before_all()
        for name in names:
            if process := self._process(name):
                found.append((CALLED.get(name, name), process))
        return found

    def _value(self, field: str) -> Any:
        return neutral(self._sampling, field)

    def _before_all(self) -> list[tuple[str, Process]]:
        """What works on greedy choices too, and always before the others."""
        processes: list[tuple[str, Process]] = []
        banned, ends = float("-inf"), sorted(self._tokens.ends)
        for name, biases in (
            ("logit_bias", dict[int, float](self._value("logit_bias"))),
            ("custom_token_bans", dict.fromkeys(self._value("custom_token_bans"), banned)),
            ("ban_eos_token", dict.fromkeys(ends if self._value("ban_eos_token") else (), banned)),
        ):
            if biases:
                processes.append((name, Bias(biases)))
        if length := self._value("min_length"):
            given = self._history.prompt, length, ends
            least = lp.MinNewTokensLengthLogitsProcessor(*given, device=self._tokens.device)
            processes.append(("min_length", least))
        return processes

    def _process(self, name: str) -> Process | None:
        """What `sampler_priority` calls so; None where it would change nothing."""
        recent = Recent(self._value("repetition_penalty_range"))
        match name:
            case "temperature" if self._value(name) != 1 and not self._value("dynamic_temperature"):
                return lp.TemperatureLogitsWarper(self._value(name))
            case "top_n_sigma" if self._value(name):
                return TopNSigma(self._value(name))
            case "top_k" if self._value(name):
                return lp.TopKLogitsWarper(self._value(name))
            case "top_p" if self._value(name) < 1:
                return lp.TopPLogitsWarper(self._value(name))
            case "typical_p" if self._value(name) < 1:
                return lp.TypicalLogitsWarper(max(self._value(name), LEAST))
            case "min_p" if self._value(name):
                return lp.MinPLogitsWarper(self._value(name))
            case "repetition_penalty" if self._value(name) != 1:
                return recent.only(lp.RepetitionPenaltyLogitsProcessor(self._value(name)))
            case "frequency_penalty" if self._value(name):
                return recent.only(Counted(self._value(name), 0))
            case "presence_penalty" if self._value(name):
                return recent.only(Counted(0, self._value(name)))
        found = self._stage(name) or stage(name, self._sampling, self._history)
        return Ours(found) if found else None

    def _stage(self, name: str) -> Stage | None:
        """The stages of what llama.cpp has itself."""
        match name:
            case "dynamic_temperature" if self._value(name):
                ends = (self._value(f"dynatemp_{part}") for part in ("low", "high", "exponent"))
                return dynamic(*ends)
            case "xtc" if self._value("xtc_probability"):
                spared = [*self._tokens.ends, *self._tokens.encode("\n")[-1:]]
                given = self._value("xtc_probability"), self._value("xtc_threshold")
                return xtc(*given, spared, self._chance)
            case "dry" if self._value("dry_multiplier"):
                return dry(
                    self._history,
                    multiplier=self._value("dry_multiplier"),
                    base=self._value("dry_base"),
                    allowed=self._value("dry_allowed_length"),
                    reach=self._value("repetition_penalty_range"),
                    breakers=self._breakers(self._value("dry_sequence_breakers")),
                )
        return None

    def _breakers(self, texts: Iterable[str]) -> set[int]:
        """The last token of each, as it is written within a text."""
        encode = self._tokens.encode
        return {token for text in texts if text for token in encode("a" + text[-BREAKER:])[-1:]}


class Ours:
    """A stage of numpy, which sees the tokens that may still be chosen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        row = scores[0].cpu().numpy()
        alive = np.flatnonzero(row > -np.inf)
        if not len(alive):
            return scores
        left = np.full_like(row, -np.inf)
        left[alive] = self._stage(alive, row[alive])
        return torch.from_numpy(left)[None].to(scores.device)


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
