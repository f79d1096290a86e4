"""Texts as vectors: a second context of the same model, made when the first text comes."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import STOPPED, Gguf
from extensions.llama_cpp.meaning import POOLING, pooling
from extensions.llama_cpp.native.context import Context, OutOfMemory
from extensions.llama_cpp.native.library import Log, Model
from extensions.llama_cpp.native.parameters import context_parameters
from kernel.contract import Refused

TOGETHER = 16
"""Texts that are read in one step."""


class Embedder:
    """Makes a vector of length 1 of each text; a text is read in one piece."""

    def __init__(
        self, model: Model, log: Log, options: Mapping[str, Any], file: Gguf, limit: int
    ) -> None:
        self._model, self._log, self._options, self._file = model, log, options, file
        self._most = min(limit, options.get("ubatch_size", 512))
        """Tokens: llama.cpp pools what it computes at once."""
        self._context: Context | None = None

    def embed(self, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[list[float]]:
        """Raises Refused for what is too long or empty, and when it is given up between steps."""
        prompts = [self._tokens(text) for text in texts]
        context = self._context = self._context or self._made()
        vectors: list[list[float]] = []
        waiting = list(prompts)
        while waiting:
            if cancelled():
                raise Refused(STOPPED)
            some: list[list[int]] = []
            while waiting and len(some) < TOGETHER:
                if sum(map(len, some)) + len(waiting[0]) > context.batch.size:
                    break
                some.append(waiting.pop(0))
            vectors += self._step(context, some)
        return vectors

    def _tokens(self, text: str) -> list[int]:
        if len(text) > self._most * 40:
            raise Refused(f"A text has {len(text):,} characters, too many for one vector. Cut it.")
        if not text:
            raise Refused("An empty text has no vector. Leave it out.")
        tokens = self._model.tokenize(text, beginning=True)
        if len(tokens) > self._most:
            raise Refused(
                f"A text has {len(tokens):,} tokens, and {self._most:,} can become one vector. "
                "Cut it, or load the model with more context and a larger ubatch_size."
            )
        return tokens

    def _made(self) -> Context:
        fields = context_parameters(self._options, self._file.size, self._file)
        fields |= {
            "sequences": TOGETHER, "n_batch": self._most, "n_ubatch": self._most,
            "embeddings": True, "pooling_type": POOLING[pooling(self._file)],
        }  # fmt: skip
        try:
            return Context(self._model, self._log, cells=self._most, **fields)
        except OutOfMemory as error:
            raise Refused(
                f"There is not enough memory to make vectors ({error}). Load the model with a "
                "smaller ubatch_size."
            ) from error

    def _step(self, context: Context, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        batch = context.batch
        batch.clear()
        for sequence in range(TOGETHER if context.memory else 0):
            context.forget(sequence)  # Also those of a fuller step, which keep their cells.
        for sequence, tokens in enumerate(prompts):
            batch.extend(np.array(tokens, np.int32), 0, sequence, last=True)
        batch.outputs[: batch.used] = 1
        batch.native.n_tokens = batch.used
        run = C.llama_decode if context.memory else C.llama_encode
        if code := run(context.handle, batch.native):
            raise RuntimeError(f"llama.cpp could not make vectors (code {code})")
        return [self._vector(context, sequence) for sequence in range(len(prompts))]

    def _vector(self, context: Context, sequence: int) -> list[float]:
        pointer = C.llama_get_embeddings_seq(context.handle, sequence)
        if not ctypes.cast(pointer, ctypes.c_void_p):
            raise RuntimeError("llama.cpp has no vector for a text")
        vector = np.ctypeslib.as_array(pointer, (self._model.width,)).astype(np.float64)
        return (vector / max(float(np.linalg.norm(vector)), 1e-12)).tolist()
