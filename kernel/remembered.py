"""What was made of texts at one start, for the next: most files are as they were.

Parsing them again takes a sixth of the processor until the first page, most of it for the import
of a YAML library that nothing else needs by then.
"""

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import TypeVar

import msgspec

from kernel.files import stamp, write

T = TypeVar("T")
NAME = "remembered"
"""The file in the data folder; without it everything is read anew."""


class Remembered:
    """Results of functions of a text; until it begins, and after it was kept, each call is made."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._before, self._now = dict[bytes, bytes](), dict[bytes, bytes]()

    def begin(self, data: Path) -> None:
        """Take up what the last start kept in this data folder."""
        self._file = data / NAME
        with suppress(OSError, msgspec.DecodeError):
            kept = self._file.read_bytes()
            digest, body = kept[:32], kept[32:]  # What a disk made of it, nobody would notice.
            if hashlib.sha256(body).digest() == digest:
                self._before = msgspec.msgpack.decode(body, type=dict[bytes, bytes])

    def made(self, function: Callable[[str], T], text: str) -> T:
        """What a function makes of a text, if that and the function are as they were."""
        if not self._file:
            return function(text)
        key = _key(function, text)
        if kept := self._before.get(key) or self._now.get(key):
            self._now[key] = kept
            return msgspec.msgpack.decode(kept)
        value = function(text)
        with suppress(TypeError, ValueError, OverflowError, RecursionError):  # It is no JSON.
            packed = msgspec.msgpack.encode(value)
            if repr(msgspec.msgpack.decode(packed)) == repr(value):
                self._now[key] = packed
        return value

    def keep(self) -> None:
        """Keep what this start asked for, and remember no more."""
        file, before, now = self._file, self._before, self._now
        self._file, self._before, self._now = None, {}, {}
        if file and now != before:
            with suppress(OSError):  # A folder that takes nothing: the next start reads all, too.
                body = msgspec.msgpack.encode(now)
                write(file, hashlib.sha256(body).digest() + body, 0o600)


def _key(function: Callable[[str], object], text: str) -> bytes:
    """Of the text, the function, the file it stands in and the packages it may use."""
    assert isinstance(function, FunctionType)
    own, packages = Path(function.__code__.co_filename), Path(sys.prefix, "stamp")
    whole = f"{function.__qualname__} {stamp(own)} {stamp(packages)}\n{text}"
    return hashlib.sha256(whole.encode(errors="surrogatepass")).digest()
