"""Where the tokenizer of a GGUF file lies: in a folder, where there is one, else in the file."""

from collections.abc import Sequence
from pathlib import Path

from extensions.engine_kit.api import Gguf
from kernel.contract import Refused

FILES = ("tokenizer.json", "tokenizer.model")
LLAMA = "oobabooga_llama-tokenizer"
"""The folder that text-generation-webui's users have beside their files."""


def find(path: Path, file: Gguf, wanted: str) -> Path | None:
    """The folder of the tokenizer, or None for the file's own; raises Refused where neither is."""
    if wanted:
        for folder in (
            Path(wanted).expanduser(),
            path.parent / wanted,
            path.parent.parent / wanted,
        ):
            if holds(folder):
                return folder
        raise Refused(
            f"There is no tokenizer in {wanted}: it needs tokenizer.json or tokenizer.model. "
            "Choose another folder, or leave tokenizer_dir empty for the file's own."
        )
    if holds(path.parent):
        return path.parent
    if own(file):
        return None
    for folder in (path.parent / LLAMA, path.parent.parent / LLAMA):
        if holds(folder):
            return folder
    raise Refused(
        f"{path.name} has no tokenizer. Name the folder that holds the model's in tokenizer_dir."
    )


def holds(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES)


def own(file: Gguf) -> Sequence[bytes]:
    """The tokens that a file names."""
    return file.metadata.get("tokenizer.ggml.tokens", ())
