"""Colours each token of a reply by how likely the model thought it."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec.structs import replace

from kernel.api import (
    DISPLAY,
    PANELS,
    REQUEST,
    Client,
    Delta,
    Draft,
    Everyone,
    Extension,
    Meta,
    Panel,
    Phase,
    SlotChanged,
    Struct,
    Turn,
)

from .marking import marked

CANNOT = (
    "{} in {} does not tell how likely its tokens are, so there are no colours. "
    "Load the model with another loader."
)


class Settings(Struct, frozen=True):
    """How much is told of a token."""

    alternatives: Annotated[
        int, Meta(ge=0, le=20, description="Other tokens that are named for each, at most.")
    ] = 3


async def setup(ext: Extension[Settings]) -> None:
    told: set[str] = set()

    def able() -> bool:
        model = ext.slot().model
        return bool(model and "logprobs" in model.info.capabilities)

    @ext.on(REQUEST, phase=Phase.LATE)
    async def ask(draft: Draft) -> Draft:
        model = ext.slot().model
        if able():
            wanted = max(draft.request.logprobs or 0, ext.settings.alternatives)
            return replace(draft, request=replace(draft.request, logprobs=wanted))
        if model and model.info.name not in told:
            told.add(model.info.name)
            ext.tell(CANNOT.format(model.info.name, model.info.loader), Everyone())
        return draft

    @ext.on(DISPLAY, phase=Phase.EARLY)
    async def colour(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield marked(delta) if delta.tokens and delta.channel == "text" else delta

    async def context(client: Client | None, subject: str) -> dict[str, bool]:
        return {"able": able()}

    @ext.on(SlotChanged)
    async def slot_changed(event: SlotChanged) -> None:
        await ext.push("_legend.html", key="legend", able=able(), oob=True)

    ext.add(PANELS, Panel("composer", "composer.html", context))
