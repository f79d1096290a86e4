"""Reads the tokenizer of a folder for a GGUF file, where it is that of its model."""

from pathlib import Path

from extensions.engine_kit.api import Gguf
from extensions.llamacpp_hf.folders import own
from extensions.transformers.api import Vocabulary
from kernel.contract import Refused

ALIKE = 0.95
"""The share of tokens that a folder and a file have to agree about."""


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
