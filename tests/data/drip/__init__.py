"""An engine that counts slowly, and misbehaves when it is asked to."""

from pathlib import Path
from typing import Annotated, Any, Literal

from kernel.api import LOADERS, Extension, Meta, Struct, WorkerLoader


class Options(Struct, frozen=True):
    """How it behaves."""

    fault: Annotated[
        Literal["none", "dies loading", "refuses"], Meta(description="What goes wrong at load.")
    ] = "none"


async def setup(ext: Extension[Any]) -> None:
    loader = WorkerLoader(
        ext,
        id="drip",
        label="Drip",
        engine="worker.py:Engine",
        Options=Options,
        accepts=lambda path: Path(path).suffix == ".drip",
    )
    ext.add(LOADERS, loader)
