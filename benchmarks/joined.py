"""What is written to a connection in one turn of the loop leaves it in one piece."""

import asyncio


class Joined:
    """Writes what was given when the turn is over: of replies in step one call of the system."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._leave)
        self._held.append(data)

    def _leave(self) -> None:
        held, self._held = self._held, []
        self._transport.write(b"".join(held))
