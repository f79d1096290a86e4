"""Tiny GGUF files of random numbers, written on the spot: an RWKV-7, and LoRA adapters."""

import random
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extensions.engine_kit.gguf import check_gguf
from tests.engines.real import STORIES

STORY_FILE = STORIES / "stories260K.gguf"
WIDTH, LAYERS, FFN, RANK = 64, 2, 128, 16
"""Of the RWKV."""
Values = tuple[tuple[int, ...], "array[float]"]
"""A tensor: how many numbers lie beside each other comes first, as GGUF has it."""


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> bytes:
    if isinstance(given, bool):
        return struct.pack("<I?", 7, given)
    if isinstance(given, tuple):
        return struct.pack(f"<IIQ{len(given)}f", 9, 6, len(given), *given)
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    if isinstance(given, float):
        return struct.pack("<If", 6, given)
    return struct.pack("<II", 4, given)


def write(
    path: Path, metadata: dict[str, Any], tensors: dict[str, Values], more: tuple[int, bytes]
) -> Path:
    """Write a file; `more` are further keys as they stand in another file, and their count."""
    count, rest = more
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata) + count)
    head += b"".join(text(key) + value(given) for key, given in metadata.items()) + rest
    body = b""
    for name, (shape, numbers) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(body))
        body += numbers.tobytes()
        body += bytes(-len(body) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + body)
    return path


def tokenizer() -> tuple[int, bytes]:
    """The keys of the story model's vocabulary."""
    data = STORY_FILE.read_bytes()
    count, at, found = struct.unpack_from("<Q", data, 16)[0], 24, list[bytes]()
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def after(at: int, kind: int) -> int:
        if kind in sizes:
            return at + sizes[kind]
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        inner, length = struct.unpack_from("<IQ", data, at)
        at += 12
        for _ in range(length):
            at = after(at, inner)
        return at

    for _ in range(count):
        begin, length = at, struct.unpack_from("<Q", data, at)[0]
        kind = struct.unpack_from("<I", data, at + 8 + length)[0]
        at = after(at + 12 + length, kind)
        if data[begin + 8 :].startswith(b"tokenizer."):
            found.append(data[begin:at])
    return len(found), b"".join(found)


def make_rwkv(path: Path) -> Path:
    """An RWKV-7 with the story model's vocabulary."""
    keys = {
        "general.architecture": "rwkv7", "rwkv7.context_length": 4096, "rwkv7.block_count": LAYERS,
        "rwkv7.embedding_length": WIDTH, "rwkv7.feed_forward_length": FFN,
        "rwkv7.attention.head_count": 0, "rwkv7.attention.layer_norm_epsilon": 1e-5,
        "rwkv7.wkv.head_size": 64, "rwkv7.attention.decay_lora_rank": RANK,
        "rwkv7.attention.iclr_lora_rank": RANK,
        "rwkv7.attention.value_residual_mix_lora_rank": RANK,
        "rwkv7.attention.gate_lora_rank": RANK, "rwkv7.token_shift_count": 2,
    }  # fmt: skip
    return write(path, keys, dict(_rwkv(random.Random(1))), tokenizer())


def _rwkv(chance: random.Random) -> Iterator[tuple[str, Values]]:
    def some(*shape: int, scale: float = 0.0) -> Values:
        count, scale = _product(shape), scale or shape[0] ** -0.5
        return shape, array("f", (chance.gauss(0, scale) for _ in range(count)))

    def same(number: float, *shape: int) -> Values:
        return shape, array("f", [number]) * _product(shape)

    def norm(name: str) -> Iterator[tuple[str, Values]]:
        yield f"{name}.weight", same(1.0, WIDTH)
        yield f"{name}.bias", same(0.0, WIDTH)

    words = len(check_gguf(STORY_FILE).metadata["tokenizer.ggml.tokens"])
    yield "token_embd.weight", some(WIDTH, words, scale=1.0)
    yield from norm("token_embd_norm")
    yield from norm("output_norm")
    yield "output.weight", some(WIDTH, words)
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            yield from norm(at + name)
        for name in "wav":
            yield f"{at}time_mix_{name}0.weight", some(WIDTH, scale=0.5)
            yield f"{at}time_mix_{name}1.weight", some(WIDTH, RANK)
            yield f"{at}time_mix_{name}2.weight", some(RANK, WIDTH)
        yield f"{at}time_mix_g1.weight", some(WIDTH, RANK)
        yield f"{at}time_mix_g2.weight", some(RANK, WIDTH)
        yield f"{at}time_mix_lerp_fused.weight", same(0.5, WIDTH, 1, 1, 6)
        for name in ("k_k", "k_a", "r_k"):
            yield f"{at}time_mix_{name}.weight", some(WIDTH, scale=0.5)
        for name in ("key", "value", "receptance", "output"):
            yield f"{at}time_mix_{name}.weight", some(WIDTH, WIDTH)
        yield f"{at}channel_mix_lerp_k.weight", same(0.5, WIDTH, 1, 1)
        yield f"{at}channel_mix_key.weight", some(WIDTH, FFN)
        yield f"{at}channel_mix_value.weight", some(FFN, WIDTH)


def make_lora(path: Path, seed: int = 1, width: int = 0) -> Path:
    """An adapter of the story model; with another `width` it fits nothing."""
    keys = {
        "general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }  # fmt: skip
    chance, tensors, rank = random.Random(seed), dict[str, Values](), 4
    for name, tensor in check_gguf(STORY_FILE).tensors.items():
        if not name.endswith(("attn_q.weight", "attn_v.weight", "ffn_down.weight")):
            continue
        read, written = width or tensor.shape[0], tensor.shape[1]
        for end, form in (("lora_a", (read, rank)), ("lora_b", (rank, written))):
            numbers = array("f", (chance.gauss(0, 0.2) for _ in range(_product(form))))
            tensors[f"{name}.{end}"] = form, numbers
    return write(path, keys, tensors, (0, b""))


def make_eyes(path: Path, width: int = WIDTH) -> Path:
    """An mmproj file for the story model: a CLIP of two layers for pictures of 28 x 28 dots; with
    another `width` it fits nothing."""
    keys = {
        "general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp", "clip.use_gelu": True, "clip.vision.image_size": 28,
        "clip.vision.patch_size": 14, "clip.vision.embedding_length": width,
        "clip.vision.feed_forward_length": FFN, "clip.vision.block_count": 2,
        "clip.vision.attention.head_count": 4, "clip.vision.projection_dim": width,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": (0.5, 0.5, 0.5), "clip.vision.image_std": (0.5, 0.5, 0.5),
    }  # fmt: skip
    return write(path, keys, dict(_eyes(random.Random(1), width)), (0, b""))


def _eyes(chance: random.Random, width: int) -> Iterator[tuple[str, Values]]:
    def some(*shape: int) -> Values:
        return shape, array("f", (chance.gauss(0, 0.3) for _ in range(_product(shape))))

    def pair(name: str, *shape: int) -> Iterator[tuple[str, Values]]:
        yield f"{name}.weight", some(*shape)
        yield f"{name}.bias", some(shape[-1])

    yield "v.patch_embd.weight", some(14, 14, 3, width)
    yield "v.class_embd", some(width)
    yield "v.position_embd.weight", some(width, 5)
    yield from pair("v.pre_ln", width)
    for layer in range(2):
        at = f"v.blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from pair(at + name, width, width)
        yield from pair(at + "ln1", width)
        yield from pair(at + "ln2", width)
        yield from pair(at + "ffn_up", width, FFN)
        yield from pair(at + "ffn_down", FFN, width)
    yield from pair("mm.0", width, width)
    yield from pair("mm.2", width, width)


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for number in shape:
        count *= number
    return count
