"""Pictures of messages, kept in a table of their own: who reads a conversation reads none of them.

The words of a message say of each picture what it is. Its bytes lie beside them, for whoever shows
it or sends it to a model. Older messages have them among the words; both are read.
"""

import base64
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kernel.api import Audio, Image, Part, Reasoning, Text, ToolCall, ToolResult, built

from .pictures import KINDS, kind_of, look_of

UNKNOWN = "application/octet-stream"
"""What says that it is a picture and is none."""
LOST = "[A picture that is lost]\n"
Place = tuple[str, int]
"""A message, and which of its parts."""


@built
class Kept(Image, frozen=True, omit_defaults=True, tag_field="type", tag="image"):
    """A picture of a message; `data` is empty until `Store.with_bytes` reads it."""

    weight: int = 0
    """Bytes of it."""
    turned: bool = False
    """Whoever shows it turns it, as the camera noted; engines do not."""
    message: str = ""
    number: int = 0


_parts = msgspec.json.Decoder(tuple[Text | Reasoning | Kept | Audio | ToolCall | ToolResult, ...])


def weight_of(image: Image) -> int:
    """Bytes of a picture, read or not."""
    return image.weight if isinstance(image, Kept) and not image.data else len(image.data)


def written(parts: Iterable[Part]) -> str:
    """The parts as JSON, without the bytes of pictures."""
    return msgspec.json.encode([_described(part) for part in parts]).decode()


def parts_of(text: str, message: str) -> tuple[Part, ...]:
    """The parts that were written so; raises ValueError."""
    return tuple(
        msgspec.structs.replace(part, message=message, number=number,
                                weight=part.weight or len(part.data))
        if isinstance(part, Kept) else part
        for number, part in enumerate(_parts.decode(text))
    )  # fmt: skip


def put(connection: sqlite3.Connection, message: str, parts: Iterable[Part]) -> None:
    """Keep the bytes of a message's pictures, those of another message's as well."""
    for number, part in enumerate(parts):
        if isinstance(part, Kept) and not part.data:
            connection.execute(
                "INSERT INTO enclosures (message, number, data)"
                " SELECT ?, ?, data FROM enclosures WHERE message = ? AND number = ?",
                (message, number, part.message, part.number),
            )
        elif isinstance(part, Image):
            connection.execute(
                "INSERT INTO enclosures (message, number, data) VALUES (?, ?, ?)",
                (message, number, part.data),
            )


def copy(connection: sqlite3.Connection, message: str, to: str) -> None:
    """Keep them with a message that has the same words, too."""
    connection.execute(
        "INSERT INTO enclosures (message, number, data)"
        " SELECT ?, number, data FROM enclosures WHERE message = ?",
        (to, message),
    )


def read(connection: sqlite3.Connection, places: Sequence[Place]) -> dict[Place, bytes]:
    """The bytes that lie there."""
    found: dict[Place, bytes] = {}
    for place in places:
        query = "SELECT data FROM enclosures WHERE message = ? AND number = ?"
        for row in connection.execute(query, place):
            found[place] = row["data"]
    return found


def filled(part: Part, found: Mapping[Place, bytes]) -> Part:
    """The part with its bytes; words where they are lost."""
    if not isinstance(part, Kept):
        return part
    data = part.data or found.get((part.message, part.number), b"")
    return Image(data, part.media_type, part.size) if data else Text(LOST)


def whole(connection: sqlite3.Connection, message: str, parts: Sequence[Any]) -> tuple[Any, ...]:
    """Parts as they stand in the table, as those of a file: each picture with its bytes."""
    known = {
        row["number"]: row["data"]
        for row in connection.execute(
            "SELECT number, data FROM enclosures WHERE message = ?", (message,)
        )
    }

    def one(number: int, part: Any) -> Any:
        if number not in known:
            return part
        data = base64.b64encode(known[number]).decode()
        return {"type": "image", "data": data, "media_type": part["media_type"]}

    return tuple(one(number, part) for number, part in enumerate(parts))


def _described(part: Part) -> Part:
    if not isinstance(part, Image):
        return part
    if isinstance(part, Kept) and not part.data:
        return msgspec.structs.replace(part, message="", number=0)
    size, turned = look_of(part.data)
    kind = kind_of(part.data) or ("" if part.media_type in KINDS else part.media_type)
    return Kept(b"", kind or UNKNOWN, size, len(part.data), turned)
