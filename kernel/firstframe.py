"""A WebSocket of somebody who is not known yet: its first frame may bring a key."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
from starlette.types import Message, Receive, Send

from kernel.principals import Principal
from kernel.sampling import Struct, built

MOST = 32
"""Sockets that are heard before it is known whose they are; one more is refused at once."""
PATIENCE = 10.0
"""Seconds that one may take to bring its key."""


@built
class Keyed(Struct, frozen=True):
    """All that counts of the frame: the rest is its application's."""

    key: str


class FirstFrame:
    """Hears the first frame of such sockets."""

    def __init__(self) -> None:
        self._now = 0

    async def heard(
        self, receive: Receive, send: Send, holder: Callable[[str], Principal | None], says: str
    ) -> tuple[Principal | None, Receive, Send]:
        """Whose the socket is, and its ends for the application, which is given that frame too.

        `holder` tells who has a key. Nobody's socket is closed, with what it `says`.
        """
        if self._now >= MOST:
            await send({"type": "websocket.close", "code": 1013})
            return None, receive, send
        self._now += 1
        frames: list[Message] = []
        with suppress(TimeoutError, OSError):  # It says nothing, or is gone.
            async with asyncio.timeout(PATIENCE):
                frames.append(await receive())
                await send({"type": "websocket.accept"})
                frames.append(await receive())
        self._now -= 1
        who = holder(key_of(frames[-1].get("text") or "")) if frames else None
        if not who:
            with suppress(OSError):
                await send({"type": "websocket.close", "code": 1008, "reason": says})

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
