"""Lets programs generate over a WebSocket that can be resumed, or with one JSON request."""

from typing import Annotated

from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from extensions.api_kit.api import APIS, PROGRAMS, Api
from kernel.api import ROUTES, Extension, Meta, Route, Router, Routes, SettingsChanged, Struct

from .connection import Connection
from .events import Events
from .generate import Generate
from .protocol import schema
from .streams import Streams


class Settings(Struct, frozen=True):
    """What programs may do."""

    linger: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds that a reply goes on when the program that asked has left.",
        ),
    ] = 60.0
    at_once: Annotated[
        int, Meta(ge=1, le=10_000, description="Replies that one program may have under way.")
    ] = 64


async def setup(ext: Extension[Settings]) -> None:
    streams, events = Streams(ext), Events(ext, ext.one(PROGRAMS).runs)
    ext.defer(streams.close)

    @ext.on(SettingsChanged)
    async def settings_changed(_: SettingsChanged) -> None:
        """They are read when they are needed: no reply is cut off by a change."""

    async def serve(socket: WebSocket) -> None:
        await Connection(socket, streams, events).serve()

    async def describe(_: object) -> JSONResponse:
        return JSONResponse(schema())

    routes = [
        WebSocketRoute("/api/ws", serve),
        Route("/api/ws/schema.json", describe),
        Route("/api/reply", Generate(streams), methods=["POST"]),
    ]
    ext.add(ROUTES, Routes(Router(routes), access="inference"))
    ext.add(APIS, Api("websocket_api", "WebSocket", ()))  # By this name its replies are listed.
