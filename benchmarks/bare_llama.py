"""llama.cpp without Spindle, in the native engine's Python: bare_llama.py KIND MODEL THREADS CELLS

KIND `loop` is a tight loop of the C library's llama_decode, which neither samples nor makes text:
each line on its input says `streams prompt tokens callback`, and it answers with the seconds for
that. The callback says how the loop can be stopped: `none`, `strlen` (C's own, as the engine does)
or `python`. KIND `high` is llama-cpp-python's class Llama: each line has the tokens to write and a
prompt as JSON; it answers with the seconds to the first one, and to the last one.
"""

import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp  # pyright: ignore[reportMissingImports]  it is in the engine's environment
import llama_cpp.llama_cpp as C  # pyright: ignore[reportMissingImports]
import numpy as np  # pyright: ignore[reportMissingImports]

BATCH = 512


@C.llama_log_callback
def quiet(severity: int, text: bytes, _: Any) -> None:
    if severity == 4:
        sys.stderr.write(text.decode())


class Loop:
    """A context with as many sequences as are asked for, and one batch."""

    def __init__(self, path: str, threads: int, cells: int) -> None:
        C.llama_log_set(quiet, ctypes.c_void_p(0))
        self.model = C.llama_model_load_from_file(path.encode(), C.llama_model_default_params())
        given = C.llama_context_default_params()
        given.n_ctx, given.n_seq_max, given.n_batch, given.n_ubatch = cells, 64, BATCH, BATCH
        given.n_threads = given.n_threads_batch = threads
        given.kv_unified, given.no_perf, given.flash_attn_type = True, True, 0
        self.context = C.llama_init_from_model(self.model, given)
        self.memory = C.llama_get_memory(self.context)
        self.tokens = C.llama_vocab_n_tokens(C.llama_model_get_vocab(self.model))
        self.batch = C.llama_batch_init(BATCH, 0, 1)
        self.flag = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, C.ggml_abort_callback)
        python = C.ggml_abort_callback(lambda _: False)
        self.callbacks = {"none": C.ggml_abort_callback(0), "strlen": strlen, "python": python}

    def run(self, streams: int, prompt: int, tokens: int, callback: str) -> float:
        data = ctypes.cast(self.flag, ctypes.c_void_p)
        C.llama_set_abort_callback(self.context, self.callbacks[callback], data)
        C.llama_memory_clear(self.memory, False)
        chance = np.random.default_rng(0)
        begun = time.perf_counter()
        rows = [(place, stream) for stream in range(streams) for place in range(prompt)]
        for first in range(0, len(rows), BATCH):
            self.fill(rows[first : first + BATCH], prompt - 1, chance)
        for place in range(prompt, prompt + tokens - 1):
            self.fill([(place, stream) for stream in range(streams)], place, chance)
        return time.perf_counter() - begun

    def fill(self, rows: list[tuple[int, int]], wanted: int, chance: Any) -> None:
        """One step; the logits of the place `wanted` are computed."""
        batch = self.batch
        ids = chance.integers(300, self.tokens, len(rows)).tolist()
        for row, (place, stream) in enumerate(rows):
            batch.token[row], batch.pos[row] = ids[row], place
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, stream
            batch.logits[row] = place == wanted
        batch.n_tokens = len(rows)
        assert C.llama_decode(self.context, batch) == 0


def high(path: str, threads: int, cells: int) -> None:
    model = llama_cpp.Llama(
        path, n_ctx=cells, n_threads=threads, n_threads_batch=threads, n_batch=BATCH, verbose=False
    )
    forbidden = {C.llama_vocab_eos(C.llama_model_get_vocab(model.model)): -1e9}
    for line in sys.stdin:
        count, _, said = line.partition(" ")
        begun, first = time.perf_counter(), 0.0
        chunks: Any = model.create_completion(
            json.loads(said), max_tokens=int(count), stream=True, logit_bias=forbidden,
            temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0,
        )  # fmt: skip
        for _ in chunks:
            first = first or time.perf_counter() - begun
        print(first, time.perf_counter() - begun, flush=True)


def main() -> None:
    kind, path, threads, cells = sys.argv[1:]
    if kind == "high":
        return high(path, int(threads), int(cells))
    loop = Loop(path, int(threads), int(cells))
    for line in sys.stdin:
        streams, prompt, tokens, callback = line.split()
        print(loop.run(int(streams), int(prompt), int(tokens), callback), flush=True)


if __name__ == "__main__":
    main()
