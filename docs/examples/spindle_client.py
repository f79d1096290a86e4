"""A client of Spindle's WebSocket: streams, cancels, and goes on after a lost connection.
It needs the package websockets. docs/protocol.md tells what goes over the wire.

    async with Spindle(key="…") as spindle:
        print([text async for text in await spindle.start(prompt="Once upon a time")])
"""

import asyncio
import json
import secrets
from contextlib import suppress

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException


class Failed(Exception):
    """A reply failed or was refused: a dict with a message, a type, a param and a code."""


class Reply:
    """Iterate over it for its text, or over `events()` for all; `cancel` keeps what was said."""

    def __init__(self, spindle, asked):
        self.id, self.last, self.end, self.cancelled = asked["id"], 0, None, False
        self.asked, self.spindle, self.news = asked, spindle, asyncio.Queue()

    async def cancel(self):
        self.cancelled = True
        await self.spindle.send(type="cancel", stream=self.id)

    async def events(self):
        while not self.end:
            event = await self.news.get()
            if event["type"] == "error":
                raise Failed(event["error"])
            self.end = event if event["type"] == "done" else None
            yield event

    async def __aiter__(self):
        async for event in self.events():  # A modifier may "replace" all of it: see the protocol.
            if event["type"] == "delta" and event.get("channel", "text") == "text":
                yield event["text"]


class Spindle:
    """A connection that is made again when it is lost; replies go on where they were."""

    def __init__(self, address="ws://127.0.0.1:7860/api/ws", key=""):
        self.address, self.headers = address, {"Authorization": f"Bearer {key}"} if key else {}
        self.replies = {}

    async def __aenter__(self):
        self.work = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.work.cancel()
        await asyncio.wait({self.work})

    async def start(self, **asked):
        reply = Reply(self, {"type": "start", "id": secrets.token_hex(12), **asked})
        self.replies[reply.id] = reply
        await self.send(**reply.asked)
        return reply

    async def send(self, **frame):
        with suppress(AttributeError, WebSocketException):  # It is said again later, see run.
            await self.socket.send(json.dumps(frame))

    async def run(self):
        while True:
            try:
                async with connect(self.address, additional_headers=self.headers) as self.socket:
                    for id, reply in [*self.replies.items()]:
                        await self.send(type="resume", stream=id, last_seq=reply.last)
                    async for text in self.socket:
                        await self.hear(json.loads(text))
            except (OSError, WebSocketException) as lost:
                no = getattr(getattr(lost, "rcvd", None), "code", 0) == 1008  # As without a key.
                if no or (isinstance(lost, InvalidStatus) and lost.response.status_code < 500):
                    error = {"type": "error", "error": {"message": str(lost)}}
                    return [reply.news.put_nowait(error) for reply in self.replies.values()]
            await asyncio.sleep(0.2)

    async def hear(self, event):
        reply, seq = self.replies.get(event.get("stream")), event.get("seq")
        code = event.get("error", {}).get("code") if seq == 0 else None
        if reply and code == "stream_not_found" and not reply.last:  # It never arrived.
            await self.send(**reply.asked)
        elif reply and code == "stream_exists":  # It did, and the answer was lost.
            await self.send(type="resume", stream=reply.id, last_seq=reply.last)
        elif reply and (seq == reply.last + 1 or code or event["type"] == "waiting"):
            reply.last = max(reply.last, seq)  # Each event once, whatever is sent again.
            reply.news.put_nowait(event)
            if event["type"] in ("done", "error"):
                del self.replies[reply.id]
            elif reply.cancelled:  # Perhaps the word was lost.
                await reply.cancel()
