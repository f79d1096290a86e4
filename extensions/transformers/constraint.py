"""Grammars that replies keep to, by llguidance: which tokens may come next.

It looks only as far as it may: a grammar that can be read in too many ways ends its reply.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from torch import Tensor

from extensions.engine_kit.api import as_gbnf, as_lark
from extensions.transformers.vocabulary import Vocabulary
from kernel.contract import Refused

SLOWEST, EACH = 2.0, 0.02
"""Seconds that the looks at one reply's grammar may take, for which every other reply waits:
altogether, and more for each of its tokens."""
MOST = 200_000
"""Ways to read a token that are followed at once."""
LONGEST = 20_000
"""Of them, those that end at one letter."""


class Grammars:
    """What a model's vocabulary makes of grammars; read when the first one comes."""

    def __init__(self, vocabulary: Vocabulary, size: int, ends: frozenset[int]) -> None:
        self._vocabulary, self._size, self._ends = vocabulary, size, ends
        self._tokens: LLTokenizer | None = None

    def constraint(self, grammar: str) -> "Constraint | None":
        """For one reply; raises Refused for a grammar that cannot be kept to."""
        if not (grammar := as_gbnf(grammar)):
            return None
        if not self._ends:
            raise Refused(
                "This model has no token that ends a reply, so it cannot keep to a grammar. "
                "Choose another model."
            )
        if not self._tokens:
            known = Known(self._vocabulary, self._size, self._ends)
            self._tokens = LLTokenizer(TokenizerWrapper(known), eos_token=sorted(self._ends))
        return Constraint(self._tokens, as_lark(grammar), self._ends)


class Known:
    """A vocabulary as llguidance asks for it."""

    def __init__(self, vocabulary: Vocabulary, size: int, ends: frozenset[int]) -> None:
        described = vocabulary.described(range(size))
        self.tokens = [piece for _, piece, _ in described]
        self.special_token_ids = sorted({id for id, _, special in described if special} | ends)
        self.eos_token_id, self.bos_token_id = min(ends, default=0), None
        special = set(self.special_token_ids)
        self._ids = {piece: id for id, piece, _ in reversed(described) if id not in special}
        self._longest = max(map(len, self._ids), default=1)

    def __call__(self, text: bytes) -> list[int]:
        """Of what a grammar forces: always the longest token, whatever the tokenizer would do, as
        these are surely the bytes."""
        found: list[int] = []
        at = 0
        while at < len(text):
            lengths = range(min(self._longest, len(text) - at), 0, -1)
            length = next((n for n in lengths if text[at : at + n] in self._ids), 0)
            if not length:
                break
            found.append(self._ids[text[at : at + length]])
            at += length
        return found


class Constraint:
    """The state of one reply's grammar."""

    def __init__(self, tokens: LLTokenizer, lark: str, ends: frozenset[int]) -> None:
        limits = LLParserLimits(step_max_items=MOST, max_items_in_row=LONGEST, verbose_errors=False)
        grammar = LLMatcher.grammar_from_lark(lark)
        self._ends, self._left = ends, SLOWEST
        with self._watched():
            self._matcher = LLMatcher(tokens, grammar, log_level=0, limits=limits)

    def allows(self, token: int) -> bool:
        with self._watched():
            if token in self._ends:
                return self._matcher.is_accepting()
            return self._matcher.validate_tokens([token]) == 1

    def mask(self, scores: Tensor) -> Tensor:
        """The scores without those that the grammar forbids."""
        with self._watched():
            bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, count=len(scores), bitorder="little").astype(bool)
        return scores.masked_fill(torch.from_numpy(~allowed).to(scores.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Go on past a token that it allows."""
        if token in self._ends:
            return
        with self._watched():
            self._matcher.consume_token(token)
        self._left += EACH

    @property
    def end(self) -> int | None:
        """A token that ends the reply, where the grammar has come to an end."""
        return min(self._ends, default=None) if self._matcher.is_accepting() else None

    def take_back(self, count: int) -> None:
        """Be where the reply was so many tokens ago."""
        with self._watched():
            self._matcher.rollback(count)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Refuse what goes wrong in there, and what takes too long: of the processor, so that a
        busy machine refuses nothing more."""
        begun = time.thread_time()
        yield
        self._left -= time.thread_time() - begun
        said = self._matcher.get_error() if self._matcher.is_error() else ""
        if "symbols.len" in said or "grammar size" in said.lower():
            raise Refused(
                "The grammar is larger than the Transformers loader can keep to. Shorten it."
            )
        if "too many items" in said.lower() or self._left < 0:
            raise Refused(
                "The grammar can be read in so many ways that it takes too long for a token. "
                "Write it so that each beginning has one meaning."
            )
        if said:
            reason = said.strip().split("\n")[0][:200]
            raise Refused(f"This model cannot keep to the grammar ({reason}). Simplify it.")
