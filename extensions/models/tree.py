"""Walks the folders below models/, and says which files and folders may be a model."""

import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from kernel.api import Struct

DEEPEST = 32
"""Folders below models/: a bound for trees that never end, as some network drives have."""
PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".ggml", ".engine")
TELLS = (*WEIGHTS, ".json", ".jinja", ".model", ".md")
"""Endings of what tells something of a folder's model."""
MARKS = ("config.json", "model_index.json", "adapter_config.json")
SHARDS = ("model.safetensors", "model-00001-of-", "pytorch_model")
"""One of these makes a folder one model; a name that begins with one of those, too."""
log = logging.getLogger(__name__)


class Candidate(Struct, frozen=True):
    """What may be a model: a file with its other parts, or a folder with what tells of it."""

    path: Path
    files: Mapping[str, os.stat_result]
    like: bool
    """Whether it looks like one, so that it is shown also where nothing takes it."""
    folder: bool = False

    @property
    def paths(self) -> list[str]:
        folder = self.path if self.folder else self.path.parent
        return [os.path.join(folder, name) for name in self.files]

    @property
    def size(self) -> int:
        """Bytes of its weights: of the best kind that it has, for a folder may hold several."""
        for endings in ((".safetensors",), (".bin", ".pt", ".pth", ".engine"), WEIGHTS):
            found = [said for name, said in self.files.items() if name.lower().endswith(endings)]
            if found:
                return sum(said.st_size for said in found)
        return 0 if self.folder else sum(said.st_size for said in self.files.values())


class Folder:
    """One folder: its files with what the system says of them, and the folders in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.files, self.folders = path, dict[str, os.stat_result](), list[str]()
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if _named(entry.name):
                        self._add(entry)
        except OSError as error:
            log.debug("%s cannot be listed: %s", path, error)

    def _add(self, entry: "os.DirEntry[str]") -> None:
        try:
            said = entry.stat()
        except OSError:  # A link to nowhere, or it went this moment.
            return
        if stat.S_ISDIR(said.st_mode):
            self.folders.append(entry.name)
        elif stat.S_ISREG(said.st_mode):  # Reading a pipe would never end.
            self.files[entry.name] = said

    @property
    def whole(self) -> bool:
        """Whether it is one model: its weights are not shown by themselves."""
        return any(name in MARKS or name.startswith(SHARDS) for name in self.files)


def candidates(root: Path, entered: dict[Path, int]) -> Iterator[Candidate]:
    """Files and folders; links are followed, but no folder is entered twice. Adds to `entered`,
    with what `touched` said before it was listed: what comes meanwhile is seen by the next look."""
    seen: set[str] = set()
    todo = [(root, 0)]
    while todo:
        path, depth = todo.pop()
        real = os.path.realpath(path)
        if real in seen or depth > DEEPEST:
            continue
        seen.add(real)
        entered[path] = touched(path)
        folder = Folder(path)
        if "model_index.json" not in folder.files:  # Else its folders are the parts of one.
            todo += [(path / name, depth + 1) for name in reversed(folder.folders)]
        if path != root:
            tells = {k: v for k, v in folder.files.items() if k.lower().endswith(TELLS)}
            yield Candidate(path, tells, folder.whole, folder=True)
        yield from _files(folder, alone=path == root or not folder.whole)


def touched(path: Path) -> int:
    """Another number after each change of what a folder holds."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _files(folder: Folder, alone: bool) -> Iterator[Candidate]:
    """The files of a folder, those of one GGUF model together."""
    parts: dict[str, dict[str, os.stat_result]] = {}
    for name, said in folder.files.items():
        if match := PART.fullmatch(name):
            parts.setdefault(f"{match[1]}-of-{match[3]}", {})[name] = said
            continue
        low = name.lower()
        like = low.endswith(".gguf") or (alone and low.endswith(WEIGHTS))
        yield Candidate(folder.path / name, {name: said}, like)
    for several in parts.values():
        yield Candidate(folder.path / min(several), several, like=True)


def _named(name: str) -> bool:
    """Whether a name is to be shown: not hidden, and text that can be sent to a page and back."""
    try:
        return not name.encode().startswith(b".")
    except UnicodeEncodeError:
        return False
