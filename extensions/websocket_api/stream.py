"""One reply as numbered events, and who reads them."""

import asyncio
from collections import defaultdict
from typing import Any, Protocol

import msgspec

from extensions.api_kit.api import LATER, Asking, Caller, Gate, Heard, Problem, Run, calls_in
from kernel.api import Delta, Finish, Timings, Usage

from . import protocol
from .problems import later
from .telling import Choice, Ended, reason


class Reader(Protocol):
    """Who follows a reply."""

    def tell(self, stream: "Stream", /) -> None: ...


class Stream(Asking):
    """One reply, or several to the same: its events as bytes, and who reads them."""

    def __init__(self, caller: Caller, id: str, linger: float, *, tokens: bool) -> None:
        super().__init__("websocket_api", caller)
        self.owner, self.id, self.linger = caller.owner, id, linger
        self.events: list[bytes] = []
        self.size = 0
        self.begun = self.cancelled = False
        self.stopped: Problem | None = None
        """Why Spindle ends it, where its program did not."""
        self.held = False
        """Whether its text waits for the end because a modifier may still replace it."""
        self.over = asyncio.Event()
        self.finish: protocol.Done | protocol.Failed | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.work: list[asyncio.Task[Any]] = []
        """Of each choice, what makes it."""
        self.runs: dict[int, Run] = {}
        """The choices whose turn has come."""
        self.heard: defaultdict[int, Heard] | None = None
        """All that was said, where it is told in one piece."""
        self.position = 0
        """Its place in the queue while it waits, else 0."""
        self._queued: dict[Run, int] = {}
        self._tokens = tokens
        self._readers: set[Reader] = set()
        self._partial: dict[int, str] = {}
        self._calling: set[int] = set()
        """The choices that want tools called."""

    @property
    def denied(self) -> bool:
        """Whether it ended without a word, and may be asked for later."""
        end = self.finish
        return isinstance(end, protocol.Failed) and end.seq == 2 and end.error.status in LATER

    def cancel(self) -> None:
        """Stop it and no other, also while it waits."""
        self.cancelled = True
        for index, work in enumerate(self.work):
            if run := self.runs.get(index):
                run.cancel()
            else:
                work.cancel()

    # --- who reads ----------------------------------------------------------------------

    def follow(self, reader: Reader) -> None:
        self._readers.add(reader)
        if self.timer and not self.finish:
            self.timer.cancel()

    def leave(self, reader: Reader) -> None:
        """Without a reader it goes on for as long as it lingers."""
        self._readers.discard(reader)
        if self._readers or self.finish:
            return
        if self.linger:
            self.timer = asyncio.get_running_loop().call_later(self.linger, self.cancel)
        else:
            self.cancel()

    # --- its place in the queue ---------------------------------------------------------

    def queued(self, run: Run, position: int) -> None:
        self._queued[run] = position
        self._placed()

    def look(self, gate: Gate) -> None:
        """Its place may be another by now."""
        self._queued = {r: gate.before(r.ticket) + 1 for r in self._queued if r.ticket}
        self._placed()

    def begin(self, index: int, run: Run) -> None:
        """The turn of this choice has come."""
        self.runs[index] = run
        self.held |= run.held
        self._queued.pop(run, None)
        self._placed()

    def _placed(self) -> None:
        position = min(self._queued.values(), default=0)
        if position != self.position:
            self.position = position
            self._wake()

    # --- what is said -------------------------------------------------------------------

    def hear(self, index: int, delta: Delta) -> None:
        """Tell the readers."""
        self.begun = True
        choice = index or delta.choice
        if self.heard is not None:
            self.heard[choice].hear(delta)
        if delta.channel == "tool":
            return self._call(choice, delta)
        kind = protocol.Replace if delta.replace else protocol.Delta
        tokens = protocol.pieces(delta.tokens) if self._tokens else ()
        self.say(kind(self.id, self._next, delta.text, delta.channel, choice, tokens))

    def _call(self, choice: int, delta: Delta) -> None:
        """Calls of tools are told when they are whole: a line each."""
        if delta.replace:
            self._partial.pop(choice, None)
            self._calling.discard(choice)
            self.say(protocol.Replace(self.id, self._next, "", "tool", choice))
        *lines, self._partial[choice] = (self._partial.get(choice, "") + delta.text).split("\n")
        for each in calls_in("\n".join(lines)):
            call = (each.id, each.name, each.arguments)
            self._calling.add(choice)
            self.say(protocol.Tool(self.id, self._next, *call, choice))

    def end(self, problem: Problem | None) -> None:
        """Tell how it ended; without a run it was cancelled while it waited."""
        runs = [self.runs.get(index) for index in range(len(self.work))]
        ends = [run.finish if run else Finish("cancelled") for run in runs]
        if problem:
            self.finish = protocol.Failed(self.id, self._next, problem.fault, later(problem))
        else:
            self.finish = self._done(ends, next((run.model for run in runs if run), ""))
        self.begun, self.position = True, 0
        self.over.set()
        self.say(self.finish)
        self.runs.clear()  # They hold the conversation, which nobody needs for a resume.
        self.work.clear()
        self._queued.clear()

    def _done(self, ends: list[Finish], model: str) -> protocol.Done:
        first, usages, timings = ends[0], [e.usage for e in ends], [e.timings for e in ends]
        choices = tuple(
            Ended(n, reason(end, n in self._calling), end.cut_by) for n, end in enumerate(ends)
        )
        return protocol.Done(
            self.id,
            self._next,
            choices[0].reason,
            model,
            Usage(
                sum(each.prompt for each in usages),
                sum(each.completion for each in usages),
                sum(each.cached for each in usages),
            ),
            Timings(max(each.prompt for each in timings), max(each.completion for each in timings)),
            first.cut_by,
            choices if len(ends) > 1 else (),
        )

    def choice(self, ended: Ended) -> Choice:
        """All that was said of one, where it was gathered."""
        heard = (self.heard or {}).get(ended.choice) or Heard()
        tokens = protocol.pieces(heard.tokens) if self._tokens else ()
        tools = tuple(calls_in(heard.text("tool")))
        reasoning = heard.text("reasoning")
        return Choice(heard.text(), ended.reason, reasoning, ended.cut_by, tools, tokens)

    def say(self, event: msgspec.Struct) -> None:
        data = msgspec.json.encode(event)
        self.events.append(data)
        self.size += len(data)
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.tell(self)

    @property
    def _next(self) -> int:
        return len(self.events) + 1
