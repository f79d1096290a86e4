"""Shows the words and tokens of the open conversation, also while a reply is written."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from extensions.conversations.api import STORE, StoredMessage, Unknown
from kernel.api import (
    DISPLAY,
    PANELS,
    Client,
    Conversation,
    Delta,
    Extension,
    Panel,
    Phase,
    Turn,
)

from .counting import Growing, words

EVERY = 0.2
"""Seconds between two figures while a reply is written."""
REMEMBERED = 20_000
NOTHING = {"words": 0, "tokens": 0}


async def setup(ext: Extension[Any]) -> None:
    store = ext.one(STORE)
    known: OrderedDict[str, int] = OrderedDict()

    def count_once(message: StoredMessage) -> int:
        """The words of a message never change once it has ended."""
        if message.state == "running":
            return words(message.text)
        if message.id not in known:
            known[message.id] = words(message.text)
            if len(known) > REMEMBERED:
                known.popitem(last=False)
        return known[message.id]

    async def figures(conversation: str) -> tuple[dict[str, int], bool]:
        """What it amounts to, and whether a reply is being written in it."""
        try:
            messages = (await store.get(conversation, 10_000)).messages
        except Unknown:
            return NOTHING, False
        replies = [m.usage for m in messages if m.usage.completion]
        tokens = replies[-1].prompt + replies[-1].completion if replies else 0
        running = bool(messages) and messages[-1].state == "running"
        return {"words": sum(map(count_once, messages)), "tokens": tokens}, running

    async def show(conversation: str, counted: dict[str, int]) -> None:
        to = Conversation(conversation)
        await ext.push("_figures.html", to, "figures", **counted, oob=True)

    async def settle(conversation: str) -> None:
        """When the reply has been stored, its tokens are known."""
        for _ in range(50):
            counted, running = await figures(conversation)
            if not running:
                return await show(conversation, counted)
            await asyncio.sleep(0.1)

    @ext.on(DISPLAY, phase=Phase.LATE)
    async def count(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        conversation, due = turn.conversation_id or "", 0.0
        before, _ = await figures(conversation) if conversation else (NOTHING, False)
        growing = Growing(before["words"], before["tokens"])
        async for delta in deltas:
            yield delta
            growing.hear(delta)
            if conversation and time.monotonic() > due:
                due = time.monotonic() + EVERY
                await show(conversation, growing.figures)
        if conversation:
            ext.spawn(settle(conversation), "settle")

    async def context(client: Client | None, subject: str) -> dict[str, int]:
        chat = client and client.tab in ("", "chat") and subject
        return (await figures(subject))[0] if chat else NOTHING

    ext.add(PANELS, Panel("status", "status.html", context, order=20))
