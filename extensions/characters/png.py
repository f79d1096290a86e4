"""PNG files as rows of chunks: the texts in them are read and replaced, the picture stays as it is.

Chunks: length, type, data, CRC-32 (https://www.w3.org/TR/png-3/). Texts are `tEXt`, `zTXt`, `iTXt`.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

from kernel.api import Refused

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_TEXT = 16 << 20
"""Bytes of one text, unpacked."""
MOST = 20_000
"""Chunks; pictures have hundreds at the most."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
CARDS = ("ccv3", "chara")
"""Keywords of cards: of the third version, and of those before."""
TOO_LARGE = "The card in this picture is larger than 16 MB. Make it smaller."
DAMAGED = "This picture is damaged: {}. Get it from where it came from once more."


class Chunk(NamedTuple):
    """One chunk of a file."""

    kind: bytes
    data: bytes


def chunks(file: BinaryIO, *, whole: bool = True) -> Iterator[Chunk]:
    """The chunks up to the end, each checked; raises Refused.

    Unless the `whole` picture is wanted, its pixels are passed over and come as empty chunks.
    """
    if file.read(8) != SIGNATURE:
        raise Refused("This is not a PNG file. Choose a card that is one, or a YAML or JSON file.")
    size = file.seek(0, 2)
    at = len(SIGNATURE)
    for number in range(MOST):
        file.seek(at)
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (size, b"")
        if at + 12 + length > size:
            raise Refused(DAMAGED.format("it ends too early"))
        if not number and (kind != b"IHDR" or length != 13):
            raise Refused(DAMAGED.format("it does not begin as a PNG file does"))
        if kind in _TEXTS and length > LARGEST_TEXT:
            raise Refused(TOO_LARGE)
        if whole or kind in (*_TEXTS, b"IHDR"):
            data = file.read(length)
            if zlib.crc32(kind + data) != struct.unpack(">I", file.read(4))[0]:
                raise Refused(DAMAGED.format(f"a checksum is wrong at byte {at}"))
            yield Chunk(kind, data)
        else:
            yield Chunk(kind, b"")
        if kind == b"IEND":
            return
        at += 12 + length
    raise Refused(DAMAGED.format("it never ends"))


def texts(file: BinaryIO, *, whole: bool = True) -> dict[str, bytes]:
    """The texts of a card by their keyword in small letters; of several alike the first."""
    found: dict[str, bytes] = {}
    for kind, data in chunks(file, whole=whole):
        if kind in _TEXTS:
            keyword, _, rest = data.partition(b"\0")
            name = keyword.decode("latin-1").strip().lower()
            if name in CARDS and name not in found:
                found[name] = _text(kind, rest)
    return found


def with_texts(png: bytes, said: Mapping[str, bytes]) -> bytes:
    """The same picture with these texts (latin-1) in the place of all with their keywords."""
    parts = [SIGNATURE]
    names = {name.lower() for name in said}
    for kind, data in chunks(io.BytesIO(png)):
        name = data.partition(b"\0")[0].decode("latin-1").strip().lower()
        if kind in _TEXTS and name in names:
            continue
        if kind == b"IEND":
            for keyword, text in said.items():
                parts.append(chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text))
        parts.append(chunk(kind, data))
    return b"".join(parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def drawn(hue: int, width: int = 400, height: int = 600) -> bytes:
    """A quiet picture in two shades of a hue (0 to 359): the front of a card that has none."""
    top, foot = _shade(hue, 0.30, 0.72), _shade(hue + 40, 0.35, 0.42)
    rows: list[bytes] = []
    for y in range(height):
        share = y / (height - 1)
        colour = bytes(round(a + (b - a) * share) for a, b in zip(top, foot, strict=True))
        rows.append(b"\0" + colour * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(rows), 9)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# --- inside -------------------------------------------------------------------------------


def _text(kind: bytes, rest: bytes) -> bytes:
    """What stands after the keyword; refused where it unpacks to too much."""
    if kind == b"tEXt":
        packed = False
    elif kind == b"zTXt":
        packed, rest = True, rest[1:]
    else:
        packed, rest = rest[:1] == b"\x01", rest[2:]
        rest = rest.split(b"\0", 2)[-1]
    if packed:
        unpacking = zlib.decompressobj()
        try:
            rest = unpacking.decompress(rest, LARGEST_TEXT + 1)
        except zlib.error:
            raise Refused(DAMAGED.format("its card cannot be unpacked")) from None
    if len(rest) > LARGEST_TEXT:
        raise Refused(TOO_LARGE)
    return rest


def _shade(hue: int, saturation: float, lightness: float) -> tuple[int, int, int]:
    spread = saturation * min(lightness, 1 - lightness)

    def part(n: int) -> int:
        k = (n + hue / 30) % 12
        return round(255 * (lightness - spread * max(-1, min(k - 3, 9 - k, 1))))

    return part(0), part(8), part(4)
