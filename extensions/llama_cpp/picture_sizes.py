"""What a picture takes when stb_image of llama.cpp unpacks it, told from its bytes alone."""

import re
import struct
import zlib

MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends the dots of a JPEG's scan."""
BEFORE = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""What may stand between the parts of a JPEG."""
FRAMES = {0xC0, 0xC1, 0xC2}
SCANS = 50
"""Of a JPEG, each of which goes over the whole picture again; good ones have about ten."""
BROKEN = "The picture is no PNG, JPEG, GIF or BMP that is whole. Convert it."
SWELLS = "The picture holds more than its dots need. Convert it."
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Numbers of a dot, by the kind of a PNG."""
GROWTH = 1032
"""Bytes that one byte of a PNG's stream stands for at most."""
INPUT, OUTPUT = 1 << 16, 1 << 20
"""Bytes that are unpacked at once, to count them."""


def size(data: bytes) -> tuple[int, int]:
    """Width and height as the file claims; 0 where it is none of the known kinds."""
    if data.startswith(PNG) and data[12:16] == b"IHDR" and len(data) > 26:
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) > 10:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"BM") and len(data) > 26 and data[14] >= 40:  # Older heads are others.
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)
    return _of_jpeg(data) if data.startswith(JPEG) else (0, 0)


def bomb(data: bytes) -> str:
    """Why a picture would take more than its size tells, as a sentence, or nothing."""
    if data.startswith(JPEG):
        return SWELLS if data.count(b"\xff\xda", 0, _end_of_jpeg(data)) > SCANS else ""
    return _png_bomb(data) if data.startswith(PNG) else ""


def _of_jpeg(data: bytes) -> tuple[int, int]:
    """From the first header of a frame. What else may stand before it is known; where anything else
    does, stb_image might read on from another place than this."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind in FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if kind not in BEFORE:
            break
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0, 0


def _end_of_jpeg(data: bytes) -> int:
    """Where it ends, as cameras write films behind it; all of it where that is not found, for
    stb_image might read on then."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xD9:
            return at
        if kind not in BEFORE | FRAMES | {0xDA}:
            break
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        if kind == 0xDA:
            found = MARKER.search(data, at)
            at = found.start() if found else len(data)
    return len(data)


def _png_bomb(data: bytes) -> str:
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    row = 1 + (width * CHANNELS.get(kind, 4) * depth + 7) // 8
    room = 2 * height * row + 1024  # Interlaced rows are more, and less than twice as long.
    packed, whole = _packed(data)
    if not whole:
        return BROKEN
    if sum(map(len, packed)) * GROWTH <= room:
        return ""
    stream = zlib.decompressobj()
    try:
        for part in packed:
            for begin in range(0, len(part), INPUT):
                rest: bytes | memoryview = part[begin : begin + INPUT]
                while rest and not stream.eof:
                    room -= len(stream.decompress(rest, OUTPUT))
                    if room < 0:
                        return SWELLS
                    rest = stream.unconsumed_tail
    except zlib.error:
        return BROKEN
    return ""


def _packed(data: bytes) -> tuple[list[memoryview], bool]:
    """The parts of a PNG's stream, and whether it ends, without which stb_image refuses it."""
    found, at, view = list[memoryview](), len(PNG), memoryview(data)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return found, True
        if kind == b"IDAT":
            found.append(view[at + 8 : at + 8 + length])
        at += 12 + length
    return found, False
