"""A WebSocket of somebody who is not known yet: its first frame may bring a key."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from kernel.principals import NEEDED, UNKNOWN, Principal
from kernel.sampling import Struct, built

MOST, EACH = 32, 8
"""Strangers' sockets that are heard at once, and those of one address; one more is refused."""
PATIENCE = 10.0
"""Seconds that one may take to bring its key."""
BUSY = "Too many programs are about to bring a key. Try again in some seconds."


@built
class Keyed(Struct, frozen=True):
    """All that counts of the frame: the rest is its application's."""

    key: str


class FirstFrame:
    """Hears the first frame of such sockets."""

    def __init__(self, holder: Callable[[str], Principal | None]) -> None:
        self._holder, self._now = holder, Counter[str]()

    async def heard(
        self, scope: Scope, receive: Receive, send: Send, address: str
    ) -> tuple[Principal | None, Receive, Send]:
        """Whose the socket is, and its ends for the application, which is given that frame too.

        `holder` tells who has a key. Nobody's socket is closed, and told why.
        """
        if self._now.total() >= MOST or self._now[address] >= EACH:
            await PlainTextResponse(BUSY, 503, {"Retry-After": "10"})(scope, receive, send)
            return None, receive, send
        frames: list[Message] = []
        self._now[address] += 1
        try:
            with suppress(OSError):  # It says nothing, or is gone.
                async with asyncio.timeout(PATIENCE):
                    frames.append(await receive())
                    await send({"type": "websocket.accept"})
                    frames.append(await receive())
        finally:
            self._now -= Counter({address: 1})  # An address without any is forgotten.
        key = key_of(frames[-1].get("text") or "") if frames else ""
        who = self._holder(key) if key else None
        if not who and not (frames and frames[-1]["type"] == "websocket.disconnect"):
            reason = UNKNOWN if key else NEEDED
            with suppress(OSError):
                await send({"type": "websocket.close", "code": 1008, "reason": reason})

        async def again() -> Message:
            return frames.pop(0) if frames else await receive()

        async def accepted(message: Message) -> None:
            if message["type"] != "websocket.accept":
                await send(message)

        return who, again, accepted


def key_of(text: str) -> str:
    """The field `key` of a frame, or nothing."""
    try:
        return msgspec.json.decode(text, type=Keyed).key
    except (msgspec.DecodeError, RecursionError):
        return ""
