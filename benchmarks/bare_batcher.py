"""Where a token's time goes in the native engine: bare_batcher.py MODEL, with that engine's Python.

Each line on its input says `streams tokens`; it answers with microseconds of CPU of the engine's
thread for a token: in llama_decode, in the samplers (both in C), in Python, and in the frame.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel import frames
from kernel.contract import Request, Sampling
from kernel.worker_host import load_code

ENGINE = Path(__file__).parents[1] / "extensions" / "llama_cpp" / "worker.py"


class Clock:
    """What calls of a function take of this thread's CPU, less what the clock itself does."""

    def __init__(self) -> None:
        begun = time.thread_time()
        for _ in range(1000):
            time.thread_time()
        self.cost = (time.thread_time() - begun) / 1000
        self.spent, self.calls = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        now = time.thread_time

        def timed(*given: Any) -> Any:
            begun = now()
            answer = function(*given)
            self.spent += now() - begun
            self.calls += 1
            return answer

        return timed

    def take(self) -> float:
        spent = self.spent - self.calls * self.cost
        self.spent, self.calls = 0.0, 0
        return spent


def main() -> None:
    code = load_code(f"{ENGINE}:Engine")()
    code.load(sys.argv[1], {"engine": "native"}, lambda *_: None)
    from extensions.llama_cpp.native import chain, context  # noqa: PLC0415 - Engine made the package

    decoding, choosing = Clock(), Clock()
    context._decode = decoding.around(context._decode)
    chain.C.llama_sampler_sample = choosing.around(chain.C.llama_sampler_sample)
    number = 0
    for line in sys.stdin:
        streams, tokens = map(int, line.split())
        sampling = Sampling(
            max_new_tokens=tokens + 1, ban_eos_token=True, temperature=0.8, top_k=40, top_p=0.95
        )
        for _ in range(streams):
            number += 1
            ids = tuple(300 + (number * 7919 + place * 104_729) % 31_000 for place in range(8))
            code.submit(number, Request(token_ids=ids, sampling=sampling))
        begun = 0
        while begun < streams:  # all have their first token
            begun += sum(1 for each in code.poll(1) if each.delta)
        decoding.take()
        choosing.take()
        packing, steps, ended, before = 0.0, 0, 0, time.thread_time()
        while ended < streams:
            outputs = tuple(code.poll(1))
            packed = time.thread_time()
            frames.pack(frames.Outputs(outputs))
            packing += time.thread_time() - packed
            ended += sum(1 for each in outputs if each.finish)
            steps += 1
        total = time.thread_time() - before
        clocks = (2 * (decoding.calls + choosing.calls) + 3 * steps) * decoding.cost
        decode, choose = decoding.take(), choosing.take()
        made = streams * tokens
        python = total - clocks - decode - choose - packing
        figures = (decode, choose, python, packing - steps * decoding.cost)
        print(*(f"{each / made * 1e6:.2f}" for each in figures), flush=True)


if __name__ == "__main__":
    main()
