"""What another extension may do in a conversation in a person's place."""

from typing import Protocol

from kernel.api import Client


class Talking(Protocol):
    """What the chat offers for that."""

    async def speak(
        self, client: Client, conversation: str, speaker: str = "", turns: int = 1
    ) -> None:
        """Have so many replies follow what was said last, by a character or by who is next, and
        wait for them. Until then the conversation is busy; whoever stops one of them, or a reply
        that does not come to its own end, ends all. Raises Refused."""
        ...

    async def empty(self, client: Client) -> str:
        """Go to a conversation of its own in which nothing was said; answers its id."""
        ...

    async def recast(self, conversation: str) -> None:
        """Show who is in a conversation by now."""
        ...
