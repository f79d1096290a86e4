"""Where in a conversation a page is: at its end, or somewhere before it, where a search led."""

import itertools
from collections.abc import Collection
from typing import Any
from weakref import WeakSet

from extensions.conversations.api import Opened
from kernel.api import Client, Conversation, Extension

from .views import Views


class Places:
    """The pages that do not have the end of their conversation: nothing is added to those."""

    def __init__(self, ext: Extension[Any], views: Views, pages: Collection[Client]) -> None:
        self._ext, self._views, self._pages = ext, views, pages
        self._away: WeakSet[Client] = WeakSet()
        self._numbers = itertools.count(1)

    def is_away(self, client: Client) -> bool:
        return client in self._away

    def at(self, client: Client, opened: Opened | None, message: str) -> str:
        """Where a page goes by now: what its log is told, another word each time."""
        (self._away.add if opened and opened.later else self._away.discard)(client)
        there = opened and any(each.id == message for each in opened.messages)
        return f"{f'chat-m{message}' if there else 'chat-end'} {next(self._numbers)}"

    def reset(self, id: str) -> None:
        """The pages of a conversation were given its end."""
        for client in [client for client in self._away if client.subject == id]:
            self._away.discard(client)

    def push(self, html: str, id: str, otherwise: str) -> None:
        """Send what belongs at the end to the pages that have it, something else to others."""
        away = [client for client in self._away if client.subject == id]
        if not away:
            return self._ext.push_html(html, Conversation(id))
        for client in [client for client in self._pages if client.subject == id]:
            self._ext.push_html(otherwise if client in away else html, client)

    async def later(self, client: Client, id: str, after: str) -> None:
        """The messages that follow the last one which a page has."""
        opened = await self._views.open(id, after=after)
        if client.subject != id:
            return  # It went on meanwhile.
        context = self._views.panel(opened)
        html = self._ext.render("_append.html", messages=context["messages"])
        html += self._ext.render("_later.html", **context, oob=True)
        if not opened.later:
            self._away.discard(client)
        self._ext.push_html(html, client)

    def forget(self, client: Client) -> None:
        self._away.discard(client)
