"""What the engine's Python costs when its caches are cold: bare_cold.py MODEL, with that engine's
Python.

llama_decode and the samplers are replaced by nothing, or by touching so much memory, as a real step
does with the weights. What is left, and printed, is the CPU of the engine's own Python for a token.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np  # pyright: ignore[reportMissingImports]

from kernel import frames
from kernel.contract import Request, Sampling
from kernel.worker_host import load_code

ENGINE = Path(__file__).parents[1] / "extensions" / "llama_cpp" / "worker.py"
TOKENS = 400
TOUCHED = (0, 1, 4, 16, 64)
"""Megabytes; a core of the machine of README.md keeps 2 of them near."""


class Instead:
    """Stands where llama_decode and the sampler stood, once the prompts are read."""

    def __init__(self, megabytes: int) -> None:
        self._memory = np.zeros(megabytes << 17)
        self._tokens = 0
        self.spent = 0.0

    def decode(self, *_: Any) -> int:
        begun = time.thread_time()
        self._memory += 1
        self.spent += time.thread_time() - begun
        return 0

    def choose(self, *_: Any) -> int:
        self._tokens += 1
        return 300 + self._tokens % 3000


def main() -> None:
    code = load_code(f"{ENGINE}:Engine")()
    code.load(sys.argv[1], {"engine": "native"}, lambda *_: None)
    from extensions.llama_cpp.native import chain, context  # noqa: PLC0415 - Engine made the package

    real = context._decode, chain.C.llama_sampler_sample
    sampling = Sampling(max_new_tokens=TOKENS + 1, ban_eos_token=True, temperature=0.8, top_k=40)
    number = 0
    for streams in (1, 16):
        for megabytes in TOUCHED:
            context._decode, chain.C.llama_sampler_sample = real
            for _ in range(streams):
                number += 1
                ids = tuple(300 + (number * 7919 + n * 104_729) % 31_000 for n in range(8))
                code.submit(number, Request(token_ids=ids, sampling=sampling))
            begun = ended = 0
            while begun < streams:  # all have their first token
                begun += sum(1 for each in code.poll(1) if each.delta)
            instead = Instead(megabytes)
            context._decode, chain.C.llama_sampler_sample = instead.decode, instead.choose
            before = time.thread_time()
            while ended < streams:
                outputs = tuple(code.poll(1))
                frames.pack(frames.Outputs(outputs))
                ended += sum(1 for each in outputs if each.finish)
            took = time.thread_time() - before - instead.spent
            cost = took / streams / TOKENS * 1e6
            print(f"{streams:2} at once, {megabytes:2} MB touched a step: {cost:5.1f} us a token")


if __name__ == "__main__":
    main()
