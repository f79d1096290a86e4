"""Pictures that programs send as base64 alone, also beside a plain text that is gone on with."""

from collections.abc import Sequence

from msgspec import structs

from kernel.api import Image, Message, Request, Text

from .reading import decoded

KINDS = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
"""What pictures begin with, whose kind programs do not tell."""
AS_IT_IS = "{%- for message in messages -%}{{ message.content }}{%- endfor -%}"
"""A template that adds nothing: a plain text is a message where pictures stand in it."""


def pictures_of(images: Sequence[str] | None, where: str) -> tuple[Image, ...]:
    """The pictures of the field `where`, by what they begin with; raises Problem."""
    found: list[Image] = []
    for n, text in enumerate(images or ()):
        data = decoded(text, f"{where}[{n}]")
        kind = next((kind for start, kind in KINDS.items() if data.startswith(start)), "image/png")
        found.append(Image(data, kind))
    return tuple(found)


def with_pictures(request: Request, images: tuple[Image, ...], at: int) -> Request:
    """The request of a plain prompt with pictures behind so many of its characters."""
    text = request.prompt or ""
    parts = (Text(text[:at]), *images, Text(text[at:]))
    said = Message("user", tuple(p for p in parts if not isinstance(p, Text) or p.text))
    return structs.replace(request, prompt=None, messages=(said,), template=AS_IT_IS)
