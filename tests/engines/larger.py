"""GGUF files of known sizes whose weights are all zero: a hole in the file, written in no time."""

import struct
from pathlib import Path

SIZES = {"15m": (288, 6, 6, 768), "110m": (768, 12, 12, 2048)}
"""Width, layers, heads and inner width: those of stories15M and stories110M."""
TOKENS = 32_000
F32, F16 = 0, 1


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def make(folder: Path, name: str) -> Path:
    """A Llama of that size."""
    wide, layers, heads, inner = SIZES[name]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [f"▁w{number}" for number in range(TOKENS - len(words))]
    numbers = {
        "context_length": 32_768, "embedding_length": wide, "block_count": layers,
        "feed_forward_length": inner, "attention.head_count": heads,
        "rope.dimension_count": wide // heads,
    }  # fmt: skip
    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("llama"),
        text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5),
        *(text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()),
        text("tokenizer.ggml.tokens")
        + struct.pack("<IIQ", 9, 8, TOKENS)
        + b"".join(map(text, words)),
        text("tokenizer.ggml.scores") + struct.pack(f"<IIQ{TOKENS}f", 9, 6, TOKENS, *[0] * TOKENS),
    ]
    tensors = {"token_embd": (wide, TOKENS), "output_norm": (wide,)}
    for block in range(layers):
        shapes = {
            "attn_norm": (wide,), "attn_q": (wide, wide), "attn_k": (wide, wide),
            "attn_v": (wide, wide), "attn_output": (wide, wide), "ffn_norm": (wide,),
            "ffn_gate": (wide, inner), "ffn_up": (wide, inner), "ffn_down": (inner, wide),
        }  # fmt: skip
        tensors |= {f"blk.{block}.{each}": shape for each, shape in shapes.items()}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys)
    at = 0
    for each, shape in tensors.items():
        kind, size = (F32, 4 * shape[0]) if len(shape) == 1 else (F16, 2 * shape[0] * shape[-1])
        head += text(f"{each}.weight") + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape, kind, at
        )
        at += -(-size // 32) * 32
    path = folder / f"zeros-{name}.gguf"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(-(-len(head) // 32) * 32 + at)
    return path
