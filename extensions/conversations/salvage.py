"""What a damaged database still holds: every row that can be read, page by page, without SQLite.

SQLite reads from the root of a tree downwards and gives up at the first bad page. This looks at
each page by itself, by https://www.sqlite.org/fileformat2.html, and keeps what looks like a row.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = b"SQLite format 3\0"
PAGE = 4096
"""Bytes of a page in every file that Spindle makes."""
LEAF, INDEX_LEAF, INDEX = 13, 10, 2
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Bytes of an integer, by the type it is stored as."""

Value = None | int | float | str | bytes


class Row(NamedTuple):
    """A row that was found; `seq` is its key, or 0 in a table without one."""

    seq: int
    values: tuple[Value, ...]
    whole: bool
    """Nothing of it was missing."""


def rows(path: Path) -> Iterator[Row]:
    """Everything in the file, and in the log beside it, that can be read as a row."""
    pages = _pages(path)
    for number in sorted(pages):
        yield from _rows_of(pages, number)


def _pages(path: Path) -> dict[int, bytes]:
    data = path.read_bytes() if path.exists() else b""
    data = data[max(0, data.find(MAGIC, 0, PAGE)) :]  # An editor may have put a BOM before it.
    pages = {n // PAGE + 1: data[n : n + PAGE] for n in range(0, len(data), PAGE)}
    wal = path.with_name(f"{path.name}-wal")
    return pages | _logged(wal.read_bytes() if wal.exists() else b"")


def _logged(wal: bytes) -> dict[int, bytes]:
    """The pages of all transactions in a write-ahead log that were committed."""
    committed: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    for start in range(32, len(wal) - 24 - PAGE + 1, 24 + PAGE):
        number, size = struct.unpack_from(">II", wal, start)
        if wal[start + 8 : start + 16] != wal[16:24]:
            break  # Older than the log's beginning.
        pending[number] = wal[start + 24 : start + 24 + PAGE]
        if size:
            committed |= pending
            pending = {}
    return committed


def _rows_of(pages: dict[int, bytes], number: int) -> Iterator[Row]:
    page, start = pages[number], 100 if number == 1 else 0
    kind = page[start] if len(page) > start + 12 else 0
    if kind not in (LEAF, INDEX_LEAF, INDEX):
        return
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + (12 if kind == INDEX else 8)
    for place in range(first, min(first + 2 * count, len(page) - 1), 2):
        cell = int.from_bytes(page[place : place + 2], "big")
        try:
            row = _row(pages, page, cell + (4 if kind == INDEX else 0), kind)
        except (IndexError, ValueError, struct.error):
            continue
        yield row


def _row(pages: dict[int, bytes], page: bytes, at: int, kind: int) -> Row:
    size, at = _varint(page, at)
    seq = 0
    if kind == LEAF:
        seq, at = _varint(page, at)
    if not 0 < size <= len(pages) * PAGE:
        raise ValueError("no row is as long as that")
    least = (PAGE - 12) * 32 // 255 - 23
    most = PAGE - 35 if kind == LEAF else (PAGE - 12) * 64 // 255 - 23
    here = size
    if size > most:
        here = least + (size - least) % (PAGE - 4)
        here = here if here <= most else least
    payload = page[at : at + here]
    if size > here:
        payload += _overflow(pages, page[at + here : at + here + 4], size - here)
    return Row(seq, _values(payload), len(payload) == size)


def _overflow(pages: dict[int, bytes], link: bytes, wanted: int) -> bytes:
    """The rest of a row that is longer than a page, as far as its chain goes."""
    found, seen = bytearray(), set[int]()
    while wanted > len(found):
        number = int.from_bytes(link, "big")
        if number in seen or number not in pages:
            break
        seen.add(number)
        link, data = pages[number][:4], pages[number][4:]
        found += data[: wanted - len(found)]
    return bytes(found)


def _values(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    if not at <= end <= len(payload):
        raise ValueError("a row's header is not longer than the row")
    kinds: list[int] = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if size := INTEGERS.get(kind):
        return int.from_bytes(payload[at : at + size], "big", signed=True), at + size
    if kind < 12:
        raise ValueError("there is no such type")
    data = payload[at : at + (kind - 12) // 2]
    return data.decode(errors="replace") if kind % 2 else data, at + (kind - 12) // 2


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        byte = data[at + n]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    return value << 8 | data[at + 8], at + 9
