"""Pictures that wait at text boxes: in memory alone, so that no disk ever has what is not sent."""

import re
import secrets
from collections import OrderedDict
from collections.abc import Container, Sequence

from kernel.api import Image, Part, Refused, Struct

from .pictures import TOGETHER

MOST = 8
"""Pictures of one message."""
HEAVIEST = 20 << 20
"""Bytes of the pictures of one message."""
ALL = 200 << 20
"""Bytes of what waits anywhere."""
NAME = re.compile(r"[0-9a-f]{32}")
NAMELESS = "The page named no box for its pictures. Reload it."


class Full(Refused):
    """No other picture would fit either."""


class Waiting(Struct, frozen=True):
    """A picture that was not sent yet."""

    id: str
    image: Image
    smaller: bool = False
    """The page made it smaller: it had been too large."""


class Boxes:
    """What waits where. A box has a name that its page made up and nobody can guess; one that was
    emptied is still known."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[str, tuple[Waiting, ...]] = OrderedDict()

    def of(self, box: str) -> tuple[Waiting, ...]:
        return self._boxes.get(box, ())

    def knows(self, box: str) -> bool:
        return box in self._boxes

    def check(self, box: str) -> None:
        """Raise Refused where no box has this name, Full where no more fit."""
        if not NAME.fullmatch(box):
            raise Refused(NAMELESS)
        if len(self.of(box)) >= MOST:
            raise Full(f"A message takes {MOST} pictures. Send these first.")

    def add(self, box: str, image: Image, *, smaller: bool = False) -> None:
        """Put a picture there; raises Refused."""
        self.check(box)
        there = self.of(box)
        if sum(len(each.image.data) for each in there) + len(image.data) > HEAVIEST:
            most = f"{HEAVIEST >> 20} MB"
            raise Refused(f"The pictures of a message have at most {most}. Send these first.")
        if sum(dots(each.image) for each in there) + dots(image) > TOGETHER:
            most = f"{TOGETHER // 1_000_000} million dots"
            raise Refused(f"The pictures of a message have at most {most}. Send these first.")
        self._keep(box, (*there, Waiting(secrets.token_hex(8), image, smaller)))

    def remove(self, box: str, id: str) -> None:
        self._keep(box, tuple(each for each in self.of(box) if each.id != id))

    def drop(self, box: str) -> None:
        self._boxes.pop(box, None)

    def crowded(self, open: Container[str]) -> str:
        """The box that has to go where too much waits: of all but the newest the one that waited
        longest, an open one last. None where there is room."""
        if sum(len(e.image.data) for each in self._boxes.values() for e in each) <= ALL:
            return ""
        others = [box for box, pictures in self._boxes.items() if pictures][:-1]
        closed = [box for box in others if box not in open]
        return (closed or others or [""])[0]

    def sent(self, box: str, parts: Sequence[Part]) -> None:
        """These are a message's now, one of each; what came meanwhile stays."""
        left = list(self.of(box))
        for part in parts:
            if same := [e for e in left if isinstance(part, Image) and e.image.data == part.data]:
                left.remove(same[0])
        self._keep(box, tuple(left))

    def _keep(self, box: str, pictures: tuple[Waiting, ...]) -> None:
        if pictures or box in self._boxes:
            self._boxes[box] = pictures
            self._boxes.move_to_end(box)


def dots(image: Image) -> int:
    width, height = image.size
    return width * height
