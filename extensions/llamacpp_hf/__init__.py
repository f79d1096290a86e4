"""Loads GGUF models with llama.cpp, and lets transformers choose the tokens."""

from pathlib import Path
from typing import Annotated, Any

from kernel.api import LOADERS, Extension, Meta, Struct, WorkerLoader


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
    cfg_cache: Annotated[
        bool,
        Meta(
            description="A second memory as large as the first, for guidance with a negative "
            "prompt and for contrastive search."
        ),
    ] = False
    logits_all: Annotated[
        bool, Meta(description="A second memory, for the scores of every token of a text.")
    ] = False
    tokenizer_dir: Annotated[
        str,
        Meta(
            description="A folder with the model's tokenizer.json; empty is the one beside the "
            "file, or else the file's own."
        ),
    ] = ""


def accepts(path: Path) -> bool:
    """A GGUF file, or a folder that holds one and no other weights."""
    if path.is_dir():
        others = path.glob("*.safetensors")
        return len(list(path.glob("*.gguf"))) == 1 and not any(others)
    return path.suffix == ".gguf"


async def setup(ext: Extension[Any]) -> None:
    ext.add(
        LOADERS,
        WorkerLoader(
            id="llamacpp_hf",
            label="llamacpp_HF",
            engine="worker.py:Engine",
            Options=Options,
            accepts=accepts,
            ext=ext,
        ),
    )
