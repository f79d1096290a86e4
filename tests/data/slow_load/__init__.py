"""An engine that loads in steps and never comes to an end, starves or crashes, as its file says."""

from pathlib import Path
from typing import Annotated, Any

from kernel.api import LOADERS, Extension, Meta, Struct, WorkerLoader


class Options(Struct, frozen=True):
    """One, so that there is a form."""

    context_length: Annotated[int, Meta(ge=0, le=1_000_000, description="Tokens.")] = 0


def accepts(path: Path) -> bool:
    return path.suffix == ".slow"


async def setup(ext: Extension[Any]) -> None:
    ext.add(
        LOADERS,
        WorkerLoader(
            ext,
            id="slow_load",
            label="Slow load",
            engine="worker.py:Engine",
            Options=Options,
            accepts=accepts,
        ),
    )
