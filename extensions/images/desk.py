"""What pages show of pictures: those that wait at their text boxes, and those of messages."""

from collections.abc import Sequence
from typing import Any

from extensions.conversations.api import KINDS, Store, StoredMessage
from kernel.api import Client, Extension, Image, Part, Refused

from .boxes import NAME, NAMELESS, Boxes
from .pictures import DOTS, LARGEST, Redraw, picture, unread

REMEMBERED = 8
"""Refusals that one text box shows."""


class Desk:
    """The text boxes of all pages; what the chat asks of who encloses something."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store, self.boxes = ext, store, Boxes()
        self._pages: dict[Client, str] = {}
        """Each page's box."""
        self._refused: dict[str, tuple[str, ...]] = {}
        """Why what was chosen last for a box did not come into it."""

    # --- what pages ask for ------------------------------------------------------------

    async def look(self, client: Client, box: str) -> None:
        """A page came, or came back: it has this box."""
        if not NAME.fullmatch(box):
            raise Refused(NAMELESS)
        self._pages[client] = box
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
        if box not in self._pages.values():
            self._refused.pop(box, None)

    async def put(
        self, box: str, data: bytes, *, first: bool = False, drawn: bool = False, smaller: bool
    ) -> None:
        """Let a picture wait, the `first` of those that were chosen together.

        Raises Refused, which is shown at the text box, and Redraw where the page has not `drawn`
        it anew yet.
        """
        if first:
            self._refused.pop(box, None)
        try:
            self.boxes.check(box)
            image = await self._ext.thread(picture, data)
            self.boxes.add(box, image, smaller=smaller)
        except Refused as refusal:
            if isinstance(refusal, Redraw) and not drawn:
                raise
            if self._with(box):
                said = (*self._refused.get(box, ()), str(refusal))
                self._refused[box] = tuple(dict.fromkeys(said))[-REMEMBERED:]
            self._tell(box)
            raise
        self._tell(box)

    # --- what the chat asks ------------------------------------------------------------

    async def waiting(self, client: Client | None, conversation: str) -> str:
        box = self._pages.get(client, "") if client else ""
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
                self.boxes.add(box, part)
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
