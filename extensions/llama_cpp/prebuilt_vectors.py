"""Texts as vectors, by a second in-process server that is made when the first text comes."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from extensions.engine_kit.api import STOPPED, Gguf
from extensions.llama_cpp.meaning import pooling
from kernel.contract import Refused

TOGETHER = 64
"""Texts that are given to llama.cpp at once."""


class Vectors:
    """`parameters(key)` are those of the model's own server."""

    def __init__(self, parameters: Callable[[str], Any], file: Gguf) -> None:
        self._parameters, self._file = parameters, file
        self._server: Any = None

    def embed(self, texts: Sequence[str], cancelled: Callable[[], bool]) -> list[list[float]]:
        """A vector of length 1 of each text; raises Refused for what is too long or empty, and
        when it is given up between some and the next."""
        if not all(texts):
            raise Refused("An empty text has no vector. Leave it out.")
        self._server = self._server or self._made()
        vectors: list[list[float]] = []
        for begin in range(0, len(texts), TOGETHER):
            if cancelled():
                raise Refused(STOPPED)
            vectors += self._of(texts[begin : begin + TOGETHER])
        return vectors

    def _of(self, texts: Sequence[str]) -> list[list[float]]:
        answer: dict[str, Any] = self._server.handle_embeddings({"input": list(texts)})
        if "error" in answer or "data" not in answer:
            said = str(answer.get("error", {}).get("message", "it did not say why"))
            raise Refused(f"llama.cpp could not make vectors: {said.rstrip('.')}.")
        return [entry["embedding"] for entry in answer["data"]]

    def _made(self) -> Any:
        import xllamacpp  # noqa: PLC0415 - a large library

        p = self._parameters(secrets.token_urlsafe())
        p.embedding, p.warmup, p.ctx_shift = True, False, False
        p.pooling_type = getattr(
            xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling(self._file).upper()}"
        )
        p.n_batch = p.n_ubatch = min(p.n_ctx, p.n_ubatch)
        p.n_ctx = p.n_ubatch * p.n_parallel
        return xllamacpp.Server(p)
