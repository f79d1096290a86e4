"""Which of its greetings a character offers, while nothing has been said yet."""

import secrets
from collections import OrderedDict

MOST = 1000
"""Offers that are remembered."""


class Offer:
    """How far one has gone through them, and what decides what dice say in them."""

    def __init__(self) -> None:
        self.step, self.place = 0, secrets.token_hex(8)


class Greetings:
    """How far each page has gone through them; a conversation that is there is one for all pages.

    `at` is the conversation's id, or the page's where there is none yet.
    """

    def __init__(self) -> None:
        self._offers = OrderedDict[str, Offer]()
        self._boxes: dict[str, str] = {}
        """By the ids of pages, by what each is known again on another connection."""

    def come(self, page: str, box: str) -> bool:
        """Know a page by its box from now on, whatever id it has; whether it may have been offered
        another one there than it was now."""
        if self._boxes.get(page) == box:
            return False
        own = self._offers.pop(page, None)
        self._boxes[page] = box
        if box in self._offers:
            return True
        if own:
            self._offers[box] = own
        return False

    def leave(self, page: str) -> None:
        """Its connection is gone; what was offered to its box stays."""
        self._offers.pop(page, None)
        self._boxes.pop(page, None)

    def shown(self, at: str, many: int) -> int:
        """The number of the one that is offered, from 0."""
        offer = self._offers.get(self._boxes.get(at, at))
        return offer.step % many if offer and many else 0

    def turn(self, at: str, step: int) -> None:
        """Offer the one so many places on; after the last comes the first."""
        self._offer(at).step += step

    def place(self, page: str) -> str:
        """What decides what dice say in those that a page offers: what begins says the same, and
        the next one something else."""
        return self._offer(page).place if page else ""

    def forget(self, at: str) -> None:
        self._offers.pop(self._boxes.get(at, at), None)

    def _offer(self, at: str) -> Offer:
        at = self._boxes.get(at, at)
        offer = self._offers.setdefault(at, Offer())
        self._offers.move_to_end(at)
        if len(self._offers) > MOST:
            self._offers.popitem(last=False)
        return offer
