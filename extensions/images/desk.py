"""What pages show of pictures: those that wait at their text boxes, and those of messages."""

import asyncio
from collections.abc import Sequence
from typing import Any

from extensions.conversations.api import KINDS, Store, StoredMessage, Unknown, is_secret
from kernel.api import Client, Extension, Image, Part, Refused

from .boxes import NAME, NAMELESS, Boxes
from .pictures import DOTS, LARGEST, Redraw, picture, unread

REMEMBERED = 8
"""Refusals that one text box shows."""
KEPT = 12 * 3600
"""Seconds that pictures wait for a page that left."""
GONE = "The server no longer has the pictures that waited here, as after a restart. "
FULL = "The pictures that waited here are gone: too many wait at other text boxes. "
NOT_ALL = "Not all pictures of the message came back to the text box. "
AGAIN = "Choose them again."


class Desk:
    """The text boxes of all pages; what the chat asks of who encloses something."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store, self.boxes = ext, store, Boxes()
        self._pages: dict[Client, str] = {}
        """Each page's box."""
        self._refused: dict[str, tuple[str, ...]] = {}
        """Why what was chosen last for a box did not come into it."""
        self._leaving: dict[str, asyncio.Task[None]] = {}
        """What lets the pictures go that no page has."""

    # --- what pages ask for ------------------------------------------------------------

    async def look(self, client: Client, box: str, *, shown: bool = False) -> None:
        """A page came, or came back: it has this box, and may have `shown` pictures in it."""
        if not NAME.fullmatch(box):
            raise Refused(NAMELESS)
        before, self._pages[client] = self._pages.get(client, ""), box
        self._abandon(before)
        if leaving := self._leaving.pop(box, None):
            leaving.cancel()
        if shown and not self.boxes.knows(box):
            self._refuse(box, GONE + AGAIN)
        self._tell(box)

    async def remove(self, client: Client, picture: str) -> None:
        """Take a picture off; without its id what was said of those that did not come."""
        box = self._pages.get(client, "")
        if picture:
            self.boxes.remove(box, picture)
        else:
            self._refused.pop(box, None)
        self._tell(box)

    def left(self, client: Client) -> None:
        box = self._pages.pop(client, "")
        if box in self._pages.values():
            return
        self._refused.pop(box, None)
        self._abandon(box)

    def check(self, box: str, *, first: bool) -> None:
        """Raise Refused, which is shown at the text box, where no more pictures fit; `first` of
        those that were chosen together."""
        if first:
            self._refused.pop(box, None)
        try:
            self.boxes.check(box)
        except Refused as refusal:
            self._refuse(box, str(refusal))
            self._tell(box)
            raise

    async def put(self, box: str, data: bytes, *, drawn: bool, smaller: bool) -> None:
        """Let a picture wait.

        Raises Refused, which is shown at the text box, and Redraw where the page has not `drawn`
        it anew yet.
        """
        try:
            image = await self._ext.thread(picture, data)
            self._add(box, image, smaller=smaller)
        except Refused as refusal:
            if isinstance(refusal, Redraw) and not drawn:
                raise
            self._refuse(box, str(refusal))
            self._tell(box)
            raise
        self._tell(box)

    # --- what the chat asks ------------------------------------------------------------

    async def waiting(self, client: Client | None, conversation: str) -> str:
        box = self._pages.get(client, "") if client else ""
        if client and not conversation and await self._was_closed(client.subject):
            self.boxes.drop(box)
        return self._ext.render("_waiting.html", **self._context(box))

    def parts(self, client: Client) -> Sequence[Part]:
        return [each.image for each in self.boxes.of(self._pages.get(client, ""))]

    async def sent(self, client: Client, parts: Sequence[Part]) -> None:
        box = self._pages.get(client, "")
        self.boxes.sent(box, await self._store.with_bytes(parts))
        self._refused.pop(box, None)
        self._tell(box)

    async def back(self, client: Client, parts: Sequence[Part]) -> None:
        box = self._pages.get(client, "")
        for part in await self._store.with_bytes(parts) if box else ():
            if isinstance(part, Image):
                try:
                    self._add(box, part)
                except Refused as refusal:
                    self._refuse(box, f"{NOT_ALL}{refusal}")
        self._tell(box)

    def shown(self, message: StoredMessage) -> str:
        pictures = [
            {"number": number, "size": part.size, "unread": unread(part)}
            for number, part in enumerate(message.parts)
            if isinstance(part, Image) and part.media_type in KINDS
        ]
        if not pictures:
            return ""
        return self._ext.render("_shown.html", message=message.id, pictures=pictures)

    # --- inside ------------------------------------------------------------------------

    def _add(self, box: str, image: Image, *, smaller: bool = False) -> None:
        self.boxes.add(box, image, smaller=smaller)
        self._abandon(box)
        while crowded := self.boxes.crowded(self._pages.values()):
            self.boxes.drop(crowded)
            self._refuse(crowded, FULL + AGAIN)
            self._tell(crowded)

    def _refuse(self, box: str, why: str) -> None:
        if self._with(box):
            said = (*self._refused.get(box, ()), why)
            self._refused[box] = tuple(dict.fromkeys(said))[-REMEMBERED:]

    def _abandon(self, box: str) -> None:
        """Let what no page has go in the end."""
        if not self._with(box) and self.boxes.knows(box) and box not in self._leaving:
            self._leaving[box] = self._ext.spawn(self._leave(box), "waiting pictures")

    async def _leave(self, box: str) -> None:
        await asyncio.sleep(KEPT)
        del self._leaving[box]
        self.boxes.drop(box)

    async def _was_closed(self, conversation: str) -> bool:
        """Of an incognito conversation nothing is left then, not even what was not sent."""
        if not is_secret(conversation):
            return False
        try:
            await self._store.conversation(conversation)
        except Unknown:
            return True
        return False

    def _with(self, box: str) -> list[Client]:
        return [page for page, its in self._pages.items() if its == box]

    def _tell(self, box: str) -> None:
        html = self._ext.render("_waiting.html", oob=True, **self._context(box))
        for page in self._with(box):
            self._ext.push_html(html, page, "waiting")

    def _context(self, box: str) -> dict[str, Any]:
        model = self._ext.slot().model
        blind = model.info.name if model and "images" not in model.info.capabilities else ""
        return {
            "box": box,
            "pictures": self.boxes.of(box),
            "refused": self._refused.get(box, ()),
            "blind": blind,
            "largest": LARGEST,
            "dots": DOTS,
        }
