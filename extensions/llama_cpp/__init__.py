"""Loads GGUF models with llama.cpp: through an engine that is built here, or a prebuilt one."""

from pathlib import Path
from typing import Any

from extensions.llama_cpp.loader import LlamaLoader
from extensions.llama_cpp.options import FLAGS, Options, with_flags
from kernel.api import LOADERS, Extension, Refused, check


def accepts(path: Path) -> bool:
    return path.suffix == ".gguf"


def options(ext: Extension[Any]) -> type[Options]:
    """The load form, with what the command line says as its defaults."""
    said = {name: value for name in FLAGS if (value := ext.flag(name)) is not None}
    good, errors = check(Options, said)
    if errors:
        raise Refused(f"The flags of llama.cpp cannot be used: {' '.join(errors.values())}")
    return with_flags(good) if good else Options


async def setup(ext: Extension[Any]) -> None:
    loader = LlamaLoader(
        id="llama_cpp",
        label="llama.cpp",
        engine="worker.py:Engine",
        Options=options(ext),
        accepts=accepts,
        ext=ext,
    )
    ext.add(LOADERS, loader)
