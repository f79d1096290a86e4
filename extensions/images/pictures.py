"""What a picture is: its kind and size, as its own bytes say."""

import struct
from typing import NamedTuple

from kernel.api import Image, Refused

LARGEST = 7 << 20
"""Bytes of one picture."""
DOTS = 64_000_000
"""Of one picture: what it takes when it is unpacked does not show in the file's size."""
NONE = "This is no picture that can be sent. Choose a PNG, JPEG, WebP or GIF file."
BROKEN = "This picture is broken: its size cannot be read. Choose another file."


class Size(NamedTuple):
    """In dots."""

    width: int
    height: int


def picture(data: bytes) -> Image:
    """The picture that a file is, whatever its name says; raises Refused."""
    if len(data) > LARGEST:
        raise Refused(f"The picture has more than {LARGEST >> 20} MB. Make it smaller.")
    kind = kind_of(data)
    if not kind:
        raise Refused(NONE)
    width, height = size_of(data)
    if not width or not height:
        raise Refused(BROKEN)
    if width * height > DOTS:
        raise Refused(
            f"The picture has {width:,} by {height:,} dots, more than {DOTS // 1_000_000} million. "
            "Make it smaller."
        )
    return Image(data, kind)


def kind_of(data: bytes) -> str:
    """The media type that the first bytes tell; empty where it is none that is shown."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/gif" if data[:6] in (b"GIF87a", b"GIF89a") else ""


def size_of(data: bytes) -> Size:
    """Width and height as the file claims; 0 where they cannot be read."""
    try:
        match kind_of(data):
            case "image/png":
                return Size(*struct.unpack_from(">II", data, 16))
            case "image/gif":
                return Size(*struct.unpack_from("<HH", data, 6))
            case "image/jpeg":
                return _of_jpeg(data)
            case "image/webp":
                return _of_webp(data)
            case _:
                return Size(0, 0)
    except (struct.error, IndexError):
        return Size(0, 0)


def _of_jpeg(data: bytes) -> Size:
    """The frame header's; https://www.w3.org/Graphics/JPEG/itu-t81.pdf, B.2.2."""
    at = 2
    while data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # A marker may be preceded by any number of these.
            at += 1
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Size(width, height)
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return Size(0, 0)


def _of_webp(data: bytes) -> Size:
    """The first chunk's; https://developers.google.com/speed/webp/docs/riff_container."""
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            return Size(width, height) if len(data) >= 30 else Size(0, 0)
        case b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return Size(width & 0x3FFF, height & 0x3FFF)
        case _:
            return Size(0, 0)
