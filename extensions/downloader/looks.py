"""What pages look at: repositories as the hub last told of them, and searches."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from kernel.api import Extension, Refused

from .addresses import Address
from .cards import Card, card_of
from .choosing import Choice, choices
from .hub import Hub
from .plan import Repository

FRESH, SORRY = 600.0, 30.0
"""Seconds for which an answer, and a refusal, is shown again without asking."""
MOST = 40
"""Answers that are kept."""
Told = Callable[[Address], Awaitable[None]]


class Look:
    """A repository, while the hub is asked and after."""

    def __init__(self, address: Address) -> None:
        self.address, self.since = address, time.monotonic()
        self.repository: Repository | None = None
        self.choices: list[Choice] = []
        self.trouble = ""
        self.card: Card | None = None
        self.no_card = ""
        """Why there is no card, once it was asked for."""
        self.wants_card = False

    @property
    def asking(self) -> bool:
        return not self.repository and not self.trouble


class Looks:
    """Asks for each repository once, and tells when the answer is there."""

    def __init__(self, ext: Extension[Any], hub: Hub, told: Told) -> None:
        self._ext, self._hub, self._told = ext, hub, told
        self._looks: dict[Address, Look] = {}
        self._asking: dict[Address, asyncio.Task[None]] = {}

    def at(self, address: Address, *, again: bool = False) -> Look:
        """The look at an address; begins to ask where that is not known, or no longer fresh."""
        look = self._looks.get(address)
        if look and address in self._asking:
            return look
        if not look or again or time.monotonic() - look.since > (SORRY if look.trouble else FRESH):
            look = self._looks[address] = Look(address)
            self._asking[address] = self._ext.spawn(self._ask(look), "look")
            for old in list(self._looks)[: max(0, len(self._looks) - MOST)]:
                if old not in self._asking:
                    del self._looks[old]
        return look

    def forget(self) -> None:
        """Ask anew from now on: another hub may answer, or another token may open more."""
        self._looks.clear()

    async def whole(self, address: Address) -> Look:
        """The same when it is answered; raises Refused where the hub does."""
        look = self.at(address)
        if task := self._asking.get(address):
            await asyncio.shield(task)
        if look.trouble:
            raise Refused(look.trouble)
        return look

    async def card(self, look: Look) -> None:
        """Ask for the card; `no_card` says why there is none."""
        address = look.address
        try:
            text = await self._hub.card(address.repo, address.revision, address.endpoint)
            look.card = await self._ext.thread(card_of, text)
            look.no_card = "" if look.card.text else "Its owner wrote nothing about it."
        except Refused as refusal:
            look.no_card = str(refusal)

    async def _ask(self, look: Look) -> None:
        address = look.address
        try:
            found = await self._hub.repository(address.repo, address.revision, address.endpoint)
            look.choices = await self._ext.thread(choices, found)
            look.repository = found
        except Refused as refusal:
            look.trouble = str(refusal)
        except Exception as error:
            self._ext.log.exception("%s could not be looked at", address.repo)
            look.trouble = f"This could not be read ({type(error).__name__}). The log says more."
        finally:
            if self._looks.get(address, look) is look:  # else it was asked anew meanwhile
                self._asking.pop(address, None)
        await self._told(address)
