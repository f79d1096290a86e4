"""How one token is chosen, told instead of done: each sampler by itself on a copy of the row."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import Aside, History, neutral, softmax, told
from extensions.llama_cpp.native import parts
from extensions.llama_cpp.native.candidates import Candidates
from extensions.llama_cpp.native.chain import samplers
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.library import Model
from kernel.contract import Refused, Sampling

CALLED = {"typ_p": "typical_p", "quadratic_sampling": "smoothing_factor"}
"""Samplers whose parameter has another name."""


class Explained:
    """A chooser for a row of one token: it answers what the samplers made of the logits, and
    which of them took each token out."""

    def __init__(
        self,
        model: Model,
        sampling: Sampling,
        prompt: Sequence[int],
        aside: Aside,
        *,
        top: int,
        most: int,
    ) -> None:
        self._model, self._sampling, self._aside, self._top = model, sampling, aside, top
        self._steps: list[tuple[str, Any]] = []
        try:
            for each in samplers(model, sampling, History(prompt), most):
                self._steps.append(each)
            if name := selective(sampling):
                self._steps.append((name, parts.chooser(sampling, model)))
        except BaseException:
            self.close()
            raise

    def sample(self, context: Context, row: int) -> int:
        """Answer; the token that is chosen is the likeliest one, and nobody hears of it."""
        logits = context.logits(row).copy()
        if math.isnan(logits.max()):
            raise Refused("This model answers with what is no number; its file is damaged.")
        before = softmax(logits.astype(np.float64))
        after, cut_by = self._through(logits)
        model = self._model
        answer = told(
            before, after, cut_by, lambda id: model.piece(id, special=True), best, self._top
        )
        self._aside.answer(answer)
        return int(before.argmax())

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """A single token is never taken back."""

    def close(self) -> None:
        for _, step in self._steps:
            if not callable(step):
                C.llama_sampler_free(step)
        self._steps = []

    def _through(self, logits: Any) -> tuple[Any, dict[int, str]]:
        """Probabilities after all samplers, and who cut what."""
        cut_by: dict[int, str] = {}
        alive = logits > -math.inf
        if neutral(self._sampling, "min_length"):
            logits[sorted(self._model.eog)] = -math.inf
            alive = self._note("min_length", alive, logits > -math.inf, cut_by)
        candidates = Candidates(self._model.vocabulary_size)
        candidates.fill(logits)
        for name, step in self._steps:
            if callable(step):
                view = candidates.view
                view["logit"] = step(view["id"], view["logit"])
                candidates.drop_impossible()
            elif name == "greedy":
                likeliest = candidates.view[candidates.view["logit"].argmax()]
                candidates.only(int(likeliest["id"]), float(likeliest["logit"]))
            else:
                candidates.apply(step)
            alive = self._note(name, alive, self._left(candidates), cut_by)
        view = candidates.view[candidates.view["logit"] > -math.inf]
        after = np.zeros(self._model.vocabulary_size)
        if len(view):
            after[view["id"]] = softmax(view["logit"].astype(np.float64))
        return after, cut_by

    def _left(self, candidates: Candidates) -> Any:
        left = np.zeros(self._model.vocabulary_size, bool)
        view = candidates.view
        left[view["id"][view["logit"] > -math.inf]] = True
        return left

    def _note(self, name: str, alive: Any, left: Any, cut_by: dict[int, str]) -> Any:
        for id in np.flatnonzero(alive & ~left).tolist():
            cut_by[id] = self._called(name, id)
        return left

    def _called(self, name: str, id: int) -> str:
        """The parameter that a person knows."""
        sampling = self._sampling
        if name == "greedy":
            return "temperature" if neutral(sampling, "do_sample") else "do_sample"
        if name == "logit_bias" and id in neutral(sampling, "custom_token_bans"):
            return "custom_token_bans"
        if name == "logit_bias" and id in self._model.eog and neutral(sampling, "ban_eos_token"):
            return "ban_eos_token"
        return CALLED.get(name, name)


def selective(sampling: Sampling) -> str:
    """What the choice itself cuts or changes, where it does more than draw."""
    if parts.is_greedy(sampling):
        return "greedy"
    if neutral(sampling, "mirostat_mode"):
        return "mirostat_mode"
    return "adaptive_target" if neutral(sampling, "adaptive_target") else ""


def best(row: Any, count: int) -> Iterable[int]:
    """The ids of the largest of a row, from the first on."""
    found = np.argpartition(row, -count)[-count:]
    return found[np.argsort(-row[found], kind="stable")].tolist()
