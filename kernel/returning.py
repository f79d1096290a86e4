"""Pages that lost their connection: for some minutes they come back as they were."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.clients import Client

STAYS = 300.0
"""Seconds. A phone closes the connection whenever one looks into another app."""
MOST = 50


class Away:
    """The pages that may come back; `gone` hears of each that did not."""

    def __init__(self, gone: Callable[["Client"], None]) -> None:
        self._gone = gone
        self._pages: dict[tuple[str, str], tuple[Client, asyncio.TimerHandle]] = {}

    def left(self, client: "Client") -> None:
        """A page has no connection any more; one without a name is gone."""
        if not client.page:
            return self._gone(client)
        key = client.principal, client.page
        self._end(*key)  # Two connections that came at once are two pages.
        self._pages[key] = client, asyncio.get_running_loop().call_later(STAYS, self._end, *key)
        if len(self._pages) > MOST:
            self._end(*next(iter(self._pages)))

    def back(self, principal: str, page: str) -> "Client | None":
        """The page that has come back, if it is one."""
        client, until = self._pages.pop((principal, page), (None, None))
        if until:
            until.cancel()
        return client

    def _end(self, principal: str, page: str) -> None:
        if client := self.back(principal, page):
            client.page = ""
            self._gone(client)
