"""Which files are pictures that can be sent, as their own bytes say."""

import struct

from extensions.conversations.api import Kept, kind_of, look_of
from kernel.api import Image, Refused

LARGEST = 7 << 20
"""Bytes of one picture."""
DOTS = 64_000_000
"""Of one picture: what it takes when it is unpacked does not show in the file's size."""
TOGETHER = 200_000_000
"""Dots of all pictures of a request: engines unpack them beside each other."""
SIDE = 65_535
"""Dots of a row or column."""
READ = ("image/png", "image/jpeg", "image/gif", "image/bmp")
"""What engines read: llama.cpp by stb_image, which knows no WebP. Others see none yet."""
MODEL = "This is a model and no picture. Drop it onto the Model page, or copy it into models/."
NONE = "This is no picture that can be sent. Choose a PNG, JPEG, WebP or GIF file."
BROKEN = "This picture is broken: its size cannot be read. Choose another file."
CUT = "This picture is cut off: its file does not go on to its end. Choose another file."
UNREAD = "Engines do not read WebP pictures. Save it as PNG or JPEG."
TURNED = "This picture lies on its side, and engines do not turn it. Save it upright."


def unread(image: Image) -> str:
    """What engines make of a picture from elsewhere; empty where they see it as a person does."""
    if image.media_type not in READ:
        return "Models cannot read this kind of file."
    lies = isinstance(image, Kept) and image.turned
    return "Models see this picture lying on its side." if lies else ""


class Redraw(Refused):
    """It can be sent when a browser has drawn it anew, which a page does without asking."""


def picture(data: bytes) -> Image:
    """The picture that a file is, whatever its name says; raises Refused. Blocking."""
    kind = kind_of(data)
    if data.startswith(b"GGUF"):
        raise Refused(MODEL)
    if not data or data.lstrip().startswith(b"<"):  # SVG can hold scripts.
        raise Refused(NONE)
    if not kind:
        raise Redraw(NONE)
    if len(data) > LARGEST:
        raise Refused(f"The picture has more than {LARGEST >> 20} MB. Make it smaller.")
    (width, height), turned = look_of(data)
    if not width or not height:
        raise Refused(BROKEN)
    if width * height > DOTS:
        raise Redraw(
            f"The picture has {width:,} by {height:,} dots, more than {DOTS // 1_000_000} million. "
            "Make it smaller."
        )
    if max(width, height) > SIDE:
        raise Redraw(
            f"The picture has {width:,} by {height:,} dots, more than {SIDE:,} in a row. "
            "Make it smaller."
        )
    if kind not in READ:
        raise Redraw(UNREAD)
    if turned:
        raise Redraw(TURNED)
    if kind == "image/png" and not ends(data):
        raise Redraw(CUT)
    return Image(data, kind, (width, height))


def ends(png: bytes) -> bool:
    """Whether a PNG has its last chunk, without which engines refuse it."""
    at = 8
    while at + 12 <= len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        at += 12 + length
        if name == b"IEND":
            return at <= len(png)
    return False
