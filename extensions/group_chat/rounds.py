"""Replies one after the other, without the user between them, beside what the page does."""

from typing import Any

from extensions.chat.api import Talking
from kernel.api import Client, Extension, Refused


class Rounds:
    """What the members say when they are left alone, in the conversations where they are."""

    def __init__(self, ext: Extension[Any], talk: Talking) -> None:
        self._ext, self._talk = ext, talk

    def begin(self, client: Client, conversation: str, turns: int, speaker: str = "") -> None:
        """Let so many replies follow each other; whoever stops one of them ends it."""
        work = self._go(client, conversation, turns, speaker)
        self._ext.spawn(work, f"group {conversation}")

    async def _go(self, client: Client, conversation: str, turns: int, speaker: str) -> None:
        try:
            await self._talk.speak(client, conversation, speaker, turns)
        except Refused as refusal:
            self._ext.tell(str(refusal), client, "error")
