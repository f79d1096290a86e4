"""The native engine of llama.cpp, which also tells what it remembers, and where, may be held
within a step, and may seem slow."""

import threading
from pathlib import Path
from types import SimpleNamespace

from kernel.worker_host import load_code

load_code(f"{Path(__file__).parents[2] / 'extensions' / 'llama_cpp' / 'worker.py'}:Engine")

from extensions.llama_cpp.native import batcher  # noqa: E402 - after its package was made
from extensions.llama_cpp.native.engine import Native  # noqa: E402


class Engine(Native):
    concurrent = (*Native.concurrent, "stepping")

    def load(self, path, options, report):
        info, self.copies = super().load(path, options, report), 0
        state = self._context.state

        def counted(sequence):
            self.copies += 1
            return state(sequence)

        self._context.state = counted
        return info

    def hold(self):
        decode = self._context.decode
        self.begun, self.heard, self.codes = threading.Event(), threading.Event(), []

        def held():
            self.begun.set()
            self.heard.wait(60)
            self.codes.append(decode())
            return self.codes[-1]

        self._context.decode = held

    def slow(self, speed):
        """Let the batcher's clock say that steps carry out so many tokens a second."""
        decode, self.steps, clock = self._context.decode, [], SimpleNamespace(now=0.0)
        batcher.time = SimpleNamespace(monotonic=lambda: clock.now)

        def slowly():
            self.steps.append(self._context.batch.used)
            clock.now += self.steps[-1] / speed
            return decode()

        self._context.decode = slowly

    def disturb(self):
        """Let stops come too late: the first step and the fourth are carried out, and told as ended
        before."""
        decode, self.codes = self._context.decode, []

        def disturbed():
            code = decode()
            self.codes.append(batcher.ABORTED if len(self.codes) in (0, 3) else code)
            return self.codes[-1]

        self._context.decode = disturbed

    def cancel(self, id):
        super().cancel(id)
        if hasattr(self, "heard"):
            self.heard.set()

    def call(self, name, report, cancelled, **data):
        """Also `held()` and `outside()`: the tokens of each sequence that are in the context, and
        of each that lies outside; `copies()`: how often something was copied out; `hold()`: steps
        wait for a cancel from now on; `stepping()`, answered within one; `codes()`: their ends;
        `disturb()`: two steps are told as stopped;
        `slow(speed)`: steps seem to carry out so many tokens a second; `steps()`: those of each."""
        if name == "held":
            return [self._context.length(number) for number in range(self._context.sequences)]
        if name == "outside":
            return [len(away.tokens) for away in self._prefixes._outside]
        if name == "copies":
            return self.copies
        if name == "hold":
            return self.hold()
        if name == "stepping":
            return self.begun.wait(60)
        if name == "codes":
            return self.codes
        if name == "disturb":
            return self.disturb()
        if name == "slow":
            return self.slow(**data)
        if name == "steps":
            return self.steps
        return super().call(name, report, cancelled, **data)
