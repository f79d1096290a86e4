"""Keeps the model from ending a reply too early."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec.structs import replace

from kernel.api import (
    GENERATE,
    REQUEST,
    UNSET,
    Delta,
    Draft,
    Everyone,
    Extension,
    Meta,
    ModelInfo,
    Phase,
    Struct,
)

from .parts import TwoParts

CANNOT = (
    "{} in {} cannot be kept from ending a reply, so Long replies does nothing. "
    "Load the model with another loader, or switch Long replies off."
)


class Settings(Struct, frozen=True):
    """How long is long."""

    least: Annotated[int, Meta(ge=1, le=4096, description="Tokens that a reply has at least.")] = (
        120
    )


async def setup(ext: Extension[Settings]) -> None:
    told: set[str] = set()

    def info() -> ModelInfo | None:
        model = ext.slot().model
        return model.info if model else None

    def least(draft: Draft) -> int:
        """Not beyond where the user wants it cut off."""
        limit = draft.request.sampling.max_new_tokens
        return ext.settings.least if limit is UNSET else min(ext.settings.least, limit)

    @ext.on(REQUEST, phase=Phase.LATE)
    async def ask_for_length(draft: Draft) -> Draft:
        model = info()
        if model and "min_length" in model.samplers:
            sampling = replace(draft.request.sampling, min_length=least(draft))
            return replace(draft, request=replace(draft.request, sampling=sampling))
        if model and "ban_eos_token" not in model.samplers and model.name not in told:
            told.add(model.name)
            ext.tell(CANNOT.format(model.name, model.loader), Everyone())
        return draft

    @ext.on(GENERATE)
    async def in_two_parts(draft: Draft) -> AsyncIterator[Delta] | None:
        model = info()
        if not model or "min_length" in model.samplers or "ban_eos_token" not in model.samplers:
            return None
        if draft.request.token_ids is not None or draft.turn.tools or draft.request.grammar:
            return None  # tokens have no words to go on from, and these end where they end
        return TwoParts(ext.generate, draft.request, least(draft))
