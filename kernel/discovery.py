"""Finds extensions: their manifests are read, and no code of theirs runs here."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from kernel.names import safe_path
from kernel.records import Record
from kernel.remembered import Remembered

GROUP = "spindle.extensions"
"""The entry points by which a Python package names the folder of an extension inside it."""


class Discovery:
    """Where extensions may lie; of two with one name, the later is taken: those of Python packages,
    those that were installed, and those in the folders, whose last is the user's own."""

    def __init__(
        self, folders: Iterable[Path], installed: Path, memory: Remembered | None = None
    ) -> None:
        self._roots, self._installed = tuple(folders), installed
        self._memory = memory or Remembered()

    packaged = staticmethod(lambda: [*_packaged()])  # It takes milliseconds: each package is asked.

    def folders(self, packaged: Iterable[Path] | None = None) -> Iterator[tuple[str, Path]]:
        """The folder of each, by its name; nothing in it is read. `packaged`, if known already."""
        found = [*(self.packaged() if packaged is None else packaged), *self._current()]
        for root in self._roots:
            found += sorted(file.parent for file in root.glob("*/extension.toml"))
        yield from {folder.name: folder for folder in found}.items()

    def trusted(self) -> list[Path]:
        """All folders, the built-in ones first: no stranger's lock stands in the way of theirs."""
        folders = sorted(folder for _, folder in self.folders())
        return sorted(folders, key=lambda folder: folder.parent != self._roots[0])

    def found(self) -> Iterator[Record]:
        """A record of each; one whose manifest is no good says so and cannot start."""
        for id, folder in self.folders():
            record = Record(id, folder, memory=self._memory)
            record.read()
            yield record

    def _current(self) -> Iterator[Path]:
        """`<id>.json` names the tree that is in use: changing it is the whole of an update."""
        for file in sorted(self._installed.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                tree = json.loads(file.read_bytes())["tree"]
                folder = safe_path(self._installed, tree, file.stem)
                if (folder / "extension.toml").is_file():
                    yield folder


def _packaged() -> Iterator[Path]:
    """`tts = "my_package.tts"` is the folder `tts` of a package, which is not imported."""
    if not any(GROUP.encode() in _read(file) for file in _entry_points()):
        return
    from importlib import metadata  # noqa: PLC0415 - 15 ms, for whom no package brings anything

    for entry in metadata.entry_points(group=GROUP):
        top, *rest = entry.module.split(".")
        with suppress(ImportError, ValueError):
            spec = find_spec(top)
            for place in spec.submodule_search_locations or () if spec else ():
                if (folder := Path(place).joinpath(*rest)) and (
                    folder / "extension.toml"
                ).is_file():
                    yield folder


def _entry_points() -> Iterator[Path]:
    for place in sys.path:
        for folder in ("*.dist-info", "*.egg-info"):
            yield from Path(place).glob(f"{folder}/entry_points.txt")


def _read(file: Path) -> bytes:
    with suppress(OSError):
        return file.read_bytes()
    return b""
