"""A reply that is being written: from the model's scores to words, until its end."""

import time

import torch

from extensions.engine_kit.api import Bans, TextStream, neutral
from extensions.transformers.batch import Row
from extensions.transformers.constraint import Constraint
from extensions.transformers.guidance import Guidance
from extensions.transformers.processes import Tokens
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
        tokens: Tokens,
        stops: tuple[str, ...],
        constraint: Constraint | None,
    ) -> None:
        super().__init__(ids, request.adapters)
        sampling = request.sampling
        self._vocabulary, self._eos, self._logprobs = vocabulary, tokens.ends, request.logprobs
        self._prompt = len(ids)
        self._sampler, self._constraint = Sampler(sampling, ids, tokens), constraint
        self.stream = TextStream([*neutral(sampling, "custom_stopping_strings"), *stops])
        banned = neutral(sampling, "extra").get("banned_strings", ())
        self._bans = Bans(banned) if banned else None
        self._skip = neutral(sampling, "skip_special_tokens")
        limit = sampling.max_new_tokens
        self._limit = room
        if limit is not UNSET and not neutral(sampling, "auto_max_new_tokens"):
            self._limit = min(limit, room)
        self._begun = time.monotonic()
        self._first = 0.0
        self.guidance: Guidance | None = None

    @property
    def rows(self) -> list[Row]:
        """All that the model reads for it."""
        return [self.guidance, self] if self.guidance else [self]

    @property
    def unread(self) -> Row:
        """Which of them is to be read next."""
        guidance = self.guidance
        return guidance if guidance and guidance.seen < len(guidance.ids) else self

    @property
    def left(self) -> int:
        """Tokens that are to be read before it writes."""
        return sum(len(row.ids) - row.seen for row in self.rows)

    def guided(self, scores: torch.Tensor) -> torch.Tensor:
        return self.guidance(scores) if self.guidance else scores

    def write(self, id: int, scores: torch.Tensor) -> Output:
        """Choose the next token; what is new of this reply."""
        self._first = self._first or time.monotonic()
        spared = sorted(self._bans.not_next) if self._bans else ()
        token = self._sampler(self.ids, self.guided(scores), self._constraint, spared)
        for row in self.rows:
            row.ids.append(token)
        if token in self._eos:
            return self._end(id, "stop")
        data = self._vocabulary.bytes_of(token, self._skip)
        tokens = () if self._logprobs is None else (self._token(token, data, scores),)
        if self._bans and (count := self._bans.feed(token, data, tokens)):
            self._take_back(count)
            return Output(id)
        delta, cut_by = self._released() if self._bans else self.stream.feed(data, tokens)
        if cut_by:
            return Output(id, delta, self.finish("stop", cut_by))
        if len(self.ids) - self._prompt >= self._limit:
            return self._end(id, "length", delta)
        return Output(id, delta)

    def _end(self, id: int, reason: Reason, delta: Delta | None = None) -> Output:
        """All that was held back, and the end."""
        held, cut_by = self._released(all=True) if self._bans else (None, "")
        found = [each for each in (delta, held, None if cut_by else self.stream.end()) if each]
        text = "".join(each.text for each in found)
        tokens = tuple(token for each in found for token in each.tokens)
        whole = Delta(text, tokens=tokens) if found else None
        return Output(id, whole, self.finish("stop" if cut_by else reason, cut_by))

    def _released(self, *, all: bool = False) -> tuple[Delta | None, str]:
        """What can be said without saying what is banned, and the stop string that was reached."""
        assert self._bans
        ready = self._bans.release(all=all)
        described = [token for each in ready for token in each.described]
        return self.stream.feed(b"".join(each.piece for each in ready), described)

    def _take_back(self, count: int) -> None:
        """Unwrite the last tokens; the batch then lets the model see again what comes before."""
        for row in self.rows:
            del row.ids[len(row.ids) - count :]
        self._sampler.take_back(count)
        if self._constraint:
            self._constraint.take_back(count)

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
