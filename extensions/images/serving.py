"""The addresses of pictures: where one is sent to, and where one is shown from, as what it is."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from extensions.conversations.api import KINDS, Store, is_secret, kind_of
from kernel.api import Extension, Image, Refused, Route

from .boxes import Full
from .desk import Desk
from .pictures import LARGEST, Redraw

AT = "/ext/images"
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
KEPT = {**NOSNIFF, "Cache-Control": "private, max-age=3600, immutable"}
"""A message never changes; a browser may keep its pictures, but not what is incognito."""
PASSING = {**NOSNIFF, "Cache-Control": "no-store"}
GONE = "There is no such picture."


def routes(ext: Extension[Any], desk: Desk, store: Store) -> Sequence[Route]:
    """Where a file is put into a box, and where pictures of boxes and messages are."""

    async def put(request: Request) -> Response:
        box, data, asked = request.path_params["box"], bytearray(), request.query_params
        drawn = asked.get("drawn", "")
        try:
            desk.check(box, first="first" in asked)
            async for chunk in request.stream():
                data += chunk
                if len(data) > LARGEST:
                    break
            how = {"drawn": bool(drawn), "smaller": drawn == "smaller"}
            await desk.put(box, bytes(data), **how)
        except Full as refusal:
            return PlainTextResponse(str(refusal), 507)
        except Redraw as refusal:
            return PlainTextResponse(str(refusal), 422 if drawn else 409)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), 422)
        return Response(status_code=204)

    async def waiting(request: Request) -> Response:
        box, id = request.path_params["box"], request.path_params["id"]
        for each in desk.boxes.of(box):
            if each.id == id:
                return shown(each.image, PASSING)
        return PlainTextResponse(GONE, 404)

    async def part_of(request: Request) -> Image | None:
        id, number = request.path_params["message"], request.path_params["number"]
        try:
            part = (await store.message(id)).parts[int(number)]
        except (Refused, IndexError, ValueError):
            return None
        return part if isinstance(part, Image) and part.media_type in KINDS else None

    async def of_message(request: Request) -> Response:
        found = await part_of(request)
        (part,) = await store.with_bytes((found,)) if found else (None,)
        if not isinstance(part, Image):
            return PlainTextResponse(GONE, 404)
        return shown(part, PASSING if is_secret(request.path_params["message"]) else KEPT)

    async def whole(request: Request) -> Response:
        """A page with nothing but the picture, dot for dot: a browser's own would need styles
        inside the page, which are forbidden here."""
        if not (part := await part_of(request)):
            return PlainTextResponse(GONE, 404)
        src = request.url.path.removesuffix("/whole")
        html = ext.render("whole.html", src=src, size=part.size)
        return HTMLResponse(html, headers=PASSING)

    return [
        Route(f"{AT}/waiting/{{box}}", put, methods=["POST"]),
        Route(f"{AT}/waiting/{{box}}/{{id}}", waiting),
        Route(f"{AT}/message/{{message}}/{{number}}", of_message),
        Route(f"{AT}/message/{{message}}/{{number}}/whole", whole),
    ]


def shown(image: Image, headers: dict[str, str]) -> Response:
    """A picture as what its bytes say it is; what is none is not served, whoever kept it."""
    kind = kind_of(image.data)
    if not kind:
        return PlainTextResponse(GONE, 404)
    return Response(image.data, media_type=kind, headers=headers)
