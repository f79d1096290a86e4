"""The files of an extension on their way in: copied by rules that hold for every kind of source."""

import hashlib
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kernel.api import Manifest, Refused, safe_name

MB = 1 << 20
MOST_BYTES = 64 * MB
MOST_FILES = 5000
DEEPEST = 16
MANIFEST = 64 << 10
"""The most bytes of an extension.toml."""
LEFT_OUT = ("__pycache__",)
FOREIGN = "an extension of text-generation-webui, which cannot run here"


class Tree:
    """A folder being filled: every name is checked, links are never made, and there is an end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()
        self._bytes = self._files = 0
        folder.mkdir(parents=True)

    def count(self) -> None:
        """One more entry, of any kind."""
        self._files += 1
        if self._files > MOST_FILES:
            raise Refused(f"It holds more than {MOST_FILES:,} files: that is no extension.")

    def add(self, name: str, content: IO[bytes]) -> None:
        """A regular file; `name` as its source spells it, with slashes."""
        if not (path := self.place(name)):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while piece := content.read(MB // 4):
                self._bytes += len(piece)
                if self._bytes > MOST_BYTES:
                    raise Refused(f"It unpacks to more than {MOST_BYTES // MB} MB: too large.")
                file.write(piece)

    def place(self, name: str) -> Path | None:
        """Where a name belongs; None for hidden files, which are no part of an extension."""
        parts = [part for part in name.split("/") if part != "."]
        shown = ascii(name[:60])[1:-1]
        hidden = False
        for part in parts:
            plain = part if part == ".." else part.removeprefix(".")
            hidden = hidden or plain != part or part in LEFT_OUT
            try:
                safe_name(plain)
            except ValueError:
                raise Refused(
                    f"It holds a file that would land elsewhere, or nowhere: “{shown}”. "
                    "Tell its author."
                ) from None
        if not parts or len(parts) > DEEPEST:
            raise Refused(f"The name “{shown}” in it leads nowhere, or too deep. Tell its author.")
        same = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        if same in self._names:
            raise Refused(f"It holds two files named “{shown}”. Tell its author.")
        self._names.add(same)
        return None if hidden else self.folder.joinpath(*parts)


def copy(source: Path, into: Path) -> None:
    """Copy a folder; a link or a device in it is refused."""
    tree = Tree(into)
    for path, name in _walk(source):
        tree.count()
        with path.open("rb") as file:
            tree.add(name, file)


def _walk(folder: Path, above: str = "") -> Iterator[tuple[Path, str]]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = above + entry.name
        if entry.name.startswith(".") or entry.name in LEFT_OUT:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{name}/")
        elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            yield Path(entry.path), name
        else:
            raise Refused(f"“{name}” in it is a link or a device. Put the file itself there.")


def digest(folder: Path) -> str:
    """The SHA-256 of a whole tree: of every name and content in it."""
    total = hashlib.sha256()
    for path, name in _walk(folder):
        with path.open("rb") as file:
            each = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{each}  {name}\n".encode())
    return total.hexdigest()


def settle(tree: Path) -> Manifest:
    """Find the extension in an unpacked tree, lay it into `tree/<id>`, and read its manifest."""
    folder = tree
    if not (folder / "extension.toml").is_file():
        inner = [each for each in sorted(tree.glob("*/extension.toml")) if each.is_file()]
        if not inner and (is_foreign(tree) or any(map(is_foreign, tree.iterdir()))):
            raise Refused(f"That is {FOREIGN}. Look in Settings for one that does the same.")
        if len(inner) != 1:
            many = "several extensions; install them one by one" if inner else "no extension.toml"
            raise Refused(f"It holds {many}. Look at what you chose.")
        folder = inner[0].parent
    id = _id(folder / "extension.toml")
    if folder == tree:
        inside = tree.with_name(f"{tree.name}.inner")
        tree.rename(inside)
        tree.mkdir()
        inside.rename(tree / id)
    elif folder.name != id:
        if (tree / id).exists():
            raise Refused(f"It holds two folders that want to be {id}. Tell its author.")
        folder.rename(tree / id)
    for other in tree.iterdir():
        if other.name != id:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    try:
        return Manifest.read(tree / id)
    except ValueError as error:
        raise Refused(f"{error} Tell its author.") from None


def is_foreign(folder: Path) -> bool:
    """Whether it is one of text-generation-webui."""
    return (folder / "script.py").is_file() and not (folder / "extension.toml").is_file()


def _id(file: Path) -> str:
    if file.stat().st_size > MANIFEST:
        raise Refused("Its extension.toml is far too large. Tell its author.")
    try:
        id = Manifest.said(file.parent).get("id")
    except ValueError as error:
        raise Refused(f"{error} Tell its author.") from None
    if not isinstance(id, str) or not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", id):
        shown = ascii(str(id)[:40])
        raise Refused(
            f"Its id is {shown}, but an id is 2 to 31 small letters, digits and underscores. "
            "Tell its author."
        )
    return id
