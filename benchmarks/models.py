"""GGUF models of random weights, made here: python -m benchmarks.models SIZE KIND FOLDER

SIZE is one of SIZES, KIND is q4_0 or f16. Their shapes, and so their speed, are those of well-known
models; what they write is noise. The vocabulary is made too: 32,000 words such as " abc", each one
token, so that a prompt's text says how many tokens it has.
"""

import itertools
import math
import random
import string
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple


class Shape(NamedTuple):
    """The sizes of a Llama."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    tied: bool
    """The last layer is the table of embeddings."""


SIZES: Mapping[str, Shape] = {
    "15m": Shape(288, 6, 6, 6, 768, True),  # stories15M
    "110m": Shape(768, 12, 12, 12, 2048, True),  # stories110M
    "1b": Shape(2048, 22, 32, 4, 5632, False),  # TinyLlama 1.1B
}
CONTEXT = 40_960
TOKENS = 32_000
ALIGNMENT = 32
CHUNK = 1 << 20
"""Blocks that are made at once."""
F32, F16, Q4_0, Q8_0, Q6_K = 0, 1, 2, 8, 14
UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1


class Blocks(NamedTuple):
    """How weights of a type lie in the file."""

    weights: int
    bytes: int
    scale: int
    """Where the block's scale is: a half."""
    spread: float
    """The standard deviation of weights of random bytes at scale 1."""


KINDS: Mapping[int, Blocks] = {
    F16: Blocks(1, 2, 0, 1.0),
    Q4_0: Blocks(32, 18, 0, 4.6),
    Q8_0: Blocks(32, 34, 0, 73.9),
    Q6_K: Blocks(256, 210, 208, 1365.0),
}


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    """Its row's length first, as GGUF has it."""
    kind: int

    @property
    def bytes(self) -> int:
        count = math.prod(self.shape)
        if self.kind == F32:
            return 4 * count
        return count // KINDS[self.kind].weights * KINDS[self.kind].bytes


def words() -> Iterator[str]:
    """All words in order: those of one letter, of two, of three…"""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "".join(letters)


def vocabulary() -> list[tuple[str, int]]:
    """The tokens and their types. A word's beginnings are tokens before it, so that a tokenizer
    that joins pieces, those of the best score first, ends with the word."""
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    tokens += [(chr(code), NORMAL) for code in range(33, 127)]
    tokens += [("▁", NORMAL)]
    tokens += [("▁" + word, NORMAL) for word in itertools.islice(words(), TOKENS - len(tokens))]
    return tokens


def prompt(chance: random.Random, count: int) -> str:
    """A text of `count` tokens, the one that begins every text included."""
    return " ".join("".join(chance.choices(string.ascii_lowercase, k=3)) for _ in range(count - 1))


def tensors(shape: Shape, kind: int) -> list[Tensor]:
    """What a Llama consists of; the last layer is finer, as llama-quantize makes it."""
    fine = kind if kind == F16 else Q8_0 if shape.width % 256 else Q6_K
    wide, inner = shape.width, shape.inner
    narrow = wide // shape.heads * shape.kv_heads
    found = [Tensor("token_embd.weight", (wide, TOKENS), fine if shape.tied else kind)]
    found.append(Tensor("output_norm.weight", (wide,), F32))
    if not shape.tied:
        found.append(Tensor("output.weight", (wide, TOKENS), fine))
    for block in range(shape.layers):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (wide,), "ffn_norm": (wide,), "attn_q": (wide, wide),
            "attn_k": (wide, narrow), "attn_v": (wide, narrow), "attn_output": (wide, wide),
            "ffn_gate": (wide, inner), "ffn_up": (wide, inner), "ffn_down": (inner, wide),
        }  # fmt: skip
        found += [
            Tensor(f"blk.{block}.{name}.weight", size, kind if len(size) == 2 else F32)
            for name, size in sizes.items()
        ]
    return found


def metadata(name: str, shape: Shape) -> dict[str, Any]:
    tokens = vocabulary()
    return {
        "general.architecture": "llama",
        "general.name": f"Random weights, {name}",
        "llama.context_length": CONTEXT,
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.inner,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.width // shape.heads,
        "llama.rope.freq_base": 10_000.0,
        "llama.vocab_size": TOKENS,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [text for text, _ in tokens],
        "tokenizer.ggml.scores": [float(-number) for number in range(TOKENS)],
        "tokenizer.ggml.token_type": [kind for _, kind in tokens],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def packed(value: Any) -> bytes:
    """A value of the header, its type before it."""
    match value:
        case str():
            return struct.pack("<I", 8) + text(value)
        case float():
            return struct.pack("<If", 6, value)
        case int():
            return struct.pack("<II", 4, value)
    first = value[0]
    head = struct.pack("<I", 9)
    match first:
        case str():
            return head + struct.pack("<IQ", 8, len(value)) + b"".join(map(text, value))
        case float():
            return head + struct.pack(f"<IQ{len(value)}f", 6, len(value), *value)
    return head + struct.pack(f"<IQ{len(value)}i", 5, len(value), *value)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def weights(tensor: Tensor, chance: random.Random) -> Iterator[bytes | bytearray]:
    """The bytes of a tensor whose products with what is around 1 are around 1."""
    if tensor.kind == F32:
        yield struct.pack("<f", 1.0) * tensor.shape[0]
        return
    blocks = KINDS[tensor.kind]
    size = 1 / math.sqrt(tensor.shape[0])
    scale = struct.pack("<e", size / blocks.spread)
    exponent = 14 + math.floor(math.log2(size))
    halves = bytes((b & 0x83) | (exponent + (b >> 2 & 1)) << 2 for b in range(256))
    left = tensor.bytes // blocks.bytes
    while left:
        count = min(left, CHUNK)
        data = bytearray(chance.randbytes(count * blocks.bytes))
        if tensor.kind == F16:
            data[1::2] = data[1::2].translate(halves)
        else:
            data[blocks.scale :: blocks.bytes] = scale[:1] * count
            data[blocks.scale + 1 :: blocks.bytes] = scale[1:] * count
        yield data
        left -= count


def write(file: BinaryIO, name: str, kind: int) -> None:
    keys, parts = metadata(name, SIZES[name]), tensors(SIZES[name], kind)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(parts), len(keys))
    header += b"".join(text(key) + packed(value) for key, value in keys.items())
    at = 0
    for part in parts:
        header += text(part.name) + struct.pack("<I", len(part.shape))
        header += struct.pack(f"<{len(part.shape)}QIQ", *part.shape, part.kind, at)
        at += part.bytes + padding(part.bytes)
    file.write(header + bytes(padding(len(header))))
    chance = random.Random(name)
    for part in parts:
        file.writelines(weights(part, chance))
        file.write(bytes(padding(part.bytes)))


def padding(length: int) -> int:
    return -length % ALIGNMENT


def make(folder: Path, name: str, kind: str = "q4_0") -> Path:
    """The model's file in a folder, made there if it is missing."""
    path = folder / f"random-{name}-{kind}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        begun = path.with_suffix(".part")
        with begun.open("wb") as file:
            write(file, name, {"q4_0": Q4_0, "f16": F16}[kind])
        begun.rename(path)
    return path


def main(arguments: Sequence[str]) -> None:
    name, kind, folder = arguments
    path = make(Path(folder), name, kind)
    count = sum(math.prod(each.shape) for each in tensors(SIZES[name], F16))
    print(f"{path}: {count / 1e6:,.1f} million weights, {path.stat().st_size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
