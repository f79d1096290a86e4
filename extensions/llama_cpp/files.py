"""What a GGUF file says of itself, for both engines."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import Gguf, free_memory, from_gguf
from extensions.llama_cpp.fitting import Machine, check_fits, context_that_fits
from extensions.llama_cpp.meaning import SMALL, stretch
from kernel.contract import Capability, ModelInfo


def threads_for(wanted: int, size: int) -> int:
    """The threads that the user wants, or what is fastest for a file of `size` bytes."""
    return wanted or (1 if size < SMALL else os.cpu_count() or 1)


def settled(
    file: Gguf, options: Mapping[str, Any], cards: Sequence[int] = (), *, prebuilt: bool = False
) -> dict[str, Any]:
    """The options with the context's length and the layers on cards that were left open.

    Raises Refused, in numbers, for what surely finds no memory: before llama.cpp asks for it.
    """
    machine = Machine(free_memory(), tuple(cards))
    cells = context_length(file, options, machine, prebuilt=prebuilt)
    placed = check_fits(file, options, machine, cells, prebuilt=prebuilt)
    return {**options, "context_length": cells, "gpu_layers": placed}


def context_length(
    file: Gguf,
    options: Mapping[str, Any],
    machine: Machine | None = None,
    *,
    prebuilt: bool = False,
) -> int:
    """What the user wants, at most what the model was trained for; or what memory allows."""
    trained = int((file.of_arch("context_length") or 2048) * stretch(options))
    if wanted := options.get("context_length", 0):
        return min(wanted, trained)
    if options.get("rope_freq_base"):
        trained = file.of_arch("context_length") or 2048  # How far it reaches, only the user knows.
    machine = machine or Machine(free_memory())
    return context_that_fits(file, options, machine, trained, prebuilt=prebuilt)


def describe(
    path: str,
    file: Gguf,
    options: Mapping[str, Any],
    samplers: tuple[str, ...],
    capabilities: tuple[Capability, ...],
    together: int,
) -> ModelInfo:
    get = file.metadata.get
    ids: Mapping[str, Any] = {
        role: id
        for role in ("bos", "eos", "eot", "unknown")
        if token_text(file, id := get(f"tokenizer.ggml.{role}_token_id"))
    }
    return ModelInfo(
        name=Path(path).stem,
        loader="llama.cpp",
        path=path,
        context_length=context_length(file, options),
        vocabulary_size=len(get("tokenizer.ggml.tokens", ())),
        special_tokens=ids,
        chat_template=get("tokenizer.chat_template", ""),
        samplers=samplers,
        capabilities=capabilities,
        description=get("general.name", ""),
        defaults=from_gguf(Path(path), file.metadata),
        together=together,
    )


def token_text(file: Gguf, id: Any) -> str:
    """A token's text, or nothing where a file points outside its vocabulary."""
    tokens = file.metadata.get("tokenizer.ggml.tokens", ())
    return (
        tokens[id].decode(errors="replace") if isinstance(id, int) and 0 <= id < len(tokens) else ""
    )
