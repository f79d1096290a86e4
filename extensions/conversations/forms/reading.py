"""A file of somebody's, in whichever form: read as if its author meant harm."""

import json
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import msgspec

from extensions.conversations.text import clean
from extensions.conversations.whole import Whole, fingerprint, spoken

from . import chatgpt, ours, prose, tavern, webui

LARGEST = 100_000_000
"""Bytes of one file; a conversation of 50,000 messages has as many."""
LARGEST_OF_OURS = 1_000_000_000
"""Bytes of one in our own form, which has the pictures, too: more than a hundred of the largest."""
HEAD = 100
"""Bytes of a file by which its form is told from others, for that."""
PIECES = 3_000_000
"""Lists and mappings in a file: each costs a hundred times its bytes."""
ENDINGS = (".json", ".jsonl", ".md", ".markdown", ".txt")
OURS = ".spindle.json"
SHELVES = ("chat", "chats", "group chats")
"""Folders in which other programs keep one folder for each character."""
NONE = "It is in none of the forms that Spindle reads"
DEEP = "It is nested deeper than a conversation can be"


class Unreadable(ValueError):
    """A file that cannot be read as a conversation: why, without a full stop."""


def read(path: str, data: bytes, modified: float = 0.0) -> list[Whole]:
    """The conversations in a file; the folders of its `path` may name a character, and what tells
    no time of its own is of when the file was `modified`, in seconds."""
    place = PurePosixPath(path.replace("\\", "/"))
    check(len(data), data[:HEAD])
    if not data or data.isspace():
        raise Unreadable("It is empty")
    try:
        found = list(_read(place, data))
    except RecursionError:
        raise Unreadable(DEEP) from None
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(_sentence(error)) from None
    if not found:
        raise Unreadable("There is no conversation in it")
    return [_dated(whole, min(modified, time.time())) for whole in found]


def largest(head: bytes) -> int:
    """How many bytes a file may have that begins with `head`."""
    return LARGEST_OF_OURS if ours.BEGINNING.match(head) else LARGEST


def check(size: int, head: bytes) -> None:
    """Raise Unreadable for a file of more bytes than that."""
    if size > (most := largest(head)):
        raise Unreadable(f"It is larger than {most // 1_000_000} MB")


def _read(place: PurePosixPath, data: bytes) -> Iterator[Whole]:
    name = _name(place)
    if place.suffix.lower() in (".md", ".markdown", ".txt") and data.lstrip()[:1] not in (
        b"{",
        b"[",
    ):
        yield _marked(prose.read(clean(data.decode("utf-8-sig")), name), "prose")
        return
    if data.count(b"[") + data.count(b"{") > PIECES or data.count(b",") > 4 * PIECES:
        raise Unreadable("It consists of more pieces than a conversation has")
    value = _lines(data) if place.suffix.lower() == ".jsonl" else _value(data)
    if ours.fits(value):
        yield ours.read(value)
    elif chatgpt.fits(value):
        for whole in chatgpt.read(value):
            yield _marked(whole, "chatgpt")
    elif isinstance(value, list) and tavern.fits(value):
        yield _marked(tavern.read(value, name, _character(place, *SHELVES)), "sillytavern")
    elif webui.fits(value):
        whole = webui.read(value, name, _character(place, webui.SHELF), place.parent.name)
        # Without the name: the same file may lie where another is told, or none.
        source = fingerprint(spoken(whole, ""), "webui")
        yield msgspec.structs.replace(whole, source=source)
    else:
        raise Unreadable(NONE)


def _dated(whole: Whole, moment: float) -> Whole:
    """With a time where it has none."""
    if whole.created or whole.updated:
        return whole
    return msgspec.structs.replace(whole, created=moment, updated=moment)


def _name(place: PurePosixPath) -> str:
    """A file's name without the ending of its form."""
    ending = OURS if place.name.lower().endswith(OURS) else place.suffix
    known = ending.lower() in (OURS, *ENDINGS)
    return (place.name[: -len(ending)] if known else place.name).strip()


def _character(place: PurePosixPath, *shelves: str) -> str:
    folders = place.parts[:-1]
    if len(folders) > 1 and folders[-2].lower() in shelves:
        return folders[-1]
    return ""


def _value(data: bytes) -> Any:
    """JSON; what is lines of it is read so, whatever the file is called."""
    try:
        return decoded(data)
    except ValueError:
        if b"\n" not in data.strip():
            raise
        try:
            return _lines(data)
        except ValueError:
            pass
        raise


def _lines(data: bytes) -> list[Any]:
    return [decoded(line) for line in data.splitlines() if line.strip()]


def decoded(data: bytes) -> Any:
    """JSON with a mark before it or without, and with halves of characters that others wrote."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(data)
    except ValueError:
        return json.loads(data)


def _marked(whole: Whole, form: str) -> Whole:
    return msgspec.structs.replace(whole, source=fingerprint(whole, form))


def _sentence(error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "It is no text in UTF-8"
    if isinstance(error, json.JSONDecodeError | msgspec.DecodeError):
        said = str(error)[:200].rstrip(".")
        return (
            f"It is damaged, or no JSON ({said})" if "`$" not in said else f"It is damaged: {said}"
        )
    if isinstance(error, KeyError | TypeError):
        return NONE
    return str(error)[:200].rstrip(".") or NONE
