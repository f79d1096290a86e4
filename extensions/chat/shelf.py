"""What the chat does with what happens to the conversations as a whole."""

from typing import Any

from extensions.conversations.api import Rearranged, Restored
from kernel.api import Extension

from .actions import Incognito, Keep, Later
from .pages import Pages
from .talk import Talk


def attend(ext: Extension[Any], talk: Talk, pages: Pages) -> None:
    """Follow the store's events, and answer the actions that lead into a conversation."""
    ext.on(Restored)(lambda _: pages.show_anew())
    ext.on(Rearranged)(lambda event: pages.rearranged(event.conversation))
    ext.on(Incognito)(lambda _, client: talk.incognito(client))
    ext.on(Keep)(lambda a, client: talk.keep(client, a.conversation))
    ext.on(Later)(lambda a, client: pages.tell_later(client, a.conversation, a.after))
