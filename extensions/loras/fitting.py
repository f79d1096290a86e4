"""Whether an adapter fits a model, told from the headers of both before an engine sees either."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import (
    Gguf,
    check_folder,
    check_gguf_adapter,
    check_gguf_model,
    check_peft_adapter,
)
from kernel.api import Refused

from .files import Adapter, Form

Base = Gguf | Mapping[str, Any]
"""A model's tensors, in the form that its file has."""
OTHERWISE = {
    "GGUF": (
        "Look for its GGUF form, make that with convert_lora_to_gguf.py of llama.cpp, or load the "
        "model's safetensors with Transformers."
    ),
    "PEFT": (
        "Look for its PEFT form, a folder with an adapter_config.json, or load a GGUF form of the "
        "model."
    ),
}
"""What helps against an adapter in the other form, by the form that is wanted."""


def base_of(path: Path) -> Base | None:
    """What is known of the model at a path; None where that cannot be told. Blocking."""
    try:
        if path.is_file() and path.suffix == ".gguf":
            return _slim(check_gguf_model(path))
        if path.is_dir() and any(path.glob("*.safetensors")):
            return check_folder(path)
        files = sorted(path.glob("*.gguf")) if path.is_dir() else []
        return _slim(check_gguf_model(files[0])) if len(files) == 1 else None
    except (Refused, OSError):  # The engine took it, so it is the engine that knows.
        return None


def form_for(base: Base) -> Form:
    """The form of the adapters that a model takes."""
    return "GGUF" if isinstance(base, Gguf) else "PEFT"


def misfit(adapter: Adapter, base: Base | None) -> str:
    """What keeps an adapter from changing a model, as a sentence, or nothing. Blocking."""
    if adapter.trouble or base is None:
        return adapter.trouble
    wanted = form_for(base)
    if adapter.form != wanted:
        return (
            f"{adapter.name} is in {adapter.form} form, and the loaded model takes adapters in "
            f"{wanted} form. {OTHERWISE[wanted]}"
        )
    try:
        if isinstance(base, Gguf):
            check_gguf_adapter(adapter.path, base)
        else:
            check_peft_adapter(adapter.path, base)
    except Refused as error:
        return str(error)
    return ""


def _slim(file: Gguf) -> Gguf:
    """Without its vocabulary, which nobody asks for and which takes the most memory."""
    plain = {key: value for key, value in file.metadata.items() if isinstance(value, str | int)}
    return Gguf(plain, file.tensors, file.size)
