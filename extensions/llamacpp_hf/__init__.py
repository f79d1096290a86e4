"""Loads GGUF models with llama.cpp, and lets transformers choose the tokens."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from extensions.engine_kit.api import BannedStrings
from extensions.llama_cpp.api import (
    LlamaLoader,
    NotBuilt,
    Options,
    before_load,
    folded,
    with_flags,
)
from extensions.transformers.api import HONOURED
from kernel.api import LOADERS, SAMPLERS, Extension, Refused, Samplers

from .folders import FILES
from .honoured import BESIDE
from .refusals import refuse

ENGINE = 275_000_000
"""Bytes that PyTorch, transformers and llama.cpp take without a model, as it was measured."""
HERE = "Guidance, tokenizer"
OWN = ("cfg_cache", "tokenizer_dir")


class HfOptions(Options, frozen=True):
    """What llama.cpp's form has, and what only this loader knows."""

    cfg_cache: Annotated[
        bool,
        folded(
            HERE,
            "A second memory as large as the first: for guidance with a negative prompt, and for "
            "contrastive search.",
        ),
    ] = False
    tokenizer_dir: Annotated[
        str,
        folded(
            HERE,
            "A folder with the model's tokenizer.json; empty is the one beside the file, or else "
            "the file's own.",
        ),
    ] = ""

    @staticmethod
    def modern(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """As llama.cpp's, which knows that these two are here."""
        named = {name.replace("-", "_"): value for name, value in values.items()}
        own = {name: named.pop(name) for name in OWN if name in named}
        good, bad = Options.modern(named)
        return good | own, bad


def accepts(path: Path) -> bool:
    """A GGUF file, or a folder that holds one and no other weights. Without a tokenizer it
    was not made for this loader: its file is listed by itself."""
    if path.is_dir():
        others = path.glob("*.safetensors")
        made = any((path / name).is_file() for name in (*FILES, "tokenizer_config.json"))
        return made and len(list(path.glob("*.gguf"))) == 1 and not any(others)
    return path.suffix == ".gguf"


async def setup(ext: Extension[Any]) -> None:
    said = flags(ext)
    loader = LlamaLoader(
        id="llamacpp_hf",
        label="llamacpp_HF",
        engine="worker.py:Engine",
        Options=with_flags(said, HfOptions) if said else HfOptions,
        accepts=accepts,
        ext=ext,
    )

    async def compiled(report: Callable[[float, str], None]) -> None:
        """Build the wheel, unless it is there; pip finds it then. Raises Refused."""
        if await ext.missing() is None:
            return
        try:
            await before_load(ext, "native", report)
        except NotBuilt as error:
            raise Refused(str(error)) from None

    loader.before, loader.samplers = compiled, (*HONOURED, *BESIDE)
    loader.given = said
    loader.engine, loader.refuses = ENGINE, refuse
    ext.add(LOADERS, loader)
    ext.add(SAMPLERS, Samplers("llamacpp_HF", BannedStrings))


def flags(ext: Extension[Any]) -> dict[str, Any]:
    """The options that the command line says: its own two."""
    said = {name: ext.flag(name.replace("_", "-")) for name in OWN}
    return {name: value for name, value in said.items() if value}
