"""Small GGUF files as tests want them, good and bad."""

import struct
from collections.abc import Mapping, Sequence

TENSORS = (("blk.0.w", (4, 4), 0),)
"""Names, shapes and ggml's types; 0 is plain numbers of 32 bits."""
BYTES = {0: 4, 1: 2}


def a_gguf(
    keys: Mapping[str, str | int | float] | None = None,
    tensors: Sequence[tuple[str, tuple[int, ...], int]] = TENSORS,
    cut: int = 0,
) -> bytes:
    """A whole file of one block; without its last bytes where it is to be cut off."""
    said = {"general.architecture": "llama", "llama.block_count": 1, **(keys or {})}
    head, data = b"", b""
    for name, shape, kind in tensors:
        size = BYTES[kind]
        for dimension in shape:
            size *= dimension
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += _text(name) + sizes + struct.pack("<IQ", kind, len(data))
        data += bytes(size + -size % 32)
    made = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(said))
    for key, value in said.items():
        made += _text(key) + _value(value)
    made += head
    made += bytes(-len(made) % 32) + data
    return made[: len(made) - cut]


def _text(words: str) -> bytes:
    said = words.encode("utf-8", "replace")
    return struct.pack("<Q", len(said)) + said


def _value(value: str | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return (
        struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)
    )
