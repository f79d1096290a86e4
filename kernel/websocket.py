"""uvicorn's WebSocket, which takes many texts at once: they leave in one piece."""

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState


class ManyTexts(WebSocketsSansIOProtocol):
    """Knows one more form of an ASGI message: `websocket.send` with `texts`, a list of bytes.

    The frames of many replies that come in one step are one call of the system, not many.
    """

    async def send(self, message: Any) -> None:
        texts = message.get("texts")
        if texts is None:
            return await super().send(message)
        await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        try:
            for text in texts:
                self.conn.send_text(text)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
