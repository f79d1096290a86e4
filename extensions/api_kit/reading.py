"""JSON that programs send, as the struct that it should be; what is wrong is named by its field."""

import base64
import binascii
import re
from typing import Any, TypeVar

import msgspec

from .problems import Problem, refused

T = TypeVar("T")
PARTS = 1_000_000
"""Lists, objects and commas in one text: with more, reading it would hold up the replies of others.
Commas of words count, too: a million are more than any model reads."""
STRETCH = 1 << 20
"""So much is looked through at once: what has far too many is known soon."""


def read(text: str | bytes | bytearray, kind: type[T] | Any, hint: str = "") -> Any:
    """A body or a frame; raises Problem. Fields that `kind` does not know are let through."""
    bound(text)
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error, hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refused(f"This is no JSON that can be read: {error}.", None, "bad_json") from None


def bound(text: Any) -> None:
    """Raises Problem for a text that may hold too many parts, which is told before it is read."""
    marks: Any = ("[", "{", ",") if isinstance(text, str) else (b"[", b"{", b",")
    parts = 0
    for at in range(0, len(text), STRETCH):
        parts += sum(text.count(each, at, at + STRETCH) for each in marks)
        if parts > PARTS:
            says = f"This has more than {PARTS:,} lists, objects and commas. Send less at once."
            raise refused(says, None, "too_many_parts")


def converted(data: Any, kind: type[T] | Any, where: str = "") -> Any:
    """The same for what was read already; `where` is the field it stands in."""
    try:
        return msgspec.convert(data, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error, "", where) from None


def invalid(error: msgspec.ValidationError, hint: str = "", under: str = "") -> Problem:
    """What msgspec says, with the path of the field as programs write it."""
    what, _, where = str(error).partition(" - at ")
    path = where.rpartition("`$")[2].strip("`.")
    missing = re.findall("required field `([^`]+)`", what)
    param = ".".join(filter(None, [under, path, *missing])).replace(".[", "[")
    says = f"{param}: {what}." + (hint if param == "type" else "")
    return refused(says.lstrip(": "), param or None, "invalid_value")


def decoded(text: str, where: str) -> bytes:
    """The bytes of a text in base64, which may be in lines; raises Problem."""
    text = text.replace("\r", "").replace("\n", "")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refused(f"{where}: This is no base64.", where, "invalid_value") from None
