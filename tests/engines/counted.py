"""The native engine of llama.cpp, which also tells what it remembers, and where."""

from pathlib import Path

from kernel.worker_host import load_code

load_code(f"{Path(__file__).parents[2] / 'extensions' / 'llama_cpp' / 'worker.py'}:Engine")

from extensions.llama_cpp.native.engine import Native  # noqa: E402 - after its package was made


class Engine(Native):
    def load(self, path, options, report):
        info, self.copies = super().load(path, options, report), 0
        state = self._context.state

        def counted(sequence):
            self.copies += 1
            return state(sequence)

        self._context.state = counted
        return info

    def call(self, name, report, cancelled, **data):
        """Also `held()` and `outside()`: the tokens of each sequence that are in the context, and
        of each that lies outside; `copies()`: how often something was copied out."""
        if name == "held":
            return [self._context.length(number) for number in range(self._context.sequences)]
        if name == "outside":
            return [len(away.tokens) for away in self._prefixes._outside]
        if name == "copies":
            return self.copies
        return super().call(name, report, cancelled, **data)
