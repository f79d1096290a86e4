"""The engine of transformers, with faults that a call orders: what a test cannot wait for."""

from itertools import count
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "transformers"
Real = load_code(f"{FOLDER / 'worker.py'}:Engine")

from extensions.transformers import batch  # noqa: E402 - after its package was made

NO_ROOM = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Engine(Real):
    def call(self, name, report, cancelled, **data):
        match name:
            case "forget":
                self._batch.rows, self._batch._cache = [], None
                return self._batch._past.clear()
            case "starve":
                return self.fail(torch.OutOfMemoryError(NO_ROOM), data["reading"])
            case "crowd":
                return self.crowd()
            case "lose":
                torch.cuda.is_initialized = lambda: True
                torch.cuda.synchronize = self.no_answer
                fault = RuntimeError("CUDA error: device-side assert triggered")
                return self.fail(fault, reading=False)
            case "break":
                return self.break_card()
        return super().call(name, report, cancelled, **data)

    def fail(self, fault, reading):
        """Fail the next step of that kind in the last layer: the others are done by then."""

        def fail(module, inputs):
            if (inputs[0].shape[1] > 1) is reading:
                hook.remove()
                raise fault

        hook = self._model.model.layers[-1].register_forward_pre_hook(fail)

    def crowd(self):
        """Let the next prompt that joins others find room for its keys and values in the first
        layer, for its keys alone in the second, and no more."""
        pad, calls = batch.pad, count()

        def padded(*given):
            if next(calls) == 6:
                raise torch.OutOfMemoryError(NO_ROOM)
            return pad(*given)

        batch.pad = padded

    def no_answer(self):
        raise RuntimeError("CUDA error: device-side assert triggered")

    def break_card(self):
        """An index out of range: every later call in this process fails."""
        torch.arange(4, device="cuda")[torch.tensor([9], device="cuda")]
