"""Loads folders of safetensors with PyTorch and transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from extensions.engine_kit.api import BannedStrings
from kernel.api import LOADERS, SAMPLERS, Extension, Meta, Samplers, Struct

from .honoured import HONOURED
from .loader import Loader
from .old_names import FORMER, modern

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
"""Endings of what a folder for this loader may have its weights in, or may be converted from."""


class Options(Struct, frozen=True):
    """What a user may choose when loading a model."""

    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"],
        Meta(description="Number format of the weights; auto is the fastest that keeps quality."),
    ] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="Where the model runs.")] = (
        "auto"
    )
    context_length: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="Tokens of one conversation; 0 is the model's own."),
    ] = 0

    former: ClassVar = FORMER

    @staticmethod
    def modern(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values by their names of today, and a sentence for each that has no successor."""
        return modern(values)


def accepts(path: Path) -> bool:
    """A folder with a config.json whose weights are not in GGUF files alone."""
    if not path.is_dir() or not (path / "config.json").is_file():
        return False
    endings = {each.suffix.lower() for each in path.iterdir()}
    return ".gguf" not in endings or not endings.isdisjoint(WEIGHTS)


async def setup(ext: Extension[Any]) -> None:
    trusts = bool(ext.flag("trust-remote-code"))
    loader = Loader(
        id="transformers",
        label="Transformers",
        engine="worker.py:Engine",
        Options=Options,
        accepts=accepts,
        ext=ext,
        env={"SPINDLE_TRUST_REMOTE_CODE": "1" if trusts else "0"},  # Whatever the shell says.
    )
    loader.samplers, loader.trusts = HONOURED, trusts
    ext.add(LOADERS, loader)
    ext.add(SAMPLERS, Samplers("Transformers", BannedStrings))
