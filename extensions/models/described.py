"""What is read of a model's files: plain data, made in a process of its own."""

from pathlib import Path
from typing import Literal

from kernel.contract import Refused, Struct

Form = Literal["GGUF", "safetensors", "pickle", "GGML", "engine", "other"]
Role = Literal["model", "adapter", "projector", "part", "pictures", "other"]


class Suited(Struct, frozen=True):
    """A loader that takes a model by the look of its files, whether it is there or not, and why."""

    loader: str
    label: str
    why: str


class Described(Struct, frozen=True):
    """A model below models/ as its headers tell; empty and 0 is what they do not tell.

    `trouble` is a sentence: why nothing loads it as it is.
    """

    name: str = ""
    form: Form = "other"
    role: Role = "model"
    title: str = ""
    architecture: str = ""
    parameters: int = 0
    quantization: str = ""
    context_length: int = 0
    layers: int = 0
    size: int = 0
    """Bytes of the weights, of all files."""
    files: int = 1
    template: str = ""
    """The family of its chat template, "its own" for one of none, or empty where it has none."""
    licence: str = ""
    base: str = ""
    """What it was made from."""
    programs: str = ""
    """The file that names programs of its own (auto_map), which run only where that is allowed."""
    loaders: tuple[Suited, ...] = ()
    trouble: str = ""


def is_gone(error: BaseException | None, path: str | Path) -> bool:
    """Whether there is nothing at a path: nothing of a model that is there is missing."""
    return isinstance(error, FileNotFoundError) and str(error.filename) == str(path)


def trouble_of(refusal: Refused, path: Path) -> str:
    """What is wrong with a file; raises FileNotFoundError where that is only that it is gone."""
    if (cause := refusal.__cause__) and is_gone(cause, path):
        raise cause
    return str(refusal)
