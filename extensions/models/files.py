"""Find what can be loaded: files and folders below models/ that a running loader takes."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kernel.api import Loader, Struct

DEEPEST = 5
"""Folders below models/; deeper is somebody's backup, not a model."""
LATER_PART = re.compile(r"-0*(?!1-of)[0-9]+-of-[0-9]+\.gguf$")


class ModelFile(Struct, frozen=True):
    """A model below models/: its name there, the loaders that take it, bytes."""

    name: str
    path: Path
    loaders: tuple[str, ...]
    size: int


def find(root: Path, loaders: Iterable[Loader]) -> list[ModelFile]:
    """All models below `root`, by name; blocking."""
    loaders = list(loaders)
    found: list[ModelFile] = []
    for path in _candidates(root):
        takers = tuple(loader.id for loader in loaders if loader.accepts(path))
        if takers:
            found.append(ModelFile(path.relative_to(root).as_posix(), path, takers, _size(path)))
    return sorted(found, key=lambda model: model.name.lower())


def _candidates(root: Path) -> Iterator[Path]:
    """Files and folders; links are followed, but no folder is entered twice."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real, here = os.path.realpath(folder), Path(folder)
        if real in seen or len(here.relative_to(root).parts) >= DEEPEST:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        if here != root:
            yield here
        for name in files:
            if not name.startswith(".") and not LATER_PART.search(name):
                yield here / name


def _size(path: Path) -> int:
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    try:
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0
