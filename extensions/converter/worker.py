"""Makes a safetensors file of one that could run programs, in a child process with PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.converter.forms import look
from extensions.converter.limits import available, bind
from extensions.converter.sentences import sentence
from extensions.converter.writing import compare, kept, load, write
from kernel.contract import ModelInfo, Output, Refused, Report, Request


class Cancelled(Refused):
    """Nobody waits for it any more."""


class Engine:
    """Answers `convert`; it holds no model."""

    concurrent: Sequence[str] = ()

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        raise Refused("This engine converts files. Choose a loader to load one.")

    def submit(self, id: int, request: Request) -> None:
        raise Refused("This engine converts files. Load a model to ask it.")

    def cancel(self, id: int) -> None:
        """There is nothing to cancel: it takes no requests."""

    def poll(self, timeout: float) -> Sequence[Output]:
        return ()

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`convert(source, part, tied)`: the names that were written and what was left out."""
        if name != "convert":
            raise Refused(f"The converter knows no call {name!r}.")
        source, part = Path(data["source"]), Path(data["part"])
        try:
            return convert(source, part, bool(data["tied"]), report, cancelled)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if said := sentence(error, source, part):
                raise Refused(said) from error
            raise


def convert(
    source: Path, part: Path, tied: bool, report: Report, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Convert one file; raises Unfit, Cancelled, OSError, and where memory runs out."""

    def tell(fraction: float, note: str = "") -> None:
        if cancelled():
            raise Cancelled("The conversion was cancelled.")
        report(fraction, note)

    def reading() -> None:
        tell(0, f"Reading {source.name}")

    reading()
    size = source.stat().st_size
    bind(size)
    contents = look(source, reading)
    if contents.old and (free := available()) and free < size:
        raise MemoryError
    said, gone = kept(contents, size, tied)
    tensors = load(source, contents, reading)
    sizes = [each.size for each in said.values()]
    bind(sum(sizes) + max(sizes, default=0))  # The new file is mapped, too, to be compared.
    metadata = {"format": "pt", **gone}
    write(part, said, tensors, metadata, lambda done: tell(done * 0.7, f"Writing {source.name}"))
    compare(part, tensors, {*said}, lambda done: tell(0.7 + done * 0.3, f"Checking {source.name}"))
    return {"names": [*said], "gone": [*gone], "left_out": contents.left_out}
