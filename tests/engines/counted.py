"""The native engine of llama.cpp, which also tells what its context holds."""

from pathlib import Path

from kernel.worker_host import load_code

load_code(f"{Path(__file__).parents[2] / 'extensions' / 'llama_cpp' / 'worker.py'}:Engine")

from extensions.llama_cpp.native.engine import Native  # noqa: E402 - after its package was made


class Engine(Native):
    def call(self, name, report, cancelled, **data):
        """Also `held()`: the tokens of each sequence that are in the context."""
        if name == "held":
            return [self._context.length(number) for number in range(self._context.sequences)]
        return super().call(name, report, cancelled, **data)
