"""The words of a new key, for as long as the page that asked for them may show them."""

from time import monotonic

from kernel.api import Client

LONGEST = 600.0
"""Seconds: who goes to the program that needs the key, and comes back, finds it still."""


class Shown:
    """What was made last for each page session, in memory alone.

    A page that lost its connection, as a phone's does in another app, is drawn anew, and nobody
    else could say the words again.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[float, str, str]] = {}

    def keep(self, client: Client, name: str, words: str) -> None:
        """These words are shown to this page session."""
        self._made[client.principal] = (monotonic(), name, words)

    def forget(self, client: Client) -> None:
        """They are put away."""
        self._made.pop(client.principal, None)

    def revoked(self, name: str) -> None:
        """The words of a key that counts no more are of no use to anybody."""
        self._made = {who: made for who, made in self._made.items() if made[1] != name}

    def to(self, client: Client | None) -> tuple[str, str]:
        """The name and the words that are still shown, or two empty texts."""
        for principal, (at, _, _) in list(self._made.items()):
            if monotonic() - at > LONGEST:
                del self._made[principal]
        _, name, words = self._made.get(client.principal if client else "", (0.0, "", ""))
        return name, words
