"""The service that API extensions use: replies, tokens, and the models there are."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec import structs

from extensions.prompts.api import rendered
from kernel.api import (
    SAMPLERS,
    Extension,
    Image,
    Message,
    Model,
    ModelInfo,
    Point,
    Refused,
    Request,
    Sampling,
    SlotChanged,
    WorkerDied,
    WorkerError,
)

from .calls import ASKER, Asking, Call, Caller
from .composing import composed
from .fields import sampling_of
from .holding import Holding
from .messages import after_results
from .problems import Fault, Problem, no_model, refused, unavailable
from .runs import TOO_LONG, Run, Runs
from .wishes import Wish

EMPTY = "No model is loaded. Load one in Spindle's page, or with its API."
TOGETHER = 64
"""Texts that become vectors in one call; an engine answers one call after another."""
CHANGED = "Another model was loaded while the vectors were made. Send all texts again."
NO_SLOT = "No model is loaded into the slot “{0}”. Start Spindle with --{0}-model NAME."


class Programs:
    """What is contributed to PROGRAMS."""

    def __init__(self, ext: Extension[Any], runs: Runs) -> None:
        self._ext, self.runs, self.holding = ext, runs, Holding(runs.waiting)
        loaded = ext.slot().model
        self._last = {"chat": loaded.info} if loaded else dict[str, ModelInfo]()
        """By slot, what was loaded last."""

    def heard(self, event: SlotChanged) -> None:
        """A slot changed."""
        if event.info:
            self._last[event.slot] = event.info

    @asynccontextmanager
    async def run(self, call: Asking, wish: Wish, *, hold: bool = False) -> AsyncGenerator[Run]:
        """A reply: `async with programs.run(call, wish) as run: async for delta in run: ...`.

        Raises Problem when it cannot begin; `finished` tells how it ended. With `hold`, text that
        modifiers may still replace comes at the end, so that a stream only appends.
        """
        async with self.runs.run(call, wish, self.holding.reply(call), hold=hold) as run:
            yield run

    async def finished(self, run: Run) -> None:
        """Raises Problem when a run that has come to its end failed."""
        if problem := await self.runs.problem(run):
            raise problem

    def model(self, slot: str = "chat") -> Model:
        """What is loaded; raises Problem where nothing is: 503, and 400 for a slot that a program
        has to have filled first."""
        chosen = self._ext.slot(slot)
        if chosen.model:
            return chosen.model
        state = chosen.state
        if state.state == "loading":
            raise unavailable(f"The model is loading: {state.note or 'a moment'}.", "model_loading")
        if slot == "chat":
            raise no_model(state.error or EMPTY)
        raise refused(state.error or NO_SLOT.format(slot), "model", f"no_{slot}_model")

    def resting(self, slot: str = "chat") -> bool:
        """Whether nothing is loaded until somebody asks, who then gets the model that was."""
        chosen = self._ext.slot(slot)
        return bool(chosen.wake and not chosen.model)

    def info(self, slot: str = "chat") -> ModelInfo | None:
        """What is known of the model that answers, loaded or resting; None where there is none."""
        if model := self._ext.slot(slot).model:
            return model.info
        return self._last.get(slot) if self.resting(slot) else None

    async def sees(self, messages: Iterable[Message]) -> bool:
        """Whether the model that answers may see the pictures of these, where they have any; waits
        for one that is loading."""
        if not any(isinstance(part, Image) for each in messages for part in each.parts):
            return True
        info = await self.known_model()
        return not info or "images" in info.capabilities

    async def shown(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """`after_results`, for the model that answers; waits for one that is loading, where that
        makes a difference."""
        return after_results(messages, sees=await self.sees(messages))

    async def known_model(self) -> ModelInfo | None:
        """The same as `info`, of a model that is loading when it is there."""
        if not self.info():
            await self.awake()
        return self.info()

    def described(self, slot: str = "chat") -> ModelInfo:
        """The same; raises Problem where there is none."""
        return self.info(slot) or self.model(slot).info

    def called(self, info: ModelInfo) -> str:
        """What programs call a model."""
        return self.runs.called(info)

    def answering(self) -> str:
        """What they call the one that answers, loaded or resting; "" where there is none."""
        info = self.info()
        return self.called(info) if info else ""

    async def awake(self, slot: str = "chat") -> None:
        """Wait for a model that is loading, or that was put to rest, for nobody used it. Raises
        Problem where it is stopped meanwhile, and as `Runs.waiting`."""
        chosen = self._ext.slot(slot)
        asker = ASKER.get(None) or Asking("", Caller("local"))
        if chosen.model:
            return await chosen.settled()
        with self.runs.waiting(asker) as wait, wait:
            await chosen.settled()

    async def ask(
        self, name: str, *, slot: str = "chat", param: str | None = None, **data: Any
    ) -> Any:
        """A call to the engine; raises Problem when it refuses, or is gone. `param` is the field
        to blame where the engine names none."""
        await self.awake(slot)
        model = self.model(slot)
        try:
            return await model.call(name, **data)
        except LookupError as error:
            says = f"{model.info.name} in {model.info.loader} cannot do this ({name})."
            raise refused(says, None, "unsupported") from error
        except (Refused, WorkerError) as error:
            if error.refused == "prompt":
                says = TOO_LONG.format(error)
                raise refused(says, param, "context_length_exceeded") from error
            if error.refused is not None:
                raise refused(str(error), error.refused or param, "engine_refused") from error
            raise Problem(Fault(str(error), "engine_error", None, "engine_failed")) from error
        except WorkerDied as error:
            chosen = self._ext.slot(slot)
            comes = chosen.why and chosen.state.state == "loading"
            if comes or chosen.model not in (None, model):  # Or another one is there.
                raise unavailable(chosen.why or chosen.REPLACED, "model_loading") from error
            raise Problem(Fault(str(error), "engine_error", None, "engine_failed")) from error

    async def metered(
        self,
        call: Asking,
        name: str,
        reads: Sequence[str | Sequence[int]],
        *,
        slot: str = "chat",
        param: str | None = None,
        **data: Any,
    ) -> Any:
        """The same where the engine reads these texts and makes no reply: they count toward the
        tokens a minute of the caller's key. Raises Problem (429) where none are left."""
        caller, spending = call.caller, self.runs.spending
        async with spending.alone(caller.owner, caller.tokens):
            try:
                said = await self._in_turns(name, slot, param, data)
            except Problem as problem:
                if problem.fault.code != "engine_refused" or not await self._too_long(reads, slot):
                    raise
                says = TOO_LONG.format(problem)
                raise refused(says, param, "context_length_exceeded") from problem
            if caller.tokens:
                read = [await self.length(text, slot=slot) for text in reads]
                spending.add(caller.owner, sum(read))
        return said

    async def _in_turns(
        self, name: str, slot: str, param: str | None, data: Mapping[str, Any]
    ) -> Any:
        """Vectors are made of some texts at a time: other questions come in between."""
        if name != "embed":
            return await self.ask(name, slot=slot, param=param, **data)
        await self.awake(slot)
        texts, made, model = data["texts"], list[Any](), self.model(slot)
        for begin in range(0, len(texts), TOGETHER):
            some = texts[begin : begin + TOGETHER]
            made += await self.ask(name, slot=slot, param=param, texts=some)
            if self._ext.slot(slot).model is not model:  # Vectors of two cannot be compared.
                raise unavailable(CHANGED, "model_loading")
        return made

    async def length(self, text: str | Sequence[int], *, slot: str = "chat") -> int:
        """The tokens of a text; 0 where the engine does not tell."""
        if not isinstance(text, str):
            return len(text)
        try:
            return len(await self.ask("tokenize", slot=slot, text=text))
        except Problem:
            return 0

    async def _too_long(self, texts: Sequence[str | Sequence[int]], slot: str) -> bool:
        """Whether one of these is more than the model has room for."""
        info = self.info(slot)
        room = info.context_length if info else 0
        lengths = [await self.length(text, slot=slot) for text in texts] if room else []
        return any(length >= room for length in lengths)

    async def tokens(self, text: str, **how: Any) -> list[int]:
        """The tokens of a text, as the loaded model has them."""
        return [*await self.ask("tokenize", text=text, **how)]

    async def piece(self, token: int) -> bytes:
        """What one token stands for, perhaps a part of a letter."""
        said = await self.ask("detokenize", token_ids=[token])
        return said if isinstance(said, bytes) else str(said).encode(errors="replace")

    async def text(self, tokens: Sequence[int], param: str = "tokens") -> str:
        """The text of tokens; `param` is the field they came in."""
        self.known(tokens, param)
        return str(await self.ask("detokenize", token_ids=[*tokens]))

    def known(self, tokens: Sequence[int], param: str) -> None:
        """Raises Problem for a number that is no token of the loaded model."""
        info = self.info()
        most = info.vocabulary_size if info else 0
        for token in tokens:
            if token < 0 or token >= most > 0:
                says = f"{param}: {token} is no token of this model, whose tokens are 0 to "
                says += f"{most - 1}." if most else "its last one."
                raise refused(says, param, "invalid_value")

    async def request(self, call: Call, wish: Wish) -> Request:
        """What the model would be asked for this wish, after all modifiers; it is not asked, and
        nobody waits for a turn. Raises Problem."""
        self.runs.check(wish)
        await self.awake(wish.slot)
        self.model(wish.slot)
        return await composed(self._ext, call, wish)

    async def count(self, request: Request) -> int:
        """The tokens of a request's prompt; what a picture takes is not among them."""
        if request.token_ids is not None:
            return len(request.token_ids)
        return len(await self.tokens(await self.prompt(request)))

    def sampling(self, body: Mapping[str, Any], **over: Any) -> Sampling:
        """As `sampling_of`, with what the loaded model's loader adds of its own; raises Problem
        for what only another loader adds."""
        info = self.info()
        added = self._ext.slot().samplers() if info and "extra" in info.samplers else []
        own = {name for kind in added for name in kind.__struct_fields__}
        known = {name for each in self._ext.get(SAMPLERS) for name in each.kind.__struct_fields__}
        extra = {name: body[name] for name in sorted(known) if body.get(name)}
        if (lacks := extra.keys() - own) and info and not self.resting():
            name = min(lacks)
            says = f"{name}: {info.name} in {info.loader} cannot do this. Leave it out."
            raise refused(says, name, "unsupported_parameter")
        sampling = sampling_of(body, **over)
        return structs.replace(sampling, extra=extra) if extra else sampling

    async def prompt(self, request: Request) -> str:
        """The text that the model would be given for this request."""
        if request.prompt is not None:
            return request.prompt
        try:
            return await rendered(self.model(request.slot), request)
        except (Refused, WorkerError) as error:
            raise refused(str(error), "messages", "template_refused") from error

    def reply_of(self, caller: str, api: str = "") -> list[Run]:
        """The runs under way that this caller asked for, of one API or of all."""
        mine = [run for run in self.runs.live if run.caller.owner == caller]
        return [run for run in mine if api in ("", run.api)]


PROGRAMS: Point[Programs] = Point("programs", "How APIs reach the model.")
