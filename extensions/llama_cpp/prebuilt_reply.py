"""One reply of the prebuilt engine: what llama.cpp calls back with, in one turn or in several."""

from collections.abc import Mapping, Sequence
from typing import Any

from extensions.engine_kit.api import Emit, TextStream, neutral
from extensions.llama_cpp.meaning import UNREADABLE
from extensions.llama_cpp.prebuilt_shares import Kind, Share
from kernel.contract import (
    UNSET,
    EngineFailed,
    Finish,
    Reason,
    Refused,
    Request,
    Timings,
    Token,
    Usage,
)


def longest(request: Request) -> int:
    """Tokens that a reply may have; 0: as many as find room."""
    limit = request.sampling.max_new_tokens
    return 0 if limit is UNSET or neutral(request.sampling, "auto_max_new_tokens") else limit


def kind(request: Request) -> Kind:
    """How a reply shares the context; llama.cpp enters a grammar only at its beginning."""
    if not request.grammar:
        return "usual"
    return "whole" if longest(request) else "growing"


def failure(error: Mapping[str, Any]) -> Exception:
    """What llama.cpp tells as an error: by the codes of HTTP it was asked wrongly, or failed."""
    asked_wrongly, said = error.get("code", 500) < 500, str(error["message"]).rstrip(".")
    if not asked_wrongly:
        return EngineFailed(f"llama.cpp failed: {said}.")
    unreadable = "failed to parse grammar" in said
    return Refused(UNREADABLE if unreadable else f"llama.cpp refused the request: {said}.")


class Reply:
    """Makes deltas and a finish of the chunks; goes on where its room in the context ended.

    `prompt` are its tokens, `pictures` those that pictures take beside them.
    """

    def __init__(
        self,
        request: Request,
        prompt: Sequence[int],
        pictures: int,
        context: int,
        share: Share,
        emit: Emit,
    ) -> None:
        self.prompt, self.share, self.emit = prompt, share, emit
        self.logprobs = request.logprobs
        self.read, self.context = len(prompt) + pictures, context
        if self.read >= context:
            raise Refused(
                f"The prompt has {self.read:,} tokens, and the context of this model "
                f"{context:,}. Shorten it, or load the model with more context.",
                "prompt",
            )
        self.limit = min(longest(request) or context, context - self.read)
        self.stream = TextStream()
        self.sees = False
        """Whether it is a chat with eyes: pictures have tokens of their own, and the text lacks
        the spaces at its beginning, so that it is made of the tokens."""
        self.said = ""
        """All that the model wrote."""
        self.reason: Reason | None = None
        self.error: Exception | None = None
        self.cut_by = ""
        self._turn = 0
        """Tokens that this turn has room for; `_written` in those before it."""
        self._written = 0
        self._over = False
        """Whether llama.cpp itself ended this turn."""
        self._timings: Mapping[str, float] = {}
        self._first: Mapping[str, float] = {}
        """Of the first turn."""
        self._wrote = 0.0
        """Milliseconds of all turns, but for reading the prompt in the first."""

    def turn(self, tail: int) -> int:
        """Wait for room: the tokens that may be written now; 0: it has ended.

        `tail` are the tokens of what was said.
        """
        read = self.read + tail
        rest = min(self.limit - self._written, self.context - read)
        self._over = False
        self._turn = self.share.take(read, rest, lambda: self.emit(None)) if rest > 0 else 0
        if not self._turn:
            self.reason = "cancelled" if rest > 0 else "length"
        return self._turn

    def leave(self) -> None:
        """The turn is over."""
        if self.share.recalled:
            self.share.give()
        took = self._timings.get
        self._written += int(took("predicted_n", 0))
        self._wrote += took("predicted_ms", 0) + (took("prompt_ms", 0) if self._first else 0)
        self._first = self._first or self._timings
        self._timings = {}
        if not (self.reason or self._over or self.share.recalled):
            self._fails({"message": "it stopped without a word"})

    def again(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked otherwise in a later turn than in the first."""
        if self._written and "seed" in asked:  # The same random numbers would come again.
            return {"seed": (asked["seed"] + self._written) % 2**32}
        return {}

    def hear(self, chunk: dict[str, Any]) -> bool:
        """Whether llama.cpp should stop."""
        if error := chunk.get("error"):
            return self._fails(error)
        self._timings = chunk.get("timings", self._timings)
        if progress := chunk.get("prompt_progress"):
            read = 1.0 if self.said else progress["processed"] / max(1, progress["total"])
            return self._stops(self.emit(read))
        if not chunk["choices"]:
            return False  # the figures at the end
        choice = chunk["choices"][0]
        tokens = [self._token(each) for each in (choice.get("logprobs") or {}).get("content", ())]
        said = b"".join(each.bytes for each in tokens) if self.sees else choice["text"]
        self.said += said.decode(errors="ignore") if isinstance(said, bytes) else said
        delta, self.cut_by = self.stream.feed(said, tokens if self.logprobs is not None else ())
        stopped = self._stops(self.emit(delta or 1.0))  # A token that nobody sees is news, too.
        if self.cut_by or choice["finish_reason"]:
            self._end(choice["finish_reason"])
        return stopped or bool(self.cut_by)

    def finish(self) -> Finish:
        if self.error:
            raise self.error
        if not self.cut_by:
            self.emit(self.stream.end())
        took = self._first.get
        read, cached = took("prompt_n", 0) + took("cache_n", 0), took("cache_n", 0)
        return Finish(
            self.reason or "cancelled",
            Usage(int(read) if self.sees else len(self.prompt), self._written, int(cached)),
            Timings(took("prompt_ms", 0) / 1000, self._wrote / 1000),
            self.cut_by,
        )

    def _fails(self, error: Mapping[str, Any]) -> bool:
        self.error = failure(error)
        self.reason = "error"
        return True

    def _stops(self, cancelled: bool) -> bool:
        if cancelled:
            self.reason = "cancelled"
        elif not self.share.may_write(self.read + int(self._timings.get("predicted_n", 0))):
            self.reason = "length"
        return bool(self.reason) or self.share.recalled

    def _end(self, reason: str | None) -> None:
        """A turn ends by its length; the reply with it where the context or its limit does."""
        self._over, written = True, self._timings.get("predicted_n", 0)
        if self.cut_by or reason != "length":
            self.reason = "stop"
        elif written < self._turn or self._written + written >= self.limit:
            self.reason = "length"

    def _token(self, entry: dict[str, Any]) -> Token:
        top = [(bytes(each["bytes"]), each["logprob"]) for each in entry["top_logprobs"]]
        top = top[: self.logprobs]
        return Token(entry["id"], bytes(entry["bytes"]), entry["logprob"], tuple(top))
