"""The models below models/: what a running loader takes, and what only looks like one."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from extensions.models.tree import Candidate, candidates, touched
from kernel.api import Loader, Struct

log = logging.getLogger(__name__)


class ModelFile(Struct, frozen=True):
    """A model below models/: its name there, the loaders that take it, bytes; `stamp` is another
    number after each change of its files."""

    name: str
    path: Path
    loaders: tuple[str, ...]
    size: int
    stamp: int = 0


class Shelf:
    """The models below `root`. Its methods block."""

    def __init__(self, root: Path) -> None:
        self.models: list[ModelFile] = []
        """What a running loader takes, by name."""
        self.all: list[ModelFile] = []
        """These, and what looks like a model and is taken by none."""
        self._root, self._folders, self._takers = root, dict[Path, int](), list[str]()
        self._files: dict[Path, list[str]] = {}

    def look(self, loaders: Iterable[Loader]) -> bool:
        """List them anew; says whether anything changed."""
        before, loaders = self.all, list(loaders)
        folders, takers = dict[Path, int](), [loader.id for loader in loaders]
        known = {model.path: model for model in before} if takers == self._takers else {}
        found = survey(self._root, loaders, folders, known)
        self.all = [model for model, _ in found]
        self.models = [model for model in self.all if model.loaders]
        self._files = {model.path: candidate.paths for model, candidate in found}
        self._takers = takers
        self._folders = folders
        return before != self.all

    def touched(self, loaders: Iterable[Loader]) -> bool:
        """Whether a folder, a model or a loader changed since `look`: a question to each file, no
        search."""
        if self._takers != [loader.id for loader in loaders]:
            return True
        if any(touched(path) != stamp for path, stamp in self._folders.items()):
            return True
        return any(_stamp_now(self._files[model.path]) != model.stamp for model in self.all)


def find(root: Path, loaders: Iterable[Loader]) -> list[ModelFile]:
    """The models below `root` that a loader takes, by name. Blocking."""
    return [model for model, _ in survey(root, list(loaders), {}, {}) if model.loaders]


def survey(
    root: Path, loaders: list[Loader], folders: dict[Path, int], known: Mapping[Path, ModelFile]
) -> list[tuple[ModelFile, Candidate]]:
    """All that may be a model, by name; adds to `folders` where it looked. The loaders are not
    asked again of what is `known` and did not change."""
    found: list[tuple[ModelFile, Candidate]] = []
    for each in candidates(root, folders):
        stamp, model = _stamp(each.files.values()), known.get(each.path)
        if not model or model.stamp != stamp:
            takers = tuple(loader.id for loader in loaders if takes(loader, each.path))
            name = each.path.relative_to(root).as_posix()
            model = ModelFile(name, each.path, takers, each.size, stamp)
        if model.loaders or each.like:
            found.append((model, each))
    return sorted(found, key=lambda pair: pair[0].name.lower())


def takes(loader: Loader, path: Path) -> bool:
    """Whether a loader takes a path; one that fails over it does not."""
    try:
        return loader.accepts(path)
    except Exception as error:  # It costs this one file, not the list.
        says = "%s cannot say whether it takes %s: %s"
        log.warning(says, loader.id, path.name, error, exc_info=True)
        return False


def _stamp(said: Iterable[os.stat_result]) -> int:
    """Of sizes and times, which no two runs hash differently."""
    return hash(tuple((each.st_size, each.st_mtime_ns) for each in said))


def _stamp_now(paths: Iterable[str]) -> int:
    try:
        return _stamp([os.stat(path) for path in paths])
    except OSError:
        return 0
