"""The engine of llamacpp_HF, with faults beside its steps that a call orders."""

from pathlib import Path

from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llamacpp_hf"
Real = load_code(f"{FOLDER / 'worker.py'}:Engine")

from extensions.llama_cpp.api import OutOfMemory  # noqa: E402 - after its package was made


class Engine(Real):
    def call(self, name, report, cancelled, **data):
        if name != "starve":
            return super().call(name, report, cancelled, **data)
        self.fail(self._beside.context, "reading a prompt", data["step"])

    def fail(self, context, moment, step=False):
        """Fail its next decoding; with `step` also that of the replies, which comes then."""

        def once():
            del context.decode
            if step:
                self.fail(self._context, "writing a reply")
            raise OutOfMemory(moment)

        context.decode = once
