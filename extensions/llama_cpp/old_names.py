"""Names that options of llama.cpp have, or had, elsewhere."""

import re
from collections.abc import Callable, Mapping
from typing import Any

SAME = {
    "n_ctx": "context_length", "ctx_size": "context_length", "max_seq_len": "context_length",
    "n_gpu_layers": "gpu_layers", "n_batch": "batch_size", "n_ubatch": "ubatch_size",
    "n_threads": "threads", "n_threads_batch": "threads_batch", "n_parallel": "parallel",
    "no_offload_kqv": "no_kv_offload", "low_vram": "no_kv_offload", "use_mlock": "mlock",
    "rope_freq_scale": "compress_pos_emb", "kv_overrides": "override_kv", "loras": "lora",
    "rpc_servers": "rpc", "type_k": "cache_type",
    "flash_attention": "flash_attn", "cache_capacity": "cache_ram",
}  # fmt: skip
"""Another name for the same thing; some of their values are converted, see VALUES."""
SWITCHES: Mapping[str, tuple[str, Any]] = {
    "no_mmap": ("mmap", False), "row_split": ("split_mode", "row"),
    "cache_8bit": ("cache_type", "q8_0"), "cache_4bit": ("cache_type", "q4_0"),
    "cpu": ("gpu_layers", 0), "no_flash_attn": ("flash_attn", "off"),
}  # fmt: skip
"""What a switch sets when it is on; when it is off it says nothing."""
FORMER = (*SAME, *SWITCHES)
MOST_LAYERS = 10_000
DRAFT = "This loader guesses no tokens ahead (speculative decoding)."
GONE = {
    "tensorcores": "A native engine that is built for CUDA uses tensor cores by itself.",
    "no_mul_mat_q": "llama.cpp chooses its kernels by itself.",
    "n_gqa": "The file says it itself; override_kv corrects a file that is wrong.",
    "rms_norm_eps": "The file says it itself; override_kv with "
    "llama.attention.layer_norm_rms_epsilon=float:… corrects it.",
    "llama_cpp_seed": "The seed is a parameter of each reply: seed.",
    "cfg_cache": "The loader llamacpp_HF has it.",
    "extra_flags": "Each of llama.cpp's flags has an option here; values of the file are set with "
    "override_kv.",
    "trust_remote_code": "A GGUF file has no code to be trusted.",
    "no_use_fast": "A GGUF file's tokenizer is read by llama.cpp, and one in a folder as it is.",
    "ik": "There is one llama.cpp here, the original.",
    "fit_target": "gpu_layers -1 leaves 1 GiB of each card free by itself.",
    "model_draft": DRAFT,
    "spec_type": DRAFT,
}  # fmt: skip
"""What exists no longer, and what takes its place."""
NEEDLESS = (
    "logits_all", "draft_max", "gpu_layers_draft", "device_draft", "ctx_size_draft",
    "spec_ngram_size_n", "spec_ngram_size_m", "spec_ngram_min_hits",
)  # fmt: skip
"""Wishes for what the native engine always has, and details of those that are told anyway."""
OFF = (None, False, "", 0, "0", "false", "False", "none", "None")
"""Values at which one of those asked for nothing."""
USUAL = {"fit_target": ("512", 512)}
"""Values that text-generation-webui saves of one with which nobody did anything."""


def modern(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by their names of today, and a sentence for each that has no successor."""
    good: dict[str, Any] = {}
    bad: dict[str, str] = {}
    for name, value in values.items():
        name = name.replace("-", "_")
        if name in NEEDLESS:
            continue
        if name in GONE:
            if not _off(value) and value not in USUAL.get(name, ()):
                bad[name] = f"{GONE[name]} Leave {name} out."
        elif name in SWITCHES:
            if not _off(value):
                now, set_to = SWITCHES[name]
                good.setdefault(now, set_to)
        elif name in SAME:
            now = SAME[name]
            good.setdefault(now, _converted(VALUES.get(name, VALUES.get(now)), value))
        else:
            good[name] = _converted(VALUES.get(name), value)
    return good, bad


def _off(value: Any) -> bool:
    value = value[-1] if isinstance(value, list) and value else value  # a checkbox in a form
    return any(value == off and type(value) is type(off) for off in OFF)


def _converted(convert: Callable[[Any], Any] | None, value: Any) -> Any:
    return convert(value) if convert else value


def _scale(value: Any) -> Any:
    """The scale is one through what positions are divided by."""
    try:
        return 1 / float(value) if float(value) else 1.0
    except (TypeError, ValueError):
        return value


def _mebibytes(value: Any) -> Any:
    """`2000MiB`, `2GiB`, or bytes."""
    found = re.fullmatch(r"\s*(\d+)\s*([MG]i?B)?\s*", str(value))
    if not found:
        return value
    number, unit = int(found[1]), found[2] or ""
    return number * 1024 if unit[:1] == "G" else number if unit else number >> 20


def _cache_type(value: Any) -> Any:
    """Also those of ExLlama, where there is one that takes as much."""
    known: Mapping[Any, str] = {
        "fp16": "f16", "fp8": "q8_0", "q8": "q8_0", "q4": "q4_0", 8: "q8_0", 2: "q4_0", 1: "f16",
    }  # fmt: skip
    word = value.lower() if isinstance(value, str) else value
    return known.get(word, word) if isinstance(word, str | int) else value


def _flash(value: Any) -> Any:
    value = value[-1] if isinstance(value, list) and value else value
    known: Mapping[Any, str] = {True: "on", False: "off", "true": "on", "false": "off"}
    word = value.lower() if isinstance(value, str) else value
    return known.get(word, word) if isinstance(word, str | bool) else value


def _layers(value: Any) -> Any:
    """More than any model has, which is all of them, was written with nine zeros."""
    try:
        return min(int(value), MOST_LAYERS) if type(value) in (int, str) else value
    except ValueError:
        return value


def _file(value: Any) -> Any:
    """text-generation-webui saves the word None where no file was chosen."""
    return "" if value in ("None", "none") else value


VALUES: Mapping[str, Callable[[Any], Any]] = {
    "rope_freq_scale": _scale, "cache_capacity": _mebibytes, "cache_type": _cache_type,
    "flash_attn": _flash, "gpu_layers": _layers, "mmproj": _file,
}  # fmt: skip
"""Old ways of writing a value, by its old name or that of today."""
