"""A sound when a reply is complete, on the pages that show its conversation."""

import itertools
from collections.abc import AsyncIterator
from typing import Annotated, Any

from starlette.requests import Request
from starlette.responses import Response

from kernel.api import (
    DISPLAY,
    PANELS,
    ROUTES,
    Client,
    Conversation,
    Delta,
    Extension,
    Meta,
    Panel,
    Phase,
    Route,
    Router,
    Routes,
    Struct,
    Turn,
)

from .chime import chime, own


class Settings(Struct, frozen=True):
    """How loud, and when."""

    volume: Annotated[
        int, Meta(ge=1, le=100, description="Percent of what your machine is set to.")
    ] = 60
    only_when_away: Annotated[
        bool, Meta(description="Only while the page is in the background.")
    ] = False


async def setup(ext: Extension[Settings]) -> None:
    numbers = itertools.count(1)

    async def values(client: Client | None = None, subject: str = "") -> dict[str, Any]:
        s = ext.settings
        return {"number": 0, "volume": s.volume / 100, "away": s.only_when_away}

    @ext.on(DISPLAY, phase=Phase.LATE)
    async def ring(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield delta
        if turn.client and turn.conversation_id:
            bell = {**await values(), "number": next(numbers), "oob": True}
            await ext.push("_bell.html", Conversation(turn.conversation_id), **bell)

    async def sound(request: Request) -> Response:
        data, media_type = await ext.thread(own, ext.data) or (chime(), "audio/wav")
        return Response(data, media_type=media_type)

    ext.add(PANELS, Panel("status", "_bell.html", values, order=90))
    ext.add(ROUTES, Routes(Router([Route("/ext/sounds/sound", sound)]), "page"))
