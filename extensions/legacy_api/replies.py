"""Replies of the old form, whole and by WebSocket."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Heard, Programs, Wish, converted, json, make, read
from kernel.api import Delta

from .chats import Conversation
from .fields import Chat, Generate, further, sampling

Say = Callable[[dict[str, Any]], Awaitable[None]]


class Writer:
    """Makes replies of requests."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def generate(self, call: Call) -> Response:
        """POST /api/v1/generate."""
        text = await self._whole(call, generated(call.body))
        return json({"results": [{"text": text}]})

    async def chat(self, call: Call) -> Response:
        """POST /api/v1/chat."""
        conversation = await self._conversation(call)
        text = await self._whole(call, conversation.wish)
        return json({"results": [{"history": conversation.history(text)}]})

    async def stream(self, call: Call, say: Say) -> None:
        """The words of a text, each as an event."""

        def event(heard: Heard, delta: Delta) -> dict[str, Any]:
            return {"text": delta.text}

        await self._streamed(call, generated(call.body), event, say)

    async def chat_stream(self, call: Call, say: Say) -> None:
        """The whole conversation with each word, as it was."""
        conversation = await self._conversation(call)

        def event(heard: Heard, delta: Delta) -> dict[str, Any]:
            return {"history": conversation.history(heard.text())}

        await self._streamed(call, conversation.wish, event, say)

    async def _conversation(self, call: Call) -> Conversation:
        said: Mapping[str, Any] = read(call.body or b"{}", dict[str, Any])
        conversation = Conversation(said, converted(said, Chat))
        # A character or a template that is not there is the program's mistake, not the engine's.
        await self._programs.request(call, conversation.wish)
        return conversation

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


def generated(body: bytes) -> Wish:
    """The wish of a text that goes on; raises Problem."""
    said: Mapping[str, Any] = read(body or b"{}", dict[str, Any])
    told: Generate = converted(said, Generate)
    return Wish(prompt=told.prompt, sampling=sampling(said), asked=further(told))


def text_of(data: dict[str, Any]) -> str:
    """A frame."""
    return msgspec.json.encode(data).decode()
