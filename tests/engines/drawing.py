"""The native engine of llama.cpp, whose `draw` chooses many tokens from given logits; and a grammar
may be given up sooner."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from kernel.contract import Processor, Request, Sampling
from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llama_cpp"
Native = load_code(f"{FOLDER / 'worker.py'}:Engine")

from extensions.llama_cpp.native import constraint  # noqa: E402 - after its package was made


class Engine(Native):
    def call(self, name, report, cancelled, **data):
        """Also `draw(...)`, and `slowest(seconds)`: what a look at a grammar may take from now on;
        answers what it might until then."""
        if name == "slowest":
            before, constraint.SLOWEST = constraint.SLOWEST, data["seconds"]
            return before
        if name != "draw":
            return super().call(name, report, cancelled, **data)
        return self.draw(**data)

    def draw(
        self, logits, sampling, count=1, prompt=(), length=1, grammar="", processors=(), fresh=False
    ):
        """How often each run of `length` tokens came; what is not in `logits` has no chance.

        Each run follows the prompt: it is taken back after it, or, where it is to be `fresh`,
        another chain begins.
        """
        context, model = self._engine._context, self._engine._model
        given = np.full(model.vocabulary_size, -np.inf, np.float32)
        given[[int(token) for token in logits]] = list(logits.values())
        fields = msgspec.convert(sampling, Sampling)
        seed = 0 if fields.seed is msgspec.UNSET else fields.seed
        wanted = tuple(msgspec.convert(each, Processor) for each in processors)
        found, chains = Counter(), []
        context.forget(context.sequences - 1)
        context.batch.clear()
        row = context.batch.add(model.bos, 0, context.sequences - 1)
        context.decode()
        view = context.logits(row)
        try:
            for number in range(count):
                if fresh or not chains:
                    own = msgspec.structs.replace(fields, seed=seed + number)
                    request = Request(prompt="", sampling=own, processors=wanted)
                    chains.append(self.chain(request, prompt, grammar))
                run = []
                for _ in range(length):
                    view[:] = given
                    run.append(chains[-1].sample(context, row))
                found[tuple(run)] += 1
                if fresh:
                    chains.pop().close()
                else:
                    chains[-1].take_back(length)
        finally:
            for chain in chains:
                chain.close()
        return [[list(run), times] for run, times in found.items()]

    def chain(self, request, prompt, grammar):
        from extensions.engine_kit.api import as_gbnf  # noqa: PLC0415 - after load_code
        from extensions.llama_cpp.native.chain import Chain  # noqa: PLC0415

        return Chain(self._engine._model, request, prompt, grammar=as_gbnf(grammar), most=2048)
