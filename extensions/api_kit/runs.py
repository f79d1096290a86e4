"""One reply for a program, from its turn at the model to its last word."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Any, Literal

from msgspec import structs

from extensions.prompts.api import rendered
from kernel.api import (
    MODES,
    UNSET,
    Delta,
    Extension,
    Finish,
    Model,
    ModelInfo,
    Point,
    Reply,
    Request,
    Sampling,
)

from .appending import Appended
from .calls import Asking
from .gate import Gate, Ticket, full
from .problems import Fault, Problem, no_model, refused, unavailable
from .spending import Spending
from .stopping import Wait
from .wishes import Wish

GUESS = 512
"""Tokens that a reply without a limit is guessed to have, for its place in the queue."""
VALUES = ("tool_choice", "mode")
"""Fields of which some values can be honoured; others are refused as a whole."""
NAMED = (*Sampling.__struct_fields__, *VALUES, "tools", "logprobs")
"""Fields that programs know by the name that an engine refuses them by."""
TOO_LONG = "prompt is too long: {}"
"""By these words programs know that they have to shorten the conversation: Anthropic's, and those
of LangChain and litellm (so Aider), whom OpenAI's SDK tells no code."""
STOPPED = "It was cancelled while it waited for its turn."
STOPPED_BEFORE = "It was cancelled while it waited for its model."
State = Literal["waiting", "reading", "writing", "done", "cancelled", "failed"]

Having = AbstractAsyncContextManager[Callable[[], None]]
"""A model that is there as long as the block lasts, or until it is let go."""


NAMES: Point[Callable[[ModelInfo], str]] = Point("names", "What programs call a loaded model.")
"""The APIs whose requests name models contribute it."""


class Run:
    """A reply while it is made, and how it ended; iterate over it for its deltas.

    With `hold`, the stream only appends: text that a modifier may still replace comes at the end.
    """

    def __init__(self, call: Asking, wish: Wish, *, hold: bool) -> None:
        self.id = secrets.token_hex(6)
        self.api, self.caller, self.wish = call.api, call.caller, wish
        self.state: State = "waiting"
        self.ticket: Ticket | None = None
        """Its place in the queue, while it waits."""
        self.wait = Wait(STOPPED)
        """For the model, and for its turn."""
        self.asked, self.began, self.first, self.ended = time.monotonic(), 0.0, 0.0, 0.0
        """Seconds of the monotonic clock: asked for, its turn, its first word, its end."""
        self.tokens = 0
        """Tokens (or pieces, where the engine does not tell) that were written."""
        self.reply: Reply | None = None
        self.held = self.counted = False
        self._hold, self._model = hold, ""
        self._called: Callable[[str], str] = str
        """What programs call the model of this name, while it is there."""
        self._told: defaultdict[tuple[int, str], Appended] = defaultdict(Appended)
        """By choice and channel."""

    @property
    def model(self) -> str:
        """What programs call the model that replies; "" before it does."""
        if not self._model and self.reply and self.reply.model:
            self._model = self._called(self.reply.model)
        return self._model

    @property
    def seed(self) -> int:
        """The one that its engine was given; -1 where it drew one itself."""
        request = self.reply.request if self.reply else None
        seed = request.sampling.seed if request else UNSET
        return -1 if seed is UNSET else seed

    @property
    def finish(self) -> Finish:
        """How it ended; before the end as if cancelled."""
        return (self.reply and self.reply.finish) or Finish("cancelled")

    def cancel(self) -> None:
        """Stop it, and no other."""
        if self.reply:
            self.reply.cancel()
        self.wait.stop()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Raises Problem when it failed, after all that was said before."""
        assert self.reply
        self.state, self.began = "reading", time.monotonic()
        held: dict[int, str] = {}
        async for delta in self.reply:
            if not self.first:
                self.state, self.first = "writing", time.monotonic()
            self.tokens += len(delta.tokens) or 1
            if self.held and delta.channel == "text":
                held[delta.choice] = delta.onto(held.get(delta.choice, ""))
            elif not self._hold:
                yield delta
            elif (further := self._further(delta)).text or not delta.replace:
                yield further
        for choice, text in held.items():
            yield Delta(text, choice=choice)

    def _further(self, delta: Delta) -> Delta:
        """For who only appends."""
        text = self._told[delta.choice, delta.channel].hear(delta)
        if text == delta.text and not delta.replace:
            return delta
        return structs.replace(delta, text=text, replace=False)

    def start(self, reply: Reply, called: Callable[[str], str]) -> None:
        """Its turn has come."""
        self.reply, self._called = reply, called
        self.held = self._hold and reply.rewritten


class Runs:
    """All replies of programs that are under way; the way to begin one."""

    def __init__(self, ext: Extension[Any], gate: Gate, limit: Callable[[Asking], int]) -> None:
        self._ext, self.gate, self._limit = ext, gate, limit
        self.spending = Spending()
        self.live: dict[Run, None] = {}
        """Also requests that wait for a model and have no reply, or none yet."""
        self.busy = asyncio.Event()
        """Set as long as one is under way."""
        self.watchers: list[Callable[[Run], None]] = []
        """Called with each run that has ended."""

    @asynccontextmanager
    async def run(
        self, call: Asking, wish: Wish, model: Having, *, hold: bool = False
    ) -> AsyncGenerator[Run]:
        """A reply, when its turn has come; leaving the block before its end cancels it. It has the
        `model`, and lets it go when that is done with it, read or not.

        Raises Problem when it cannot begin. `hold`: see Run.
        """
        self.check(wish)
        self._afford(call)
        run = Run(call, wish, hold=hold)
        limit = wish.sampling.max_new_tokens
        tokens = GUESS if limit is UNSET else limit

        def queued(ticket: Ticket) -> None:
            run.ticket = ticket
            call.queued(run, self.gate.before(ticket) + 1)

        with self._under_way(run, call):
            try:
                owner, per_minute = call.caller.owner, call.caller.tokens
                most = self._limit(call)
                fit = self.spending.at_once(owner, per_minute, tokens, most)
                turn = self.gate.turn(owner, tokens, most, queued, call, fit)
                async with AsyncExitStack() as had:
                    with run.wait:
                        let_go = await had.enter_async_context(model)
                        leave = await had.enter_async_context(turn)
                    run.ticket = None
                    self._afford(call)  # What was before it has ended since.
                    call.entered = True
                    reply = self._ext.run(*wish.turn(call.caller.owner))
                    reply.written = partial(self._written, run, leave, let_go)
                    run.start(reply, partial(self._named, wish.slot))
                    yield run
            finally:
                if not (run.reply and run.reply.finish):
                    run.cancel()
                self._count(run)
                self._note(run)

    @contextmanager
    def waiting(self, call: Asking) -> Iterator[Wait]:
        """A request that waits for a model, and has no reply yet; only what is within the wait that
        this yields ends when the request is stopped. Raises Problem (429) where as many wait, or
        are under way for its key, as may."""
        run = Run(call, Wish(), hold=False)
        run.wait = Wait(STOPPED_BEFORE)
        with self._under_way(run, call):
            yield run.wait

    def called(self, info: ModelInfo) -> str:
        """What programs call a model: its own name, where nobody knows another."""
        names = self._ext.get(NAMES)
        return names[0](info) if names else info.name

    async def problem(self, run: Run) -> Problem | None:
        """Why a run failed that has come to its end, so that a program can test for it."""
        finish = run.finish
        if self._ext.why:
            return unavailable(self._ext.why, "switched_off")
        if not finish.error:
            return None
        if finish.reason == "cancelled":  # What carried it was switched off.
            return unavailable(finish.error, "switched_off")
        slot = self._ext.slot(run.wish.slot)
        if finish.error == slot.REPLACED:  # The other may be there already.
            return unavailable(finish.error, "model_loading")
        if not run.model and slot.state.state == "loading":
            return unavailable(finish.error, "model_loading")
        if not run.model and slot.state.state in ("empty", "failed"):
            return no_model(finish.error)
        if slot.state.state == "loading" and finish.error == slot.why:  # Another one comes.
            return unavailable(finish.error, "model_loading")
        if run.first or finish.refused is None:
            return Problem(Fault(finish.error, "engine_error", None, "engine_failed"))
        request = run.reply.request if run.reply else None
        if finish.refused == "prompt" or (
            slot.model and request and await too_long(slot.model, request)
        ):
            param = run.wish.said_in if run.wish.messages else "prompt"
            return refused(TOO_LONG.format(finish.error), param, "context_length_exceeded")
        if (field := finish.refused) in run.wish.called and field not in NAMED:
            return refused(finish.error, run.wish.called[field], "turn_refused")
        if field:
            code = "unsupported_value" if field in VALUES else "unsupported_parameter"
            return refused(finish.error, field if field in NAMED else None, code)
        return refused(finish.error, None, "engine_refused" if request else "turn_refused")

    def check(self, wish: Wish) -> None:
        """Raises Problem where a reply cannot begin."""
        if wish.prompt is None and not wish.asked.token_ids:
            modes = [mode.id for mode in self._ext.get(MODES)]
            if wish.mode not in modes:
                known = ", ".join(modes) or "none"
                says = f"The mode {wish.mode} is not running. Running: {known}."
                raise refused(says, "mode", "mode_not_found")
            if not wish.messages:
                raise refused(f"{wish.said_in}: There is none. Send at least one.", wish.said_in)

    # --- inside ------------------------------------------------------------------------

    def _named(self, slot: str, name: str) -> str:
        model = self._ext.slot(slot).model
        return self.called(model.info) if model and model.info.name == name else name

    @contextmanager
    def _under_way(self, run: Run, call: Asking) -> Iterator[None]:
        """Counts, and is seen, before the queue too, as while it waits for a model."""
        waiting = sum(not each.reply for each in self.live)
        if waiting > self.gate.longest:
            raise full(waiting)
        with ExitStack() as leaving:
            try:
                counted = self.gate.under_way(call.caller.owner, self._limit(call), call)
                leaving.enter_context(counted)
            except Problem:
                self._note(run)
                raise
            self.live[run] = None
            self.busy.set()
            try:
                yield
            finally:
                del self.live[run]
                if not self.live:
                    self.busy.clear()

    def _afford(self, call: Asking) -> None:
        """Raises Problem where nothing is left of the tokens a minute. A request whose first reply
        was let in has the others too: they are asked for in one, and answered in one."""
        if not call.entered:
            self.spending.check(call.caller.owner, call.caller.tokens)

    def _written(self, run: Run, *leave: Callable[[], None]) -> None:
        """Who reads slowly keeps nobody from the model; who is next knows what was used."""
        self._count(run)
        for each in leave:
            each()

    def _count(self, run: Run) -> None:
        if run.caller.tokens and not run.counted:
            run.counted, usage = True, run.finish.usage
            used = usage.prompt + (usage.completion or run.tokens)
            self.spending.add(run.caller.owner, used)

    def _note(self, run: Run) -> None:
        run.ended, finish = time.monotonic(), run.finish
        run.state = "done" if finish.reason in ("stop", "length", "tool_calls") else "failed"
        if finish.reason == "cancelled":
            run.state = "cancelled"
        if finish.usage.completion:
            run.tokens = finish.usage.completion
        seconds = run.ended - run.asked
        self._ext.log.info(
            "%s: %s, %s, %d + %d tokens in %.2f s",
            run.api, run.caller.owner, run.state, finish.usage.prompt, run.tokens, seconds,
        )  # fmt: skip
        for watcher in self.watchers:
            watcher(run)


async def too_long(model: Model, request: Request) -> bool:
    """Whether the model has no room for the prompt of a request."""
    try:
        tokens = request.token_ids
        if tokens is None:
            text = request.prompt
            text = await rendered(model, request) if text is None else text
            tokens = await model.call("tokenize", text=text)
        return len(tokens) >= model.info.context_length
    except Exception:  # It cannot be told: the engine's own words have to do.
        return False
