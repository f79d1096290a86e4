"""The files of texts: where they are, and what they may be called."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from kernel.api import Refused, Struct, safe_name, safe_path


class Entry(Struct, frozen=True):
    """A file in the list."""

    name: str
    path: Path
    changed: float


def scan(folders: Iterable[Path]) -> dict[str, Entry]:
    """The texts in some folders, by name; one of two with the same has its folder's beside."""
    found: dict[str, Entry] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
            name, stem = path.stem, path.stem
            if name in found:
                name = f"{stem} ({folder.name})"
            try:
                name.encode()
                changed = path.stat().st_mtime
            except (OSError, UnicodeError):
                continue
            if path.is_file() and name and name not in found and not name.startswith("."):
                found[name] = Entry(name, path, changed)
    return found


def path_of(folder: Path, name: str) -> Path:
    """The file of a text with this name; raises Refused where none can be."""
    try:
        return safe_path(folder, f"{safe_name(name)}.txt")
    except ValueError as error:
        raise Refused(str(error)) from error


def same(name: str) -> str:
    """What names have in common that are one file on some system."""
    return unicodedata.normalize("NFC", name).casefold()


def possible(title: str) -> str:
    """A title as the name of a file, as near to it as can be; empty where none is."""
    letters = "".join(c if c.isalnum() or c in " ,'()_" else " " for c in title[:60])
    name = " ".join(letters.split())
    try:
        return safe_name(name)
    except ValueError:
        return ""


def kept_as(name: str) -> str:
    """A name as it may be given to a file: itself, or one near to it."""
    try:
        return safe_name(name)
    except ValueError:
        return possible(name) or "Text"


def stamp(path: Path) -> int:
    """When a file was changed; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def move(path: Path, to: Path) -> None:
    """Give a file another place, where there is one."""
    if path.is_file():
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)
