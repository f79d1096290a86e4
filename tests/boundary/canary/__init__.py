"""Tells in a file whatever was asked of it: by a route, by a socket, by an action of the page.

Its id ends with the class of access that its routes have, see `boundary.served.canaries`.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from kernel.api import ROUTES, Action, Client, Extension, Route, Router, Routes

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Sing(Action, frozen=True):
    """What a page may ask for."""

    text: str = ""


async def setup(ext: Extension[Any]) -> None:
    def sing(line: str) -> None:
        with (ext.data_root / "canary.log").open("a", encoding="utf-8") as file:
            file.write(f"{ext.id}: {line}\n")

    async def answer(request: Request) -> Response:
        sing(f"{request.method} {request.url.path}")
        return PlainTextResponse("the canary's secret")

    async def talk(socket: WebSocket) -> None:
        sing("socket")  # Before it is accepted: who was told so has been heard already.
        await socket.accept()
        await socket.send_text("the canary's secret")
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    @ext.on(Sing)
    async def on_sing(action: Sing, client: Client) -> None:
        sing(f"action {action.text}")

    at = f"/ext/{ext.id}"
    routes = [Route(f"{at}/do", answer, methods=METHODS), WebSocketRoute(f"{at}/talk", talk)]
    ext.add(ROUTES, Routes(Router(routes), ext.id.rpartition("_")[2]))  # type: ignore[arg-type]
