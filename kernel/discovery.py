"""Finds extensions: their manifests are read, and no code of theirs runs here."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from kernel.manifest import Manifest
from kernel.records import Record, Status


class Discovery:
    """Where extensions may lie; of two with one name, that of the later folder is taken."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)

    def found(self) -> Iterator[Record]:
        """A record of each; one whose manifest is no good says so and cannot start."""
        for root in self._folders:
            for folder in sorted(file.parent for file in root.glob("*/extension.toml")):
                record = Record(folder.name, folder)
                try:
                    record.manifest = Manifest.read(folder)
                except ValueError as error:
                    record.status, record.reason = Status.INCOMPATIBLE, str(error)
                yield record
