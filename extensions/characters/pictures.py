"""Pictures of characters and personas, served as they are: never as a page, never anything else."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kernel.api import Extension, Refused

from .folder import Folder, Place, has_icon, sniffed

CHARACTERS = "/ext/characters/picture/"
PERSONAS = "/ext/characters/persona/"
TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=31536000, immutable",
}
"""The address has the picture's time of change, so a page may keep what it has."""


def address(head: str, place: Place) -> str:
    """Where a page finds the picture, with its time of change; "" where there is none."""
    file = place.picture or place.file
    if not place.picture and not has_icon(place):
        return ""
    return f"{head}{quote(place.id, safe='')}?v={file.stat().st_mtime_ns:x}"


def serving(ext: Extension[Any], folder: Folder) -> Callable[[Request], Any]:
    """The endpoint of a folder's pictures; their bytes say the type, not their names."""

    def read(id: str) -> tuple[bytes, str]:
        data = folder.picture(folder.place(id))
        return data, TYPES[sniffed(data)]

    async def picture(request: Request) -> Response:
        try:
            data, kind = await ext.thread(read, request.path_params["id"])
        except (Refused, OSError):
            return PlainTextResponse("There is no such picture.", 404)
        return Response(data, media_type=kind, headers=HEADERS)

    return picture
