"""The engine of llamacpp_HF, with faults beside its steps, or a count, that a call orders."""

from pathlib import Path

from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llamacpp_hf"
Real = load_code(f"{FOLDER / 'worker.py'}:Engine")

from extensions.llama_cpp.api import OutOfMemory  # noqa: E402 - after its package was made
from extensions.llama_cpp.native import batcher  # noqa: E402


class Engine(Real):
    def call(self, name, report, cancelled, **data):
        match name:
            case "starve":
                return self.fail(self._beside.context, "reading a prompt", data["step"])
            case "watch":
                return self.watch()
            case "most":
                return max(self.counts)
        return super().call(name, report, cancelled, **data)

    def watch(self):
        """From now on replies may stand still for no time at all; count what is read meanwhile."""
        batcher.PAUSE, self.counts = 0.0, [0]
        beside, step = self._beside.context, self._context
        read, go_on = beside.decode, step.decode

        def counted():
            self.counts[-1] += beside.batch.used
            return read()

        def stepped():
            self.counts.append(0)
            return go_on()

        beside.decode, step.decode = counted, stepped

    def fail(self, context, moment, step=False):
        """Fail its next decoding; with `step` also that of the replies, which comes then."""

        def once():
            del context.decode
            if step:
                self.fail(self._context, "writing a reply")
            raise OutOfMemory(moment)

        context.decode = once
