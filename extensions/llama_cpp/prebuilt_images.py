"""Pictures in a prompt: found in messages, checked, and laid between the parts of its text."""

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kernel.contract import Image, Message, Part, Refused, Text

LARGEST = 20 << 20
"""Bytes of a picture as it is sent."""
DOTS = 64_000_000
"""Of a picture: what it takes when it is unpacked does not show in the file's size."""
MOST = 16
"""Pictures in one request."""
PASSING = "{%- for message in messages -%}{{ message.content }}{%- endfor -%}"
"""The template that llama.cpp is given: the prompt, which our own sandbox rendered, as it is."""


def marked(messages: Sequence[Message], mark: str) -> tuple[tuple[Message, ...], list[Image]]:
    """The messages with a mark for each picture, and the pictures; raises Refused."""
    found: list[Image] = []

    def text(part: Part) -> Part:
        if not isinstance(part, Image):
            return part
        check(part)
        found.append(part)
        return Text(mark)

    told = tuple(
        msgspec.structs.replace(each, parts=tuple(map(text, each.parts))) for each in messages
    )
    if len(found) > MOST:
        raise Refused(f"There are {len(found)} pictures, and {MOST} fit one request. Send fewer.")
    return told, found


def content(prompt: str, mark: str, images: Sequence[Image]) -> list[dict[str, Any]]:
    """The prompt as parts of one message; raises Refused where a template left a picture out."""
    texts = prompt.split(mark)
    if len(texts) != len(images) + 1:
        raise Refused(
            "The model's chat template leaves out a picture. Send it as the last message."
        )
    return list(between(texts, images))


def between(texts: Sequence[str], images: Sequence[Image]) -> Iterator[dict[str, Any]]:
    """The texts, one more than there are pictures, and the pictures between them."""
    for number, text in enumerate(texts):
        if text:
            yield {"type": "text", "text": text}
        if number < len(images):
            data = base64.b64encode(images[number].data).decode()
            url = f"data:{images[number].media_type};base64,{data}"
            yield {"type": "image_url", "image_url": {"url": url}}


def check(image: Image) -> None:
    """Refuse what llama.cpp cannot read, or what would take all memory."""
    if len(image.data) > LARGEST:
        raise Refused(
            f"The picture has {len(image.data) >> 20} MB, at most 20 are read. Shrink it."
        )
    width, height = size(image.data)
    if not width or not height:
        raise Refused("The picture is no PNG, JPEG, GIF or BMP that is whole. Convert it.")
    if width * height > DOTS:
        raise Refused(f"The picture has {width:,} by {height:,} dots, too many. Shrink it.")


def size(data: bytes) -> tuple[int, int]:
    """Width and height as the file claims; 0 where it is none of the known kinds."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 24:
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) > 10:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"BM") and len(data) > 26:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)
    return _of_jpeg(data) if data.startswith(b"\xff\xd8\xff") else (0, 0)


def _of_jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0, 0
