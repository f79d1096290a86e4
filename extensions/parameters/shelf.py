"""Files that a person may read, edit and delete: those that come with Spindle, and their own."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from kernel.api import Refused, safe_name, safe_path, write

LARGEST = 256 << 10
"""Bytes of a file."""


class Shelf:
    """Files of one kind; a user's own stands before ours of the same name, and can be deleted."""

    def __init__(
        self, what: str, ours: Path, folder: Path, trash: Path, endings: Sequence[str]
    ) -> None:
        self._what, self._ours, self._folder, self._trash = what, ours, folder, trash
        self._endings = endings

    def names(self) -> list[str]:
        """In the order of the alphabet, whatever the capitals."""
        return sorted({*self.own(), *self._in(self._ours)}, key=lambda name: (name.lower(), name))

    def own(self) -> set[str]:
        """Those that are files of the user's."""
        return self._in(self._folder)

    def text(self, name: str) -> str:
        """What is in a file; raises Refused."""
        try:
            file = self._file(name)
            if file.stat().st_size > LARGEST:
                raise Refused(f"{name} is larger than {LARGEST >> 10} KB. It is no {self._what}.")
            return file.read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused(f"The {self._what} {name} is no text. Save it as UTF-8.") from None
        except OSError:
            raise Refused(f"There is no {self._what} {name} any more. Choose another.") from None

    def save(self, name: str, text: str) -> None:
        """Write the user's own file of that name."""
        write(self._own_file(name), text.encode())

    def bring(self, name: str, text: str) -> None:
        """Take a new file in; raises Refused where one of that name is there already."""
        if name in self.own():
            raise Refused(f"There is a {self._what} {name} already. Rename the file, or delete it.")
        self.save(name, text)

    def delete(self, name: str) -> str:
        """Move the user's own file into the trash; answers the number that `undo` takes."""
        if name not in self.own():
            raise Refused(f"{name} comes with Spindle. Only what is your own can be deleted.")
        file = self._own_file(name)
        self._trash.mkdir(parents=True, exist_ok=True)
        number = next(n for n in itertools.count(1) if not (self._trash / str(n)).exists())
        (self._trash / str(number)).mkdir()
        file.replace(self._trash / str(number) / file.name)
        return str(number)

    def undo(self, number: str) -> str:
        """Bring back what was deleted; answers its name. Raises Refused where that is taken."""
        place = self._trash / number
        file = next(iter(place.iterdir()), None) if number.isdigit() and place.is_dir() else None
        if not file:
            raise Refused("It is not in the trash any more.")
        if file.stem in self.own():
            raise Refused(f"There is another {file.stem} by now. Delete that one first.")
        self._folder.mkdir(parents=True, exist_ok=True)
        file.replace(self._folder / file.name)
        place.rmdir()
        return file.stem

    def _file(self, name: str) -> Path:
        mine = self._own_file(name)
        return mine if mine.is_file() else safe_path(self._ours, name + self._endings[0])

    def _own_file(self, name: str) -> Path:
        """Where the user's file of that name is, or will be."""
        files = [safe_path(self._folder, safe_name(name) + ending) for ending in self._endings]
        return next((file for file in files if file.is_file()), files[0])

    def _in(self, folder: Path) -> set[str]:
        if not folder.is_dir():
            return set()
        found = (file for file in folder.iterdir() if file.suffix in self._endings)
        return {file.stem for file in found if file.is_file() and not file.name.startswith(".")}
