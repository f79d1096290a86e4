"""What another extension may do in a conversation in a person's place."""

from typing import Protocol

from kernel.api import Client


class Talking(Protocol):
    """What the chat offers for that."""

    async def speak(self, client: Client, conversation: str, speaker: str = "") -> bool:
        """Have a reply follow what was said last, by a character or by who is next, and wait for
        it; answers whether it came to its own end. Raises Refused."""
        ...

    async def empty(self, client: Client) -> str:
        """Go to a conversation of its own in which nothing was said; answers its id."""
        ...

    async def recast(self, conversation: str) -> None:
        """Show who is in a conversation by now."""
        ...
