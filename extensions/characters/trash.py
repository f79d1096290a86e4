"""What was deleted: each character's files in a folder of their own, until the trash is emptied."""

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, cast

from kernel.api import Refused, safe_name, write

from .folder import Folder, Place, bounded

Kind = Literal["character", "persona", "lorebook"]
GONE = "That is no longer in the trash. It was restored, or the trash was emptied."


class Deleted(NamedTuple):
    """What lies in the trash."""

    token: str
    kind: Kind
    id: str
    """What it was called."""
    at: float


class Trash:
    """The trash of all folders."""

    def __init__(self, root: Path, homes: Mapping[Kind, Folder]) -> None:
        self._root, self._homes = root, homes

    def all(self) -> list[Deleted]:
        """What lies there, the newest first."""
        found: list[Deleted] = []
        with suppress(OSError):
            for folder in self._root.iterdir():
                if each := self._read(folder):
                    found.append(each)
        return sorted(found, key=lambda each: -each.at)

    def put(self, kind: Kind, place: Place) -> Deleted:
        """Move the files of a character there: first they are here, then they are gone there."""
        now = time.time_ns()
        token = f"{kind}-{now:x}"
        for file in place.files:
            write(self._root / token / file.name, bounded(file))
        for file in place.files:
            file.unlink()
        return Deleted(token, kind, place.id, now / 1e9)

    def restore(self, token: str) -> Deleted:
        """Bring it back, under another name if its own is taken by now; answers what it is."""
        deleted = self._find(token)
        home, folder = self._homes[deleted.kind], self._root / deleted.token
        id = home.free(deleted.id, exact=True)
        for file in sorted(folder.iterdir()):
            write(home.root / f"{id}{file.suffix}", file.read_bytes())
        shutil.rmtree(folder)
        return deleted._replace(id=id)

    def empty(self) -> None:
        """Delete for good what lies there."""
        for each in self.all():
            shutil.rmtree(self._root / each.token)

    def _find(self, token: str) -> Deleted:
        with suppress(ValueError):
            if deleted := self._read(self._root / safe_name(token)):
                return deleted
        raise Refused(GONE)

    def _read(self, folder: Path) -> Deleted | None:
        kind, dash, at = folder.name.partition("-")
        if not dash or kind not in self._homes or not folder.is_dir():
            return None
        with suppress(ValueError, OSError):
            stems = sorted(file.stem for file in folder.iterdir())
            if stems:
                return Deleted(folder.name, cast(Kind, kind), stems[0], int(at, 16) / 1e9)
        return None
