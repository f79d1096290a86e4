"""Which of its greetings a character offers, while nothing has been said yet."""

import secrets


class Greetings:
    """How far each page has gone through them; a conversation that is there is one for all pages.

    `at` is the conversation's id, or the page's where there is none yet.
    """

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._places: dict[str, str] = {}

    def shown(self, at: str, many: int) -> int:
        """The number of the one that is offered, from 0."""
        return self._steps.get(at, 0) % many if many else 0

    def turn(self, at: str, step: int) -> None:
        """Offer the one so many places on; after the last comes the first."""
        self._steps[at] = self._steps.get(at, 0) + step

    def place(self, client: str) -> str:
        """What decides what dice say in those that a page offers: what begins says the same, and
        the next one something else."""
        return self._places.setdefault(client, secrets.token_hex(8)) if client else ""

    def forget(self, at: str) -> None:
        self._steps.pop(at, None)
        self._places.pop(at, None)
