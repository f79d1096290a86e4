"""The engine of transformers, with faults that a call orders: what a test cannot wait for."""

from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "transformers"
Real = load_code(f"{FOLDER / 'worker.py'}:Engine")


class Engine(Real):
    def call(self, name, report, cancelled, **data):
        match name:
            case "forget":
                self._batch.rows, self._batch._cache = [], None
                return self._batch._past.clear()
            case "starve":
                fault = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                return self.fail(fault, data["reading"])
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

    def no_answer(self):
        raise RuntimeError("CUDA error: device-side assert triggered")

    def break_card(self):
        """An index out of range: every later call in this process fails."""
        torch.arange(4, device="cuda")[torch.tensor([9], device="cuda")]
