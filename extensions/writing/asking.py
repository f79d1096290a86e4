"""What the model says of a text beside continuing it: its tokens, and what may come next."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from kernel.api import (
    INPUT,
    UNSET,
    Client,
    Extension,
    LoadFailed,
    NoModel,
    Refused,
    Request,
    Sampling,
    Struct,
    Turn,
    WorkerDied,
    WorkerError,
)

log = logging.getLogger(__name__)

EMPTY = "No model is loaded. Choose one in the status line at the bottom of the page."
UNABLE = "{} cannot say this. Load the model with llama.cpp or Transformers."
MOST_LOGPROBS = 20
"""Alternatives that any engine with logprobs reports."""
ONLY_BEFORE = "This engine tells the likeliest {} tokens before the samplers, and no more."
NO_REASONS = "This engine tells probabilities, and not which sampler cut a token."


class Token(Struct, frozen=True):
    """One token of a text."""

    id: int
    text: str
    special: bool = False


class Choice(Struct, frozen=True):
    """A token that may come next: its probabilities, and which sampler took it out."""

    text: str
    before: float
    after: float | None = None
    cut_by: str = ""
    id: int = -1


class Run(Struct, frozen=True):
    """What may come next, as it was asked once."""

    choices: tuple[Choice, ...] = ()
    samplers: bool = True
    note: str = ""
    error: str = ""


class Asking:
    """Questions to the loaded model; an answer that is an error is a sentence."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext

    async def count(self, text: str) -> str:
        """How many tokens a text has, of how many there is room for; empty where nobody knows."""
        model = self._ext.slot().model
        if not model:
            return ""
        try:
            length = len(await model.call("tokenize", text=text))
        except Exception:
            return ""  # It is a help beside the text, and the model may be going just now.
        most = model.info.context_length
        return f"{length:,} / {most:,} tokens" if most else f"{length:,} tokens"

    async def tokens(self, text: str) -> list[Token]:
        """The tokens of a text; raises Refused where they cannot be had."""
        model = self._ext.slot().model
        if not model:
            raise Refused(EMPTY)
        found = await self._call("tokenize", text=text, pieces=True)
        if found and isinstance(found[0], int):  # It knows no pieces: one by one then.
            pieces = [await self._call("detokenize", token_ids=[id]) for id in found]
            found = [(id, piece.encode(), False) for id, piece in zip(found, pieces, strict=True)]
        return [Token(id, shown(piece), special) for id, piece, special in found]

    async def logits(self, text: str, client: Client, samplers: bool, top: int) -> Run:
        """What may come after a text, before the samplers and after them."""
        try:
            return await self._logits(text, client, samplers, top)
        except (Refused, NoModel, LoadFailed) as refusal:
            return Run(error=str(refusal), samplers=samplers)

    # --- inside ------------------------------------------------------------------------

    async def _logits(self, text: str, client: Client, samplers: bool, top: int) -> Run:
        model = self._ext.slot().model
        if not model:
            raise Refused(EMPTY)
        sampling = await self._sampling(text, client) if samplers else Sampling()
        try:
            said = await model.call(
                "logits", text=text, sampling=msgspec.to_builtins(sampling, str_keys=True), top=top
            )
        except (WorkerError, LookupError) as error:
            if "knows no call" not in str(error):
                raise Refused(str(error)) from error
            return await self._logprobs(text, samplers, top)
        except WorkerDied as error:
            raise Refused(str(error)) from error
        choices = [_choice(each, samplers) for each in said["tokens"]]
        choices.sort(key=lambda c: (-(c.after or 0), -c.before))
        note = "" if said.get("reasons", True) or not samplers else NO_REASONS
        return Run(tuple(choices), samplers, note)

    async def _logprobs(self, text: str, samplers: bool, top: int) -> Run:
        """From an engine that only reports alternatives of what it says."""
        model = self._ext.slot().model
        if not model or "logprobs" not in model.info.capabilities:
            name = model.info.loader if model else "This engine"
            raise Refused(UNABLE.format(name))
        top = min(top, MOST_LOGPROBS)
        request = Request(
            prompt=text, sampling=Sampling(temperature=0.0, max_new_tokens=1), logprobs=top
        )
        generation = await self._ext.generate(request)
        tokens = [token async for delta in generation for token in delta.tokens]
        if generation.finish and generation.finish.error:
            raise Refused(generation.finish.error)
        best = tokens[0].top if tokens else ()
        choices = [Choice(shown(piece), math.exp(logprob)) for piece, logprob in best]
        return Run(tuple(choices), False, ONLY_BEFORE.format(top) if samplers else "")

    async def _sampling(self, text: str, client: Client) -> Sampling:
        """The parameters that a turn of this page would have."""
        turn = Turn(prompt=text, client=client.id, principal=client.principal)
        for modify in self._ext.get(INPUT):
            turn = await _modified(modify, turn)
        return msgspec.structs.replace(
            turn.sampling, max_new_tokens=UNSET, custom_stopping_strings=UNSET
        )

    async def _call(self, name: str, **data: Any) -> Any:
        model = self._ext.slot().model
        if not model:
            raise Refused(EMPTY)
        try:
            return await model.call(name, **data)
        except (WorkerError, WorkerDied, LookupError) as error:
            raise Refused(str(error)) from error


async def _modified(modify: Callable[[Turn], Awaitable[Turn]], turn: Turn) -> Turn:
    """A turn after a modifier; one that fails is passed by, as in a reply."""
    try:
        async with asyncio.timeout(5):
            return msgspec.convert(await modify(turn), Turn)
    except Exception as error:
        log.info("A modifier of the turn failed: %s", error, exc_info=error)
        return turn


def _choice(said: Mapping[str, Any], samplers: bool) -> Choice:
    after = said["after"] if samplers else None
    cut_by = said["cut_by"] if samplers else ""
    return Choice(shown(said["bytes"]), said["before"], after, cut_by, said["id"])


def shown(piece: bytes) -> str:
    """A token's bytes as text; what is no whole letter as its bytes."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in piece)
