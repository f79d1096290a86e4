"""The options as fields of the C library's structs."""

import ctypes
from collections.abc import Mapping
from typing import Any

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import Gguf
from extensions.llama_cpp.files import threads_for
from extensions.llama_cpp.meaning import (
    EXPERTS,
    LOAD_MODES,
    SPLIT_MODES,
    cache_type,
    flash_attention,
    overrides,
    rope,
    shares,
)
from extensions.llama_cpp.memory import EVERYTHING
from extensions.llama_cpp.native import cards
from kernel.contract import Refused

RUNNING = 16
"""Replies that are written at once, unless the options say otherwise."""


class Override(ctypes.Structure):
    """struct llama_model_tensor_buft_override: where tensors with such names are kept."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


def model_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of llama_model_params that the options name."""
    layers, free = options.get("gpu_layers", -1), cards.free()
    if layers < 0:
        layers = EVERYTHING  # where nothing was settled before: see files.settled
    found: dict[str, Any] = {
        "n_gpu_layers": layers,
        "load_mode": LOAD_MODES[options.get("mmap", True), options.get("mlock", False)],
        "split_mode": SPLIT_MODES[options.get("split_mode", "layer")],
        "main_gpu": options.get("main_gpu", 0),
        "kv_overrides": overrides(options.get("override_kv", ())),
        "tensor_split": shares(options),
        # Where a compiler before gcc 15 was told of AMX, the kernels for it are wrong: it leaves
        # out most of what configures the tiles, and the first of them is an illegal instruction.
        "use_extra_bufts": b"AMX_INT8 = 1" not in C.llama_print_system_info(),
    }
    if len(found["tensor_split"]) > (most := C.llama_max_devices()):
        raise Refused(f"llama.cpp divides a model among {most} cards at most. Give fewer shares.")
    if free and found["main_gpu"] >= len(free):
        raise Refused(f"There is no card {found['main_gpu']}: they count from 0, {len(free)} here.")
    if options.get("cpu_moe"):
        found["tensor_buft_overrides"] = (Override * 2)((EXPERTS.encode(), cards.memory_of_cpu()))
    return found


def context_parameters(
    options: Mapping[str, Any], size: int, file: Gguf | None = None
) -> dict[str, Any]:
    """The fields of llama_context_params that the options name, for a file of `size` bytes."""
    threads = threads_for(options.get("threads", 0), size)
    base, scale = rope(options, file)
    kind = cache_type(options, file)
    return {
        "sequences": min(256, 2 * running(options)),
        "n_batch": options.get("batch_size", 512),
        "n_ubatch": options.get("ubatch_size", 512),
        "n_threads": threads,
        "n_threads_batch": options.get("threads_batch", 0) or threads,
        "flash_attn_type": flash_attention(options, bool(cards.free())),
        "type_k": kind,
        "type_v": kind,
        "rope_freq_base": base,
        "rope_freq_scale": scale,
        "offload_kqv": not options.get("no_kv_offload", False),
        "swa_full": True,
    }


def running(options: Mapping[str, Any]) -> int:
    """How many replies are written at once."""
    return options.get("parallel", 0) or RUNNING
