"""What the door puts around a request: headers, a limit of its body, a protocol of its socket."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"media-src 'self' blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",  # no-referrer would make our own forms send Origin: null
    b"cross-origin-resource-policy": b"same-origin",
    b"x-dns-prefetch-control": b"off",  # Firefox asks for the hosts of all links it sees
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
}
TRUSTED = {**HEADERS, b"cross-origin-opener-policy": b"same-origin"}
"""Where a browser trusts the way; elsewhere it ignores the last, and says so on every page."""


def protected(send: Send, headers: Mapping[bytes, bytes] = TRUSTED) -> Send:
    """Every answer with the headers of the door."""

    async def headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = [(name.lower(), value) for name, value in message.get("headers", ())]
            names = {name for name, _ in said}
            extra = {**headers, b"cache-control": b"no-cache" if b"etag" in names else b"no-store"}
            said += [pair for pair in extra.items() if pair[0] not in names]
            said.append((b"content-security-policy", POLICY))  # several all apply: never looser
            message = {**message, "headers": said}
        await send(message)

    return headed


def accepting(send: Send, offered: list[str], plain: list[str]) -> Send:
    """A browser that sent its key as a subprotocol wants one of its offers accepted."""

    async def accepted(message: Message) -> None:
        if message["type"] == "websocket.accept" and offered and not message.get("subprotocol"):
            message = {**message, "subprotocol": [*plain, *offered][0]}
        await send(message)

    return accepted if offered != plain else send


def limited(receive: Receive, limit: int) -> Receive:
    """A body of so many bytes at most; raises HTTPException 413."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, "This is too large.")
        return message

    return counted
