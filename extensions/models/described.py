"""What is read of a model's files: plain data, made in a process of its own."""

from typing import Literal

from kernel.contract import Struct

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
