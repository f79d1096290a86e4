"""A reply in several attempts: while it grows it is gone on with, while it is empty tried again.

As `chat_generation_attempts` of text-generation-webui, for models that end too early.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from msgspec import structs

from kernel.api import Delta, Extension, Finish, Message, Request, Text, Timings, Turn, Usage


class Attempts:
    """Iterate over it for the deltas, as over a Reply; it never raises, `finish` tells the end.

    `begun` is the reply's beginning, if it has one: an empty message of who says it, or the words
    that it goes on with. An attempt that adds nothing to what is there is the last one.
    """

    def __init__(
        self,
        ext: Extension[Any],
        turn: Turn,
        history: Sequence[Message],
        begun: Message,
        most: int = 1,
        record: bool = False,
    ) -> None:
        self.turn, self.text, self.raw, self.reasoning = turn, "", "", ""
        self.finish: Finish | None = None
        self._ext, self._most, self._record = ext, most, record
        self._past = [*history[:-1]] if turn.continue_ else [*history, *turn.messages]
        self._begun = begun
        self._before = "", "", ""
        """Text, engine's words and thoughts of the attempts before this one."""
        self._stopped = False
        self._reply = self.first = ext.run(turn, history, record=record)
        """The attempt that is under way, and the one that answers the question."""

    @property
    def model(self) -> str:
        return self._reply.model or self.first.model

    @property
    def request(self) -> Request | None:
        """What the engine was asked for first."""
        return self.first.request

    def cancel(self) -> None:
        """Stop; what was said stays."""
        self._stopped = True
        self._reply.cancel()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        for number in range(1, self._most + 1):
            async for delta in self._reply:
                self._take()
                yield self._placed(delta)
            if not self._ended() or number == self._most:
                return
            self._next()

    # --- inside ------------------------------------------------------------------------

    def _take(self) -> None:
        text, raw, reasoning = self._before
        self.text, self.raw = text + self._reply.text, raw + self._reply.raw
        self.reasoning = reasoning + self._reply.reasoning

    def _placed(self, delta: Delta) -> Delta:
        """A delta as it stands after the attempts before: what replaces takes their words along."""
        before = {"text": self._before[0], "reasoning": self._before[2]}.get(delta.channel, "")
        if not delta.replace or not before:
            return delta
        return structs.replace(delta, text=before + delta.text, marks=())

    def _ended(self) -> bool:
        """Take in how the attempt ended; whether there is reason for another one."""
        reply, before = self._reply, self.finish
        self._take()
        now = reply.finish or Finish("cancelled")
        grew = bool(reply.raw.strip())
        if now.reason == "error" and before and self.raw.strip() and not grew:
            return False  # What is there already is a reply; only going on failed.
        over = now.reason in ("cancelled", "error", "tool_calls") or self._stopped
        self.finish = now if over or grew or not before else before
        if before:
            used, took = before.usage, before.timings
            self.finish = structs.replace(
                self.finish,
                usage=Usage(used.prompt, used.completion + now.usage.completion, used.cached),
                timings=Timings(took.prompt, took.completion + now.timings.completion),
            )
        return not over and (grew or not self.raw.strip())

    def _next(self) -> None:
        """Ask for more of what was said, or once more where nothing was."""
        self._before = self.text, self.raw, self.reasoning
        turn, history = self.turn, self._past
        if self.raw.strip():
            words = self._begun.text + self.raw
            history = [*history, structs.replace(self._begun, parts=(Text(words),))]
            turn = structs.replace(turn, messages=(), continue_=True)
        elif turn.continue_:
            history = [*history, self._begun]
        else:
            history = history[: len(history) - len(turn.messages)]
        self._reply = self._ext.run(turn, history, record=False)
