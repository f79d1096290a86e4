"""A reply that is being written: from the model's scores to words, until its end."""

import time

import torch

from extensions.engine_kit.api import TextStream, neutral
from extensions.transformers.batch import Row
from extensions.transformers.sampling import Sampler
from extensions.transformers.vocabulary import Vocabulary
from kernel.contract import (
    UNSET,
    Delta,
    Finish,
    Output,
    Reason,
    Request,
    Timings,
    Token,
    Usage,
)


class Writer(Row):
    """A reply that is being written."""

    def __init__(
        self,
        ids: list[int],
        request: Request,
        room: int,
        vocabulary: Vocabulary,
        eos: frozenset[int],
        stops: tuple[str, ...],
        device: torch.device,
    ) -> None:
        super().__init__(ids, request.adapters)
        sampling = request.sampling
        self._vocabulary, self._eos, self._logprobs = vocabulary, eos, request.logprobs
        self._prompt = len(ids)
        self._sampler = Sampler(sampling, ids, sorted(eos), device)
        self.stream = TextStream([*neutral(sampling, "custom_stopping_strings"), *stops])
        self._skip = neutral(sampling, "skip_special_tokens")
        limit = sampling.max_new_tokens
        self._limit = room
        if limit is not UNSET and not neutral(sampling, "auto_max_new_tokens"):
            self._limit = min(limit, room)
        self._begun = time.monotonic()
        self._first = 0.0

    def write(self, id: int, scores: torch.Tensor) -> Output:
        """Choose the next token; what is new of this reply."""
        self._first = self._first or time.monotonic()
        token = self._sampler(self.ids, scores)
        self.ids.append(token)
        data = self._vocabulary.bytes_of(token, self._skip)
        if token in self._eos:
            return Output(id, self.stream.end(), self.finish("stop"))
        tokens = [] if self._logprobs is None else [self._token(token, data, scores)]
        delta, cut_by = self.stream.feed(data, tokens)
        if cut_by:
            return Output(id, delta, self.finish("stop", cut_by))
        if len(self.ids) - self._prompt >= self._limit:
            end = self.stream.end() or Delta()
            delta = delta or Delta()
            whole = Delta(delta.text + end.text, tokens=delta.tokens + end.tokens)
            return Output(id, whole, self.finish("length"))
        return Output(id, delta)

    def _token(self, token: int, data: bytes, scores: torch.Tensor) -> Token:
        logprobs = scores.log_softmax(-1)
        best = logprobs.topk(min(self._logprobs or 0, len(logprobs)))
        top = [
            (self._vocabulary.bytes_of(each, False), value)
            for each, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return Token(token, data, float(logprobs[token]), tuple(top))

    @property
    def usage(self) -> Usage:
        return Usage(self._prompt, len(self.ids) - self._prompt, self.cached)

    def finish(self, reason: Reason, cut_by: str = "") -> Finish:
        now = time.monotonic()
        read = self._first or now
        return Finish(reason, self.usage, Timings(read - self._begun, now - read), cut_by)
