"""A sound when a reply is complete, on the pages that show its conversation."""

import itertools
from typing import Annotated, Any

from starlette.requests import Request
from starlette.responses import Response

from extensions.chat.api import WATCHERS
from extensions.conversations.api import StoredMessage
from kernel.api import (
    PANELS,
    ROUTES,
    Client,
    Conversation,
    Extension,
    Meta,
    Panel,
    Reply,
    Route,
    Router,
    Routes,
    Struct,
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

    @ext.on(WATCHERS)
    async def ring(message: StoredMessage, reply: Reply) -> None:
        if message.state != "done":  # It was stopped, or failed, which the page says.
            return
        bell = {**await values(), "number": next(numbers), "oob": True}
        await ext.push("_bell.html", Conversation(message.conversation), **bell)

    async def sound(request: Request) -> Response:
        data, media_type = await ext.thread(own, ext.data) or (chime(), "audio/wav")
        return Response(data, media_type=media_type)

    ext.add(PANELS, Panel("status", "_bell.html", values, order=90))
    ext.add(ROUTES, Routes(Router([Route("/ext/sounds/sound", sound)]), "page"))
