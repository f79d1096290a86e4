"""What a load refuses by its options and by headers alone, told before an engine is started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import Gguf
from extensions.llama_cpp.honoured import HONOURED
from extensions.llama_cpp.meaning import (
    cache_type,
    flash_attention,
    loras,
    overrides,
    projector,
    shares,
)
from kernel.contract import Refused

NATIVE_ONLY = ("override_kv", "rpc", "streaming_llm")
"""Options that the prebuilt engine has nothing for."""
NATIVE = frozenset((*HONOURED, "processors", "banned_strings"))
"""What a request may want of the native engine beyond what every engine does."""
CHOOSE = "build or choose it in Settings, llama.cpp"
NO_SCORES = (
    "The prebuilt engine computes the scores of a prompt's last token alone; the native one can do "
    f"it: {CHOOSE}."
)


def refuse(file: Gguf, path: Path, options: Mapping[str, Any], *, prebuilt: bool) -> None:
    """Raise Refused, in the words of the load, for what it would refuse after it has begun."""
    if prebuilt:
        check_prebuilt(options)
    cache_type(options, file)
    flash_attention(options, card=False)
    shares(options)
    overrides(options.get("override_kv", ()))
    loras(options, str(path), file)
    projector(options, str(path))


def runs_native(wanted: str, *, images: bool, built: bool) -> bool:
    """Whether the native engine runs it: where it was built, but for images. Raises Refused where
    it is wanted and cannot."""
    if wanted == "native" and images:
        raise Refused("The native engine cannot do this: mmproj. Let the engine be auto.")
    if wanted == "native" and not built:
        raise Refused(
            "The native engine is not in use. Build or choose it in Settings, llama.cpp, or let "
            "the engine be auto."
        )
    return built and wanted != "prebuilt" and not images


def instead(*, images: bool, built: bool) -> dict[str, str]:
    """The way out, by what the native engine does and the prebuilt one does not; `built` as for
    `runs_native`."""
    if images:
        return {}
    wish = "load the model with the engine auto" if built else CHOOSE
    return dict.fromkeys(NATIVE, f"The native engine can: {wish}.")


def check_prebuilt(options: Mapping[str, Any]) -> None:
    """Raise Refused for what only the native engine does."""
    if lacks := [name for name in NATIVE_ONLY if options.get(name)]:
        raise Refused(
            f"The prebuilt engine cannot do this: {', '.join(lacks)}. Leave it out, or build the "
            "native engine in Settings."
        )
