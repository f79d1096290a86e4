"""The options as fields of xllamacpp's parameters."""

from collections.abc import Mapping
from typing import Any

from extensions.engine_kit.api import Gguf
from extensions.llama_cpp.files import context_length, threads_for
from extensions.llama_cpp.meaning import (
    EXPERTS,
    LOAD_MODES,
    SMALL,
    SPLIT_MODES,
    cache_type,
    flash_attention,
    loras,
    projector,
    rope,
    shares,
    together,
    tokens_at_once,
)
from extensions.llama_cpp.prebuilt_images import PASSING
from extensions.llama_cpp.refusals import check_prebuilt

TALKATIVE = 3
"""How much llama.cpp prints: what it loads and how long a reply took, nobody's words."""


def parameters(xllamacpp: Any, path: str, file: Gguf, options: Mapping[str, Any], key: str) -> Any:
    """All that the in-process server is started with; raises Refused for what it lacks."""
    check_prebuilt(options)
    p, card = xllamacpp.CommonParams(), len(xllamacpp.get_device_info()) > 1
    p.model.path = path
    # llama.cpp cuts a step, which has to hold a token of every reply, to the context.
    p.n_ctx = max(context_length(file, options), together(options))
    p.n_batch = tokens_at_once(file, options, card=card)
    p.n_ubatch = min(options.get("ubatch_size", 512), p.n_batch)
    threads = threads_for(options.get("threads", 0), file.size)
    p.cpuparams.n_threads = threads
    p.cpuparams_batch.n_threads = options.get("threads_batch", 0) or threads
    p.n_parallel, p.kv_unified = together(options), True  # one user may have all of the context
    p.flash_attn_type = xllamacpp.llama_flash_attn_type(flash_attention(options, card))
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type(cache_type(options, file))
    p.rope_freq_base, p.rope_freq_scale = rope(options, file)
    p.load_mode = xllamacpp.llama_load_mode(
        LOAD_MODES[options.get("mmap", True), options.get("mlock", False)]
    )
    p.numa = xllamacpp.ggml_numa_strategy(int(options.get("numa", False)))
    p.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(*adapter) for adapter in loras(options, path, file)
    ]
    if mmproj := projector(options, path):
        p.mmproj.path = mmproj
    p.force_pure_content_parser = True
    p.api_keys, p.ui, p.endpoint_slots = [key], False, False
    p.chat_template = PASSING  # so that it never runs the model's own: a hostile one crashes it
    p.cache_ram_mib, p.verbosity = options.get("cache_ram", 512), TALKATIVE
    p.warmup = file.size >= SMALL
    _cards(xllamacpp, p, options)
    return p


def _cards(xllamacpp: Any, p: Any, options: Mapping[str, Any]) -> None:
    p.n_gpu_layers = options.get("gpu_layers", -1)
    p.split_mode = xllamacpp.llama_split_mode(SPLIT_MODES[options.get("split_mode", "layer")])
    p.main_gpu = options.get("main_gpu", 0)
    p.no_kv_offload = options.get("no_kv_offload", False)
    if divided := shares(options):
        p.tensor_split = [*divided, *[0.0] * (len(p.tensor_split) - len(divided))]
    if options.get("cpu_moe"):
        p.tensor_buft_overrides = f"{EXPERTS}=CPU"
