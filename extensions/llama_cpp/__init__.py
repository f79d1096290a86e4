"""Loads GGUF models with llama.cpp, through the prebuilt package xllamacpp."""

from pathlib import Path
from typing import Annotated, Any

from extensions.llama_cpp.loader import LlamaLoader
from kernel.api import LOADERS, Extension, Meta, Struct


class Options(Struct, frozen=True):
    """What a user may choose when loading a model."""

    context_length: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="Tokens of one conversation; 0 is the model's own."),
    ] = 0
    gpu_layers: Annotated[
        int, Meta(ge=-1, le=10_000, description="Layers on the graphics card; -1 is all that fit.")
    ] = -1
    threads: Annotated[
        int, Meta(ge=0, le=256, description="Processor threads; 0 chooses by the model's size.")
    ] = 0
    batch_size: Annotated[
        int, Meta(ge=32, le=8192, description="Tokens of a prompt that are read in one step.")
    ] = 512
    keep_cache: Annotated[
        bool, Meta(description="Keep what conversations left on the disk until the next load.")
    ] = True


def accepts(path: Path) -> bool:
    return path.suffix == ".gguf"


async def setup(ext: Extension[Any]) -> None:
    loader = LlamaLoader(
        id="llama_cpp",
        label="llama.cpp",
        engine="worker.py:Engine",
        Options=Options,
        accepts=accepts,
        ext=ext,
    )
    ext.add(LOADERS, loader)
