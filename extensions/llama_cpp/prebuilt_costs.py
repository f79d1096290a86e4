"""How many tokens a picture takes: llama.cpp counts a blank of its size."""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from extensions.llama_cpp.prebuilt_images import between
from kernel.contract import Image

COUNTED = 16_000_000
"""Dots of the largest blank that is counted: every model shrinks what is larger to far less."""
UNKNOWN = (3_000, 4_000)
"""A picture of which nobody knows the size is counted as a photo."""
Size = tuple[int, int]


class Costs:
    """How many tokens pictures take, which llama.cpp knows by their size alone.

    It counts a blank of the same size, exactly as it would count the picture, and encodes nothing:
    0.1 s for 12 million dots, once for each size.
    """

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._known: dict[Size, int] = {}

    def of(self, sizes: Sequence[Sequence[int]]) -> list[int]:
        return [self._of((int(width), int(height))) for width, height in sizes]

    def _of(self, size: Size) -> int:
        if size not in self._known:
            blank_ = Image(blank(*size), "image/png")
            both = [self._count(between(("", "."), (blank_,))), self._count(between((".",), ()))]
            self._known[size] = both[0] - both[1]
        return self._known[size]

    def _count(self, parts: Iterable[dict[str, Any]]) -> int:
        messages = [{"role": "user", "content": list(parts)}]
        return self._ask("/v1/chat/completions/input_tokens", messages=messages)["input_tokens"]


def blank(width: int, height: int) -> bytes:
    """A PNG of that size without anything on it; a smaller one of the same shape for a huge one."""
    width, height = (width, height) if width > 0 and height > 0 else UNKNOWN
    shrink = min(1.0, (COUNTED / (width * height)) ** 0.5)
    width, height = max(1, int(width * shrink)), max(1, int(height * shrink))
    rows = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height, 1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
