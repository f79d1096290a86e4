"""How one request's next token is chosen: samplers in the user's order, llama.cpp's own or ours.

Where all of them are llama.cpp's, choosing is one call. Else all candidates go through C and numpy
in turn, through the processors of extensions before, and past the grammar after.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import History, neutral, stage
from extensions.llama_cpp.native import parts
from extensions.llama_cpp.native.candidates import Candidates
from extensions.llama_cpp.native.constraint import Constraint
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.library import Model
from extensions.llama_cpp.native.processors import Processors
from extensions.llama_cpp.priority import order
from kernel.contract import Refused, Request, Sampling

LOGITS = ("penalties", "encoder_repetition_penalty", "no_repeat_ngram_size", "dry")
"""What works on greedy choices and beside mirostat too."""
ORDER = (
    *LOGITS, "top_n_sigma", "top_k", "typ_p", "top_p", "epsilon_cutoff", "eta_cutoff", "tfs",
    "top_a", "min_p", "xtc", "quadratic_sampling", "temperature",
)  # fmt: skip
"""As the prebuilt engine has them, with ours beside their relatives."""
UNEASY = ("typ_p", "temperature")
"""What counts candidates without a chance in, where it is given some."""


class Chain:
    """The samplers of one request, which carry what it read and wrote."""

    def __init__(
        self,
        model: Model,
        request: Request,
        prompt: Sequence[int] = (),
        *,
        grammar: str = "",
        most: int = 0,
    ) -> None:
        self._model = model
        self._history = History(prompt)
        self._steps: list[Any] = []
        """Chains of llama.cpp's samplers, and stages of ours between them."""
        self._remembering: list[Any] = []
        self._most = most or model.trained
        self._past = parts.reach(request.sampling, self._most)
        self._looked = False
        self._not_here: tuple[int, ...] = ()
        self._least = neutral(request.sampling, "min_length")
        self._eog = sorted(model.eog)
        self._processors = Processors(request.processors)
        self._constraint: Constraint | None = None
        self._candidates: Candidates | None = None
        try:
            self._build(request.sampling)
            if grammar:
                self._constraint = Constraint(model, grammar)
        except BaseException:
            self.close()
            raise
        self._masks_first = bool(neutral(request.sampling, "mirostat_mode"))
        """Mirostat learns from each choice, also from one that a grammar then forbids."""
        self._plain = len(self._steps) == 1 and not (self._processors.any or self._constraint)

    def sample(self, context: Context, row: int) -> int:
        """Choose, and note what was chosen; raises Refused where nothing can be."""
        written = self._history.length - self._history.prompt
        if self._not_here or written < self._least or not self._looked or not self._plain:
            logits = context.logits(row)
            self._look(logits)
            if written < self._least:
                logits[self._eog] = -math.inf
            spared = list(self._not_here)
            before, self._not_here = logits[spared], ()
            logits[spared] = -math.inf
            if not self._plain:
                token = self._in_steps(logits)
                if token is None and spared:  # Rather what is banned here than nothing.
                    logits[spared] = before
                    token = self._in_steps(logits)
                return self._noted(token)
        elif not context.batch.outputs[row]:
            raise RuntimeError("a row without logits was asked for")
        token = C.llama_sampler_sample(self._steps[0], context.handle, row)
        self._history.append(token)
        return token

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """Forget the last tokens; the next choice is none of those `banned`."""
        self._history.length -= count
        self._not_here = tuple(banned)
        tokens: list[int] = self._history.tokens.tolist()
        for sampler in self._remembering:
            C.llama_sampler_reset(sampler)
            remember(sampler, tokens[-self._past :])
        if self._constraint:
            self._constraint.restart(tokens[self._history.prompt :])

    def close(self) -> None:
        for step in self._steps:
            if not callable(step):
                C.llama_sampler_free(step)
        self._steps = []
        if self._constraint:
            self._constraint.close()
            self._constraint = None

    # --- what it is made of ---

    def _build(self, sampling: Sampling) -> None:
        for name, step in samplers(self._model, sampling, self._history, self._most):
            if callable(step):
                self._steps.append(step)
                continue
            self._add(step)
            if name in parts.REMEMBERING:
                self._remembering.append(step)
        if neutral(sampling, "mirostat_mode") == 1:
            self._add(parts.without_the_impossible())
        self._add(parts.chooser(sampling, self._model))

    def _add(self, sampler: Any) -> None:
        sampler = made(sampler)
        if not self._steps or callable(self._steps[-1]):
            given = C.llama_sampler_chain_default_params()
            self._steps.append(C.llama_sampler_chain_init(given))
        C.llama_sampler_chain_add(self._steps[-1], sampler)

    # --- a choice in steps ---

    def _in_steps(self, logits: Any) -> int | None:
        logits = self._processors(self._history.tokens, logits)
        candidates = self._candidates = self._candidates or Candidates(self._model.vocabulary_size)
        constraint = self._constraint
        token = self._choose(candidates, logits, masked=self._masks_first)
        if constraint and token is not None and not constraint.allows(token):
            token = self._choose(candidates, logits, masked=True)
        if constraint and token is None:
            return constraint.end
        return token

    def _noted(self, token: int | None) -> int:
        if token is None:
            raise Refused("No token may come next: everything is banned or forbidden. Allow more.")
        if self._constraint:
            self._constraint.accept(token)
        for step in self._steps:
            if not callable(step):
                C.llama_sampler_accept(step, token)
        self._history.append(token)
        return token

    def _choose(self, candidates: Candidates, logits: Any, *, masked: bool) -> int | None:
        """A choice; None where there is nothing to choose from."""
        candidates.fill(logits)
        if masked and self._constraint:
            self._constraint.mask(candidates)
            candidates.drop_impossible()
        for step in self._steps:
            if callable(step):
                view = candidates.view
                view["logit"] = step(view["id"], view["logit"])
                candidates.drop_impossible()
            else:
                candidates.apply(step)
        token, logit = candidates.chosen
        return token if logit > -math.inf else None

    def _look(self, logits: Any) -> None:
        """Refuse what is no number: sorting it ends the process. Weights that are none show at
        the first token already; what overflows later is none in all of a row, which is harmless."""
        self._looked = True
        if math.isnan(logits.max()):
            raise Refused("This model answers with what is no number; its file is damaged.")


def samplers(
    model: Model, sampling: Sampling, history: History, most: int
) -> Iterator[tuple[str, Any]]:
    """All that comes before the choice, with its name, in its order: llama.cpp's samplers, which
    whoever takes them frees, and stages of ours. Those that look back know the history."""
    if found := parts.biases(sampling, model):
        yield "logit_bias", made(parts.bias(model, found))
    names = order(sampling, ORDER)
    if parts.is_greedy(sampling):
        names = [name for name in names if name in LOGITS]
    elif neutral(sampling, "mirostat_mode"):
        names = [name for name in names if name in (*LOGITS, "temperature")]
    for name in names:
        if ours := stage(name, sampling, history):
            yield name, ours
            continue
        part = parts.part(name, sampling, model, most)
        if part is not None:  # Not "if part": what llama.cpp could not make is false.
            if name in UNEASY and (name != "temperature" or dynamic(sampling)):
                yield name, made(parts.without_the_impossible())
            if name in parts.REMEMBERING:
                remember(made(part), history.tokens[-parts.reach(sampling, most) :].tolist())
            yield name, made(part)


def made(sampler: Any) -> Any:
    """A sampler of llama.cpp, if it could be made."""
    if not sampler:
        raise RuntimeError("llama.cpp could not make a sampler")
    return sampler


def dynamic(sampling: Sampling) -> bool:
    return neutral(sampling, "dynamic_temperature")


def remember(sampler: Any, tokens: Sequence[int]) -> None:
    """Let a sampler know of tokens that it did not choose."""
    accept = C.llama_sampler_accept
    for token in tokens:
        accept(sampler, token)
