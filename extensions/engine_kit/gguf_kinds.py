"""Which of a model's files a GGUF is: a model, an adapter for one, or what reads images for it."""

from pathlib import Path

from extensions.engine_kit.gguf import Gguf, check_gguf, read_header
from kernel.contract import Refused

FLOAT32 = 6
"""GGUF's number of the type of an adapter's alpha."""
PLAIN = {24, 25, 26, 27, 28}
"""ggml's types that are no weights: whole numbers, and doubles."""


def check_gguf_model(path: str | Path, file: Gguf | None = None) -> Gguf:
    """The header of a whole model (or go on with the one given); raises Refused, also where it is
    something else."""
    name, file = Path(path).name, file or read_header(path)
    arch = file.metadata.get("general.architecture")
    kind = file.metadata.get("general.type", "model")
    if kind == "adapter":
        raise Refused(f"{name} is a LoRA adapter, no model. Load its model, then choose it there.")
    if arch == "clip" or kind == "mmproj":
        raise Refused(
            f"{name} is what a model sees images with (mmproj), no model. Load the model that it "
            "came with, and choose this file as its mmproj."
        )
    if arch in ("controlvector", "imatrix") or kind != "model":
        raise Refused(f"{name} is no model but a part of one ({str(kind)[:40]}). Load the model.")
    return check_gguf(path, file)


def read_gguf_adapter(path: str | Path) -> Gguf:
    """The header of a LoRA adapter, whichever model it is for; raises Refused."""
    name, file = Path(path).name, read_header(path)
    get = file.metadata.get
    if (get("general.type"), get("adapter.type")) != ("adapter", "lora"):
        raise Refused(f"{name} is no LoRA adapter in GGUF form. Choose another file.")
    if file.kinds.get("adapter.lora.alpha", FLOAT32) != FLOAT32:  # llama.cpp asserts it
        raise Refused(f"{name} cannot be used: its alpha is no number. Download it again.")
    return file


def check_gguf_adapter(path: str | Path, base: Gguf) -> Gguf:
    """The header of a LoRA adapter that fits the model `base`; raises Refused."""
    name, file = Path(path).name, read_gguf_adapter(path)
    arch, wanted = (each.metadata.get("general.architecture") for each in (file, base))
    if arch != wanted:
        raise Refused(f"{name} was made for a model of the kind {arch}, and this one is {wanted}.")
    try:
        check_pairs(file, base)
    except ValueError as error:
        raise Refused(f"{name} does not fit this model: {error}. Choose another.") from error
    return file


def check_pairs(file: Gguf, base: Gguf) -> None:
    """Each tensor that is changed has both of its factors, in shapes whose product is its own."""
    names = {name.rpartition(".lora_")[0] for name in file.tensors if ".lora_" in name}
    if not names:
        raise ValueError("there is nothing in it")
    for name in sorted(names):
        first, second = (file.tensors.get(f"{name}.lora_{each}") for each in "ab")
        if not first or not second:
            raise ValueError(f"half of {name} is missing")
        if {first.kind, second.kind} & PLAIN:
            raise ValueError(f"{name} is of whole or double numbers, which nothing multiplies")
        if name not in base.tensors:
            raise ValueError(f"the model has no {name}")
        a, b, shape = (two(tensor.shape) for tensor in (first, second, base.tensors[name]))
        if name == "token_embd.weight":  # its factors are the other way round
            fits = (shape[0], shape[1], a[0]) == (b[1], a[1], b[0])
        else:
            fits = (shape[0], shape[1], a[1]) == (a[0], b[1], b[0])
        if not fits:
            raise ValueError(f"{name} has the shape {shape} there, and factors {a} and {b} here")


def two(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shapes of one dimension have a second of one."""
    return shape if len(shape) > 1 else (*shape, 1)


def check_gguf_projector(path: str | Path) -> Gguf:
    """The header of an mmproj file; raises Refused."""
    name, file = Path(path).name, read_header(path)
    if file.metadata.get("general.architecture") != "clip":
        raise Refused(f"{name} is no mmproj file. Choose the one that came with the model.")
    if not file.tensors:
        raise Refused(f"{name} cannot be loaded: there is no tensor in it. Download it again.")
    return file
