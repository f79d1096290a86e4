"""What is in a file that comes in: itself, or the files of a zip archive, each within bounds."""

import stat
import zipfile
import zlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from .forms.reading import ENDINGS, HEAD, Unreadable, check, largest

MOST_MEMBERS = 50_000
MOST_TOGETHER = 6_000_000_000
"""Bytes that an archive may unpack to, as one of 4 GB does that we made of pictures; each file is
unpacked by itself, and then forgotten."""
LIST = MOST_MEMBERS * 400
"""Bytes that the list of so many files may take."""
SKIPPED = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
BESIDE = ("chat_state.json", "evaluations.csv", "train_dataset_sample.json")
"""What text-generation-webui keeps beside the chats."""
NOTEBOOK = "notebook"
"""Its folder of texts that are no conversations."""
UNDATED = 1980
"""The year of files in an archive that tells no times."""


class Member(NamedTuple):
    """A file that may be a conversation."""

    name: str
    read: Callable[[], bytes]
    modified: float = 0.0
    """When, in seconds since 1970; 0 where nobody knows."""


class _Listed(FileIO):
    """An archive whose list is refused before it takes memory: zipfile reads it in one piece, and
    alone knows where it takes the list's size from."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size and size > LIST:
            raise Unreadable("It holds more files than any library of conversations")
        return super().read(size)


def members(name: str, file: Path, modified: float = 0.0) -> list[Member]:
    """The files to read; raises Unreadable for an archive that cannot be trusted."""
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    if not head.startswith(b"PK\x03\x04"):
        check(file.stat().st_size, head)
        return [Member(name, file.read_bytes, modified)] if _is_meant(name) else []
    try:
        with _Listed(file) as listed, zipfile.ZipFile(listed) as archive:
            infos = archive.infolist()
    except Unreadable:
        raise
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Unreadable(f"The archive is damaged ({error})") from None
    found = [info for info in infos if not info.is_dir() and _is_meant(info.filename)]
    if len(found) > MOST_MEMBERS or sum(info.file_size for info in found) > MOST_TOGETHER:
        raise Unreadable("It says that it unpacks to more than any library of conversations")
    return [
        Member(info.filename, partial(_unpacked, file, info), _modified(info)) for info in found
    ]


def _is_meant(name: str) -> bool:
    """Whether it may be one: what systems and programs put beside is passed over without a word."""
    *folders, last = name.replace("\\", "/").split("/")
    if len(folders) > 1 and folders[-1] == NOTEBOOK and last.endswith(".txt"):
        return False
    return not (name.startswith(SKIPPED) or last in (*SKIPPED, *BESIDE) or last.startswith("._"))


def _modified(info: zipfile.ZipInfo) -> float:
    try:
        return datetime(*info.date_time).timestamp() if info.date_time[0] > UNDATED else 0.0
    except (ValueError, OverflowError, OSError):
        return 0.0


def _unpacked(file: Path, info: zipfile.ZipInfo) -> bytes:
    """One file of the archive, which may lie about its size."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise Unreadable("It is a link or a device")
    if not info.filename.lower().endswith(ENDINGS):
        raise Unreadable(f"A conversation ends with {', '.join(ENDINGS)}")
    if info.flag_bits & 1:
        raise Unreadable("It asks for a password. Unpack the archive, and choose the folder")
    try:
        with zipfile.ZipFile(file) as archive, archive.open(info) as content:
            head = content.read(HEAD)
            content.seek(0)
            data = content.read(largest(head) + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise Unreadable(f"It is damaged ({error})") from None
    check(len(data), head)
    return data
