"""What goes with the user's message beside its words: other extensions put it there, such as
pictures, and show it, above the text box and later with the message."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from markupsafe import Markup

from extensions.conversations.api import StoredMessage
from kernel.api import Client, Extension, Part, Point

log = logging.getLogger(__name__)


class Enclosing(Protocol):
    """Who puts something there. HTML comes from templates, as that of panels."""

    async def waiting(self, client: Client | None, conversation: str) -> str:
        """What stands above the text box of a page.

        An element with `data-enclosed` in it says that there is something to send. One with
        `data-takes` has the address that files go to: each as the body of a POST, at most one byte
        more than `data-largest`, to that address, a slash and the page's box, a name that is 32
        hexadecimal digits; `first` in the query begins what was chosen together. What is larger, or
        is answered by 409, is drawn anew, upright, with at most `data-dots` dots, and is sent as
        PNG or JPEG with `drawn=same`, or `drawn=smaller` where a limit made it so. 204 says that it
        waits, 422 that it does not, 507 that no more fit; of other answers the page tells. In a
        panel of the region composer a button with `data-chooses` opens the file input of that id,
        and one with `data-names` is pressed by the page to tell the server its `box`, and whether
        `shown` there is something to send. A button anywhere with `data-encloses` lets what lies at
        that address wait, too. While the page waits for files to send them with the message, the
        text box around this has `data-ui-wish`.
        """
        ...

    def parts(self, client: Client) -> Sequence[Part]:
        """What goes with the next message of a page."""
        ...

    async def sent(self, client: Client, parts: Sequence[Part]) -> None:
        """These are kept with a message now, or are again."""
        ...

    async def back(self, client: Client, parts: Sequence[Part]) -> None:
        """A message was taken back: what of this is one's own waits at the text box again."""
        ...

    def shown(self, message: StoredMessage) -> str:
        """What is shown with the words of a message; the same for the same message."""
        ...


ENCLOSURES: Point[Enclosing] = Point(
    "enclosures", "What goes with the user's message beside its words."
)


class Enclosures:
    """All of them; one that cannot draw costs its own place."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext

    async def waiting(self, client: Client | None, conversation: str) -> list[Markup]:
        """What stands above the text box of a page."""
        found: list[Markup] = []
        for each in self._ext.get(ENCLOSURES):
            try:
                found.append(Markup(await each.waiting(client, conversation)))
            except Exception:
                log.exception("What is enclosed could not be shown")
        return found

    def parts(self, client: Client) -> tuple[Part, ...]:
        """What goes with the next message of a page; what fails here keeps it from being sent."""
        return tuple(part for each in self._ext.get(ENCLOSURES) for part in each.parts(client))

    async def sent(self, client: Client, parts: Sequence[Part]) -> None:
        """These are kept with a message now."""
        for each in self._ext.get(ENCLOSURES) if parts else ():
            try:
                await each.sent(client, parts)
            except Exception:
                log.exception("What was enclosed could not be taken away")

    async def back(self, client: Client, parts: Sequence[Part]) -> None:
        """A message was taken back, and what went with it."""
        for each in self._ext.get(ENCLOSURES):
            try:
                await each.back(client, parts)
            except Exception:
                log.exception("What was enclosed could not be given back")

    def shown(self, message: StoredMessage) -> list[Markup]:
        """What is shown with the words of a message."""
        found: list[Markup] = []
        for each in self._ext.get(ENCLOSURES):
            try:
                found.append(Markup(each.shown(message)))
            except Exception:
                log.exception("What is enclosed could not be shown")
        return [html for html in found if html]
