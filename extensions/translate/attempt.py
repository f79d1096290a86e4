"""What one turn, or one reply, asks of the translator, and how long it waits for that."""

import asyncio
from collections.abc import Iterable
from typing import Any

from kernel.api import Conversation, Everyone, Extension, Turn

from .memory import Memory

PATIENCE = 1.5
"""Seconds for a turn, its history or a piece of its reply: the kernel has two for a modifier."""
FAILED = (
    "The translator failed, so some of this is not translated. "
    "Try again, or choose another one in Settings."
)
LATE = (
    "The translator took too long, so some of this is not translated. "
    "Try again: what it has done by then is used."
)


class Attempt:
    """A text that the translator fails at stays as it is, and so does what is not known of all
    that comes after one for which it takes too long; a person is told, now and then."""

    def __init__(self, ext: Extension[Any], memory: Memory, turn: Turn) -> None:
        self._ext, self._memory, self._here = ext, memory, turn.conversation_id or ""
        self._page = Conversation(self._here) if self._here else Everyone()
        self._late = False

    async def translate(self, texts: Iterable[str], source: str, target: str) -> dict[str, str]:
        """Each of the texts, by what it was."""
        found = {text: text for text in texts}
        until = asyncio.get_running_loop().time() + PATIENCE
        for text in found:
            if self._late:  # What is known takes no time.
                found[text] = self._memory.known(text, source, target)
                continue
            try:
                async with asyncio.timeout_at(until):
                    found[text] = await self._memory.translate(text, source, target)
            except TimeoutError as error:
                self._late = True
                self._tell(LATE, error)
            except Exception as error:
                self._tell(FAILED, error)
        return found

    def _tell(self, says: str, error: Exception) -> None:
        self._ext.log.warning("Not all was translated: %r", error)
        if self._memory.is_news(self._here):
            self._ext.tell(says, self._page)
