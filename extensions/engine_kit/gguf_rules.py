"""What engines believe of a GGUF file without a check: where it is not so, llama.cpp aborts.

Found in its source (GGML_ASSERT in llama-model.cpp, llama-vocab.cpp and the graphs of its
architectures, commit 0c1e57098) and by tests/engines/test_gguf_fuzz.py.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

Metadata = Mapping[str, Any]
LARGEST_TEMPLATE = 1_000_000
COUNTS = {
    "block_count": (1, 512), "nextn_predict_layers": (0, 512), "context_length": (8, 2**31 - 1),
    "embedding_length": (1, 2**22), "feed_forward_length": (0, 2**24),
    "attention.head_count": (0, 2**14), "attention.head_count_kv": (0, 2**14),
    "attention.key_length": (1, 2**16), "attention.value_length": (1, 2**16),
    "rope.dimension_count": (0, 2**16), "vocab_size": (1, 2**24),
    "expert_count": (0, 1024), "expert_used_count": (0, 1024), "expert_group_count": (0, 1024),
    "expert_group_used_count": (0, 1024),
}  # fmt: skip
"""The least and the most of what engines allocate, loop and divide by."""
SCALINGS = ("none", "linear", "yarn", "longrope")
EVEN_HEADS = ("llama", "mistral3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi2", "phi3")
"""Architectures whose graph asserts that keys are as long as values."""
FLOAT32 = 0


def check_architecture(metadata: Metadata, tensors: Mapping[str, Any]) -> None:
    """The numbers that engines trust; raises ValueError."""
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise ValueError("it does not say what architecture it has")
    if not tensors:
        raise ValueError("there is no tensor in it")
    for key, (least, most) in COUNTS.items():
        for value in numbers(metadata.get(f"{arch}.{key}", least)):
            if not least <= value <= most:
                raise ValueError(f"its {key} is {value:,}")
    for key, value in metadata.items():
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"its {key} is {value}")
    check_blocks(metadata, tensors, arch)
    check_heads(metadata, arch)
    check_experts(metadata, arch)
    if (scaling := metadata.get(f"{arch}.rope.scaling.type", "none")) not in SCALINGS:
        raise ValueError(f"its rope.scaling.type is {str(scaling)[:40]!r}")
    for name, tensor in tensors.items():
        if name.endswith("_norm.weight") and len(tensor.shape) == 1 and tensor.kind != FLOAT32:
            raise ValueError(f"the tensor {name} is no list of plain numbers")


def check_blocks(metadata: Metadata, tensors: Mapping[str, Any], arch: str) -> None:
    blocks = {match[0] for name in tensors if (match := re.match(r".*\bblk\.\d+\.", name))}
    count, extra = (
        next(numbers(metadata.get(f"{arch}.{key}", 0)), 0)
        for key in ("block_count", "nextn_predict_layers")
    )
    if extra > count:
        raise ValueError(f"its nextn_predict_layers is {extra:,}")
    if count - extra > len(blocks):
        raise ValueError(f"it claims {count - extra:,} blocks and has {len(blocks):,}")


def check_heads(metadata: Metadata, arch: str) -> None:
    def lengths(key: str, default: Any) -> list[int]:
        return list(numbers(metadata.get(f"{arch}.{key}", default)))

    heads = lengths("attention.head_count", 0)
    keys = lengths("attention.head_count_kv", tuple(heads))
    for query, key in zip(heads, keys if len(keys) > 1 else keys * len(heads), strict=False):
        if key and query % key:
            raise ValueError(f"it divides {query:,} heads among {key:,}")
    width, state = (lengths(key, 1)[0] for key in ("embedding_length", "wkv.head_size"))
    if not 0 < state <= width or width % state:
        raise ValueError(f"its wkv.head_size is {state:,}, and its width {width:,}")
    if arch in EVEN_HEADS and heads and heads[0]:
        length = lengths("embedding_length", 1)[0] // heads[0]
        key, value = (lengths(f"attention.{each}_length", length)[0] for each in ("key", "value"))
        if key != value:
            raise ValueError(f"its attention.key_length is {key:,}, and that of values {value:,}")
        if arch == "llama" and lengths("rope.dimension_count", key)[0] % 2:
            raise ValueError("its rope.dimension_count is odd")


def check_experts(metadata: Metadata, arch: str) -> None:
    def largest(key: str) -> int:
        return max(numbers(metadata.get(f"{arch}.{key}", 0)), default=0)

    experts, used = largest("expert_count"), largest("expert_used_count")
    groups, groups_used = largest("expert_group_count"), largest("expert_group_used_count")
    if arch.startswith("hunyuan") and experts <= 1:
        return
    if used > experts or (experts and not used):
        raise ValueError(f"it uses {used:,} of {experts:,} experts")
    if groups and (groups >= experts or experts % groups):
        raise ValueError(f"it has {experts:,} experts in {groups:,} groups")
    if groups > 1 and not 0 < groups_used < groups:
        raise ValueError(f"it uses {groups_used:,} of {groups:,} groups of experts")


def numbers(value: Any) -> Iterator[int]:
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, int):
            raise ValueError("one of its sizes is not a whole number")
        yield each


def check_vocabulary(metadata: Metadata, tensors: Mapping[str, Any]) -> None:
    """What tokenizers take for granted, such as a token for every byte; raises ValueError."""
    get = metadata.get
    tokens = get("tokenizer.ggml.tokens", ())
    kind = get("tokenizer.ggml.model", "")
    if not isinstance(kind, str):
        raise ValueError("the name of its tokenizer is no text")
    if kind not in ("", "none", "no_vocab") and not (isinstance(tokens, list) and tokens):
        raise ValueError(f"it has a tokenizer ({kind[:40]}) and no tokens")
    for key in ("scores", "token_type"):
        if (extra := get(f"tokenizer.ggml.{key}")) is None:
            continue
        if not isinstance(extra, tuple) or len(extra) != len(tokens):
            count = len(extra) if isinstance(extra, tuple | list) else 1
            raise ValueError(f"it has {len(tokens):,} tokens and {count:,} of their {key}s")
    # llama.cpp reads each up to its first zero byte, and asserts that it has an id of its own.
    named = [*filter(None, tokens)]
    if b"\0" in b"".join(named):
        named = [text for token in named if (text := token.partition(b"\0")[0])]
    known = set(named)
    if len(known) != len(named):
        raise ValueError(f"{len(named) - len(known):,} of its tokens are there twice")
    if kind == "llama":
        for byte in range(256):
            if b"<0x%02X>" % byte not in known and bytes([byte]) not in known:
                raise ValueError(f"its vocabulary has no token for the byte 0x{byte:02X}")
    if kind == "rwkv":
        check_rwkv(named)
    rows = tensors["token_embd.weight"].shape[-1] if "token_embd.weight" in tensors else len(tokens)
    if tokens and rows < len(tokens):
        raise ValueError(f"it has {len(tokens):,} tokens and embeddings for {rows:,}")
    template = get("tokenizer.chat_template", "")
    if not isinstance(template, str) or len(template) > LARGEST_TEMPLATE:
        raise ValueError("its chat template is no text or unreasonably long")


def check_rwkv(tokens: list[bytes]) -> None:
    """llama.cpp's RWKV tokenizer never ends where a token's first byte is no token itself: it
    looks for the longest match, finds none, and begins at the first letter again."""
    texts = [unescaped(token) for token in tokens]
    bytes_ = {text for text in texts if len(text) == 1}
    for text in texts:
        if text and text[:1] not in bytes_:
            raise ValueError(f"its vocabulary has no token for the byte 0x{text[0]:02X}")


def unescaped(token: bytes) -> bytes:
    """RWKV's way to write bytes that are no text."""
    letters = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}

    def plain(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes([int(match[1], 16)])
        return letters.get(match[2], match[2])

    return re.sub(rb"\\(?:x([0-9a-f]{2})|(.))", plain, token, flags=re.DOTALL)
