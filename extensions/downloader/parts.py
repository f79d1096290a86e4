"""A file that is not whole yet: what of it is there, its hash so far, both kept as it grows."""

import errno
import hashlib
import os
import threading
from bisect import insort
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kernel.contract import Struct, built

from .trouble import Full

if TYPE_CHECKING:
    from hashlib import _Hash

Step = Callable[[int], None]
"""Hears of bytes that had to be read to be hashed; it may raise, and so end that."""

BUFFER = 1 << 18
RECORD = 2048
"""Bytes that the record is filled up to, so that a shorter one replaces a longer one whole."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@built
class Record(Struct, frozen=True):
    """What is kept beside the bytes; it never claims more than was written before it."""

    path: str
    identity: str
    """What the server calls the content: a part of another is of no use."""
    size: int
    left: tuple[tuple[int, int], ...]
    """What is missing: from, to."""
    right: bool = False
    """It is whole, was checked, and is on the disk."""


class Disk:
    """Reads and writes at places, from several threads, on every system."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, _FLAGS, 0o644)
        self._turn = threading.Lock()

    def write(self, at: int, data: memoryview | bytes) -> None:
        """Raises Full when no more fits."""
        try:
            while data:
                count = self._write(at, data)
                at, data = at + count, data[count:]
        except OSError as error:
            if error.errno in FULL:
                raise Full from error
            raise

    def _write(self, at: int, data: memoryview | bytes) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self.fd, data, at)
        with self._turn:  # Windows
            os.lseek(self.fd, at, os.SEEK_SET)
            return os.write(self.fd, data)

    def read(self, at: int, view: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self.fd, [view], at)
        with self._turn:
            os.lseek(self.fd, at, os.SEEK_SET)
            data = os.read(self.fd, len(view))
        view[: len(data)] = data
        return len(data)


class Part:
    """The bytes of one file in the staging folder, and its record beside them.

    `left` are the ranges that nobody fetches now; one that is fetched is in `taken`, and shrinks as
    it is written. The hash follows the first byte that is missing: what was written behind it is
    read once more, which comes from the system's cache.
    """

    def __init__(self, file: Path, path: str, size: int, hash: "Callable[[], _Hash]") -> None:
        self.path, self.size = path, size
        self.identity, self.right = "", False
        self.fetched = 0
        """Bytes that came over the network in this life, those that were thrown away too."""
        self._file, self._new_hash = file, hash
        self._lock, self._hashing = threading.Condition(), threading.Lock()
        self._writing, self._closed = 0, False
        self._left: list[tuple[int, int]] = []
        self._taken: dict[int, list[int]] = {}
        self._keys = 0
        file.parent.mkdir(parents=True, exist_ok=True)
        self._bytes, self._record = Disk(file), Disk(file.with_suffix(".state"))
        self._take_up(self._stored())

    # --- what is there ---

    def _stored(self) -> Record | None:
        view = memoryview(bytearray(1 << 16))
        count = self._record.read(0, view)
        try:
            stored = msgspec.json.decode(bytes(view[:count]), type=Record)
        except ValueError:
            return None
        written = self.size
        for start, stop in reversed(stored.left):
            written = start if stop == written else written
        there = written <= os.fstat(self._bytes.fd).st_size <= self.size
        return stored if there and (stored.path, stored.size) == (self.path, self.size) else None

    def _take_up(self, stored: Record | None) -> None:
        if stored:
            self.identity, self.right = stored.identity, stored.right
            self._left = sorted(stored.left)
        else:
            os.ftruncate(self._bytes.fd, 0)
            self._left = [(0, self.size)] if self.size else []
        self._hash, self._hashed = self._new_hash(), 0

    def restart(self, identity: str = "", size: int | None = None) -> None:
        """Begin anew: nothing of what is there is of use."""
        with self._hashing, self._lock:
            self._taken.clear()
            self._lock.wait_for(lambda: not self._writing)  # else bytes of before would be in it
            self.size = self.size if size is None else size
            self.identity, self.right = identity, False
            self._take_up(None)
            self._keep()

    @property
    def have(self) -> int:
        """Bytes that are written."""
        with self._lock:
            taken = sum(stop - at for at, stop in self._taken.values())
            return self.size - taken - sum(stop - start for start, stop in self._left)

    @property
    def busy(self) -> bool:
        """Whether someone fetches a range of it."""
        return bool(self._taken)

    @property
    def whole(self) -> bool:
        return self.have == self.size

    def name(self, identity: str) -> None:
        """Note what the content is called, before the first byte of it is written."""
        if identity != self.identity:
            with self._lock:
                self.identity = identity
                self._keep()

    # --- growing ---

    def take(self, most: int) -> int | None:
        """Take the first range that is missing, or `most` bytes of it; answers its key."""
        with self._lock:
            if not self._left:
                return None
            start, stop = self._left.pop(0)
            if stop - start > most:
                self._left.insert(0, (start + most, stop))
                stop = start + most
            self._keys += 1
            self._taken[self._keys] = [start, stop]
            return self._keys

    def range(self, key: int) -> tuple[int, int] | None:
        """What is left of a taken range; None when the part began anew meanwhile."""
        with self._lock:
            taken = self._taken.get(key)
            return (taken[0], taken[1]) if taken else None

    def write(self, key: int, data: memoryview, step: Step = lambda count: None) -> bool:
        """Write on where a range is; False when the part began anew meanwhile. Raises Full, and
        what `step` does, once the bytes are written and kept."""
        with self._lock:
            if key not in self._taken or self._closed:
                return False
            at = self._taken[key][0]
            self._writing += 1
        try:
            self._bytes.write(at, data)
        finally:
            with self._lock:
                self._writing -= 1
                self._lock.notify_all()
        with self._lock:
            self.fetched += len(data)
            if key not in self._taken or self._closed:
                return False
            self._taken[key][0] = at + len(data)
            self._keep()
        self._follow(at, data, step)
        return True

    def give_back(self, key: int) -> None:
        """Done with a range; what is missing of it is for the next who asks."""
        with self._lock:
            start, stop = self._taken.pop(key, (0, 0))
            if start < stop:
                insort(self._left, (start, stop))
            if not self._closed:
                self._keep()

    def _keep(self) -> None:
        """Write the record over the one before, in one call, after the bytes that it tells of."""
        left = sorted(
            [*self._left, *((at, stop) for at, stop in self._taken.values() if at < stop)]
        )
        record = Record(self.path, self.identity, self.size, tuple(left), self.right)
        self._record.write(0, msgspec.json.encode(record).ljust(RECORD))

    # --- the hash ---

    def _frontier(self) -> int:
        """Where the first missing byte is."""
        with self._lock:
            starts = [start for start, _ in self._left]
            starts += [at for at, stop in self._taken.values() if at < stop]
            return min(starts, default=self.size)

    def _follow(self, at: int, data: memoryview, step: Step) -> None:
        """Hash what can be hashed now, unless another thread does that."""
        if not self._hashing.acquire(blocking=False):
            return
        try:
            if self._closed:
                return
            if at == self._hashed and at + len(data) <= self._frontier():
                self._hash.update(data)
                self._hashed += len(data)
            if self._frontier() - self._hashed >= BUFFER:
                self._hash_to(self._frontier(), step)
        finally:
            self._hashing.release()

    def _hash_to(self, stop: int, step: Step) -> None:
        view = memoryview(bytearray(min(BUFFER, max(stop - self._hashed, 1))))
        while self._hashed < stop:
            count = self._bytes.read(self._hashed, view[: stop - self._hashed])
            if not count:
                raise OSError(errno.EIO, "the part file is shorter than it was")
            self._hash.update(view[:count])
            self._hashed += count
            step(count)

    def digest(self, step: Step = lambda count: None) -> str:
        """The hash of the whole file."""
        with self._hashing:
            self._hash_to(self.size, step)
            return self._hash.hexdigest()

    # --- the end ---

    def settle(self) -> bool:
        """It is right: have the disk say that it is there, and only then note it. False when it is
        not, or no longer, what was hashed."""
        with self._hashing:
            if not self.whole or self._hashed != self.size:
                return False
            os.fsync(self._bytes.fd)
            with self._lock:
                self.right = True
                self._keep()
        return True

    def close(self) -> None:
        """Let go of the files; what is there stays."""
        with self._hashing, self._lock:
            self._lock.wait_for(lambda: not self._writing)
            if not self._closed:
                os.close(self._bytes.fd)
                os.close(self._record.fd)
            self._closed = True


def hash_of(size: int, sha256: str | None, etag: str) -> "tuple[Callable[[], _Hash], str]":
    """How a file is checked, and what must come out; "" where nobody says."""
    if sha256:
        return hashlib.sha256, sha256.lower()
    if len(etag) == 40 and not set(etag) - set("0123456789abcdef"):  # git's name of a small file
        return lambda: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), etag
    return hashlib.sha256, ""
