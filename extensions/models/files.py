"""Find what can be loaded: files and folders below models/ that a running loader takes."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kernel.api import Loader, Struct

DEEPEST = 5
"""Folders below models/; deeper is somebody's backup, not a model."""
LATER_PART = re.compile(r"-(?!0*1-of-)[0-9]+-of-[0-9]+\.gguf$")
log = logging.getLogger(__name__)


class ModelFile(Struct, frozen=True):
    """A model below models/: its name there, the loaders that take it, bytes."""

    name: str
    path: Path
    loaders: tuple[str, ...]
    size: int


class Shelf:
    """The models below `root`. Its methods block."""

    def __init__(self, root: Path) -> None:
        self.models: list[ModelFile] = []
        self._root, self._stamps, self._takers = root, dict[Path, int](), list[str]()

    def look(self, loaders: Iterable[Loader]) -> bool:
        """List them anew; says whether anything changed."""
        before, folders = self.models, {self._root}
        loaders = list(loaders)
        self.models = find(self._root, loaders, folders)
        self._takers = [loader.id for loader in loaders]
        self._stamps = {path: _stamp(path) for path in folders}
        return before != self.models

    def touched(self, loaders: Iterable[Loader]) -> bool:
        """Whether a folder, a model or a loader changed since `look`: a question to each, no
        search."""
        if self._takers != [loader.id for loader in loaders]:
            return True
        sizes = any(_size(model.path) != model.size for model in self.models)
        return sizes or any(_stamp(path) != stamp for path, stamp in self._stamps.items())


def find(
    root: Path, loaders: Iterable[Loader], folders: set[Path] | None = None
) -> list[ModelFile]:
    """All models below `root`, by name; adds to `folders` where it looked. Blocking."""
    loaders = list(loaders)
    found: list[ModelFile] = []
    for path in _candidates(root, set() if folders is None else folders):
        takers = tuple(loader.id for loader in loaders if takes(loader, path))
        if takers:
            found.append(ModelFile(path.relative_to(root).as_posix(), path, takers, _size(path)))
    return sorted(found, key=lambda model: model.name.lower())


def takes(loader: Loader, path: Path) -> bool:
    """Whether a loader takes a path; one that fails over it does not."""
    try:
        return loader.accepts(path)
    except Exception as error:  # It costs this one file, not the list.
        log.debug("%s cannot say whether it takes %s: %s", loader.id, path, error)
        return False


def _named(name: str) -> bool:
    """Whether a name is to be shown: not hidden, and text that can be sent to a page and back."""
    try:
        return not name.encode().startswith(b".")
    except UnicodeEncodeError:
        return False


def _candidates(root: Path, entered: set[Path]) -> Iterator[Path]:
    """Files and folders; links are followed, but no folder is entered twice."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real, here = os.path.realpath(folder), Path(folder)
        if real in seen or len(here.relative_to(root).parts) >= DEEPEST:
            folders.clear()
            continue
        seen.add(real)
        entered.add(here)
        folders[:] = filter(_named, folders)
        if here != root:
            yield here
        for name in files:
            if _named(name) and not LATER_PART.search(name):
                yield here / name


def _size(path: Path) -> int:
    try:
        files = path.glob("*.safetensors") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
