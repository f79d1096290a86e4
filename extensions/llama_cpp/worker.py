"""llama.cpp in a child process: the engine built here where there is one, else the prebuilt one."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from extensions.llama_cpp.options import complete
from extensions.llama_cpp.refusals import runs_native
from kernel.contract import ModelInfo, Output, Report, Request


class Engine:
    """Hands everything to the engine that the options name; see kernel.contract.Engine."""

    concurrent = ("tokenize", "detokenize", "template", "logits", "scores", "pictures")

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        options = complete(options)
        self._engine = choose(options["engine"], images=bool(options["mmproj"]))
        return self._engine.load(path, options, report)

    def submit(self, id: int, request: Request) -> None:
        self._engine.submit(id, request)

    def poll(self, timeout: float) -> Sequence[Output]:
        return self._engine.poll(timeout)

    def rest(self) -> bool:
        rest = getattr(self._engine, "rest", None)
        return rest() if rest else False

    def cancel(self, id: int) -> None:
        self._engine.cancel(id)

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        return self._engine.call(name, report, cancelled, **data)


def choose(wanted: str, images: bool = False) -> Any:
    """The engine of that name; "auto" is the native one where it was built, but for images."""
    if runs_native(wanted, images=images, built=find_spec("llama_cpp") is not None):
        from extensions.llama_cpp.native.engine import Native

        return Native()
    from extensions.llama_cpp.prebuilt import Prebuilt

    return Prebuilt()
