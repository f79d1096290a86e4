"""What this engine refuses beside what llama.cpp's does, told before one is started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import Gguf
from extensions.llamacpp_hf.folders import find
from kernel.contract import Refused

ONLY: Mapping[str, tuple[str, ...]] = {"mmproj": ("",), "engine": ("auto", "native")}
"""What options of llama.cpp's form can be here."""


def refuse(file: Gguf, path: Path, options: Mapping[str, Any]) -> None:
    """Raise Refused for options that it cannot carry out, and where there is no tokenizer."""
    for option, known in ONLY.items():
        if options.get(option, known[0]) not in known:
            raise Refused(
                f"llamacpp_HF cannot do this: {option}. Leave it out, or load with llama.cpp."
            )
    find(path, file, options.get("tokenizer_dir", ""))
