"""Checks a GGUF file before native code sees it: hostile numbers abort whole processes."""

import math
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kernel.contract import Refused

SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
STRING, ARRAY = 8, 9
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
    27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17), 40: (64, 36),
}  # fmt: skip
"""ggml's types: weights in a block, and its bytes."""
MOST = 2_000_000
"""Tensors, keys, tokens: no real model comes near."""
LARGEST_TEMPLATE = 1_000_000
COUNTS = {
    "block_count": (1, 10_000), "context_length": (8, 2**31), "embedding_length": (1, 2**22),
    "feed_forward_length": (0, 2**24), "attention.head_count": (0, 2**14),
    "attention.head_count_kv": (0, 2**14), "expert_count": (0, 2**14),
}  # fmt: skip
"""The least and the most of what engines allocate, loop and divide by."""


class Gguf(NamedTuple):
    """What the header says; `tensors` maps names to shapes."""

    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    size: int

    def of_arch(self, key: str, default: Any = 0) -> Any:
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}", default)


def check_gguf(path: str | Path) -> Gguf:
    """Read the header; raises Refused with what is wrong with the file."""
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            if file.seek(0, 2) < 24:
                raise ValueError("it is too short to be a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = Reader(data).header()
        check_architecture(header)
        check_vocabulary(header)
    except OSError as error:
        raise Refused(f"{name} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        said = f"{name} cannot be loaded: a name in it is no UTF-8. Download it again."
        raise Refused(said) from error
    except ValueError as error:
        raise Refused(f"{name} cannot be loaded: {error}. Download it again.") from error
    return header


class Reader:
    """A cursor over the file; every number is checked before it is believed."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def number(self, code: str) -> Any:
        length = struct.calcsize(code)
        (value,) = struct.unpack_from("<" + code, self.data, self.skip(length))
        return value

    def skip(self, length: int) -> int:
        at, self.at = self.at, self.at + length
        if self.at > self.size:
            raise ValueError(f"its header ends at byte {self.size:,}, in the middle of something")
        return at

    def string(self) -> bytes:
        length = self.number("Q")
        at = self.skip(length)
        return self.data[at : at + length]

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.number(scalar(kind))
        kind, count = self.number("I"), self.number("Q")
        if kind == ARRAY:
            raise ValueError("it holds lists within lists, which no engine reads")
        if kind == STRING:
            if count > min(MOST, self.size // 8):
                raise ValueError(f"a list claims {count:,} texts, more than a file can have")
            return self.strings(count)
        code = scalar(kind)
        at = self.skip(count * struct.calcsize(code))
        return struct.unpack_from(f"<{count}{code}", self.data, at)

    def strings(self, count: int) -> list[bytes]:
        """The hot loop: a vocabulary has hundreds of thousands of these."""
        data, at, size, texts = self.data, self.at, self.size, []
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > size:
                raise ValueError("a list of texts runs past the end of the file")
            begin = at + 8
            at = begin + length_of(data, at)[0]
            texts.append(data[begin:at])
        self.at = at
        self.skip(0)
        return texts

    def header(self) -> Gguf:
        if self.data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self.at = 4
        if (version := self.number("I")) not in (2, 3):
            raise ValueError(f"it is of GGUF version {version}; 2 and 3 are known")
        tensor_count, key_count = self.number("Q"), self.number("Q")
        if max(tensor_count, key_count) > MOST:
            raise ValueError(f"it claims {tensor_count:,} tensors and {key_count:,} keys")
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = self.string().decode()
            if key in metadata:
                raise ValueError(f"the key {key[:80]} is there twice")
            value = self.value(self.number("I"))
            metadata[key] = value.decode() if isinstance(value, bytes) else value
        tensors = self.tensors(tensor_count, metadata.get("general.alignment", 32))
        return Gguf(metadata, tensors, self.size)

    def tensors(self, count: int, alignment: Any) -> dict[str, tuple[int, ...]]:
        if not isinstance(alignment, int) or not 8 <= alignment <= 2**20 or alignment % 8:
            raise ValueError(f"its alignment is {alignment}")
        shapes: dict[str, tuple[int, ...]] = {}
        spans: list[tuple[int, int, str]] = []
        for _ in range(count):
            name = self.string().decode()
            if not 0 < len(name) < 64 or name in shapes:
                raise ValueError(f"the name of a tensor, {name[:80]!r}, is too long or there twice")
            dimensions = self.number("I")
            if not 1 <= dimensions <= 4:
                raise ValueError(f"the tensor {name} has {dimensions:,} dimensions")
            shape = tuple(self.number("Q") for _ in range(dimensions))
            kind, offset = self.number("I"), self.number("Q")
            if kind not in BLOCKS:
                raise ValueError(f"the tensor {name} is of the unknown type {kind}")
            per_block, block_size = BLOCKS[kind]
            if not all(shape) or math.prod(shape) >= 2**62 or shape[0] % per_block:
                raise ValueError(f"the tensor {name} has the impossible shape {shape}")
            if offset % alignment:
                raise ValueError(f"the tensor {name} begins between two aligned places")
            shapes[name] = shape
            spans.append((offset, math.prod(shape) // per_block * block_size, name))
        begin = -(-self.at // alignment) * alignment
        end = 0
        for offset, length, name in sorted(spans):
            if offset < end:
                raise ValueError(f"the tensor {name} lies on top of another one")
            end = offset + length
            if begin + end > self.size:
                missing = begin + end - self.size
                raise ValueError(f"the tensor {name} ends {missing:,} bytes after the file does")
        return shapes


def scalar(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"it holds a value of the unknown type {kind}")
    return SCALARS[kind]


def check_architecture(file: Gguf) -> None:
    """The numbers that engines trust."""
    if not isinstance(file.metadata.get("general.architecture"), str):
        raise ValueError("it does not say what architecture it has")
    if not file.tensors:
        raise ValueError("there is no tensor in it")
    for key, (least, most) in COUNTS.items():
        for value in numbers(file.of_arch(key, least)):
            if not least <= value <= most:
                raise ValueError(f"its {key} is {value:,}")
    for key, value in file.metadata.items():
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"its {key} is {value}")
    blocks = {match[0] for name in file.tensors if (match := re.match(r".*\bblk\.\d+\.", name))}
    claimed = file.of_arch("block_count") - file.of_arch("nextn_predict_layers")
    if file.metadata.get("split.count", 1) == 1 and claimed > len(blocks):
        raise ValueError(f"it claims {claimed:,} blocks and has {len(blocks):,}")


def numbers(value: Any) -> Iterator[int]:
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, int):
            raise ValueError("one of its sizes is not a whole number")
        yield each


def check_vocabulary(file: Gguf) -> None:
    """What tokenizers take for granted: llama.cpp aborts without a token for every byte."""
    get = file.metadata.get
    tokens = get("tokenizer.ggml.tokens", ())
    kind = get("tokenizer.ggml.model", "")
    if kind not in ("", "none", "no_vocab") and not isinstance(tokens, list):
        raise ValueError(f"it has a tokenizer ({kind}) and no tokens")
    for key in ("scores", "token_type"):
        if (extra := get(f"tokenizer.ggml.{key}")) is not None and len(extra) != len(tokens):
            raise ValueError(f"it has {len(tokens):,} tokens and {len(extra):,} of their {key}s")
    if kind == "llama":
        known = set(tokens)
        for byte in range(256):
            if b"<0x%02X>" % byte not in known and bytes([byte]) not in known:
                raise ValueError(f"its vocabulary has no token for the byte 0x{byte:02X}")
    rows = file.tensors.get("token_embd.weight", (0, len(tokens)))[-1]
    if tokens and rows < len(tokens):
        raise ValueError(f"it has {len(tokens):,} tokens and embeddings for {rows:,}")
    template = get("tokenizer.chat_template", "")
    if not isinstance(template, str) or len(template) > LARGEST_TEMPLATE:
        raise ValueError("its chat template is no text or unreasonably long")
