"""Pages of other sites that a person lets in: which, and what their browsers are told."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response
from starlette.types import Message, Send

from kernel.sampling import Struct

SITE = {"wants": "a site, as in https://app.example.org"}
Origin = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+$", extra=SITE)]
"""As browsers send it: no path, no slash at its end, no star."""
KEYLESS = "Ask programs on this machine for a key, too."
READABLE = "Retry-After, X-Request-Id, Request-Id, X-Queue-Position"
LISTED = "Other sites whose pages may ask for replies, with a key; as in https://app.example.org."


class Api(Struct, frozen=True):
    """The section `api` of the settings."""

    require_key: Annotated[bool, Meta(description=KEYLESS)] = False
    origins: Annotated[tuple[Origin, ...], Meta(description=LISTED)] = ()


def preflight(headers: Mapping[str, list[str]]) -> Response:
    """What a browser hears that asks whether such a page may send what it wants to."""
    told = {"Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE", "Max-Age": "600"}
    told["Allow-Headers"] = ", ".join(headers.get("access-control-request-headers", []))
    return Response(None, 204, {f"Access-Control-{name}": value for name, value in told.items()})


def shared(send: Send, origin: str) -> Send:
    """Let the page read the answer. Its browser never sends or keeps a cookie for that."""
    told = (("allow-origin", origin), ("expose-headers", READABLE))
    mine = [(f"access-control-{name}".encode(), value.encode()) for name, value in told]

    async def sharing(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in mine} | {b"access-control-allow-credentials"}
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names]
            message = {**message, "headers": [*headers, *mine, (b"vary", b"Origin")]}
        await send(message)

    return sharing
