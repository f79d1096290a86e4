"""A grammar that a reply keeps to: what it allows next, asked before anything is accepted.

llama.cpp ends the process when it is told of a token that its grammar forbids.
"""

import time
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as C
from extensions.llama_cpp.meaning import UNREADABLE
from extensions.llama_cpp.native.candidates import Candidates
from extensions.llama_cpp.native.library import Model
from kernel.contract import Refused

SLOWEST = 2.0
"""Seconds of one look at the grammar; one that can be read in too many ways gets slower by each
token, and holds up every other reply."""


class Constraint:
    """The state of one reply's grammar (GBNF that grammar.py let through)."""

    def __init__(self, model: Model, grammar: str) -> None:
        data = grammar.encode("utf-8", "replace")
        self._model = model
        self._sampler = C.llama_sampler_init_grammar(model.vocabulary, data, b"root")
        if not self._sampler:
            raise Refused(UNREADABLE)
        self._one = Candidates(1)

    def allows(self, token: int) -> bool:
        self._one.only(token, 1.0)
        self._apply(self._one)
        return bool(self._one.view["logit"][0] > 0)

    def mask(self, candidates: Candidates) -> None:
        """Give what it forbids no chance."""
        self._apply(candidates)

    def accept(self, token: int) -> None:
        """Go on past a token that it allows."""
        begun = time.monotonic()
        if token not in self._model.eog:
            C.llama_sampler_accept(self._sampler, token)
        watch(begun)

    @property
    def end(self) -> int | None:
        """A token that ends the reply, where the grammar has come to an end."""
        return next((token for token in sorted(self._model.eog) if self.allows(token)), None)

    def restart(self, tokens: Sequence[int]) -> None:
        """Be where these tokens of the reply, all of them allowed, lead to."""
        C.llama_sampler_reset(self._sampler)
        for token in tokens:
            self.accept(token)

    def close(self) -> None:
        C.llama_sampler_free(self._sampler)

    def _apply(self, candidates: Any) -> None:
        begun = time.monotonic()
        candidates.apply(self._sampler)
        watch(begun)


def watch(begun: float) -> None:
    if time.monotonic() - begun > SLOWEST:
        raise Refused(
            "The grammar can be read in so many ways that it takes seconds for a token. "
            "Write it so that each beginning has one meaning."
        )
