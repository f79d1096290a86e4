"""What pages show of pictures: those that wait at their text boxes, and those of messages."""

from collections.abc import Sequence
from typing import Any

from extensions.conversations.api import StoredMessage
from kernel.api import Client, Extension, Image, Part, Refused

from .boxes import NAME, Boxes
from .pictures import LARGEST, kind_of, size_of


class Desk:
    """The text boxes of all pages; what the chat asks of who encloses something."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext, self.boxes = ext, Boxes()
        self._pages: dict[Client, str] = {}
        """Each page's box."""

    # --- what pages ask for ------------------------------------------------------------

    async def look(self, client: Client, box: str) -> None:
        """A page came, or came back: it has this box."""
        if not NAME.fullmatch(box):
            raise Refused("The page named no box for its pictures. Reload it.")
        self._pages[client] = box
        self._tell(box)

    async def remove(self, client: Client, picture: str) -> None:
        box = self._pages.get(client, "")
        self.boxes.remove(box, picture)
        self._tell(box)

    def left(self, client: Client) -> None:
        self._pages.pop(client, None)

    def put(self, box: str, data: bytes) -> None:
        """Let a picture wait; raises Refused, which the pages are told, too."""
        try:
            self.boxes.add(box, data)
        except Refused as refusal:
            for page in self._with(box):
                self._ext.tell(str(refusal), page, "error")
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
        self.boxes.sent(box, parts)
        self._tell(box)

    async def back(self, client: Client, parts: Sequence[Part]) -> None:
        box = self._pages.get(client, "")
        for part in parts:
            if box and isinstance(part, Image):
                self.boxes.add(box, part.data)
        self._tell(box)

    def shown(self, message: StoredMessage) -> str:
        pictures = [
            {"number": number, "size": size_of(part.data)}
            for number, part in enumerate(message.parts)
            if isinstance(part, Image) and kind_of(part.data)
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
        return {"box": box, "pictures": self.boxes.of(box), "blind": blind, "largest": LARGEST}
