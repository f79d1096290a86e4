"""What a model remembers, kept in a file from one load to the next.

A record is only ever handed to llama.cpp when it is whole and of the very same model and settings:
a file of state that was cut off ends the process, and one of another model is read without a word.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from extensions.llama_cpp.native.row import Adapters
from kernel.contract import built

MAGIC = b"spindle-states-3\n"
MOST = 2 << 30
"""Bytes that all files of states may take; those that were not used for longest go."""
ABANDONED = 3_600_000_000_000
"""Nanoseconds after which nobody writes a draft any more."""
Stamp = tuple[int, ...]
SAMPLES, SAMPLE = 64, 1 << 16
"""Places of a model file that its fingerprint looks at, and the bytes it reads at each."""


@built
class Record(msgspec.Struct, frozen=True, array_like=True):
    """What precedes the state of one sequence in the file."""

    tokens: bytes
    adapters: Adapters
    stamps: tuple[Stamp, ...]
    """Of the adapters' files: another file of that name makes another state."""
    length: int
    sha256: bytes
    """Of all of it: a state beside the tokens of another is as bad as a damaged one."""


def fingerprint(path: str, settings: object) -> str:
    """Tells models and settings apart whose states do not fit each other.

    Reading all of a large file would take as long as loading it: its size and 4 MB of it, spread
    over the whole, must do.
    """
    digest = hashlib.sha256(repr(settings).encode())
    size = os.path.getsize(path)
    digest.update(size.to_bytes(8, "little"))
    with open(path, "rb") as file:
        for place in np.linspace(0, max(0, size - SAMPLE), SAMPLES).astype(int).tolist():
            file.seek(place)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:32]


def stamp(path: str) -> Stamp:
    """The size of a file and when it was written; nothing where it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns


def digest(
    tokens: bytes, adapters: Adapters, stamps: tuple[Stamp, ...], state: bytes | memoryview
) -> bytes:
    """What a record must be, to be whole."""
    found = hashlib.sha256(tokens)
    found.update(repr((adapters, stamps)).encode())
    found.update(state)
    return found.digest()


def save(
    file: Path,
    states: Iterable[tuple[Any, Adapters, bytes | memoryview]],
    stamped: Callable[[str], Stamp] = stamp,
    most: int = MOST,
) -> int:
    """Write the states in one step, the last ones being the most precious; answers how many.

    `stamped` tells what an adapter's file was when it was read. Files of other models make room.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    count = 0
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(MAGIC)
            for tokens, adapters, state in states:
                ids = tokens.tobytes()
                stamps = tuple(stamped(path) for path, _ in adapters)
                sha256 = digest(ids, adapters, stamps, state)
                record = Record(ids, adapters, stamps, len(state), sha256)
                head = msgspec.msgpack.encode(record)
                out.write(len(head).to_bytes(4, "little") + head)
                out.write(state)
                count += 1
        os.replace(draft, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    make_room(file, most)
    return count


def make_room(kept: Path, most: int) -> None:
    """Remove the files of states that were written longest ago, until all take at most `most`;
    and drafts that a killed worker left."""
    found: list[tuple[int, int, Path]] = []
    old = time.time_ns() - ABANDONED
    for file in kept.parent.glob("*.states*"):
        with suppress(OSError):
            about = file.stat()
            found.append((about.st_mtime_ns, about.st_size, file))
    total = 0
    for written, size, file in sorted(found, key=lambda each: (each[2] != kept, -each[0])):
        total += size
        draft = file.name.startswith(".")
        if (draft and written < old) or (not draft and file != kept and total > most):
            with suppress(OSError):
                file.unlink()


def load(file: Path) -> Iterator[tuple[Any, Adapters, bytes]]:
    """The states of a file, up to the first that is not whole."""
    try:
        opened = file.open("rb")
    except OSError:
        return
    with opened:
        if opened.read(len(MAGIC)) != MAGIC:
            return
        while head := opened.read(int.from_bytes(opened.read(4), "little")):
            try:
                record = msgspec.msgpack.decode(head, type=Record)
            except msgspec.DecodeError:
                return
            state = opened.read(record.length)
            if digest(record.tokens, record.adapters, record.stamps, state) != record.sha256:
                return
            if record.stamps != tuple(stamp(path) for path, _ in record.adapters):
                continue
            yield np.frombuffer(record.tokens, np.int32), record.adapters, state
