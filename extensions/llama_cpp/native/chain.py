"""How one request's next token is chosen: a chain of llama.cpp's own samplers."""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import neutral
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.library import Model
from kernel.contract import Request


class Chain:
    """The samplers of one request, which carry what it wrote."""

    def __init__(self, model: Model, request: Request) -> None:
        sampling = request.sampling
        self._chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        biases = dict(neutral(sampling, "logit_bias"))
        biases |= dict.fromkeys(neutral(sampling, "custom_token_bans"), -float("inf"))
        if neutral(sampling, "ban_eos_token"):
            biases |= dict.fromkeys(model.eog, -float("inf"))
        if biases:
            array = (C.llama_logit_bias * len(biases))(*biases.items())
            self._add(C.llama_sampler_init_logit_bias(model.vocabulary_size, len(biases), array))
        temperature = neutral(sampling, "temperature")
        if not neutral(sampling, "do_sample") or not temperature:
            self._add(C.llama_sampler_init_greedy())
            return
        self._add(C.llama_sampler_init_top_k(neutral(sampling, "top_k")))
        self._add(C.llama_sampler_init_top_p(neutral(sampling, "top_p"), 1))
        self._add(C.llama_sampler_init_temp(temperature))
        seed = neutral(sampling, "seed")
        self._add(C.llama_sampler_init_dist(0xFFFFFFFF if seed == -1 else seed))

    def sample(self, context: Context, row: int) -> int:
        """Choose, and note what was chosen."""
        if not context.batch.outputs[row]:
            raise RuntimeError("a row without logits was asked for")
        return C.llama_sampler_sample(self._chain, context.handle, row)

    def close(self) -> None:
        C.llama_sampler_free(self._chain)

    def _add(self, sampler: Any) -> None:
        if not ctypes.cast(sampler, ctypes.c_void_p):
            raise RuntimeError("llama.cpp could not make a sampler")
        C.llama_sampler_chain_add(self._chain, sampler)
