"""Archives (.zip, .tar, .tar.gz) are unpacked as if their author meant harm."""

import stat
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from extensions.workshop.trees import MOST_BYTES, MOST_FILES, Tree
from kernel.api import Refused

ENDINGS = (".zip", ".tar.gz", ".tgz", ".tar")
_CENTRAL = MOST_FILES * 400
"""Bytes that the list of that many files may take."""
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


def unpack(archive: Path, into: Path) -> None:
    """Unpack regular files and nothing else; raises Refused with the reason."""
    tree = Tree(into)
    try:
        if zipfile.is_zipfile(archive):
            return _zip(archive, tree)
        with archive.open("rb") as file:
            tar(file, tree, "r|gz" if file.read(2) == b"\x1f\x8b" else "r|", rewind=True)
    except _BROKEN as error:
        raise Refused(f"The archive is damaged, or none ({error}). Download it again.") from None
    except (OSError, RuntimeError, ValueError, UnicodeError) as error:
        raise Refused(f"The archive cannot be unpacked: {error}.") from None


def _zip(archive: Path, tree: Tree) -> None:
    _look_at_the_end(archive)
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        if sum(member.file_size for member in members) > MOST_BYTES:
            raise Refused("It says that it unpacks to more than any extension needs.")
        for member in members:
            tree.count()
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & 1:
                raise Refused("The archive asks for a password. Unpack it, and choose the folder.")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"“{member.filename[:60]!a}” in it is a link or a device.")
            if "\0" in member.orig_filename:
                raise Refused("A name in it holds a NUL. Tell its author.")
            if member.orig_filename.endswith("/"):
                tree.place(member.orig_filename.rstrip("/"))
                continue
            with file.open(member) as content:
                tree.add(member.orig_filename, content)


def _look_at_the_end(archive: Path) -> None:
    """Refuse before zipfile reads a list of a million files into memory."""
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 70_000))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    large = end.rfind(b"PK\x06\x07") >= 0  # the form for archives beyond 4 GB
    if large or int.from_bytes(end[at + 12 : at + 16], "little") > _CENTRAL:
        raise Refused(f"It holds more than {MOST_FILES:,} files: that is no extension.")


class _Bounded:
    """A stream that ends with a refusal where an extension would long have ended."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, 2 * MOST_BYTES

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise Refused("It unpacks to more than any extension needs.")
        return data


def tar(file: IO[bytes], tree: Tree, mode: str, *, rewind: bool = False) -> None:
    """Unpack a tar stream; `mode` is "r|gz" or "r|"."""
    if rewind:
        file.seek(0)
    if mode == "r|gz":
        import gzip  # noqa: PLC0415 - seldom, and the server starts without it

        with gzip.GzipFile(fileobj=file) as inflated:
            return tar(inflated, tree, "r|")  # type: ignore[arg-type]
    with tarfile.open(fileobj=_Bounded(file), mode="r|") as members:  # type: ignore[call-overload]
        for member in members:
            tree.count()
            if member.isdir():
                if member.name.strip("./"):
                    tree.place(member.name.rstrip("/"))
            elif member.isreg() and not member.issparse():
                content = members.extractfile(member)
                assert content
                tree.add(member.name, content)
            else:
                raise Refused(f"{member.name[:60]!a} in it is a link or a device.")
