"""uvicorn's WebSocket, which takes many texts at once: they leave in one piece."""

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from kernel.outbox import Fragment


class ManyTexts(WebSocketsSansIOProtocol):
    """Takes `websocket.send` with `texts`, a list of bytes: the frames of many replies in one call
    of the system, or a `Fragment` of one; and `over`, which is why no more come. Nobody fills the
    memory or holds up others by pings, or by fragments without an end."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.max_size = 1 << 14  # Of one read: thousands of tiny frames take a while.

    def handle_ping(self) -> None:
        data = self.conn.data_to_send()  # Who takes nothing gets no answers.
        self.transport.write(b"".join(data if self.writable.is_set() else ()))

    def handle_cont(self, event: Any) -> None:
        super().handle_cont(event)
        if len(self.frames) == 1024:
            self.conn.send_close(1008, "A message has at most 1023 fragments.")
            self.handle_parser_exception()

    async def send(self, message: Any) -> None:
        if (texts := message.get("texts")) is None:
            return await super().send(message)
        await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        try:
            for text in texts:
                begun = self.conn.expect_continuation_frame
                say = self.conn.send_continuation if begun else self.conn.send_text
                say(text, not isinstance(text, Fragment))
            if over := message.get("over"):
                self.conn.send_close(1008, over)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
