"""Which tokenizer a GGUF file is read with: a folder's, where there is one, else its own."""

from collections.abc import Sequence
from pathlib import Path

from extensions.engine_kit.api import Gguf
from extensions.transformers.api import Vocabulary
from kernel.contract import Refused

FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
LLAMA = "oobabooga_llama-tokenizer"
"""The folder that text-generation-webui's users have beside their files."""
ALIKE = 0.95
"""The share of tokens that a folder and a file have to agree about."""


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
    return any((folder / name).is_file() for name in FILES[:2])


def own(file: Gguf) -> Sequence[bytes]:
    """The tokens that a file names."""
    return file.metadata.get("tokenizer.ggml.tokens", ())


def read(folder: Path, path: Path, file: Gguf) -> Vocabulary:
    """A folder's tokenizer; raises Refused where it is no good, or another model's."""
    try:
        vocabulary = Vocabulary(folder, False)
        found = vocabulary.tokens
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise Refused(
            f"The tokenizer in {folder} cannot be read ({reason}). Choose another folder."
        ) from error
    tokens = own(file)
    named = [(text, id) for text, id in found.items() if id < len(tokens)]
    alike = sum(tokens[id] == text.encode() for text, id in named)
    if tokens and (len(found) > len(tokens) or alike < ALIKE * len(tokens)):
        raise Refused(
            f"The tokenizer in {folder} is that of another model: of {len(tokens):,} tokens in "
            f"{path.name}, {alike:,} are the same. Choose another folder, or leave "
            "tokenizer_dir empty for the file's own."
        )
    return vocabulary
