"""The addresses of pictures: where one is sent to, and where one is shown from, as what it is."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from extensions.conversations.api import Store, is_secret
from kernel.api import Extension, Image, Refused, Route

from .desk import Desk
from .pictures import LARGEST, kind_of

AT = "/ext/images"
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
KEPT = {**NOSNIFF, "Cache-Control": "private, max-age=3600, immutable"}
"""A message never changes; a browser may keep its pictures, but not what is incognito."""
PASSING = {**NOSNIFF, "Cache-Control": "no-store"}


def routes(ext: Extension[Any], desk: Desk, store: Store) -> Sequence[Route]:
    """Where a file is put into a box, and where pictures of boxes and messages are."""

    async def put(request: Request) -> Response:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > LARGEST:
                break
        try:
            desk.put(request.path_params["box"], bytes(data))
        except Refused as refusal:
            return PlainTextResponse(str(refusal), 422)
        return Response(status_code=204)

    async def waiting(request: Request) -> Response:
        box, id = request.path_params["box"], request.path_params["id"]
        for each in desk.boxes.of(box):
            if each.id == id:
                return shown(each.image, PASSING)
        return PlainTextResponse("There is no such picture.", 404)

    async def of_message(request: Request) -> Response:
        id, number = request.path_params["message"], request.path_params["number"]
        try:
            part = (await store.message(id)).parts[int(number)]
        except (Refused, IndexError, ValueError):
            return PlainTextResponse("There is no such picture.", 404)
        if not isinstance(part, Image):
            return PlainTextResponse("There is no such picture.", 404)
        return shown(part, PASSING if is_secret(id) else KEPT)

    return [
        Route(f"{AT}/waiting/{{box}}", put, methods=["POST"]),
        Route(f"{AT}/waiting/{{box}}/{{id}}", waiting),
        Route(f"{AT}/message/{{message}}/{{number}}", of_message),
    ]


def shown(image: Image, headers: dict[str, str]) -> Response:
    """A picture as what its bytes say it is; what is none is not served, whoever kept it."""
    kind = kind_of(image.data)
    if not kind:
        return PlainTextResponse("There is no such picture.", 404)
    return Response(image.data, media_type=kind, headers=headers)
