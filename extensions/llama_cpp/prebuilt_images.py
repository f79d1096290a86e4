"""Pictures in a prompt: found in messages, checked, and laid between the parts of its text."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from extensions.llama_cpp.picture_sizes import BROKEN, bomb, size
from kernel.contract import Image, Message, Part, Refused, Text

LARGEST = 20 << 20
"""Bytes of a picture as it is sent."""
DOTS = 64_000_000
"""Of a picture: what it takes when it is unpacked does not show in the file's size."""
SIDE = 65_535
"""Dots of a row or column."""
TOGETHER = 200_000_000
"""Dots of all pictures of a request: they are unpacked beside each other."""
MOST = 16
"""Pictures in one request."""
WHICH = (
    "Picture {} of the {} that were sent cannot be read. {} Send it anew, or go on without it: "
    "delete the message that has it, or choose “Remove the last reply”."
)
PASSING = "{%- for message in messages -%}{{ message.content }}{%- endfor -%}"
"""The template that llama.cpp is given: the prompt, which our own sandbox rendered, as it is."""


def marked(messages: Sequence[Message], mark: str) -> tuple[tuple[Message, ...], list[Image]]:
    """The messages with a mark for each picture, and the pictures; raises Refused."""
    found = [part for each in messages for part in each.parts if isinstance(part, Image)]
    if len(found) > MOST:
        raise Refused(f"There are {len(found)} pictures, and {MOST} fit one request. Send fewer.")
    dots = 0
    for number, image in enumerate(found, 1):
        try:
            dots += check(image)
        except Refused as refusal:
            raise Refused(WHICH.format(number, len(found), refusal)) from None
    if dots > TOGETHER:
        raise Refused(
            f"The pictures have {dots:,} dots together, too many. Send fewer, or smaller."
        )

    def text(part: Part) -> Part:
        return Text(mark) if isinstance(part, Image) else part

    told = tuple(
        msgspec.structs.replace(each, parts=tuple(map(text, each.parts))) for each in messages
    )
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


def check(image: Image) -> int:
    """Its dots; raises Refused for what llama.cpp cannot read, or what would take all memory."""
    if len(image.data) > LARGEST:
        raise Refused(
            f"The picture has {len(image.data) >> 20} MB, at most 20 are read. Shrink it."
        )
    width, height = size(image.data)
    if not width or not height:
        raise Refused(BROKEN)
    if width * height > DOTS or max(width, height) > SIDE:
        raise Refused(f"The picture has {width:,} by {height:,} dots, too many. Shrink it.")
    if why := bomb(image.data):
        raise Refused(why)
    return width * height
