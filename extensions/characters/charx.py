"""CharX: a zip file with `card.json`, the third version of a card, and pictures and whatever else
belongs to it (`embeded://PATH` in `assets`, spelled like that).

Nothing is ever unpacked onto the disk: what is not the card or its picture stays in the file.
https://github.com/kwaroran/character-card-spec-v3
"""

import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, cast

import msgspec

from kernel.api import Refused

from .trees import LARGEST as LARGEST_CARD
from .trees import Tree

CARD: Final = "card.json"
MOST: Final = 2_000
"""Files in one."""
LARGEST: Final = 128 << 20
"""Bytes of all of them, unpacked."""
TIMES: Final = 200
"""So many times at most may one be larger than it is packed, from `SMALL` bytes on."""
SMALL: Final = 1 << 20
END: Final = 22
"""Bytes that end a zip file."""
LISTED: Final = 400
"""Bytes that the list in an archive may have for each of its files, on average."""
HEADS: Final = ("embeded://", "embedded://")
DAMAGED: Final = "This CharX file is damaged: {}. Get it from where it came from once more."
HARMFUL: Final = "This CharX file could do harm: {}. It was not opened."


def opened(file: BinaryIO) -> zipfile.ZipFile:
    """The archive, if all that it says of itself is harmless; raises Refused. What it says of sizes
    holds: reading ends there."""
    _measure(file)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        raise Refused(DAMAGED.format("it is no zip file")) from None
    members = archive.infolist()
    if len(members) > MOST:
        raise Refused(HARMFUL.format(f"it holds more than {MOST} files"))
    if sum(each.file_size for each in members) > LARGEST:
        raise Refused(HARMFUL.format(f"unpacked it has more than {LARGEST >> 20} MB"))
    for each in members:
        if why := _harm(each):
            raise Refused(HARMFUL.format(f"{why}, {each.filename[:60]!r}"))
    if len({*archive.namelist()}) < len(members):
        raise Refused(HARMFUL.format("two files in it have the same name"))
    if CARD not in archive.namelist():
        raise Refused("This CharX file has no card.json: it is no character. Choose another one.")
    return archive


def card_in(archive: zipfile.ZipFile) -> bytes:
    """The JSON of the card; raises Refused."""
    if archive.getinfo(CARD).file_size > LARGEST_CARD:
        raise Refused("The card in this file is larger than 16 MB. Make it smaller.")
    return read(archive, CARD)


def icon_in(archive: zipfile.ZipFile, data: Tree) -> bytes:
    """The picture of a character: the icon called `main`, else the first one; b"" without one."""
    path = icon_path(data)
    return read(archive, path) if path in archive.namelist() else b""


def icon_path(data: Tree) -> str:
    """Where the main icon lies in the archive, or ""."""
    icons = [each for each in _assets(data) if each.get("type") == "icon" and _path(each)]
    main = next((each for each in icons if each.get("name") == "main"), icons[0] if icons else {})
    return _path(main)


def read(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of it; raises Refused."""
    try:
        with archive.open(name) as member:
            data = member.read(archive.getinfo(name).file_size + 1)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise Refused(DAMAGED.format(f"{name[:60]} cannot be unpacked")) from None
    except Exception as error:  # A packer's own, of which there are several kinds.
        raise Refused(DAMAGED.format(f"{name[:60]} cannot be unpacked: {error}")) from None
    return data


def packed(tree: Tree, picture: bytes, suffix: str, before: BinaryIO | None = None) -> bytes:
    """A CharX file of a card as the third version has it, with its picture as the main icon, and
    all that lay in the file `before` beside its card."""
    data = cast(Tree, dict(tree["data"]))
    with io.BytesIO() as made:
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            gone, path = {CARD}, icon_path(data)
            if picture:
                if not path or PurePosixPath(path).suffix != suffix:
                    gone |= {path} if path else set()
                    path = f"assets/icon/images/main{suffix}"
                    data = _with_icon(data, path, suffix)
                gone.add(path)
            card = msgspec.json.format(msgspec.json.encode({**tree, "data": data}), indent=2)
            archive.writestr(CARD, card)
            if picture:
                archive.writestr(path, picture, zipfile.ZIP_STORED)
            for name, content in _others(before, gone):
                archive.writestr(name, content)
        return made.getvalue()


def alone(data: Tree) -> Tree:
    """The card without its archive: its main icon is the picture that it comes with."""
    path = icon_path(data)
    if not path:
        return data
    assets = [
        {**each, "uri": "ccdefault:"}
        if each.get("type") == "icon" and _path(each) == path
        else each
        for each in _assets(data)
    ]
    return {**data, "assets": assets}


# --- inside -------------------------------------------------------------------------------


def _measure(file: BinaryIO) -> None:
    """Refuse a list of files that is too long to be looked at: it is read as a whole."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - END - 65_535))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END:
        raise Refused(DAMAGED.format("it is no zip file"))
    if tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
        raise Refused(HARMFUL.format("it says that it is larger than 4 GB"))
    if int.from_bytes(tail[at + 12 : at + 16], "little") > MOST * LISTED:
        raise Refused(HARMFUL.format(f"it holds more than {MOST} files"))


def _harm(member: zipfile.ZipInfo) -> str:
    """What is wrong with a file of an archive, in words; "" where nothing is."""
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    if not name or "\\" in name or "\0" in name or name.startswith("/") or ":" in parts[0]:
        return "a file in it has a name that leads elsewhere"
    if any(part in ("", ".", "..") for part in parts):
        return "a file in it has a name that leads elsewhere"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it holds something that is no file"
    if member.flag_bits & 1:
        return "a file in it is encrypted"
    if member.file_size > SMALL and member.file_size > TIMES * max(member.compress_size, 1):
        return "a file in it grows beyond measure when it is unpacked"
    return ""


def _others(before: BinaryIO | None, gone: set[str]) -> Iterator[tuple[str, bytes]]:
    if not before:
        return
    with opened(before) as archive:
        for member in archive.infolist():
            if not member.is_dir() and member.filename not in gone:
                yield member.filename, read(archive, member.filename)


def _with_icon(data: Tree, path: str, suffix: str) -> Tree:
    """The card with its main icon there, and all other assets as they were."""
    icon = {"type": "icon", "uri": HEADS[0] + path, "name": "main", "ext": suffix.lstrip(".")}
    main = next((each for each in _assets(data) if _is_main(each)), None)
    if main is None:
        return {**data, "assets": [icon, *_assets(data)]}
    return {**data, "assets": [icon if each is main else each for each in _assets(data)]}


def _is_main(asset: Tree) -> bool:
    return asset.get("type") == "icon" and asset.get("name") == "main"


def _assets(data: Tree) -> list[Tree]:
    said = data.get("assets")
    rows = cast("list[Any]", said) if isinstance(said, list) else []
    return [cast(Tree, each) for each in rows if isinstance(each, dict)]


def _path(asset: Tree) -> str:
    """Where an asset lies in the archive, or "" where it lies elsewhere."""
    uri = asset.get("uri")
    for head in HEADS:
        if isinstance(uri, str) and uri.startswith(head):
            return uri[len(head) :]
    return ""
