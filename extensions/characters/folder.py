"""The folder of characters: which files are one, and reading, writing and moving them.

`NAME.yaml`, `.yml` or `.json`, with `NAME.png` (or another picture) beside it; `NAME.png` alone
with a card inside; or `NAME.charx`. Links that lead out of the folder are neither read nor written.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kernel.api import Refused, safe_name, safe_path, write

from . import charx, trees
from .cards import Card, changed, flat_of, in_png, of_png, of_tree, tree_of
from .trees import Tree

TEXTS = (".yaml", ".yml", ".json")
CHARX = ".charx"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
LONGEST = 160
"""Letters, and bytes, of a name that is given here."""
LARGEST = 32 << 20
"""Bytes of a file."""
GONE = "There is no {} “{}” any more. Choose another one."


class Unreadable(Refused):
    """A file of the folder is no character, or none that can be read."""


class Place(NamedTuple):
    """Where a character lies."""

    id: str
    """The name of its file without the ending."""
    file: Path
    picture: Path | None

    @property
    def files(self) -> list[Path]:
        """All that is its own."""
        return [*dict.fromkeys((self.file, *([self.picture] if self.picture else ())))]

    def stamp(self) -> tuple[object, ...]:
        """Another one after each change of a file."""
        states = [file.stat() for file in self.files]
        return self.file, *((state.st_mtime_ns, state.st_size) for state in states)


class Folder:
    """Files below one folder, read anew whenever they are asked for."""

    def __init__(self, root: Path, what: str = "character") -> None:
        self.root, self._what = root, what

    def places(self) -> dict[str, Place]:
        """All that may be a character, by its id, in the order of the alphabet."""
        by_id: dict[str, dict[str, Path]] = {}
        for file in self._files():
            by_id.setdefault(file.stem, {}).setdefault(file.suffix.lower(), file)
        found = (self._place(id, kinds) for id, kinds in by_id.items())
        return {place.id: place for place in sorted((p for p in found if p), key=_alphabet)}

    def place(self, id: str) -> Place:
        """Where a character lies; raises Refused where there is none of that id."""
        with suppress(ValueError):
            safe_name(id)
            kinds = {}
            for suffix in {*TEXTS, CHARX, *PICTURES}:
                file = self.root / f"{id}{suffix}"
                if _is_own(self.root, file):
                    kinds[suffix] = file
            if place := self._place(id, kinds):
                return place
        if id in (places := self.places()):  # Its ending is in capitals, or its name is odd.
            return places[id]
        raise Refused(GONE.format(self._what, id[:80]), self._what)

    def linked(self) -> list[str]:
        """The names of links that lead out of the folder, in the order of the alphabet."""
        links = (file for file in self._known() if file.is_symlink())
        return sorted(file.name for file in links if not _is_own(self.root, file))

    def _files(self) -> Iterator[Path]:
        return (file for file in self._known() if _is_own(self.root, file))

    def _known(self) -> Iterator[Path]:
        with suppress(OSError):
            for file in self.root.iterdir():
                known = file.suffix.lower() in (*TEXTS, CHARX, *PICTURES)
                if known and not file.name.startswith("."):
                    yield file

    def _place(self, id: str, kinds: dict[str, Path]) -> Place | None:
        picture = next((kinds[suffix] for suffix in PICTURES if suffix in kinds), None)
        text = next((kinds[suffix] for suffix in (*TEXTS, CHARX) if suffix in kinds), None)
        if text or ".png" in kinds:
            return Place(id, text or kinds[".png"], picture)
        return None

    # --- reading and writing -----------------------------------------------------------

    def read(self, place: Place) -> Card:
        """The card that lies there; raises Unreadable."""
        try:
            if place.file.suffix.lower() == ".png":
                with place.file.open("rb") as file:
                    card = of_png(file, whole=False)
                if not card:
                    raise Unreadable(f"{place.file.name} is a picture without a card. Remove it.")
                return card
            if place.file.suffix.lower() == CHARX:
                with place.file.open("rb") as file:
                    return of_charx(file)[0]
            return of_tree(self.tree(place.file)[0])
        except OSError as error:
            why = error.strerror or "it is gone"
            raise Unreadable(f"{place.file.name} cannot be read: {why}. Look at it.") from None
        except Unreadable:
            raise
        except Refused as refusal:
            raise Unreadable(f"{place.file.name}: {refusal}") from None

    def update(self, place: Place, card: Card) -> None:
        """Write what a card says now into its file, in the form that this has."""
        self.own(place.file)
        if place.file.suffix.lower() == ".png":
            return write(place.file, in_png(card, bounded(place.file)))
        if place.file.suffix.lower() == CHARX:
            before = io.BytesIO(bounded(place.file))
            return write(place.file, charx.packed(tree_of(card), b"", "", before))
        tree, text = self.tree(place.file)
        new = changed(tree, card)
        json = place.file.suffix.lower() == ".json"
        write(place.file, trees.to_json(new) if json else trees.to_yaml(new, text))

    def create(self, name: str, card: Card, picture: bytes = b"", *, embed: bool = True) -> str:
        """A new file for a card: the picture with the card in it, if that is a PNG file and it is
        to be embedded; else YAML, or JSON where that is too much, and the picture beside it; or a
        CharX file in the place of a picture, as it is. Answers its id."""
        id = self.free(name)
        if is_charx(picture):  # Whoever has it looked at it before.
            write(self.own(self.root / f"{id}{CHARX}"), picture)
            return id
        suffix = sniffed(picture) if picture else ""
        if suffix == ".png" and embed:
            write(self.own(self.root / f"{id}.png"), in_png(card, picture))
            return id
        try:
            ending, data = ".yaml", trees.to_yaml(flat_of(card))
        except Refused:  # It is too much for YAML; JSON may be larger.
            ending, data = ".json", trees.to_json(tree_of(card))
        write(self.own(self.root / f"{id}{ending}"), data)
        if suffix:
            write(self.own(self.root / f"{id}{suffix}"), picture)
        return id

    def picture(self, place: Place) -> bytes:
        """The picture of a character: beside it or in it; b"" where there is none that can be
        shown. Raises Refused where it cannot be read."""
        if place.picture:
            return bounded(place.picture)
        if place.file.suffix.lower() != CHARX:
            return b""
        with place.file.open("rb") as file:
            return of_charx(file)[1]

    def show(self, place: Place, picture: bytes) -> None:
        """Give a character another picture."""
        suffix = sniffed(picture)
        if place.file.suffix.lower() == ".png":
            if suffix != ".png":
                raise Refused("The picture of a PNG card must be a PNG file. Choose one.")
            return write(self.own(place.file), in_png(self.read(place), picture))
        write(self.own(self.root / f"{place.id}{suffix}"), picture)
        if place.picture and place.picture.suffix.lower() != suffix:
            self.own(place.picture).unlink(missing_ok=True)

    def rename(self, place: Place, name: str) -> str:
        """Give the files of a character another name, as near to it as files may have; answers
        the new id. Raises Refused where that is taken."""
        id = file_name(name)
        if id == place.id:
            return id
        taken = {file.stem.casefold() for file in self.root.iterdir()} - {place.id.casefold()}
        if id.casefold() in taken:
            raise Refused(f"There is a file called {id} already. Choose another name.")
        for file in place.files:  # Their names may be odd: they get a good one.
            _no_link(file)
        for file in place.files:  # The picture last: the character is there all the time.
            file.rename(self.own(self.root / f"{id}{file.suffix}"))
        return id

    def free(self, name: str, *, exact: bool = False) -> str:
        """An id that no file has, like the name as far as files may be called so; with `exact`
        the name of a file that was here."""
        base = name if exact else file_name(name)
        taken = set[str]()
        with suppress(OSError):
            taken = {file.stem.casefold() for file in self.root.iterdir()}
        ids = (base, *(f"{base}_{number:03}" for number in range(1, 1000)))
        for id in ids:
            if id.casefold() not in taken:
                return id
        raise Refused(f"There are a thousand files called {base}. Choose another name.")

    def own(self, file: Path) -> Path:
        """The file, if it is one of the folder and no link; raises Refused."""
        try:
            safe_path(self.root, file.name)
        except ValueError as error:
            raise Refused(str(error)) from None
        return _no_link(file)

    def tree(self, file: Path) -> tuple[Tree, str]:
        """What a file of texts holds, and the text where its comments count; raises Refused."""
        data = bounded(file)
        if file.suffix.lower() == ".json":
            return trees.from_json(data), ""
        return trees.from_yaml(data), trees.yaml_text(data)


def bounded(file: Path) -> bytes:
    """What a file holds; raises Refused where it is too large."""
    with file.open("rb") as opened:
        data = opened.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Refused(f"{file.name} is larger than {LARGEST >> 20} MB. Make it smaller.")
    return data


def sniffed(picture: bytes) -> str:
    """The ending that the first bytes of a picture ask for; raises Refused if it is none."""
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if picture.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return ".webp"
    if picture[:6] in (b"GIF87a", b"GIF89a"):
        return ".gif"
    raise Refused("This is no picture that can be shown. Choose a PNG, JPEG, WebP or GIF file.")


def file_name(name: str) -> str:
    """A name that files may have, like the one that is wanted."""
    kept = "".join(letter if _may_stand(letter) else " " for letter in name[:LONGEST])
    kept = " ".join(word for word in kept.split() if word.strip("."))
    while len(kept.encode()) > LONGEST:
        kept = kept[:-1]
    kept = kept.lstrip(" .-~").rstrip(" .")
    for tried in (kept, f"{kept} character".strip()):
        with suppress(ValueError):
            return safe_name(tried)
    return "character"


def _may_stand(letter: str) -> bool:
    """Whether names of files may have it inside."""
    with suppress(ValueError):
        return bool(safe_name(f"a{letter}a"))
    return False


def has_icon(place: Place) -> bool:
    """Whether there is a picture in the file of a character; not, where it cannot be read."""
    if place.file.suffix.lower() != CHARX:
        return False
    with suppress(Refused, OSError), place.file.open("rb") as file:
        return bool(of_charx(file)[1])
    return False


def is_charx(data: bytes) -> bool:
    return data.startswith(b"PK\3\4")


def of_charx(file: BinaryIO) -> tuple[Card, bytes]:
    """The card in a CharX file, and its picture, b"" where none can be shown; raises Refused."""
    with charx.opened(file) as archive:
        card = of_tree(trees.from_json(charx.card_in(archive)))
        picture = charx.icon_in(archive, card.data)
    try:
        return card, picture if picture and sniffed(picture) else b""
    except Refused:  # One of a kind that no page shows.
        return card, b""


def _no_link(file: Path) -> Path:
    """The file, if it is no link; raises Refused."""
    if file.is_symlink():
        raise Refused(f"{file.name} is a link. Only files of this folder are changed.")
    return file


def _is_own(root: Path, file: Path) -> bool:
    """Whether it is a file, and leads nowhere else."""
    try:
        return file.is_file() and file.resolve().is_relative_to(root.resolve())
    except OSError:
        return False


def _alphabet(place: Place) -> tuple[str, str]:
    return place.id.casefold(), place.id
