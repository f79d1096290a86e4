"""What a GGUF file says of itself, for both engines."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import Gguf, check_gguf_model, from_gguf
from extensions.llama_cpp.meaning import BITS, stretch
from kernel.contract import Capability, ModelInfo

ALL = 999
"""More layers than any model has."""
RESERVE = 1 << 30
"""Bytes of each card that stay free, for what is computed there and for the screen."""
SMALL = 100_000_000
"""Bytes; a smaller model is fastest on one thread."""


def check_model(path: str) -> Gguf:
    """The header of a file that holds a whole model; raises Refused."""
    return check_gguf_model(path)


def threads_for(wanted: int, size: int) -> int:
    """The threads that the user wants, or what is fastest for a file of `size` bytes."""
    return wanted or (1 if size < SMALL else os.cpu_count() or 1)


def context_length(file: Gguf, options: Mapping[str, Any]) -> int:
    """What the user wants, at most what the model was trained for; or what memory allows."""
    trained = int((file.of_arch("context_length") or 2048) * stretch(options))
    if wanted := options.get("context_length", 0):
        return min(wanted, trained)
    if options.get("rope_freq_base"):
        trained = file.of_arch("context_length") or 2048  # How far it reaches, only the user knows.
    per_token = max(1, cache_bytes(file, options))
    return min(trained, max(512, memory() // 4 // per_token // 256 * 256))


def cache_bytes(file: Gguf, options: Mapping[str, Any]) -> int:
    """What one token of a conversation takes: its keys and values in every layer."""
    heads = file.of_arch("attention.head_count", 1)
    heads = max(heads) if isinstance(heads, tuple) else heads
    kv_heads = file.of_arch("attention.head_count_kv", heads)
    kv_heads = max(kv_heads) if isinstance(kv_heads, tuple) else kv_heads
    width = file.of_arch("embedding_length", 1) // max(1, heads) * kv_heads
    bits = 2 * BITS[options.get("cache_type", "f16")]
    return int(width * file.of_arch("block_count", 1) * bits / 8)


def fitting_layers(file: Gguf, options: Mapping[str, Any], free: Sequence[int]) -> int:
    """How many layers fit cards with so many bytes free, with their part of the conversations."""
    blocks = max(1, file.of_arch("block_count", 1))
    cache = 0 if options.get("no_kv_offload") else cache_bytes(file, options)
    layer = (file.size + cache * context_length(file, options)) / blocks
    room = sum(int(max(0, bytes - RESERVE) // layer) for bytes in free)
    return ALL if room > blocks else room


def memory() -> int:
    """This machine's memory in bytes, or a modest guess."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def describe(
    path: str,
    file: Gguf,
    options: Mapping[str, Any],
    samplers: tuple[str, ...],
    capabilities: tuple[Capability, ...],
) -> ModelInfo:
    get = file.metadata.get
    ids: Mapping[str, Any] = {
        role: id
        for role in ("bos", "eos", "eot", "unknown")
        if token_text(file, id := get(f"tokenizer.ggml.{role}_token_id"))
    }
    return ModelInfo(
        name=Path(path).stem,
        loader="llama.cpp",
        path=path,
        context_length=context_length(file, options),
        vocabulary_size=len(get("tokenizer.ggml.tokens", ())),
        special_tokens=ids,
        chat_template=get("tokenizer.chat_template", ""),
        samplers=samplers,
        capabilities=capabilities,
        description=get("general.name", ""),
        defaults=from_gguf(Path(path), file.metadata),
    )


def token_text(file: Gguf, id: Any) -> str:
    """A token's text, or nothing where a file points outside its vocabulary."""
    tokens = file.metadata.get("tokenizer.ggml.tokens", ())
    return (
        tokens[id].decode(errors="replace") if isinstance(id, int) and 0 <= id < len(tokens) else ""
    )
