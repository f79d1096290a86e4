"""What is written to a connection in one turn of the loop leaves it in one piece."""

import asyncio
from typing import Any


def joined(protocol: Any) -> Any:
    """A protocol of asyncio that is given its transport as a joined one."""
    made = protocol.connection_made
    protocol.connection_made = lambda transport: made(Joined(transport))  # pyright: ignore
    return protocol


class Joined:
    """A transport that holds what is written until the turn is over.

    The frames of many replies that come in one step are then one call of the system, not many.
    """

    def __init__(self, transport: Any) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._leave)
        self._held.append(data)

    def close(self) -> None:
        """After all that was written."""
        self._leave()
        self._transport.close()

    def _leave(self) -> None:
        if held := self._held:
            self._held = []
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
