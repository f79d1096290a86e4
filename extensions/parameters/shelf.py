"""Files that a person may read, edit and delete: those that come with Spindle, and their own."""

import itertools
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kernel.api import Refused, safe_name, safe_path, write

LARGEST = 256 << 10
"""Bytes of a file."""
HIDDEN = "hidden.txt"
"""In the trash: which of those that come with Spindle were deleted, a name a line."""
OURS = "="
"""What begins the number of one that comes with Spindle."""
GONE = "It is not in the trash any more."
LINK = "{} is a link to another folder. Copy the file here, or link the whole folder."


class Deleted(NamedTuple):
    """What lies in the trash."""

    number: str
    """What `undo` takes."""
    name: str
    ours: bool
    """Whether it comes with Spindle: it is out of sight, and never deleted for good."""


class Shelf:
    """Files of one kind; a user's own stands before ours of the same name, and can be deleted."""

    def __init__(
        self, what: str, ours: Path, folder: Path, trash: Path, endings: Sequence[str]
    ) -> None:
        self._what, self._ours, self._folder, self._trash = what, ours, folder, trash
        self._endings = endings

    def names(self) -> list[str]:
        """In the order of the alphabet, whatever the capitals."""
        ours = self._in(self._ours) - self._hidden()
        return sorted({*self.own(), *ours}, key=lambda name: (name.lower(), name))

    def own(self) -> set[str]:
        """Those that are files of the user's."""
        return self._in(self._folder)

    def named(self, name: str) -> str:
        """The name of one that is there and differs by its capitals alone, which many disks do not
        tell apart; else the name as it is."""
        names = self.names()
        same = (each for each in names if each.casefold() == name.casefold())
        return name if name in names else next(same, name)

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

    def save(self, name: str, text: str) -> str:
        """Write the user's own file of that name. What stood in it lies in the trash then: answers
        the number that `undo` takes, or "" where nothing else stood in it."""
        file, number = self._own_file(name), ""
        if file.is_file() and file.read_bytes() != text.encode():
            number = self._place()
            shutil.copy2(file, self._trash / number / file.name)
        write(file, text.encode())
        return number

    def bring(self, name: str, text: str) -> None:
        """Take a new file in; raises Refused where one of that name is there already."""
        if (there := self.named(name)) in self.own():
            raise Refused(
                f"There is a {self._what} {there} already. Rename the file, or delete it."
            )
        self.save(name, text)

    def delete(self, name: str) -> str:
        """Move the user's own file into the trash, or put ours out of sight; answers the number
        that `undo` takes."""
        if name not in self.names():
            raise Refused(f"There is no {self._what} {name} any more. Choose another.")
        if name not in self.own():
            self._hide(self._hidden() | {name})
            return OURS + name
        file, number = self._own_file(name), self._place()
        _move(file, self._trash / number / file.name)
        return number

    def undo(self, number: str, instead: bool = False) -> str:
        """Bring back what was deleted; answers its name. Raises Refused where that is taken,
        unless it comes `instead` of the other, which goes into the trash."""
        if number.startswith(OURS) and number[1:] in self._hidden():
            self._hide(self._hidden() - {number[1:]})
            return number[1:]
        place, file = self._trash / number, self._lying(number)
        if not file:
            raise Refused(GONE)
        if (there := self.named(file.stem)) in self.own() and instead:
            self.delete(there)
        if there in self.own():
            raise Refused(f"There is another {there} by now. Delete that one first.")
        _move(file, self._folder / file.name)
        place.rmdir()
        return file.stem

    def trash(self) -> list[Deleted]:
        """What was deleted, the newest first; then what comes with Spindle."""
        numbers: list[str] = []
        with suppress(OSError):
            numbers += (each.name for each in self._trash.iterdir() if each.name.isdecimal())
        found = [(n, self._lying(n)) for n in sorted(numbers, key=int, reverse=True)]
        mine = [Deleted(number, file.stem, False) for number, file in found if file]
        return mine + [Deleted(OURS + name, name, True) for name in sorted(self._hidden())]

    def empty(self) -> None:
        """Delete the user's own for good."""
        for each in self.trash():
            if not each.ours:
                shutil.rmtree(self._trash / each.number)

    def _place(self) -> str:
        """A new place in the trash; answers its number."""
        self._trash.mkdir(parents=True, exist_ok=True)
        number = next(n for n in itertools.count(1) if not (self._trash / str(n)).exists())
        (self._trash / str(number)).mkdir()
        return str(number)

    def _lying(self, number: str) -> Path | None:
        """The file that lies in the trash under a number."""
        place = self._trash / number
        if not number.isdecimal() or not place.is_dir():
            return None
        return next((file for file in place.iterdir() if file.suffix in self._endings), None)

    def _hidden(self) -> set[str]:
        """Those of ours that were deleted."""
        with suppress(OSError, UnicodeDecodeError):
            return {*(self._trash / HIDDEN).read_text("utf-8").splitlines()} & self._in(self._ours)
        return set()

    def _hide(self, names: set[str]) -> None:
        write(self._trash / HIDDEN, "".join(f"{name}\n" for name in sorted(names)).encode())

    def _file(self, name: str) -> Path:
        mine = self._own_file(name)
        return mine if mine.is_file() else _path(self._ours, name + self._endings[0])

    def _own_file(self, name: str) -> Path:
        """Where the user's file of that name is, or will be."""
        files = [_path(self._folder, name + ending) for ending in self._endings]
        return next((file for file in files if file.is_file()), files[0])

    def _in(self, folder: Path) -> set[str]:
        if not folder.is_dir():
            return set()
        found = (file for file in folder.iterdir() if file.suffix in self._endings)
        return {file.stem for file in found if file.is_file() and not file.name.startswith(".")}


def _path(folder: Path, file: str) -> Path:
    """A file in a folder; raises Refused, with a sentence, for a name that cannot be one."""
    try:
        safe_name(file.rpartition(".")[0])
        return safe_path(folder, file)
    except ValueError as error:
        link = Path(file).name == file and (folder / file).is_symlink()
        raise Refused(LINK.format(file) if link else str(error)) from None


def _move(file: Path, to: Path) -> None:
    """Also onto another disk: first it is there, then it is gone here."""
    write(to, file.read_bytes())
    file.unlink()
