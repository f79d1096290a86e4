"""One reply: the only way from a turn to a model, for pages, programs and extensions alike."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs

from kernel.answer import Answer
from kernel.contract import Delta, Finish, Message, Refused, Request, Turn
from kernel.generation import TOLD
from kernel.guard import Lease, SwitchedOff, check, sendable
from kernel.loaders import Generation
from kernel.model import ASKED
from kernel.pipe import Pipe
from kernel.pipeline import Stage, Transcript, modified
from kernel.points import Entry, Point
from kernel.records import told
from kernel.sampling import Struct
from kernel.turn import GENERATE, HISTORY, INPUT, MODES, OUTPUT, REQUEST, Draft, Mode, Past

if TYPE_CHECKING:
    from kernel.manager import Kernel

log = logging.getLogger(__name__)


class Step(Struct, frozen=True):
    """What one modifier did, for the prompt inspector."""

    owner: str
    point: str
    before: Any
    after: Any


class Reply:
    """Iterate over it for the deltas after `OUTPUT`; it never raises, `finish` tells the end."""

    def __init__(
        self, kernel: "Kernel", turn: Turn, history: Sequence[Message], record: bool = False
    ) -> None:
        self.finish: Finish | None = None
        self.model = ""
        self.request: Request | None = None
        begun = history[-1].text if turn.continue_ and history else ""
        self.turn = self._as_asked = structs.replace(turn, begun=begun) if begun else turn
        self.steps: list[Step] | None = [] if record else None
        self.written: Callable[[], None] = lambda: None  # Called at the engine's end, read or not.
        self._kernel, self._history = kernel, tuple(history)
        self._raw, self._output = Transcript(), Transcript()
        self._generation: Generation | None = None
        self._task: asyncio.Task[None] | None = None
        self._answer: Answer | None = None
        self._carriers: list[Lease] = []
        self._stopped, self._why = False, ""
        self._asks = asyncio.Event()
        """Its turn is as the modifiers before the model made it, or it is over."""

    raw = property(lambda self: self._raw.get())
    """The engine's words so far: what the model sees again."""
    text = property(lambda self: self._output.get())
    """The reply so far, after `OUTPUT`."""
    reasoning = property(lambda self: self._output.get("reasoning"))

    @property
    def rewritten(self) -> bool:
        """Whether a modifier may replace text, which an append-only stream cannot express."""
        return any(map(self._may_rewrite, self._kernel.registry.entries(OUTPUT)))

    def _may_rewrite(self, entry: Entry[Any]) -> bool:
        try:
            return entry.may_rewrite(self._as_asked)
        except (Exception, SystemExit) as error:  # It may, then.
            self._kernel.guard.failed(entry.owner, "output: rewrites", error)
            return True

    def cancel(self) -> None:
        """Stop this reply and no other; what was said stays."""
        if self._stopped:  # A second stop would end its ends.
            return
        self._stopped = True
        if self._generation:
            self._generation.cancel()
        if self._task:  # An engine that does not answer costs two seconds, not a minute.
            pause = 2.0 if self._generation and not self._answer else 0.0
            asyncio.get_running_loop().call_later(pause, self._task.cancel)

    def _without(self, owner: str) -> None:
        """What carries it stops: so does the reply, and says why."""
        record = self._kernel.records.get(owner)
        self._why = record.handle.why if record and record.handle else ""
        self.cancel()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        if self._stopped:  # before it began
            self.finish = Finish("cancelled")
            return
        source, stages = Pipe(), list[Stage]()
        self._task = asyncio.create_task(self._generate(source), name="reply")
        entries, guard = self._kernel.registry.entries, self._kernel.guard
        mine = {entry.serial for entry in entries(OUTPUT)}  # A later one waits for the next reply.
        try:
            await self._asks.wait()
            stay = tuple(entry for entry in entries(OUTPUT) if entry.serial in mine)
            turns = self.turn, self._as_asked
            async for delta in modified(guard, "output", stay, source, *turns, watch=stages):
                self._output.add(delta)
                yield delta
                if self._stopped:  # Modifiers may still hold what the engine said long ago.
                    break
        finally:
            if not self._task.done():
                self.cancel()
                await asyncio.wait({self._task})
            if self._stopped and self.finish and not self.finish.error:
                self.finish = structs.replace(self.finish, reason="cancelled", error=self._why)
            if self.steps is not None:
                after, steps = self.text, list[Step]()
                for stage in reversed(stages):
                    before = after if stage.idle else stage.heard.get()
                    steps.append(Step(stage.owner, "output", before, after))
                    after = before
                self.steps += reversed(steps)

    async def _generate(self, source: Pipe) -> None:
        started = time.monotonic()
        try:
            deltas = await self._begin()
            async for delta in deltas:
                self._raw.add(delta)
                source.put(delta)
            self.finish = getattr(deltas, "finish", None) or Finish("stop")
        except (asyncio.CancelledError, SwitchedOff):
            if self._generation:  # It may have begun in the moment of the cancelling.
                self._generation.cancel()
            self.finish = Finish("cancelled")
        except Exception as error:
            log.info("A reply failed: %s", error)
            why = self._kernel.slot(self.turn.slot).why if self._generation else ""
            refused = None if why else getattr(error, "refused", None)
            self.finish = Finish("error", error=why or str(error), refused=refused)
        finally:
            for carrier in self._carriers:
                carrier.done()
            try:
                if self._answer:
                    await self._answer.close()
            finally:  # A stop may come in just that moment.
                source.close()
                self._asks.set()
                self.written()
                if self._generation and self.finish:
                    said, theirs = self.finish, self._generation.finish  # An answer may not count.
                    said = said if said.usage.completion else theirs or said
                    self._kernel.slot(self.turn.slot).ended(said, time.monotonic() - started)

    async def _begin(self) -> AsyncIterator[Delta]:
        sendable(self.turn, self._history)
        await self._kernel.slot(self.turn.slot).settled()  # Modifiers may ask the model.
        self.turn = await self._each(INPUT, Turn, self.turn)
        past = await self._each(HISTORY, Past, Past(self._history, self.turn))
        made = Draft(await self._compose(self.turn, past.messages), self.turn)
        made = self._owned(made, made)
        self.turn = made.turn
        request = self.request = (await self._each(REQUEST, Draft, made)).request
        self._asks.set()
        guard, draft = self._kernel.guard, Draft(request, self.turn)
        ASKED.set(self._asked)
        for entry in self._kernel.registry.entries(GENERATE):
            deltas = await guard.call(entry, "generate", draft, AsyncIterator | None, None)
            if deltas is not None:
                self._carriers.append(Lease(entry, partial(self._without, entry.owner)))
                self._answer = Answer(guard, entry, deltas, self._kernel.name(entry.owner))
                if await self._answer.begins():
                    return self._answer
                self._carriers.pop().done()  # It carries nothing.
                await self._answer.close()
                self._answer = None
        return await self._kernel.slot(request.slot).generate(request)

    def _asked(self, generation: Generation, model: str) -> None:
        """This is where the words, or an answer's words, come from: by now."""
        self._generation, self.model = generation, model

    async def _each(self, point: Point[Any], kind: type[Any], value: Any) -> Any:
        for entry in self._kernel.registry.entries(point):
            before = value
            value = await self._kernel.guard.call(entry, point.name, before, kind, before)
            value = self._owned(value, before)
            turn = value if isinstance(value, Turn) else value.turn
            self.turn = structs.replace(self.turn, incognito=turn.incognito)  # Stopped or not.
            if self.steps is not None:
                self.steps.append(Step(entry.owner, point.name, before, value))
        return value

    def _owned(self, value: Any, before: Any) -> Any:
        """Who asks and where no modifier changes, nor that nothing may be kept, once it is said."""
        if not isinstance(value, Turn):
            turn = self._owned(value.turn, before.turn)
            if isinstance(value, Draft):
                secret = turn.incognito or value.request.incognito
                request = structs.replace(value.request, incognito=secret)
                return structs.replace(
                    value, turn=structs.replace(turn, incognito=secret), request=request
                )
            return structs.replace(value, turn=turn)
        return structs.replace(
            value,
            principal=before.principal,
            client=before.client,
            conversation_id=before.conversation_id,
            incognito=before.incognito or value.incognito,
        )

    async def _compose(self, turn: Turn, history: Sequence[Message]) -> Request:
        if turn.prompt is not None:
            return Request(
                turn.slot, prompt=turn.prompt, sampling=turn.sampling, adapters=turn.adapters
            )
        for entry in self._kernel.registry.entries(MODES):
            if entry.value.id == turn.mode:
                self._carriers.append(Lease(entry, partial(self._without, entry.owner)))
                return await self._ask(entry, turn, history)
        raise Refused(f"The mode {turn.mode!r} is not running. Switch it on in Settings.", "mode")

    async def _ask(self, entry: Entry[Mode], turn: Turn, history: Sequence[Message]) -> Request:
        """The mode's request; nothing can stand in for that, so its failure is the reply's."""
        guard = self._kernel.guard
        try:
            request = await guard.within(guard.patience, entry, entry.value.request, turn, history)
            if not isinstance(request, Request):
                raise TypeError(f"expected Request, got {type(request).__name__}")
            check(request, Request)
            return request
        except Exception as error:
            if isinstance(error, (*TOLD, SwitchedOff)) and not isinstance(error, TimeoutError):
                raise
            guard.failed(entry.owner, f"mode {turn.mode}", error)
            name = self._kernel.name(entry.owner)
            why = f"{name} failed at this turn: {told(error)}. Its card in Settings says more."
            raise RuntimeError(why) from error
