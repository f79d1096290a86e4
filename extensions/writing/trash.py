"""What was deleted, until somebody wants it back."""

import shutil
import time
from pathlib import Path

from kernel.api import Refused

NAMES = ("text.txt", "output.txt")
GONE = "This is not among the deleted texts any more."


class Trash:
    """A folder with a folder for each deleted text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, *paths: Path) -> str:
        """Move the files of a text here; answers an id."""
        place = self._place(name)
        for path, kept in zip(paths, NAMES, strict=False):
            if path.is_file():
                shutil.move(path, place / kept)
        return place.name

    def copy(self, name: str, path: Path) -> None:
        """Keep what a file holds, before it is replaced."""
        shutil.copyfile(path, self._place(name) / NAMES[0])

    def name(self, id: str) -> str:
        """What a text was called."""
        return self._find(id).name.partition(" ")[2]

    def take(self, id: str, *paths: Path) -> None:
        """Move the files of a text out again."""
        place = self._find(id)
        for path, kept in zip(paths, NAMES, strict=False):
            if (place / kept).is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(place / kept, path)
        shutil.rmtree(place, ignore_errors=True)

    def list(self, most: int = 50) -> list[tuple[str, str]]:
        """Ids and names of what is here, newest first."""
        if not self._folder.is_dir():
            return []
        places = sorted((p.name for p in self._folder.iterdir() if p.is_dir()), reverse=True)
        return [(place, place.partition(" ")[2]) for place in places[:most]]

    def _place(self, name: str) -> Path:
        while (place := self._folder / f"{time.time_ns():019d} {name}").exists():
            continue
        place.mkdir(parents=True)
        return place

    def _find(self, id: str) -> Path:
        for place in self._folder.iterdir() if self._folder.is_dir() else ():
            if place.name == id and place.is_dir():
                return place
        raise Refused(GONE)
