"""Replies of the old form, whole and by WebSocket."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Asked, Call, Heard, Wish, converted, json, make, read
from kernel.api import Delta

from .chats import Conversation
from .fields import Chat, Generate, Rest

Say = Callable[[dict[str, Any]], Awaitable[None]]


class Writer:
    """Makes replies of requests."""

    def __init__(self, rest: Rest) -> None:
        self._rest, self._programs = rest, rest.programs

    async def generate(self, call: Call) -> Response:
        """POST /api/v1/generate."""
        text = await self._whole(call, await self._generated(call.body))
        return json({"results": [{"text": text}]})

    async def chat(self, call: Call) -> Response:
        """POST /api/v1/chat."""
        conversation, wish = await self._conversation(call)
        text = await self._whole(call, wish)
        return json({"results": [{"history": conversation.history(text)}]})

    async def stream(self, call: Call, say: Say) -> None:
        """The words of a text, each as an event."""

        def event(heard: Heard, delta: Delta) -> dict[str, Any]:
            return {"text": delta.text}

        await self._streamed(call, await self._generated(call.body), event, say)

    async def chat_stream(self, call: Call, say: Say) -> None:
        """The whole conversation with each word, as it was."""
        conversation, wish = await self._conversation(call)

        def event(heard: Heard, delta: Delta) -> dict[str, Any]:
            return {"history": conversation.history(heard.text())}

        await self._streamed(call, wish, event, say)

    async def _generated(self, data: bytes | bytearray) -> Wish:
        said: Mapping[str, Any] = read(data or b"{}", dict[str, Any])
        body: Generate = converted(said, Generate)
        sampling = await self._rest.sampling(said, body)
        asked = Asked(grammar=body.grammar_string or "")
        return Wish(prompt=body.prompt, sampling=sampling, asked=asked)

    async def _conversation(self, call: Call) -> tuple[Conversation, Wish]:
        said: Mapping[str, Any] = read(call.body or b"{}", dict[str, Any])
        body: Chat = converted(said, Chat)
        conversation = Conversation(body)
        wish = await conversation.wish(self._rest, said, body)
        return conversation, wish

    async def _whole(self, call: Call, wish: Wish) -> str:
        heard = Heard()

        async def hear(index: int, delta: Delta) -> None:
            heard.hear(delta)

        await make(self._programs, call, [wish], hear)
        return heard.text()

    async def _streamed(
        self, call: Call, wish: Wish, event: Callable[[Heard, Delta], dict[str, Any]], say: Say
    ) -> None:
        heard, number = Heard(), 0

        async def hear(index: int, delta: Delta) -> None:
            nonlocal number
            heard.hear(delta)
            if delta.channel == "text" and delta.text:
                said = event(heard, delta)
                await say({"event": "text_stream", "message_num": number, **said})
                number += 1

        await make(self._programs, call, [wish], hear, hold=True)
        await say({"event": "stream_end", "message_num": number})


def text_of(data: dict[str, Any]) -> str:
    """A frame."""
    return msgspec.json.encode(data).decode()
