"""The list of good small models: a file that people edit, read whenever it is shown."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from kernel.api import Malformed, Meta, Struct, built, read_yaml, write

SHIPPED = Path(__file__).with_name("starters.yaml")
NAME = "starters.yaml"
LARGEST = 256 << 10
MOST = 200
UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
Word = Annotated[str, Meta(min_length=1, max_length=200)]


@built
class Starter(Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the list."""

    name: Word
    repo: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", max_length=200)]
    file: Word
    size: str = ""
    licence: Annotated[str, Meta(max_length=200)] = ""
    says: Annotated[str, Meta(max_length=500)] = ""

    @property
    def bytes(self) -> int:
        """Its size as a number; 0 where it cannot be read."""
        found = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]B)\s*", self.size, re.IGNORECASE)
        try:
            return int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
        except ValueError:
            return 0


class Starters(Struct, frozen=True):
    """The list, and what is wrong with it; what is right in it counts all the same."""

    models: tuple[Starter, ...] = ()
    written: str = ""
    troubles: tuple[str, ...] = ()
    file: str = ""
    own: bool = False
    """It is the user's and not the shipped one."""


def starters(folder: Path) -> Starters:
    """The user's list in `folder`, or else the shipped one. Blocks."""
    own = folder / NAME
    return read(own, own=True) if own.is_file() else read(SHIPPED)


def read(path: Path, *, own: bool = False) -> Starters:
    """A list; each entry that cannot be used is named with its number and why."""
    try:
        tree = _tree(path)
    except ValueError as error:
        return Starters(troubles=(f"{path.name}: {error}.",), file=str(path), own=own)
    entries = tree.get("models")
    if not isinstance(entries, list):
        said = f"{path.name}: below “models” belongs a list of models."
        return Starters(troubles=(said,), file=str(path), own=own)
    good: list[Starter] = []
    troubles: list[str] = []
    for number, entry in enumerate(entries[:MOST], 1):
        try:
            good.append(msgspec.convert(entry, Starter, strict=False))
        except msgspec.ValidationError as error:
            troubles.append(f"{path.name}, entry {number}: {_plainly(str(error))}.")
    written = str(tree.get("written", ""))[:40]
    return Starters(tuple(good), written, tuple(troubles[:5]), str(path), own)


def make_own(folder: Path) -> Path:
    """Copy the shipped list to where the user's lies, unless there is one. Blocks."""
    own = folder / NAME
    if not own.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(own, SHIPPED.read_bytes())
    return own


def stamp(folder: Path) -> object:
    """Another value after each change of the list."""
    try:
        stat = (folder / NAME).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _tree(path: Path) -> dict[str, Any]:
    """The mapping in a file; raises ValueError with where and why."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 10} KB. Shorten it")
        text = path.read_bytes().decode("utf-8-sig")
        tree = read_yaml(text)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror}). Check who may read it") from None
    except Malformed as error:
        raise ValueError(f"{error}. Correct it; it is read again at once") from None
    except UnicodeError:
        raise ValueError("it is no YAML that can be read. Correct it") from None
    if not isinstance(tree, dict):
        raise ValueError("it must begin with “models:” and a list. See the shipped one")
    return tree


def _plainly(error: str) -> str:
    """msgspec's sentence in the words of who writes the file."""
    if found := re.match(r"Object missing required field `(.+?)`", error):
        return f"it needs a “{found[1]}”"
    if found := re.match(r"Object contains unknown field `(.+?)`", error):
        return f"“{found[1]}” is not known there; there are name, repo, file, size, licence, says"
    if "matching regex" in error:
        return "“repo” must be like user/name"
    where = re.search(r"at `\$\.(\w+)`", error)
    return f"“{where[1]}” is not as it should be" if where else "it must be a list of names"
