"""uvicorn's WebSocket, which takes many texts at once: they leave in one piece."""

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState


class ManyTexts(WebSocketsSansIOProtocol):
    """Knows one more form of an ASGI message: `websocket.send` with `texts`, a list of bytes.

    The frames of many replies are one call of the system, not many; `over` says why no more come.
    """

    async def send(self, message: Any) -> None:
        if (texts := message.get("texts")) is None:
            return await super().send(message)
        await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        try:
            for text in texts:
                self.conn.send_text(text)
            if over := message.get("over"):
                self.conn.send_close(1008, over)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
