"""One request in the batch: what it has read and written, and what it says of it."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from extensions.engine_kit.api import Bans, TextStream
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.library import Model
from kernel.contract import Delta, Finish, Output, Reason, Timings, Token, Usage

Adapters = tuple[tuple[str, float], ...]
Ids = "np.ndarray[Any, np.dtype[np.int32]]"


class Chooser(Protocol):
    """Chooses a request's next token; see chain.py.

    One that reads more than the row may have `behind() -> bool` as well: called before each step,
    it reads a piece, and answers whether there is more to be read before it can choose.
    """

    def sample(self, context: Context, row: int) -> int: ...

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """Forget the last tokens; the next choice is none of those `banned`."""
        ...

    def close(self) -> None: ...


class Row:
    """A request that takes part in steps until it is finished."""

    whole = False
    """Whether the logits of every token that it reads are wanted: then none is known already."""

    def __init__(
        self,
        id: int,
        prompt: Sequence[int],
        chooser: Chooser,
        stream: TextStream,
        *,
        limit: int,
        adapters: Adapters = (),
        logprobs: int | None = None,
        special: bool = False,
        endless: bool = False,
        bans: Bans | None = None,
        secret: bool = False,
    ) -> None:
        self.id, self.chooser, self.adapters = id, chooser, adapters
        self.behind: Callable[[], bool] | None = getattr(chooser, "behind", None)
        self.read_on = 0.0
        """When that was asked for last."""
        self.tokens = np.array(prompt, np.int32)
        """What is to be read: the prompt, and what was written when its memory was taken away."""
        self.prompt_length = len(prompt)
        self.written: list[int] = []
        self._read_again = 0
        """How many of them are among `tokens`."""
        self.sequence = self.at = -1
        self.past = self.cached = 0
        self.last = -1
        """The token that was chosen and is not yet remembered; none while it reads."""
        self._stream, self._limit, self._logprobs = stream, limit, logprobs
        self._special, self._endless, self._bans = special, endless, bans
        self._begun, self._first = time.monotonic(), 0.0
        self._cut_by = ""
        self.finished = False
        self.secret = secret
        """What it read and wrote may not be saved."""

    @property
    def reading(self) -> bool:
        return self.last < 0

    def admitted(self, sequence: int, known: int) -> None:
        """It has a place; the first `known` tokens are remembered already."""
        self.sequence, self.past = sequence, known
        if not self.written:
            self.cached, self._begun = known, time.monotonic()

    def hear(self, context: Context, count: int) -> None:
        """A step has read `count` tokens of it; only who wants their logits listens."""

    def put_back(self) -> None:
        """Its memory was taken away: it reads again what it has read and written."""
        self.tokens = self.remembered(len(self.tokens) + len(self.written))
        self._read_again = len(self.written)
        self.sequence, self.past, self.last = -1, 0, -1

    def remembered(self, length: int) -> Any:
        """The first tokens of what it has read and written."""
        new = self.written[self._read_again :]
        return np.concatenate([self.tokens, np.array(new, np.int32)])[:length]

    def choose(self, context: Context, model: Model) -> list[Output]:
        """Take the next token from the logits of its row."""
        tokens: tuple[Token, ...] = ()
        logprobs = None if self._logprobs is None else _log_softmax(context.logits(self.at))
        token = self.chooser.sample(context, self.at)
        if not self._first:
            self._first = time.monotonic()
        if token in model.eog and not self._endless:
            return self._end("stop")
        self.last = token
        self.written.append(token)
        piece = model.piece(token, self._special)
        if logprobs is not None:
            tokens = (_described(token, logprobs, self._logprobs or 0, model),)
        if self._bans is None:
            delta, self._cut_by = self._stream.feed(piece, tokens)
        elif count := self._bans.feed(token, piece, tokens):
            return self._take_back(count, self._bans.not_next, context)
        else:
            delta = self._released(self._bans)
        if self._cut_by:
            return self._end("stop", delta)
        if len(self.written) >= self._limit:
            return self._end("length", delta)
        return [Output(self.id, delta)]  # A token that nobody sees is news, too.

    def finish(self, reason: Reason, error: str = "", refused: str | None = None) -> Output:
        now = time.monotonic()
        first = self._first or now
        self.finished = True
        return Output(
            self.id,
            finish=Finish(
                reason,
                Usage(self.prompt_length, len(self.written), min(self.cached, self.prompt_length)),
                Timings(first - self._begun, now - first if self._first else 0.0),
                self._cut_by,
                error,
                refused,
            ),
        )

    def end(self) -> list[Output]:
        """Its context is full: what was held back, and the finish."""
        return self._end("length")

    def forgot(self, begin: int, end: int) -> None:
        """Part of what it remembers was cut out of the middle."""
        kept = self.remembered(self.past)
        self.tokens = np.concatenate([kept[:begin], kept[end:]])
        self._read_again = len(self.written) - 1  # The last one is not remembered yet.
        self.past -= end - begin

    def _released(self, bans: Bans, *, all: bool = False) -> Delta | None:
        """What can be said without saying what is banned."""
        ready = bans.release(all=all)
        described = [token for each in ready for token in each.described]
        delta, self._cut_by = self._stream.feed(b"".join(each.piece for each in ready), described)
        return delta

    def _take_back(self, count: int, banned: Iterable[int], context: Context) -> list[Output]:
        """Unwrite the last tokens: what comes before them is evaluated again for its logits."""
        kept = self.remembered(self.past + 1 - count)
        del self.written[-count:]
        if len(kept) < len(self.tokens):
            self.tokens, self._read_again = kept, len(self.written)
        self.last, self.past = int(kept[-1]), len(kept) - 1
        if not context.forget(self.sequence, self.past):  # It can only forget all, and reads again.
            self.tokens, self._read_again = kept, len(self.written)
            self.last, self.past = -1, 0
        self.chooser.take_back(count, banned)
        return [Output(self.id)]

    def _end(self, reason: Reason, delta: Delta | None = None) -> list[Output]:
        found = [delta]
        if self._bans and not self._cut_by:
            found.append(self._released(self._bans, all=True))
        if not self._cut_by:
            found.append(self._stream.end())
        return [*(Output(self.id, each) for each in found if each), self.finish(reason)]


def _log_softmax(logits: Any) -> Any:
    """The logarithms of the probabilities before any sampling, in double precision."""
    values = logits.astype(np.float64)
    values -= values.max()
    return values - math.log(np.exp(values).sum())


def _described(token: int, logprobs: Any, count: int, model: Model) -> Token:
    best: Any = ()
    if count:
        count = min(count, len(logprobs))
        best = np.argpartition(logprobs, -count)[-count:]
        best = best[np.argsort(-logprobs[best], kind="stable")]
    top = tuple((model.piece(int(i), special=True), float(logprobs[i])) for i in best)
    return Token(token, model.piece(token, special=True), float(logprobs[token]), top)
