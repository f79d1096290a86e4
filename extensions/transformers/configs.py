"""What a folder's configurations say of whether it can be loaded, told before PyTorch sees it."""

import json
from pathlib import Path

from kernel.contract import Refused


def check_config(folder: Path, trust_remote_code: bool) -> None:
    """Refuse what needs programs of the model's own, or a library that is not here."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            config = json.loads((folder / name).read_text("utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it is no object")
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError) as error:
            raise Refused(f"{name} is damaged ({error}). Download the model again.") from error
        if "auto_map" in json.dumps(config) and not trust_remote_code:
            raise Refused(
                f"{folder.name} brings programs of its own ({name}: auto_map). If you trust who "
                "made it, start Spindle with --trust-remote-code."
            )
        if quantized := config.get("quantization_config"):
            method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else ""
            raise Refused(
                f"{folder.name} is quantized ({method}), which this loader cannot run yet. "
                "Look for the original weights, or for a GGUF form of the model."
            )
